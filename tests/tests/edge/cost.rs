//! What a push costs in rows: they are what Cloudflare bills and what a free
//! account has few of.

use doorstep_shared::ids::RunState;
use doorstep_tests::{Edge, GitHub, Push, WEBHOOK_SECRET, project};

use crate::reports::{outcome, started};

/// Rows read and written since the edge began.
async fn usage(edge: &Edge) -> (u64, u64) {
    let usage = edge.get("/api/usage").await;
    (usage["rows_read"].as_u64().unwrap(), usage["rows_written"].as_u64().unwrap())
}

#[tokio::test]
async fn a_push_and_its_outcome_cost_six_rows() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let mut session = edge.enrolled("thrifty").await.connect(&[project("shop", "thrifty/shop")]).await;
    let (_, before) = usage(&edge).await;
    edge.deliver(&github.push("thrifty/shop", Push::to("main"))).await;
    let grant = session.grant().await;
    let (_, granted) = usage(&edge).await;
    session.report(outcome("thrifty-1", Some(&grant), RunState::Succeeded, None)).await;
    let (_, settled) = usage(&edge).await;
    // Delivery, event, body, job; then the job and what the host's journal has told.
    // The alarm that looks for strangers is set already.
    assert_eq!((granted - before, settled - granted), (4, 2));
    edge.deliver(&github.push("thrifty/shop", Push::to("main"))).await;
    let grant = session.grant().await;
    session.report(started("thrifty-2", "shop", Some(&grant))).await;
    session.report(outcome("thrifty-2", Some(&grant), RunState::Succeeded, None)).await;
    let (_, told) = usage(&edge).await;
    assert_eq!(told - settled, 6 + 1 + 2 + 1, "a second report, a run and its index, and how it ended");
}
