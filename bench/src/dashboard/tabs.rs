//! Fifty open tabs, one run that logs 1,000 lines a second, and webhooks
//! meanwhile.
//!
//! Fails when a line was lost, came twice or out of order, when a tab does not
//! end with the whole log, or when a webhook was not answered with 202.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use doorstep_shared::ids::{Action, Cause};
use doorstep_shared::protocol::Report;
use doorstep_shared::time::Timestamp;
use doorstep_tests::{Chatter, Seen, Session, Tab, project, wait};
use futures_util::future::join_all;
use tokio::sync::watch;

use super::{Effort, FIFTY, Fleet};
use crate::http::Connection;
use crate::machine::Cpu;
use crate::push::Pushes;
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

const TABS: usize = 50;
const PER_SECOND: u32 = 1_000;
/// Lines of one report: what fills an executor's, of lines of 60 bytes; and far
/// fewer, as when each is sent soon.
const FULL: usize = 270;
const SMALL: usize = 10;
/// Between two webhooks.
const EVERY: Duration = Duration::from_millis(100);
const SETTLE: Duration = Duration::from_secs(2);
const GOAL: Goal = Goal::AtMost(250.0, "ms");
const RUN: &str = "loud-1";

/// One arrangement.
struct Scene {
    what: &'static str,
    /// What the tabs show, if there are any.
    shows: Option<&'static str>,
    /// Lines of one report; none when nothing is logged.
    each: Option<usize>,
}

const SCENES: [Scene; 6] = [
    Scene { what: "no tab, no log", shows: None, each: None },
    Scene { what: "no tab, full reports", shows: None, each: Some(FULL) },
    Scene { what: "50 tabs at the run, full reports", shows: Some("/runs/loud-1"), each: Some(FULL) },
    Scene { what: "50 tabs at the run, reports of 10 lines", shows: Some("/runs/loud-1"), each: Some(SMALL) },
    Scene { what: "50 tabs at the first page, full reports", shows: Some("/"), each: Some(FULL) },
    Scene { what: "50 tabs at the first page, reports of 10 lines", shows: Some("/"), each: Some(SMALL) },
];

/// What came of it.
struct Played {
    /// Webhook → 202, in milliseconds.
    answered: Series,
    /// A report's last line → acknowledged, in milliseconds.
    stored: Series,
    /// How long it was logged.
    told: Duration,
    /// Cores that workerd used meanwhile.
    busy: f64,
    /// The last line stored → at every tab, in milliseconds.
    after_ms: f64,
    seen: Vec<Seen>,
}

/// Measures every scene on a fleet of fifty projects of its own.
pub async fn measure(effort: &Effort, table: &mut Table) -> Result<()> {
    for scene in SCENES {
        let played = play(effort, &scene).await.with_context(|| scene.what)?;
        state(&scene, &played, table);
    }
    Ok(())
}

impl Scene {
    /// Do the tabs show the log?
    fn shows_log(&self) -> bool {
        self.shows.is_some_and(|path| path != "/")
    }
}

async fn play(effort: &Effort, scene: &Scene) -> Result<Played> {
    let fleet = Fleet::of(FIFTY).await;
    let edge = &fleet.edge;
    let workerd = edge.child().descendants("workerd").first().copied().context("no workerd runs below doorstep edge")?;
    let mut session = edge.enrolled("loud").await.connect(&[project("shop", "loud/shop")]).await;
    session.report(Report::Started { run: RUN.to_owned(), job: None, attempt: 0, project: "shop".parse()?, action: Action::Deploy, cause: Cause::Push, service: None, at: Timestamp(1) }).await;
    let (over, is_over) = watch::channel(false);
    let tabs = join_all(scene.shows.into_iter().flat_map(|path| (0..TABS).map(|_| Tab::open(edge, &fleet.cookie, path)).collect::<Vec<_>>())).await;
    let counts: Vec<_> = tabs.iter().map(Tab::count).collect();
    let tabs: Vec<_> = tabs.into_iter().map(|tab| tokio::spawn(tab.live(is_over.clone()))).collect();
    // Each looks once more when its socket is open; that is no part of it.
    tokio::time::sleep(SETTLE).await;

    let hooks = Hooks::start(edge.address());
    let (cpu, begun) = (Cpu::of(workerd)?, Instant::now());
    let lines = if scene.each.is_some() { effort.lines } else { 0 };
    let stored = log(effort.lines, scene.each, &mut session).await;
    let told = begun.elapsed();
    let busy = cpu.used_since()? / (told.as_secs_f64() * 1e3);
    let answered = hooks.stop()?;
    let behind = async || counts.iter().filter(|count| scene.shows_log() && count.load(Ordering::Relaxed) < lines).count();
    wait::until("every tab to have the whole log", behind, |behind| *behind == 0).await;
    let after_ms = (begun.elapsed() - told).as_secs_f64() * 1e3;
    over.send(true)?;
    let seen: Vec<Seen> = join_all(tabs).await.into_iter().collect::<Result<_, _>>()?;
    is_whole(&fleet, lines, seen.iter().filter(|_| scene.shows_log())).await?;
    Ok(Played { answered, stored, told, busy, after_ms, seen })
}

/// Logs so many lines, or nothing for as long; how long each report took.
async fn log(lines: usize, each: Option<usize>, session: &mut Session) -> Series {
    let mut stored = Series::default();
    match each {
        Some(each) => {
            let chatter = Chatter { lines, each, per_second: PER_SECOND };
            chatter.tell(session, RUN).await.iter().for_each(|took| stored.push(took.as_secs_f64() * 1e3));
        }
        None => tokio::time::sleep(Duration::from_secs_f64(lines as f64 / f64::from(PER_SECOND))).await,
    }
    stored
}

fn state(scene: &Scene, played: &Played, table: &mut Table) {
    let Played { answered, stored, told, busy, after_ms, seen } = played;
    let what = |text: &str| format!("dashboard, {}: {text}", scene.what);
    table.state(&what("webhook → 202"), (format!("{} ms ({})", answered.spread(), answered.len()), answered.quantile(0.99)), Some(GOAL));
    table.state(&what("workerd's processors"), (format!("{} of one core", figure(*busy)), *busy), None);
    if scene.each.is_some() {
        table.state(&what("a report's last line → acknowledged"), (format!("{} ms", stored.spread()), stored.median()), None);
    }
    if !seen.is_empty() {
        let rate = |of: fn(&Seen) -> usize| figure(seen.iter().map(of).sum::<usize>() as f64 / TABS as f64 / told.as_secs_f64());
        let words = format!("{} frames, {} pages, {} parts of the log, {} KB", rate(|s| s.nudges), rate(|s| s.pages), rate(|s| s.parts), rate(|s| s.fetched_bytes / 1_000));
        table.state(&what("one tab, each second"), (words, 0.0), None);
    }
    if scene.shows_log() {
        table.state(&what("the last line stored → at every tab"), (format!("{} ms", figure(*after_ms)), *after_ms), None);
    }
}

/// Nothing was lost, nothing came twice, everything is in order.
async fn is_whole(fleet: &Fleet, lines: usize, seen: impl Iterator<Item = &Seen>) -> Result<()> {
    let wanted: Vec<String> = (0..lines).map(Chatter::line).collect();
    let stored = fleet.edge.get(&format!("/api/runs/{RUN}/log")).await["lines"].take();
    ensure!(stored == serde_json::json!(wanted), "the stored log is not what was told: {} lines", stored.as_array().map_or(0, Vec::len));
    for one in seen {
        ensure!(one.lines == wanted, "a tab ended with {} lines", one.lines.len());
    }
    Ok(())
}

/// Signed webhooks, one each tenth of a second, on a thread of their own.
struct Hooks {
    is_over: Arc<AtomicBool>,
    sender: std::thread::JoinHandle<Result<Series>>,
}

impl Hooks {
    fn start(to: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let sender = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || send(to, &is_over)
        });
        Self { is_over, sender }
    }

    fn stop(self) -> Result<Series> {
        self.is_over.store(true, Ordering::Relaxed);
        self.sender.join().map_err(|_| anyhow::anyhow!("the sender of webhooks panicked"))?
    }
}

/// How long each took to be answered, in milliseconds, from when it was due.
fn send(to: SocketAddr, is_over: &AtomicBool) -> Result<Series> {
    let (mut connection, mut pushes, mut took) = (Connection::open(to)?, Pushes::to("nobody/follows", 9), Series::default());
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        let request = pushes.next("/webhooks/github");
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = connection.exchange(&request)?;
        if answer.status != 202 {
            bail!("a webhook was answered with {}", answer.status);
        }
        took.push(due.elapsed().as_secs_f64() * 1e3);
        due += EVERY;
    }
    Ok(took)
}
