//! Figure 3: deploys of every kind, against the script, against smee with the
//! script behind it, and against what the app and its environment take alone.

mod apps;
mod cold;
mod fresh;
mod steps;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use doorstep_tests::{App, GitHub, Push, Shop, Terms, WEBHOOK_SECRET};
use serde_json::Value;

use crate::http::Connection;
use crate::probe::{self, Probe, Seen};
use crate::push;
use crate::script::{Script, Through};
use crate::smee;
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};
pub use apps::{Versions, Weight};
use fresh::Fresh;
use steps::Steps;

/// Answers are watched this long before a push and after it is live.
const AROUND: Duration = Duration::from_millis(300);
/// Between two looks at a run that has not ended: some 1 ms of the edge's time each.
const LOOK: Duration = Duration::from_millis(3);
/// How long a version may take to come.
const PATIENCE: Duration = Duration::from_secs(30);
/// Deploys before all others that are not counted: the host rotates through
/// some folders, and copies the environment into each when it comes first.
const FILLING: usize = 4;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Deploys of each kind that are counted; one more comes before them.
    pub rounds: usize,
    /// First deploys with nothing there.
    pub cold: usize,
}

/// What a push changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A text that the app has no use for.
    Nothing,
    /// One line of the app.
    Code,
    /// The lock, by one package.
    Dependency,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Nothing, Self::Code, Self::Dependency];

    fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing that counts",
            Self::Code => "code only",
            Self::Dependency => "one dependency",
        }
    }

    fn paths(self) -> &'static [&'static str] {
        match self {
            Self::Nothing => &["README.md"],
            Self::Code => &["app.py"],
            Self::Dependency => &["pyproject.toml", "uv.lock"],
        }
    }

    /// What is pushed in this round, of so many; and the version it answers with.
    fn app(self, versions: &Versions, round: usize, rounds: usize) -> (App, String) {
        match self {
            Self::Nothing => (versions.of("first").file("README.md", &format!("An app, described {round} times.\n")), "first".to_owned()),
            Self::Code => (versions.of(&format!("v{round}")), format!("v{round}")),
            Self::Dependency => (versions.with_lock(&format!("v{rounds}"), round + 1), format!("v{rounds}")),
        }
    }
}

impl Weight {
    /// The part of the program that measures it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Light => "deploy",
            Self::Heavy => "deploy-heavy",
        }
    }
}

/// What one side took for the deploys of one kind, in milliseconds.
#[derive(Debug, Default)]
struct Took {
    /// From the push until it is done.
    live: Series,
    /// From the push until a new process answers.
    anew: Series,
    /// The app did not answer.
    down: Series,
    /// The longest time between two answers.
    gap: Series,
}

impl Took {
    fn add(&mut self, other: &Self) {
        self.live.extend(&other.live);
        self.anew.extend(&other.anew);
        self.down.extend(&other.down);
        self.gap.extend(&other.gap);
    }

    fn note(&mut self, probe: &Probe, begun: Instant, anew: Instant, done: Instant) {
        self.live.push((done - begun).as_secs_f64() * 1e3);
        self.anew.push((anew - begun).as_secs_f64() * 1e3);
        std::thread::sleep(AROUND);
        self.down.push(probe.down_ms());
        self.gap.push(probe.gap_ms());
    }
}

/// Everybody who deploys.
struct Sides<'a> {
    shop: &'a mut Shop,
    script: Script,
    /// The script behind smee, where its client is installed.
    smee: Option<Script>,
}

/// What the deploys of one kind took.
#[derive(Default)]
struct Figures {
    ours: Took,
    script: Took,
    smee: Took,
    /// The app's own start: spawn → first 200.
    start: Series,
    /// What the run's steps took.
    steps: Steps,
    /// Ours: environment and start, as the run's steps say.
    renewed: Series,
    /// A fresh environment and its parts.
    fresh: Series,
    fresh_sync: Series,
}

/// Measures it.
pub async fn measure(effort: &Effort, weight: Weight, versions: &Versions, shop: &mut Shop, table: &mut Table) -> Result<()> {
    let first = versions.of("first");
    let script = Script::open(&first, Through::Webhook)?;
    let smee = smee::client().map(|program| Script::open(&first, Through::Smee(&program))).transpose()?;
    for one in smee.iter().chain([&script]) {
        probe::wait(one.address, PATIENCE)?;
    }
    let mut sides = Sides { shop, script, smee };
    let packages = format!("{} packages in its lock", versions.packages());
    table.state(&format!("{}: the app", weight.name()), (packages, f64::NAN), None);
    for round in 0..FILLING {
        sides.shop.push_and_see(&first.clone().file("README.md", &format!("An app in folder {round}.\n"))).await;
    }
    for kind in Kind::ALL {
        let figures = sides.deploy(kind, versions, effort.rounds).await?;
        sides.tell(kind, weight, &figures, table);
    }
    cold::measure(weight, &first, effort.cold, table).await
}

impl Sides<'_> {
    async fn deploy(&mut self, kind: Kind, versions: &Versions, rounds: usize) -> Result<Figures> {
        let mut figures = Figures::default();
        // The first round is not counted: code is compiled, caches fill.
        for round in 0..=rounds {
            let (app, version) = kind.app(versions, round, rounds);
            let mut one = Figures::default();
            ours_once(self.shop, kind, &app, &version, &mut one.ours).await?;
            theirs_once(&self.script, kind, &app, &version, &mut one.script)?;
            if let Some(smee) = &self.smee {
                theirs_once(smee, kind, &app, &version, &mut one.smee)?;
            }
            one.steps.note_newest(self.shop).await;
            match kind {
                Kind::Nothing => {}
                Kind::Code => one.start.push(fresh::start(&self.script.checkout())?),
                Kind::Dependency => one.compare_fresh(&Fresh::make(&app)?),
            }
            if round > 0 {
                figures.add(&one);
            }
        }
        Ok(figures)
    }

    fn tell(&self, kind: Kind, weight: Weight, figures: &Figures, table: &mut Table) {
        let what = |text: &str| format!("{}, {}: {text}", weight.name(), kind.name());
        let said = |series: &Series| (format!("{} ms", series.range()), series.median());
        let until = match kind {
            Kind::Nothing => "push → the host says that the run is over, or the script's app answers anew",
            Kind::Code | Kind::Dependency => "push → the new release answers",
        };
        let goal = (kind == Kind::Code).then_some(Goal::RatioAtMost(0.65));
        let against = |script: &Script| what(&format!("{until}, against the script ({})", script.runner()));
        table.compare(&against(&self.script), said(&figures.ours.live), said(&figures.script.live), goal);
        match &self.smee {
            Some(smee) => table.compare(&against(smee), said(&figures.ours.live), said(&figures.smee.live), goal),
            None => table.leave_out(&what("against smee and the script"), "smee-client is not installed"),
        }
        if kind == Kind::Nothing {
            table.compare(&what("push → another process answers, against the script"), said(&figures.ours.anew), said(&figures.script.anew), None);
        }
        if kind == Kind::Code {
            figures.tell_start(&what, table);
        }
        if kind == Kind::Dependency {
            figures.tell_fresh(&what, table);
        }
        table.state(&what("the run's own steps, medians in ms"), (figures.steps.said(), f64::NAN), None);
        let none = Some(Goal::AtMost(0.0, "ms"));
        let worst = |series: &Series| (format!("{} ms", series.range()), series.quantile(1.0));
        table.compare(&what("time without an answer, goal for the longest"), worst(&figures.ours.down), worst(&figures.script.down), none);
        table.compare(&what("longest time between two answers"), said(&figures.ours.gap), said(&figures.script.gap), None);
    }
}

impl Figures {
    fn add(&mut self, other: &Self) {
        self.ours.add(&other.ours);
        self.script.add(&other.script);
        self.smee.add(&other.smee);
        self.start.extend(&other.start);
        self.steps.extend(&other.steps);
        self.renewed.extend(&other.renewed);
        self.fresh.extend(&other.fresh);
        self.fresh_sync.extend(&other.fresh_sync);
    }

    fn compare_fresh(&mut self, fresh: &Fresh) {
        let steps = ["sync", "start", "check"].map(|name| self.steps.median(name));
        self.renewed.push(steps.iter().sum());
        self.fresh.push(fresh.sync_ms + fresh.start_ms);
        self.fresh_sync.push(fresh.sync_ms);
    }

    fn tell_start(&self, what: &dyn Fn(&str) -> String, table: &mut Table) {
        table.state(&what("the app's own start, spawn → first 200"), (format!("{} ms", self.start.range()), self.start.median()), None);
        let net = |took: &Took| took.live.median() - self.start.median();
        let said = |ms: f64| (format!("{} ms", figure(ms)), ms);
        table.compare(&what("(push → the new release answers) − (the app's own start)"), said(net(&self.ours)), said(net(&self.script)), Some(Goal::AtMost(60.0, "ms")));
    }

    fn tell_fresh(&self, what: &dyn Fn(&str) -> String, table: &mut Table) {
        let said = |series: &Series| (format!("{} ms", series.range()), series.median());
        let renewed = "the run's steps sync + start + check, against `uv sync` in an empty folder with a warm cache + the first start there";
        table.compare(&what(renewed), said(&self.renewed), said(&self.fresh), Some(Goal::RatioAtMost(0.4)));
        let sync = self.steps.median("sync");
        table.compare(&what("the run's step sync alone, against that `uv sync` alone"), (format!("{} ms", figure(sync)), sync), said(&self.fresh_sync), None);
    }
}

async fn ours_once(shop: &mut Shop, kind: Kind, app: &App, version: &str, took: &mut Took) -> Result<()> {
    let commit = app.push_to(&shop.origin, "a version");
    let delivery = shop.github.push("me/shop", Push::to("main").at(&commit).modifies(kind.paths()));
    let request = push::request("/webhooks/github", &delivery.guid, &delivery.body);
    let mut connection = Connection::open(shop.edge.address())?;
    let probe = Probe::start(shop.address());
    std::thread::sleep(AROUND);
    let before = probe.last();
    let begun = Instant::now();
    let answer = connection.exchange(&request)?;
    if answer.status != 202 {
        bail!("the edge answered {}", answer.status);
    }
    let is_over = match kind {
        Kind::Nothing => {
            let answer: Value = serde_json::from_slice(&answer.body)?;
            Some(run_is_over(shop, &answer["jobs"][0]).await?)
        }
        Kind::Code | Kind::Dependency => None,
    };
    let anew = first_anew(&probe, version, before.as_ref())?;
    took.note(&probe, begun, anew, is_over.unwrap_or(anew));
    drop(probe);
    shop.is_idle().await;
    Ok(())
}

/// When another process answered first, with this version.
fn first_anew(probe: &Probe, version: &str, before: Option<&Seen>) -> Result<Instant> {
    probe.first(PATIENCE, |seen| seen.version == version && before.is_none_or(|before| before.pid != seen.pid))
}

/// When the edge had been told how the run of this job ended.
async fn run_is_over(shop: &Shop, job: &Value) -> Result<Instant> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        let newest = shop.newest_runs(1).await.into_iter().next().unwrap_or_default();
        if newest["job"] == *job && newest["state"] != "running" {
            return Ok(Instant::now());
        }
        tokio::time::sleep(LOOK).await;
    }
    bail!("the run of {job} did not end within {PATIENCE:?}")
}

fn theirs_once(script: &Script, kind: Kind, app: &App, version: &str, took: &mut Took) -> Result<()> {
    let commit = app.push_to(&script.origin, "a version");
    let delivery = GitHub::new(WEBHOOK_SECRET).push("me/script", Push::to("main").at(&commit).modifies(kind.paths()));
    let probe = Probe::start(script.address);
    std::thread::sleep(AROUND);
    let before = probe.last();
    let begun = script.trigger(&delivery.guid, &delivery.body)?;
    let anew = first_anew(&probe, version, before.as_ref())?;
    took.note(&probe, begun, anew, anew);
    Ok(())
}

/// A shop whose first version is live.
pub async fn open_shop(versions: &Versions) -> Shop {
    let first = versions.of("first");
    Shop::open_on(terms(&first), &first).await
}

/// What the host's file says of an app that may need long to start.
fn terms(app: &App) -> Terms {
    Terms::of(app).with_uv().within("60s")
}
