//! A service that a person stopped alone: it is not taken for ill, verbs and ways
//! back leave it at rest, and a deploy that goes well ends that.

use doorstep_tests::{Docker, Shop, Starts, Terms, told::end};
use serde_json::Value;

fn proxied(docker: &Docker) -> Terms {
    Terms { compose: Some("serves = \"web:8000\"\nlisten = \"{address}\"".to_owned()), ..Terms::composed(docker).within("3s") }
}

async fn verb(shop: &mut Shop, words: &[&str]) {
    let ended = shop.host.verb(words).await;
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
}

/// How the services `side` and `web` are, each with whether a person stopped it.
fn services(status: &Value) -> [(String, bool); 2] {
    [0, 1].map(|place| &status["services"][place]).map(|service| (service["state"].as_str().unwrap_or_default().to_owned(), service["stopped"] == true))
}

fn are(side: (&str, bool), web: (&str, bool)) -> [(String, bool); 2] {
    [(side.0.to_owned(), side.1), (web.0.to_owned(), web.1)]
}

#[tokio::test]
async fn a_way_back_leaves_it_at_rest_and_a_deploy_ends_that() {
    let Some((mut shop, docker)) = Shop::open_composed(proxied).await else { return };
    verb(&mut shop, &["stop", "shop", "side"]).await;
    // It may be made anew, and is not started then.
    let rests = |project: &Value| project["state"] == "running" && ["exited", "created"].iter().any(|state| services(project) == are((state, true), ("running", false)));
    shop.status_when("side to rest", rests).await;
    assert!(shop.host.verb(&["status"]).await.stdout.contains("side               stopped "));
    let mut starts = Starts::follow(&docker).await;

    // One that differs in both services and is not well.
    let bad = shop.composed("bad").before_it_listens("rm /www/health").with_compose("the side is up", "another side is up");
    let run = shop.push_and_see(&bad).await;
    assert_eq!(end(&run)[..2], ["rolled_back", "health"], "{run:#}");
    shop.serves("1").await;
    shop.status_when("side to rest again", rests).await;
    assert_eq!(starts.of(&docker, ["side"]).await, [1], "by the push that was not well, not by the way back");
    assert!(docker.inspect("shop-side-1")["Config"]["Cmd"].to_string().contains("the side is up"), "what a start finds is of the live release");

    // A daemon that is started again knows it too, and an event wants nothing.
    shop.host.restart().await;
    shop.status_when("side to rest still", rests).await;
    verb(&mut shop, &["restart", "shop", "web"]).await;
    verb(&mut shop, &["rebuild", "shop", "web"]).await;
    shop.status_when("side to rest beside web", rests).await;

    let run = shop.push_and_see(&shop.composed("2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.status_when("all to run", |project| services(project) == are(("running", false), ("running", false))).await;
}

#[tokio::test]
async fn one_service_of_a_stopped_project_runs_and_the_others_rest() {
    let Some((mut shop, docker)) = Shop::open_composed(proxied).await else { return };
    verb(&mut shop, &["stop", "shop"]).await;
    verb(&mut shop, &["start", "shop", "side"]).await;
    let status = shop.status_when("side to run", |project| services(project) == are(("running", false), ("exited", true))).await;
    assert_eq!(status["state"], "running", "{status:#}");
    verb(&mut shop, &["stop", "shop", "side"]).await;
    shop.status_when("all to rest", |project| project["state"] == "stopped").await;

    // Killed while it was to run: that is no rest.
    verb(&mut shop, &["start", "shop"]).await;
    shop.serves("1").await;
    docker.said(&["kill", "shop-side-1"]);
    let status = shop.status_when("side to be missed", |project| project["state"] == "degraded").await;
    assert_eq!(status["reason"], "service side exited with 137", "{status:#}");
}
