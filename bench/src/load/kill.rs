//! workerd is killed in the middle of a burst and started again on the same
//! storage: what was answered 202 is there, and is carried out once.

use std::sync::Arc;

use anyhow::{Result, bail};
use doorstep_tests::{Edge, wait};

use super::bodies::Bodies;
use super::check;
use super::fleet::{Fleet, Plan};
use super::ledger::Ledger;
use super::sender::{self, Target};
use super::{Options, SETTLED_MAX};

/// It is killed once this share of the burst was accepted: 1 / this.
const SHARE: u64 = 2;

/// Does it, and says so in one line.
pub async fn run(options: &Options) -> Result<()> {
    let mut edge = Edge::start().await;
    let bodies = Arc::new(Bodies::new(1));
    let ledger = Arc::new(Ledger::new(options.deliveries, options.projects, options.followers));
    let plan = Plan { executors: options.executors, projects: options.projects, delay: options.delay };
    let hosts = Fleet::enrol(&edge, &plan).await;
    let fleet = Fleet::connect(&edge, hosts, &plan, &bodies, &ledger).await;
    let target = Target { address: edge.address(), path: "/webhooks/github", bodies: Arc::clone(&bodies), ledger: Some(Arc::clone(&ledger)), projects: options.projects };

    let burst = tokio::spawn({
        let (target, end, connections) = (target.clone(), options.deliveries + 1, options.connections);
        async move { sender::send(&target, 1..end, connections).await }
    });
    let enough = usize::try_from(options.deliveries / SHARE)?;
    wait::until_within(SETTLED_MAX, "half of the burst to be accepted", async || ledger.accepted_count(), |count| *count >= enough).await;
    edge.kill_workerd().await;
    let before = burst.await?;
    let accepted = ledger.accepted_count();
    if before.cut == 0 {
        bail!("the burst of {} was over before workerd was killed; make it larger", options.deliveries);
    }

    edge.restart().await;
    let rows = check::rows(&edge, &bodies).await?;
    let lost = check::judge(&rows, &[], &ledger, options.deliveries).missing;
    println!("burst: {accepted} accepted before the kill, {lost} lost");
    // GitHub's "Redeliver": all of them once more, and those that were stored change nothing.
    sender::send(&target, 1..options.deliveries + 1, options.connections).await.all_accepted()?;
    fleet.is_up().await;
    let rows = check::rows(&edge, &bodies).await?;
    check::note(&rows, &ledger);
    wait::until_within(SETTLED_MAX, "every project's newest job to be settled", async || ledger.unsettled(), |open| *open == 0).await;
    let verdict = check::judge(&rows, &check::live_jobs(&edge).await, &ledger, options.deliveries);
    println!(
        "afterwards: {} of {} redelivered, {} lost, {} doubled; jobs: {} done, {} superseded; grants that came again without effect: {}",
        verdict.accepted, options.deliveries, verdict.lost, verdict.doubled, verdict.done, verdict.superseded, ledger.granted_again_count()
    );
    if lost + verdict.lost + verdict.doubled > 0 {
        bail!("deliveries were lost or had their effect twice");
    }
    Ok(())
}
