//! What one that is wrong, hostile or many does to the others: nothing.

use doorstep_tests::{Edge, GitHub, Push, WEBHOOK_SECRET, wait};
use futures_util::future::join_all;
use serde_json::json;

/// Nothing that names this repository can be stored from now on.
fn refuse_to_store(edge: &Edge, repo: &str) {
    edge.meddle(&format!("CREATE TRIGGER no BEFORE INSERT ON events WHEN NEW.repo = '{repo}' BEGIN SELECT RAISE(ABORT, 'it cannot be stored'); END"));
}

#[tokio::test]
async fn what_cannot_be_stored_fails_alone() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    refuse_to_store(&edge, "bad/shop");
    for round in 0..5 {
        let of = |place| if place == 7 { "bad/shop" } else { "me/shop" };
        let pushes: Vec<_> = (0..40).map(|place| github.push(of(place), Push::to("main"))).collect();
        let answers = join_all(pushes.iter().map(|push| edge.deliver(push))).await;
        let failed: Vec<_> = answers.iter().enumerate().filter(|(_, answer)| answer.status != 202).map(|(place, answer)| (place, answer.status)).collect();
        assert_eq!(failed, [(7, 500)], "round {round}");
    }
    assert_eq!(edge.events().await.len(), 1 + 5 * 39);
}

#[tokio::test]
async fn a_store_that_could_not_be_opened_is_opened_when_it_can_be() {
    let mut edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    edge.kill_workerd().await;
    // It looks like a fresh one, and its tables are there already.
    edge.meddle("ALTER TABLE schema RENAME TO hidden");
    edge.restart().await;
    let push = github.push("me/shop", Push::to("main"));
    assert_eq!(edge.deliver(&push).await.status, 500);
    assert_eq!(edge.api("GET", "/api/projects").await.status, 500);
    edge.meddle("DROP TABLE schema");
    edge.meddle("ALTER TABLE hidden RENAME TO schema");
    assert_eq!(edge.deliver(&push).await.json()["status"], "ignored", "nobody follows it, and it is stored");
    assert_eq!(edge.events().await.len(), 2);
}

#[tokio::test]
async fn health_costs_no_more_for_being_asked_often() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    for _ in 0..20 {
        edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    }
    let health = async || edge.request("GET", "/webhooks/github/health", &[], "").await.json();
    let read = async || edge.get("/api/usage").await["rows_read"].as_u64().unwrap();
    assert_eq!(health().await["total_events_last_hour"], 20);
    let before = read().await;
    for _ in 0..50 {
        health().await;
    }
    assert_eq!(read().await, before, "an answer of a moment ago is given again");
    // And soon it says what came since.
    edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    wait::until("the new delivery to count", health, |health| health["total_events_last_hour"] == json!(21)).await;
}
