//! Figure 1: how long GitHub waits, against inserts of the same body.
//!
//! Two baselines: the bare insert, which believes everybody, and the same after
//! the signature was verified, which is the least that a webhook's receiver can
//! do.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use doorstep_tests::{Edge, project};
use rustix::process::Pid;

use crate::Effort;
use crate::http::Connection;
use crate::insert::Insert;
use crate::machine::{self, Cpu};
use crate::push::Pushes;
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

const CONNECTIONS: [usize; 2] = [8, 32];
/// Requests before anything is measured: code is compiled, the object wakes.
const WARM_UP: usize = 300;
const P50: Goal = Goal::RatioAtMost(1.25);
const RATE: Goal = Goal::RatioAtLeast(1.2);

/// A series of requests to one workerd, and what came of it.
struct Side {
    pushes: Pushes,
    path: &'static str,
    address: SocketAddr,
    workerd: Pid,
    done: Done,
}

#[derive(Default)]
struct Done {
    /// Milliseconds of each request.
    times: Series,
    /// Requests a second of each round.
    rates: Series,
    /// Microseconds of workerd's processor time for one request, in each round.
    cpu: Series,
}

/// Measures it.
pub async fn measure(effort: &Effort, table: &mut Table) -> Result<()> {
    let (edge, insert) = (Edge::start().await, Insert::start().await?);
    // The host is away: a push is stored and its job waits, replacing the one before.
    drop(edge.enrolled("attic").await.connect(&[project("shop", "me/shop")]).await);
    let workerd = edge.child().descendants("workerd").first().copied().context("no workerd runs below doorstep edge")?;
    let webhooks = "/webhooks/github";
    let mut sides = [
        Side::new(Pushes::to("me/other", 1), webhooks, edge.address(), workerd),
        Side::new(Pushes::to("me/shop", 2), webhooks, edge.address(), workerd),
        Side::new(Pushes::to("me/other", 3), "/", insert.address, insert.pid()),
        Side::new(Pushes::to("me/other", 4), "/verified", insert.address, insert.pid()),
    ];
    for (side, status) in sides.iter_mut().zip(["ignored", "queued", "", ""]) {
        side.check(status)?;
    }
    for connections in std::iter::once(1).chain(CONNECTIONS) {
        let (rounds, count) = if connections == 1 { (effort.rounds, effort.singles) } else { (effort.rounds.div_ceil(2), effort.floods) };
        for _ in 0..rounds {
            for side in &mut sides {
                side.round(connections, count)?;
            }
        }
        report(connections, sides.each_mut().map(|side| std::mem::take(&mut side.done)), table);
    }
    let said = |pid: Pid| machine::resident(pid).map(|(now, peak)| (format!("{now:.0} (peak {peak:.0}) MiB"), now));
    table.compare("ack: resident memory of workerd afterwards", said(workerd)?, said(insert.pid())?, None);
    Ok(())
}

fn report(connections: usize, done: [Done; 4], table: &mut Table) {
    let [unmatched, matched, bare, verified] = done;
    let who = if connections == 1 { "1 connection".to_owned() } else { format!("{connections} connections") };
    let kinds = [
        ("matches nothing, against the bare insert", &unmatched, &bare),
        ("enqueues a job, against the bare insert", &matched, &bare),
        ("matches nothing, against insert + HMAC", &unmatched, &verified),
        ("enqueues a job, against insert + HMAC", &matched, &verified),
    ];
    for (kind, ours, baseline) in kinds {
        let what = format!("ack, {who}: {kind}");
        if connections == 1 {
            let said = |done: &Done| (format!("{} ms", done.times.spread()), done.times.median());
            table.compare(&what, said(ours), said(baseline), Some(P50));
        } else {
            let said = |done: &Done| (format!("{}/s; {} ms", figure(done.rates.median()), done.times.spread()), done.rates.median());
            table.compare(&what, said(ours), said(baseline), Some(RATE));
        }
    }
    let said = |done: &Done| (format!("{} µs", figure(done.cpu.median())), done.cpu.median());
    for (kind, baseline) in [("the bare insert", &bare), ("insert + HMAC", &verified)] {
        table.compare(&format!("ack, {who}: processor time of workerd per request, against {kind}"), said(&unmatched), said(baseline), None);
    }
}

impl Side {
    fn new(pushes: Pushes, path: &'static str, address: SocketAddr, workerd: Pid) -> Self {
        Self { pushes, path, address, workerd, done: Done::default() }
    }

    /// Does it do what it is said to do? And everything runs once.
    fn check(&mut self, status: &str) -> Result<()> {
        let answer = Connection::open(self.address)?.exchange(&self.pushes.next(self.path))?;
        let said: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status != 202 || said["status"].as_str().unwrap_or_default() != status {
            bail!("{}{} answered {} {said}", self.address, self.path, answer.status);
        }
        self.round(1, WARM_UP)?;
        self.done = Done::default();
        Ok(())
    }

    /// Sends so many requests over so many connections, each one by one.
    fn round(&mut self, connections: usize, count: usize) -> Result<()> {
        let requests: Vec<Vec<u8>> = (0..count).map(|_| self.pushes.next(self.path)).collect();
        let (address, barrier) = (self.address, Barrier::new(connections + 1));
        let cpu = Cpu::of(self.workerd)?;
        let (series, took) = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..connections)
                .map(|first| {
                    let (barrier, requests) = (&barrier, requests.iter().skip(first).step_by(connections));
                    scope.spawn(move || {
                        let connection = Connection::open(address);
                        barrier.wait();
                        one_by_one(connection?, requests)
                    })
                })
                .collect();
            barrier.wait();
            let begun = Instant::now();
            let series: Vec<Result<Series>> =
                threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| bail!("a sender panicked"))).collect();
            (series, begun.elapsed())
        });
        for times in series {
            self.done.times.extend(&times?);
        }
        #[expect(clippy::cast_precision_loss, reason = "a count far below 2^52")]
        let count = count as f64;
        self.done.rates.push(count / took.as_secs_f64());
        self.done.cpu.push(cpu.used_since()? * 1e3 / count);
        Ok(())
    }
}

/// Milliseconds of each.
fn one_by_one<'a>(mut connection: Connection, requests: impl Iterator<Item = &'a Vec<u8>>) -> Result<Series> {
    let mut series = Series::default();
    for request in requests {
        let begun = Instant::now();
        let answer = connection.exchange(request)?;
        series.push(begun.elapsed().as_secs_f64() * 1e3);
        if answer.status != 202 {
            bail!("a request was answered with {}", answer.status);
        }
    }
    Ok(series)
}
