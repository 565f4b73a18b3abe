//! Figure 2: from the POST to the executor's socket.

use std::path::Path;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use doorstep_shared::ids::RunState;
use doorstep_shared::protocol::{Grant, Report};
use doorstep_shared::time::Timestamp;
use doorstep_tests::{Edge, project, wait};
use tempfile::TempDir;

use crate::Effort;
use crate::hook::Hook;
use crate::http::Connection;
use crate::push::Pushes;
use crate::smee::{self, Smee};
use crate::stats::{Series, figure};
use crate::table::{Goal, Table};

const WARM_UP: usize = 20;

/// smee, and behind its client a server that notes when something comes.
struct Theirs {
    smee: Smee,
    arrived: Receiver<Instant>,
    pushes: Pushes,
    _hook: Hook,
    _dir: TempDir,
}

impl Theirs {
    fn open(program: &Path) -> Result<Self> {
        let (dir, (arrivals, arrived)) = (tempfile::tempdir()?, mpsc::channel());
        let hook = Hook::start(move || {
            // Nobody listens any more once it is over.
            let _ = arrivals.send(Instant::now());
        })?;
        let smee = Smee::open(program, &format!("http://{}/hooks/deploy", hook.address), &dir.path().join("smee.log"))?;
        Ok(Self { smee, arrived, pushes: Pushes::to("me/shop", 6), _hook: hook, _dir: dir })
    }

    /// From the POST until the server behind the client has it, in milliseconds.
    fn once(&mut self) -> Result<f64> {
        let (guid, body) = self.pushes.next_parts();
        let begun = self.smee.tell(&guid, body.as_bytes())?;
        let at = self.arrived.recv_timeout(wait::DEADLINE).context("smee lost a push")?;
        Ok((at - begun).as_secs_f64() * 1e3)
    }
}

/// Measures it.
pub async fn measure(effort: &Effort, table: &mut Table) -> Result<()> {
    let edge = Edge::start().await;
    let mut session = edge.enrolled("attic").await.connect(&[project("shop", "me/shop")]).await;
    // The sender has a thread and a connection of its own.
    let (orders, ordered) = mpsc::channel::<Vec<u8>>();
    let (times, timed) = mpsc::channel::<Result<(Instant, Instant, u16)>>();
    let mut connection = Connection::open(edge.address())?;
    let sender = std::thread::spawn(move || {
        for request in ordered {
            let begun = Instant::now();
            let outcome = connection.exchange(&request).map(|answer| (begun, Instant::now(), answer.status));
            if times.send(outcome).is_err() {
                return;
            }
        }
    });
    let mut theirs = smee::client().map(|program| Theirs::open(&program)).transpose()?;
    let (mut pushes, mut granted, mut acked) = (Pushes::to("me/shop", 5), Series::default(), Series::default());
    let mut forwarded = Series::default();
    for round in 0..WARM_UP + effort.deliveries {
        orders.send(pushes.next("/webhooks/github")).context("the sender is gone")?;
        let grant = session.grant().await;
        let at = Instant::now();
        let (begun, answered, status) = timed.recv().context("the sender is gone")??;
        if status != 202 {
            bail!("the edge answered {status}");
        }
        session.report(outcome(&grant)).await;
        let theirs_ms = theirs.as_mut().map(Theirs::once).transpose()?;
        if round >= WARM_UP {
            granted.push((at - begun).as_secs_f64() * 1e3);
            acked.push((answered - begun).as_secs_f64() * 1e3);
            theirs_ms.into_iter().for_each(|ms| forwarded.push(ms));
        }
    }
    drop(orders);
    let _ = sender.join();
    let said = |series: &Series| (format!("{} ms", series.spread()), series.median());
    let what = format!("delivery: POST → executor has the grant ({} pushes)", granted.len());
    if theirs.is_some() {
        let against = format!("{what}, against smee: POST → the server behind its client");
        table.compare(&against, said(&granted), said(&forwarded), Some(Goal::RatioAtMost(0.8)));
        let worst = |series: &Series| (format!("{} ms", figure(series.quantile(0.99))), series.quantile(0.99));
        table.compare("delivery: the same, 99th percentile", worst(&granted), worst(&forwarded), Some(Goal::RatioAtMost(1.0)));
    } else {
        table.state(&what, said(&granted), None);
        table.leave_out("delivery against smee", "smee-client is not installed");
    }
    table.state("delivery: the same POST → its answer", said(&acked), None);
    Ok(())
}

/// The report that ends the job at once, so that nothing queues up.
fn outcome(grant: &Grant) -> Report {
    Report::Outcome {
        run: format!("run-{}", grant.job.0),
        job: Some(grant.job),
        attempt: grant.attempt,
        state: RunState::Succeeded,
        failure: None,
        commit: grant.hint_commit.clone(),
        at: Timestamp(1),
    }
}
