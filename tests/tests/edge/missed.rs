//! Pushes that hosts found and no webhook told of.

use doorstep_shared::ids::RunState;
use doorstep_shared::protocol::{ProjectView, ToEdge};
use doorstep_tests::{Edge, GitHub, Push, Session, WEBHOOK_SECRET, project};
use serde_json::json;

use crate::reports::outcome;

/// A host finds this head, and deploys it.
async fn finds(session: &mut Session, project: &str, head: &str, first: bool) {
    session.socket.send(&ToEdge::Behind { project: project.parse().unwrap(), head: head.to_owned(), first }).await;
    deploys(session).await;
}

/// A host carries out what it is granted.
async fn deploys(session: &mut Session) {
    let grant = session.grant().await;
    let run = format!("{}-{}", grant.job, grant.attempt);
    session.report(outcome(&run, Some(&grant), RunState::Succeeded, None)).await;
}

async fn missed(edge: &Edge) -> u64 {
    edge.get("/api/projects").await["missed_last_day"].as_u64().unwrap()
}

/// So many minutes go by for what was found.
fn minutes_later(edge: &Edge, minutes: u64) {
    edge.meddle(&format!("UPDATE missed SET found = found - {}", minutes * 60_000));
}

#[tokio::test]
async fn a_webhook_that_never_came_is_counted() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let mut session = edge.enrolled("attic").await.connect(&[project("shop", "me/shop")]).await;
    // Nothing was deployed before, so nothing was missed.
    finds(&mut session, "shop", &"1".repeat(40), true).await;
    // GitHub told about this one, and of the next on another branch only.
    let push = github.push("me/shop", Push::to("main"));
    edge.deliver(&push).await;
    deploys(&mut session).await;
    finds(&mut session, "shop", &push.commit(), false).await;
    minutes_later(&edge, 6);
    assert_eq!(missed(&edge).await, 0);
    let elsewhere = github.push("me/shop", Push::to("next"));
    edge.deliver(&elsewhere).await;
    finds(&mut session, "shop", &elsewhere.commit(), false).await;
    minutes_later(&edge, 6);

    assert_eq!(missed(&edge).await, 1);
    let health = edge.request("GET", "/webhooks/github/health", &[], "").await.json();
    let counts = (&health["status"], &health["total_events_last_hour"], &health["failed_events_last_hour"]);
    assert_eq!(counts, (&json!("degraded"), &json!(3), &json!(1)), "{health}");
    let page = edge.request("GET", "/deliveries", &[("cookie", &edge.session().await)], "").await.text();
    assert!(page.contains("1 push was found by reconciling"), "{page}");
}

#[tokio::test]
async fn a_head_is_missed_once_whoever_finds_it_and_however_often() {
    let edge = Edge::start().await;
    let spelled = ProjectView { repo: "git@github.com:Me/Shop.git".into(), ..project("api", "me/shop") };
    let mut attic = edge.enrolled("attic").await.connect(&[project("shop", "me/shop"), spelled]).await;
    let mut cellar = edge.enrolled("cellar").await.connect(&[project("shop", "me/shop"), project("blog", "me/blog")]).await;
    let head = "c0ffee".repeat(6) + "c0ff";
    for _ in 0..3 {
        finds(&mut attic, "shop", &head, false).await;
        finds(&mut attic, "api", &head, false).await;
        finds(&mut cellar, "shop", &head, false).await;
    }
    minutes_later(&edge, 6);
    assert_eq!(missed(&edge).await, 1);
    // It is found again an hour later, and stays the same one.
    finds(&mut attic, "shop", &head, false).await;
    minutes_later(&edge, 6);
    assert_eq!(missed(&edge).await, 1);
    finds(&mut cellar, "blog", &head, false).await;
    finds(&mut cellar, "blog", &"d".repeat(40), false).await;
    minutes_later(&edge, 6);
    assert_eq!(missed(&edge).await, 3, "another repository, and another head");
}

#[tokio::test]
async fn a_webhook_that_is_on_its_way_is_not_missed() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let mut session = edge.enrolled("attic").await.connect(&[project("shop", "me/shop")]).await;
    let (late, lost) = (github.push("me/shop", Push::to("main")), github.push("me/shop", Push::to("main")));
    finds(&mut session, "shop", &late.commit(), false).await;
    minutes_later(&edge, 4);
    assert_eq!(missed(&edge).await, 0, "GitHub has five minutes");
    edge.deliver(&late).await;
    deploys(&mut session).await;
    minutes_later(&edge, 4);
    assert_eq!(missed(&edge).await, 0, "it came");
    finds(&mut session, "shop", &lost.commit(), false).await;
    minutes_later(&edge, 4);
    assert_eq!(missed(&edge).await, 0);
    minutes_later(&edge, 2);
    assert_eq!(missed(&edge).await, 1, "it did not");
    // Later than that, a redelivery makes it good all the same.
    edge.deliver(&lost).await;
    assert_eq!(missed(&edge).await, 0);
}
