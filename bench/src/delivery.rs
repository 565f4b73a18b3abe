//! Figure 2: from the POST to the executor's socket.

use std::sync::mpsc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use doorstep_shared::ids::RunState;
use doorstep_shared::protocol::{Grant, Report};
use doorstep_shared::time::Timestamp;
use doorstep_tests::{Edge, project};

use crate::Effort;
use crate::http::Connection;
use crate::push::Pushes;
use crate::stats::Series;
use crate::table::Table;

const WARM_UP: usize = 20;

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
    let (mut pushes, mut granted, mut acked) = (Pushes::to("me/shop", 5), Series::default(), Series::default());
    for round in 0..WARM_UP + effort.deliveries {
        orders.send(pushes.next("/webhooks/github")).context("the sender is gone")?;
        let grant = session.grant().await;
        let at = Instant::now();
        let (begun, answered, status) = timed.recv().context("the sender is gone")??;
        if status != 202 {
            bail!("the edge answered {status}");
        }
        session.report(outcome(&grant)).await;
        if round >= WARM_UP {
            granted.push((at - begun).as_secs_f64() * 1e3);
            acked.push((answered - begun).as_secs_f64() * 1e3);
        }
    }
    drop(orders);
    let _ = sender.join();
    let said = |series: &Series| (format!("{} ms", series.spread()), series.median());
    table.state(&format!("delivery: POST → executor has the grant ({} pushes)", granted.len()), said(&granted), None);
    table.state("delivery: the same POST → its answer", said(&acked), None);
    table.leave_out("delivery against smee", "the npm registry has smee's client but not its server");
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
