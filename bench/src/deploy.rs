//! Figure 3: from the POST to the first answer of the new version, against the
//! script, and against the app's own start.

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use doorstep_tests::{App, GitHub, Push, Shop, Terms, WEBHOOK_SECRET};

use crate::Effort;
use crate::http::{self, Connection};
use crate::probe::Probe;
use crate::push;
use crate::script::{Script, as_on_a_host};
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

/// Answers are watched this long before a push and after it is live.
const AROUND: Duration = Duration::from_millis(300);
/// The app but for its version, as [`App::fastapi`] has it.
const SOURCE: &str = r#"from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def root():
    return {"version": "VERSION"}


@app.get("/health")
def health():
    return {"status": 200}
"#;
const START_MAX: Duration = Duration::from_secs(20);

/// What one kind of deploy took, in milliseconds.
#[derive(Default)]
struct Took {
    live: Series,
    gap: Series,
}

/// The app that is deployed, at one version. Versions differ in one line.
pub struct Versions {
    app: App,
}

impl Versions {
    /// Locks its dependencies once.
    pub fn lock() -> Self {
        Self { app: App::fastapi("@").locked() }
    }

    /// One version.
    pub fn of(&self, version: &str) -> App {
        self.app.clone().file("app.py", &SOURCE.replace("VERSION", version))
    }
}

/// Measures it.
pub async fn measure(effort: &Effort, versions: &Versions, shop: &mut Shop, table: &mut Table) -> Result<()> {
    let script = Script::open(&versions.of("0"), free_address()?, free_address()?)?;
    Probe::start(script.address).first("0")?;
    let (mut ours, mut theirs, mut start) = (Took::default(), Took::default(), Series::default());
    let mut steps = Vec::new();
    // The first round is not counted: code is compiled, caches fill.
    for round in 0..=effort.deploys {
        let version = format!("v{round}");
        let app = versions.of(&version);
        let (mut one, mut other) = (Took::default(), Took::default());
        ours_once(shop, &app, &version, &mut one).await?;
        theirs_once(&script, &app, &version, &mut other)?;
        let alone = start_alone(&script)?;
        if round > 0 {
            ours.add(&one);
            theirs.add(&other);
            start.push(alone);
            note_steps(shop, &mut steps).await;
        }
    }
    let said = |series: &Series| (format!("{} ms", series.range()), series.median());
    let what = format!("deploy: push → new version answers, against the script ({})", script.runner());
    table.compare(&what, said(&ours.live), said(&theirs.live), Some(Goal::RatioAtMost(0.65)));
    table.state("deploy: the app's own start, spawn → first 200", said(&start), None);
    let [mine, script] = [&ours.live, &theirs.live].map(|live| live.median() - start.median());
    let said_net = |net: f64| (format!("{} ms", figure(net)), net);
    table.compare("deploy: (push → new version) − (the app's own start)", said_net(mine), said_net(script), Some(Goal::AtMost(60.0, "ms")));
    let each: Vec<String> = steps.iter().map(|(name, series)| format!("{name} {}", figure(series.median()))).collect();
    table.state("deploy: the run's own steps, medians in ms", (each.join(", "), f64::NAN), None);
    table.compare("deploy: longest gap without an answer", said(&ours.gap), said(&theirs.gap), None);
    Ok(())
}

impl Took {
    fn add(&mut self, other: &Self) {
        self.live.extend(&other.live);
        self.gap.extend(&other.gap);
    }

    fn note(&mut self, probe: &Probe, begun: Instant, version: &str) -> Result<()> {
        self.live.push((probe.first(version)? - begun).as_secs_f64() * 1e3);
        std::thread::sleep(AROUND);
        self.gap.push(probe.gap_ms());
        Ok(())
    }
}

async fn ours_once(shop: &mut Shop, app: &App, version: &str, took: &mut Took) -> Result<()> {
    let commit = app.push_to(&shop.origin, version);
    let delivery = shop.github.push("me/shop", Push::to("main").at(&commit).modifies(&["app.py"]));
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

/// What each step of the newest run took, as the host reported it.
async fn note_steps(shop: &Shop, steps: &mut Vec<(String, Series)>) {
    let Some(newest) = shop.runs().await.into_iter().next() else { return };
    for step in shop.run(&newest["id"]).await["steps"].as_array().into_iter().flatten() {
        let (Some(name), Some(ms)) = (step["name"].as_str(), step["duration_ms"].as_f64()) else { continue };
        match steps.iter_mut().find(|(known, _)| known == name) {
            Some((_, series)) => series.push(ms),
            None => {
                let mut series = Series::default();
                series.push(ms);
                steps.push((name.to_owned(), series));
            }
        }
    }
}

fn theirs_once(script: &Script, app: &App, version: &str, took: &mut Took) -> Result<()> {
    let commit = app.push_to(&script.origin, version);
    let delivery = GitHub::new(WEBHOOK_SECRET).push("me/script", Push::to("main").at(&commit).modifies(&["app.py"]));
    let probe = Probe::start(script.address);
    std::thread::sleep(AROUND);
    let begun = script.trigger(&delivery.guid, &delivery.body)?;
    took.note(&probe, begun, version)
}

/// Starts the app of the script's checkout once more, beside, as it stands.
fn start_alone(script: &Script) -> Result<f64> {
    let (address, dir) = (free_address()?, script.checkout());
    let mut command = Command::new(dir.join(".venv/bin/python"));
    command.args(["-m", "uvicorn", "app:app", "--port", &address.port().to_string()]).current_dir(&dir);
    as_on_a_host(&mut command).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().context("the app does not start")?;
    let mut took = None;
    while took.is_none() && begun.elapsed() < START_MAX {
        match http::get(address, "/health") {
            Ok(answer) if answer.status == 200 => took = Some(begun.elapsed().as_secs_f64() * 1e3),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    took.context("the app never answered")
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// A shop whose first version is live.
pub async fn open_shop(versions: &Versions) -> Shop {
    let first = versions.of("first");
    Shop::open_on(Terms::of(&first).with_uv(), &first).await
}
