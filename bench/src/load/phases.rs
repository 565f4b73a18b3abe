//! The load's phases, one after the other on one edge: connect, idle, flood,
//! one push at a time told with the least, and the same told in full.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use doorstep_tests::{Edge, wait};
use rustix::process::{Pid, getpid};

use super::bodies::Bodies;
use super::check::{self, Verdict};
use super::cost::{self, Month, OBJECT_STORES_GB_MAX};
use super::fleet::{Fleet, Plan, Telling};
use super::ledger::Ledger;
use super::sender::{self, Connection, Target};
use super::{Options, SETTLED_MAX};
use crate::insert::Insert;
use crate::machine::{self, Cpu};
use crate::stats::{Series, figure};

/// Bodies of the edge and of the bare insert differ by their series.
const OURS: u64 = 1;
const BARE: u64 = 2;
/// The goal: requests a second, against the bare insert.
const RATE_RATIO_MIN: f64 = 1.2;
/// Events of the month whose price is said.
const EVENTS: f64 = 1e6;
/// The hub keeps history this long: 90 days.
const MONTHS_KEPT: f64 = 3.0;
/// How often in a month the platform cuts every socket: a daily new version.
const RECONNECTS: f64 = 30.0;
/// Of heartbeats that the platform answers itself, nothing is billed.
const IDLE_HOSTS: f64 = 1_000.0;

/// What the hub counted since it woke.
#[derive(Clone, Copy, Debug)]
struct Usage {
    rows_read: u64,
    rows_written: u64,
    alarms: u64,
    bytes: u64,
}

/// What one event cost in a phase, on average.
#[derive(Clone, Debug)]
struct PerEvent {
    rows_read: f64,
    rows_written: f64,
    alarms: f64,
    bytes: f64,
    cpu_ms: f64,
    wall_ms: f64,
}

/// The parts that all phases share.
struct Stage {
    edge: Edge,
    workerd: Pid,
    target: Target,
    ledger: Arc<Ledger>,
    fleet: Fleet,
}

/// A phase that is being measured.
struct Phase {
    usage: Usage,
    cpu: Cpu,
    begun: Instant,
}

/// Runs all phases and prints their lines.
pub async fn run(options: &Options) -> Result<()> {
    say_what(options);
    let (stage, connect) = Stage::set(options).await?;
    stage.idle(options).await?;
    let insert = if options.insert { Some(Insert::start().await?) } else { None };
    let flood = stage.flood(options, insert.as_ref()).await?;
    drop(insert);
    let waits = stage.ledger.take_waits();
    stage.say_latency("flood", &waits);
    // A job that was never granted was superseded.
    let made = options.deliveries as f64 * options.followers as f64;
    let replaced = 100.0 * (1.0 - waits.len() as f64 / made);
    let singles = options.deliveries + 1..options.deliveries + 1 + options.singles();
    let histories = singles.end..singles.end + options.histories();
    let single = stage.one_by_one(singles, Telling::Outcome).await?;
    stage.say_latency("one at a time", &stage.ledger.take_waits());
    let whole = stage.one_by_one(histories.clone(), Telling::Whole).await?;
    let phases = [
        (format!("flood ({replaced:.0} % of its jobs superseded, {} reports a run)", Telling::Brief.reports()), &flood),
        ("queue path (delivery, event, job, lease, outcome; nothing superseded)".to_owned(), &single),
        (format!("queue path and history ({} reports a run)", Telling::Whole.reports()), &whole),
    ];
    for (what, per) in &phases {
        println!("rows per event, {what}: {}", per.rows());
    }
    for (what, per) in &phases {
        println!("awake per event, {what}: {}", per.awake());
    }
    say_costs(&single, &whole, &connect);
    stage.say_memory()?;
    let verdict = stage.verdict(histories.end - 1).await?;
    if verdict.lost + verdict.doubled > 0 {
        bail!("deliveries were lost or had their effect twice");
    }
    Ok(())
}

fn say_what(options: &Options) {
    println!("{} Load before: {}.", machine::class(), machine::Patience::new(Duration::ZERO).wait("load"));
    println!(
        "load: {} deliveries of 8 KiB for {} projects, {} connected executors ({} follow a project, {} for each project: one delivery makes {} job(s)), runs take {} ms, {} connections",
        options.deliveries,
        options.projects,
        options.executors,
        options.projects * options.followers,
        options.followers,
        options.followers,
        options.delay.as_millis(),
        options.connections
    );
}

impl Stage {
    /// Starts the edge and connects everybody; also says what one connection costs.
    async fn set(options: &Options) -> Result<(Self, PerEvent)> {
        let edge = Edge::start().await;
        let workerd = edge.child().descendants("workerd").first().copied().context("no workerd runs below doorstep edge")?;
        let bodies = Arc::new(Bodies::new(OURS));
        let all = options.deliveries + options.singles() + options.histories();
        let ledger = Arc::new(Ledger::new(all, options.projects, options.followers));
        let plan = Plan { executors: options.executors, projects: options.projects, delay: options.delay };
        let begun = Instant::now();
        let hosts = Fleet::enrol(&edge, &plan).await;
        let enrolled = begun.elapsed();
        let phase = Phase::begin(&edge, workerd).await?;
        let fleet = Fleet::connect(&edge, hosts, &plan, &bodies, &ledger).await;
        let connect = phase.end(&edge, options.executors as u64).await?;
        println!(
            "connect: enrolled in {:.1} s, connected in {:.1} s; per connection {}",
            enrolled.as_secs_f64(),
            connect.wall_ms * options.executors as f64 / 1e3,
            connect.rows()
        );
        let target = Target { address: edge.address(), path: "/webhooks/github", bodies, ledger: Some(Arc::clone(&ledger)), projects: options.projects };
        Ok((Self { edge, workerd, target, ledger, fleet }, connect))
    }

    /// Nobody pushes; the executors beat.
    async fn idle(&self, options: &Options) -> Result<()> {
        let cpu = Cpu::of(self.workerd)?;
        tokio::time::sleep(options.idle).await;
        let (seconds, used) = (options.idle.as_secs_f64(), cpu.used_since()?);
        println!("idle: {} connected executors take {} ms of processor time a second", options.executors, figure(used / seconds));
        Ok(())
    }

    /// All deliveries as fast as they are taken, in turns with the bare insert.
    async fn flood(&self, options: &Options, insert: Option<&Insert>) -> Result<PerEvent> {
        self.fleet.tell(Telling::Brief);
        let bare = insert.map(|insert| Target { address: insert.address, path: "/", bodies: Arc::new(Bodies::new(BARE)), ledger: None, projects: 1 });
        let (mut ours, mut theirs, mut settled) = (Series::default(), Series::default(), Series::default());
        let mut total = Vec::new();
        for round in 0..options.rounds {
            let cut = |round: u64| 1 + options.deliveries * round / options.rounds;
            let numbers = cut(round)..cut(round + 1);
            let count = numbers.end - numbers.start;
            let phase = Phase::begin(&self.edge, self.workerd).await?;
            let begun = Instant::now();
            let sent = sender::send(&self.target, numbers.clone(), options.connections).await;
            sent.all_accepted()?;
            self.rest().await;
            settled.push(count as f64 / begun.elapsed().as_secs_f64());
            total.push((phase.end(&self.edge, count).await?, count));
            ours.push(sent.rate());
            if let Some(bare) = &bare {
                let sent = sender::send(bare, numbers, options.connections).await;
                sent.all_accepted()?;
                theirs.push(sent.rate());
            }
            eprintln!("  round {} of {}: {}/s, bare insert {}/s", round + 1, options.rounds, figure(ours.quantile(1.0)), figure(theirs.quantile(1.0)));
        }
        println!("requests a second: {} (until every job had ended: {})", ours.range(), settled.range());
        if bare.is_some() {
            let ratio = ours.median() / theirs.median();
            let verdict = if ratio >= RATE_RATIO_MIN { "reached" } else { "missed" };
            println!("bare insert in the same run: {} requests a second; ours are {} times as many (goal: at least {RATE_RATIO_MIN}, {verdict})", theirs.range(), figure(ratio));
        } else {
            println!("bare insert: not measured");
        }
        Ok(PerEvent::mean(&total))
    }

    /// Each push once the job of the one before is settled.
    async fn one_by_one(&self, numbers: Range<u64>, telling: Telling) -> Result<PerEvent> {
        self.fleet.tell(telling);
        let mut connection = Connection::open(self.edge.address()).await?;
        let phase = Phase::begin(&self.edge, self.workerd).await?;
        for number in numbers.clone() {
            let status = sender::deliver(&self.target, &mut connection, number).await?;
            if status != 202 {
                bail!("a delivery was answered with {status}");
            }
            self.ledger.until_settled(number).await?;
        }
        phase.end(&self.edge, numbers.end - numbers.start).await
    }

    async fn rest(&self) {
        wait::until_within(SETTLED_MAX, "every project's newest job to be settled", async || self.ledger.unsettled(), |open| *open == 0).await;
    }

    fn say_latency(&self, when: &str, waits: &Series) {
        println!("push-to-executor, {when}: p50 {} ms, p99 {} ms ({} grants)", figure(waits.median()), figure(waits.quantile(0.99)), waits.len());
    }

    fn say_memory(&self) -> Result<()> {
        let peak = |pid: Pid| machine::resident(pid).map(|(_, peak)| peak);
        println!("memory, peak: workerd {:.0} MiB, this generator {:.0} MiB", peak(self.workerd)?, peak(getpid())?);
        Ok(())
    }

    async fn verdict(&self, sent: u64) -> Result<Verdict> {
        let rows = check::rows(&self.edge, &self.target.bodies).await?;
        let verdict = check::judge(&rows, &check::live_jobs(&self.edge).await, &self.ledger, sent);
        println!("accepted: {} of {sent} (202)", verdict.accepted);
        println!("lost: {} (no row, or a job neither done nor superseded)", verdict.lost);
        println!("duplicated effects: {} (grants that came again without effect: {})", verdict.doubled, self.ledger.granted_again_count());
        println!("jobs: {} done, {} superseded", verdict.done, verdict.superseded);
        Ok(verdict)
    }
}

impl Phase {
    async fn begin(edge: &Edge, workerd: Pid) -> Result<Self> {
        Ok(Self { usage: Usage::of(edge).await?, cpu: Cpu::of(workerd)?, begun: Instant::now() })
    }

    async fn end(self, edge: &Edge, events: u64) -> Result<PerEvent> {
        let (wall_ms, cpu_ms) = (self.begun.elapsed().as_secs_f64() * 1e3, self.cpu.used_since()?);
        let after = Usage::of(edge).await?;
        let per = |before: u64, after: u64| -> Result<f64> {
            let used = after.checked_sub(before).context("the hub slept within a phase, so its counters began again")?;
            Ok(used as f64 / events as f64)
        };
        Ok(PerEvent {
            rows_read: per(self.usage.rows_read, after.rows_read)?,
            rows_written: per(self.usage.rows_written, after.rows_written)?,
            alarms: per(self.usage.alarms, after.alarms)?,
            bytes: per(self.usage.bytes, after.bytes)?,
            cpu_ms: cpu_ms / events as f64,
            wall_ms: wall_ms / events as f64,
        })
    }
}

impl Usage {
    async fn of(edge: &Edge) -> Result<Self> {
        let said = edge.get("/api/usage").await;
        let field = |name: &str| said[name].as_u64().with_context(|| format!("/api/usage names no {name}"));
        Ok(Self { rows_read: field("rows_read")?, rows_written: field("rows_written")?, alarms: field("alarms_set")?, bytes: field("database_bytes")? })
    }
}

impl PerEvent {
    fn rows(&self) -> String {
        format!("{:.2} written (alarms {:.3} of them), {:.2} read", self.rows_written, self.alarms, self.rows_read)
    }

    fn awake(&self) -> String {
        format!("at least {} ms (processor time of workerd), at most {} ms (wall time until every outcome is stored, sender and executors included)", figure(self.cpu_ms), figure(self.wall_ms))
    }

    /// Of several rounds, each by its count.
    fn mean(rounds: &[(Self, u64)]) -> Self {
        let all: f64 = rounds.iter().map(|(_, count)| *count as f64).sum();
        let of = |get: fn(&Self) -> f64| rounds.iter().map(|(per, count)| get(per) * *count as f64).sum::<f64>() / all;
        Self {
            rows_read: of(|per| per.rows_read),
            rows_written: of(|per| per.rows_written),
            alarms: of(|per| per.alarms),
            bytes: of(|per| per.bytes),
            cpu_ms: of(|per| per.cpu_ms),
            wall_ms: of(|per| per.wall_ms),
        }
    }

    fn month(&self, events: f64, reports: usize) -> Month {
        Month {
            requests: events,
            frames: events * reports as f64,
            alarms: events * self.alarms,
            awake_s: events * self.wall_ms / 1e3,
            rows_read: events * self.rows_read,
            rows_written: events * self.rows_written,
            stored_bytes: events * self.bytes * MONTHS_KEPT,
        }
    }
}

fn say_costs(single: &PerEvent, whole: &PerEvent, connect: &PerEvent) {
    for (what, per, reports) in [("queue path", single, Telling::Outcome.reports()), ("with history", whole, Telling::Whole.reports())] {
        let month = per.month(EVENTS, reports);
        println!("cost of a million events a month, {what}: ${:.2} at list price, ${:.2} paid with the plan's ${:.0} ({})", month.list_price(), month.paid(), cost::PLAN, month.parts());
    }
    println!(
        "stored: {:.1} KB an event, {:.1} with history, so one object's {OBJECT_STORES_GB_MAX} GB hold {:.2} million events; the {MONTHS_KEPT} months that are kept take {:.1} GB",
        single.bytes / 1e3,
        whole.bytes / 1e3,
        OBJECT_STORES_GB_MAX * 1e9 / whole.bytes / 1e6,
        EVENTS * whole.bytes * MONTHS_KEPT / 1e9
    );
    // Heartbeats cost nothing; a dial is a request, and its hello a frame.
    let idle = connect.month(IDLE_HOSTS * RECONNECTS, 1);
    println!("cost of {IDLE_HOSTS} idle hosts a month that all connect {RECONNECTS} times: ${:.2} at list price, ${:.2} paid with the plan ({})", idle.list_price(), idle.paid(), idle.parts());
}
