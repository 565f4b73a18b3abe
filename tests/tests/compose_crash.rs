//! The executor is killed before every transaction of its journal and every
//! other effect of a compose deploy, a good one and one that is not well, and
//! started again: it comes to the new release or the old one, with one container
//! of each service.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::time::Duration;

use doorstep_tests::{Docker, Pushed, Shop, Terms, Tools, wait};
use serde_json::Value;

/// How long a run that was cut short may take to come to its end.
const DEADLINE: Duration = Duration::from_secs(60);

/// Starts the daemon anew, to die at this point, if it is one. It may do so
/// before the edge saw it: what the daemon before it left to be acknowledged
/// passes points too.
async fn begin_again(shop: &mut Shop, crash_at: &str) {
    if !shop.host.has_died() {
        shop.host.stop().await;
    }
    shop.host.set("DOORSTEP_CRASH_AT", crash_at);
    shop.host.run();
    shop.host.is_seen_or_dead(&shop.edge).await;
}

async fn push(shop: &mut Shop, version: &str, is_good: bool) -> Pushed {
    let app = shop.composed(version);
    let app = if is_good { app } else { app.before_it_listens("rm /www/health") };
    shop.push(&app).await
}

/// The labels that one deploy passes in a fresh daemon.
async fn points(shop: &mut Shop, version: &str, is_good: bool) -> Vec<String> {
    let log = shop.host.dir().join(format!("points-{version}"));
    shop.host.set("DOORSTEP_CRASH_LOG", log.to_str().unwrap());
    begin_again(shop, "").await;
    let before = std::fs::read_to_string(&log).unwrap_or_default().lines().count();
    let pushed = push(shop, version, is_good).await;
    shop.ended(&pushed).await;
    shop.host.set("DOORSTEP_CRASH_LOG", "");
    let passed = std::fs::read_to_string(&log).unwrap();
    // Whether lines are told while a step goes on depends on time: `live_log.rs` kills there.
    passed.lines().skip(before).filter(|label| !label.starts_with("log#")).map(str::to_owned).collect()
}

/// Before what a deploy is cut, and what it deploys.
struct Cut<'a> {
    point: &'a str,
    version: &'a str,
    is_good: bool,
    live: &'a str,
}

async fn kill_at(shop: &mut Shop, docker: &Docker, cut: Cut<'_>) -> bool {
    let Cut { point, version, is_good, live } = cut;
    begin_again(shop, &format!("{point}:before")).await;
    let pushed = push(shop, version, is_good).await;
    let ended = async |shop: &mut Shop| shop.newest_runs(20).await.into_iter().any(|run| run["job"] == pushed.job && run["state"] != "running");
    let died = wait::until_within(DEADLINE, &format!("the daemon to die at {point}"), async || shop.host.has_died() || ended(shop).await, |is| *is).await;
    assert!(died);
    let was_killed = shop.host.has_died();
    // One that has not died may do so still: the edge's answers come after the end.
    begin_again(shop, "").await;
    let run = shop.ended_within(DEADLINE, &pushed).await;
    shop.is_idle().await;
    let state = &run["run"]["state"];
    assert_eq!(state, if is_good { "succeeded" } else { "rolled_back" }, "killed at {point}: {run:#}");
    shop.serves(if is_good { version } else { live }).await;
    let well = |project: &Value| project["state"] == "running";
    shop.status_when("all to be well", well).await;
    let containers = docker.containers();
    let services: Vec<&str> = containers.iter().filter_map(|name| name.rsplit_once('-')).map(|(service, _)| service).collect();
    assert_eq!(services, ["shop-side", "shop-web"], "killed at {point}: {containers:?}");
    was_killed
}

async fn killed_everywhere(terms: impl FnOnce(&Docker) -> Terms) {
    let Some(docker) = Docker::start().await else { return };
    let mut shop = Shop::found(terms(&docker)).await;
    shop.host.use_binary(&Tools::crash_build());
    shop.host.run_online(&shop.edge).await;
    let run = shop.push_and_see(&shop.composed("1")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    let (mut live, mut kills, mut number) = ("1".to_owned(), 0, 1);
    for is_good in [true, false] {
        number += 1;
        let all = points(&mut shop, &number.to_string(), is_good).await;
        if is_good {
            live = number.to_string();
        }
        assert!(all.len() > 8, "{all:?}");
        for point in &all {
            number += 1;
            let version = number.to_string();
            kills += usize::from(kill_at(&mut shop, &docker, Cut { point, version: &version, is_good, live: &live }).await);
            if is_good {
                live = version;
            }
        }
        eprintln!("crash matrix of compose, {} push: {kills} kills so far, at {} points", if is_good { "good" } else { "bad" }, all.len());
    }
    assert!(kills > 16, "only {kills} kills");
}

#[tokio::test]
async fn a_daemon_that_is_killed_anywhere_ends_in_the_new_containers_or_the_old() {
    killed_everywhere(|docker| Terms::composed(docker).within("2s")).await;
}

#[tokio::test]
async fn so_it_does_where_the_new_container_starts_beside_the_old_one() {
    let compose = "serves = \"web:8000\"\nlisten = \"{address}\"".to_owned();
    killed_everywhere(|docker| Terms { compose: Some(compose), ..Terms::composed(docker).within("2s") }).await;
}
