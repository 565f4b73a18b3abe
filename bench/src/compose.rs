//! Compose projects: a push until the new containers answer and the time
//! without an answer, against `git pull && docker compose up -d --build`; and
//! what a daemon takes that watches fifty containers.
//!
//! Both sides deploy the same app, on one engine, while somebody asks for the
//! version every few milliseconds. The script is started directly, without a
//! webhook server, which favours it.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use doorstep_tests::{App, Docker, GitOrigin, Push, Shop, Terms, git, wait};
use serde_json::Value;
use tempfile::TempDir;

use crate::http::Connection;
use crate::machine::{self, Cpu};
use crate::probe::{self, Probe};
use crate::push;
use crate::script::free_address;
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

/// Answers are watched this long before a push and after it is live.
const AROUND: Duration = Duration::from_millis(500);
/// How long a version may take to come.
const PATIENCE: Duration = Duration::from_secs(60);
/// Containers that are watched.
const MANY: usize = 50;
/// Goals, from the issue that asked for this.
const GOAL: Goal = Goal::RatioAtMost(0.6);

/// How much is measured.
struct Effort {
    rounds: usize,
    idle: Duration,
    reads: usize,
    patience: Duration,
}

const WHOLE: Effort = Effort { rounds: 10, idle: Duration::from_secs(60), reads: 50, patience: Duration::from_secs(120) };
const QUICK: Effort = Effort { rounds: 4, idle: Duration::from_secs(20), reads: 20, patience: Duration::from_secs(20) };

/// Measures it; the caller's thread is all there is, since it moves into a
/// network of the engine's.
pub async fn run(words: &[String]) -> Result<()> {
    let effort = match words {
        [] => WHOLE,
        [quick] if quick == "--quick" => QUICK,
        other => bail!("compose takes --quick and nothing else, not {other:?}"),
    };
    let begun = Instant::now();
    let load = machine::Patience::new(effort.patience).wait("compose");
    let mut table = Table::default();
    deploys("the port is published by Docker", "serves = \"web:8000\"", effort.rounds, &mut table).await?;
    deploys("behind our proxy", "serves = \"web:8000\"\nlisten = \"{address}\"", effort.rounds, &mut table).await?;
    many(&effort, &mut table).await?;
    println!("\n{}", machine::class());
    println!("Load before: {load}. Measured in {:.0} s.\n", begun.elapsed().as_secs_f64());
    print!("{}", table.text());
    Ok(())
}

async fn engine() -> Result<Docker> {
    Docker::start().await.context("this needs a Docker engine; `need_docker` of deploy/toolchain.sh says how to have one")
}

/// What one side took, in milliseconds.
#[derive(Default)]
struct Took {
    live: Series,
    down: Series,
    gap: Series,
}

impl Took {
    fn note(&mut self, probe: &Probe, begun: Instant, version: &str) -> Result<()> {
        let live = probe.first(PATIENCE, |seen| seen.version == version)?;
        std::thread::sleep(AROUND);
        self.live.push((live - begun).as_secs_f64() * 1e3);
        self.down.push(probe.down_ms());
        self.gap.push(probe.gap_ms());
        Ok(())
    }
}

async fn deploys(how: &str, compose: &str, rounds: usize, table: &mut Table) -> Result<()> {
    let docker = engine().await?;
    let mut shop = Shop::open_composed_on(&docker, Terms { compose: Some(compose.to_owned()), ..Terms::composed(&docker) }).await;
    let script = Script::open(&docker)?;
    let (mut ours, mut theirs) = (Took::default(), Took::default());
    // The first round is not counted: caches fill.
    for round in 0..=rounds {
        let version = format!("v{round}");
        let (mut our, mut their) = (Took::default(), Took::default());
        ours_once(&mut shop, &version, &mut our).await?;
        script.once(&version, &mut their)?;
        if round > 0 {
            for (all, one) in [(&mut ours, &our), (&mut theirs, &their)] {
                all.live.extend(&one.live);
                all.down.extend(&one.down);
                all.gap.extend(&one.gap);
            }
        }
    }
    let what = |text: &str| format!("compose, {how}: {text}");
    let said = |series: &Series| (format!("{} ms", series.range()), series.median());
    table.compare(&what("push → the new version answers"), said(&ours.live), said(&theirs.live), Some(GOAL));
    table.compare(&what("time without an answer"), said(&ours.down), said(&theirs.down), Some(GOAL));
    table.compare(&what("longest time between two answers"), said(&ours.gap), said(&theirs.gap), None);
    Ok(())
}

async fn ours_once(shop: &mut Shop, version: &str, took: &mut Took) -> Result<()> {
    let commit = shop.composed(version).push_to(&shop.origin, "a version");
    let delivery = shop.github.push("me/shop", Push::to("main").at(&commit).modifies(&["web/serve.sh"]));
    let request = push::request("/webhooks/github", &delivery.guid, &delivery.body);
    let mut connection = Connection::open(shop.edge.address())?;
    let probe = Probe::start(shop.address());
    std::thread::sleep(AROUND);
    let begun = Instant::now();
    let answer = connection.exchange(&request)?;
    if answer.status != 202 {
        bail!("the edge answered {}", answer.status);
    }
    took.note(&probe, begun, version)?;
    drop(probe);
    shop.is_idle().await;
    Ok(())
}

/// What people run instead.
struct Script {
    origin: GitOrigin,
    address: SocketAddr,
    environment: Vec<(&'static str, String)>,
    dir: TempDir,
}

impl Script {
    fn open(docker: &Docker) -> Result<Self> {
        let (origin, dir, address) = (GitOrigin::new("me/script"), tempfile::tempdir()?, free_address()?);
        let script = Self { origin, address, environment: docker.environment(), dir };
        script.app("first").push_to(&script.origin, "first");
        git(script.dir.path(), &["clone", "-q", &script.origin.url(), "app"]);
        script.deploy()?;
        probe::wait(address, PATIENCE)?;
        Ok(script)
    }

    fn app(&self, version: &str) -> App {
        App::composed(version).publishing(self.address)
    }

    fn deploy(&self) -> Result<()> {
        let log = fs::File::create(self.dir.path().join("log"))?;
        let line = "git pull -q --ff-only && docker compose --project-name script up -d --build";
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(self.checkout()).envs(self.environment.iter().cloned()).stdout(log.try_clone()?).stderr(log);
        let status = command.status().context("sh does not start")?;
        if !status.success() {
            bail!("the script ended with {status}: {}", fs::read_to_string(self.dir.path().join("log")).unwrap_or_default());
        }
        Ok(())
    }

    fn checkout(&self) -> std::path::PathBuf {
        Path::new(self.dir.path()).join("app")
    }

    fn once(&self, version: &str, took: &mut Took) -> Result<()> {
        self.app(version).push_to(&self.origin, "a version");
        let probe = Probe::start(self.address);
        std::thread::sleep(AROUND);
        let begun = Instant::now();
        self.deploy()?;
        took.note(&probe, begun, version)
    }
}

/// A project of so many services that do nothing.
fn crowd() -> App {
    let service = |number: usize| format!("  s{number:02}:\n    image: base:1\n    init: false\n    stop_signal: SIGKILL\n    command: [\"/bin/sleep\", \"1000000\"]\n");
    let file: String = (1..=MANY).map(service).collect();
    App::composed("").only("compose.yaml", &format!("services:\n{file}"))
}

async fn many(effort: &Effort, table: &mut Table) -> Result<()> {
    let docker = engine().await?;
    let terms = Terms { compose: Some(String::new()), health: "grace = \"1s\"".to_owned(), ..Terms::composed(&docker) };
    let mut shop = Shop::found(terms).await;
    shop.host.run_online(&shop.edge).await;
    let pushed = shop.push(&crowd()).await;
    let run = shop.ended_within(Duration::from_secs(300), &pushed).await;
    if run["run"]["state"] != "succeeded" {
        bail!("{run:#}");
    }
    shop.is_idle().await;
    let all_run = |status: &Value| running(status) == MANY;
    let (mut read, mut known, mut event) = (Series::default(), Series::default(), Series::default());
    for _ in 0..effort.reads {
        let begun = Instant::now();
        let status = shop.host.ask_daemon().await.context("the daemon does not answer")?;
        read.push(begun.elapsed().as_secs_f64() * 1e3);
        if !all_run(&status) {
            bail!("{} of {MANY} services run", running(&status));
        }
    }
    for _ in 0..3 {
        shop.host.stop().await;
        let begun = Instant::now();
        shop.host.run();
        wait::until("all services to be known", async || shop.host.ask_daemon().await.unwrap_or_default(), all_run).await;
        known.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    for number in 1..=3 {
        let name = format!("shop-s{number:02}-1");
        docker.said(&["kill", &name]);
        let begun = Instant::now();
        wait::until("it to be seen", async || shop.host.ask_daemon().await.unwrap_or_default(), |status| running(status) < MANY).await;
        event.push(begun.elapsed().as_secs_f64() * 1e3);
        docker.said(&["start", &name]);
        wait::until("all services to run", async || shop.host.ask_daemon().await.unwrap_or_default(), all_run).await;
    }
    let said = |series: &Series| (format!("{} ms", series.range()), series.median());
    table.state("compose: the state of 50 containers, asked of the daemon", said(&read), Some(Goal::AtMost(20.0, "ms")));
    table.state("compose: a new daemon, start → it knows all 50", said(&known), None);
    table.state("compose: a container was killed → the daemon says so", said(&event), Some(Goal::AtMost(1_000.0, "ms")));
    idle(effort, &shop, table).await
}

async fn idle(effort: &Effort, shop: &Shop, table: &mut Table) -> Result<()> {
    let daemon = shop.host.daemon().pid();
    let before = Cpu::of(daemon)?;
    tokio::time::sleep(effort.idle).await;
    let share = before.used_since()? / (effort.idle.as_secs_f64() * 1e3) * 100.0;
    let (resident, peak) = machine::resident(daemon)?;
    let seconds = effort.idle.as_secs();
    table.state(&format!("compose: processor of a daemon that watches 50 containers, {seconds} s"), (format!("{share:.3} % of one core"), share), Some(Goal::AtMost(0.5, "%")));
    table.state("compose: its memory", (format!("{} MiB, at most {} so far", figure(resident), figure(peak)), resident), Some(Goal::AtMost(16.0, "MiB")));
    Ok(())
}

fn running(status: &Value) -> usize {
    let services = status["projects"][0]["services"].as_array();
    services.map_or(0, |all| all.iter().filter(|service| service["state"] == "running").count())
}
