//! What a deploy, a way back or a verb does not have to touch goes on as it was:
//! the container that serves, services whose definition did not change, what a
//! person stopped, and tasks that ended well.

use doorstep_tests::{App, Docker, Shop, Starts, Terms, told::end};

/// A task that ends before anything else starts, and who waits for it.
const INIT: &str = "services:
  init:
    image: base:1
    command: [\"/bin/sh\", \"-c\", \"echo init @VERSION@; sleep 1\"]
  worker:
    image: base:1
    command: [\"/bin/sh\", \"-c\", \"trap 'exit 0' TERM; sleep 100000 & wait\"]
    depends_on: {init: {condition: service_completed_successfully}}
";

/// Version `version`, whose `web` and `worker` wait for `init`.
fn with_init(shop: &Shop, version: &str, init: &str) -> App {
    let waits = "restart: unless-stopped\n    depends_on: {init: {condition: service_completed_successfully}}";
    shop.composed(version).with_compose("restart: unless-stopped", waits).with_compose("services:\n", &INIT.replace("@VERSION@", init))
}

fn proxied(docker: &Docker) -> Terms {
    Terms { compose: Some("serves = \"web:8000\"\nlisten = \"{address}\"".to_owned()), ..Terms::composed(docker).within("3s") }
}

/// The identity of the one container of a service, and since when it runs.
fn of(docker: &Docker, service: &str) -> String {
    let label = format!("label=com.docker.compose.service={service}");
    let ids = docker.said(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &label]);
    assert_eq!(ids.lines().count(), 1, "{service}: {ids}");
    docker.said(&["inspect", "--format", "{{.Id}} {{.State.Status}} {{.State.StartedAt}}", &ids])
}

#[tokio::test]
async fn the_way_back_leaves_the_container_that_serves() {
    let Some((mut shop, docker)) = Shop::open_composed(proxied).await else { return };
    let run = shop.push_and_see(&with_init(&shop, "2", "2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
    let before = ["web", "worker", "side"].map(|service| of(&docker, service));
    let probe = shop.probe();
    let bad = with_init(&shop, "bad", "3").before_it_listens("rm /www/health");
    let run = shop.push_and_see(&bad).await;
    assert_eq!(end(&run)[..2], ["rolled_back", "health"], "{run:#}");
    let probed = probe.stop().await;
    assert_eq!(probed.failed, Vec::<String>::new(), "{run:#}");
    assert_eq!(["web", "worker", "side"].map(|service| of(&docker, service)), before, "{run:#}");
    shop.serves("2").await;
}

#[tokio::test]
async fn what_did_not_change_runs_on_while_a_task_changes() {
    let Some((mut shop, docker)) = Shop::open_composed(|docker| Terms::composed(docker).within("5s")).await else { return };
    let run = shop.push_and_see(&with_init(&shop, "1", "2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    let (init, before) = (of(&docker, "init"), ["web", "worker", "side"].map(|service| of(&docker, service)));
    let run = shop.push_and_see(&with_init(&shop, "1", "3")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_ne!(of(&docker, "init"), init);
    assert_eq!(["web", "worker", "side"].map(|service| of(&docker, service)), before, "{run:#}");
    assert_eq!(docker.said(&["logs", "shop-init-1"]), "init 3");
}

const ALL: [&str; 4] = ["init", "web", "worker", "side"];

async fn verb(shop: &mut Shop, words: &[&str]) {
    let ended = shop.host.verb(words).await;
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
}

#[tokio::test]
async fn a_verb_for_one_service_touches_that_one_once() {
    let Some((mut shop, docker)) = Shop::open_composed(|docker| Terms::composed(docker).within("5s")).await else { return };
    let run = shop.push_and_see(&with_init(&shop, "2", "2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    verb(&mut shop, &["stop", "shop", "web"]).await;
    let mut starts = Starts::follow(&docker).await;
    for what in ["rebuild", "restart", "start"] {
        let before = starts.of(&docker, ALL).await;
        if what == "start" {
            verb(&mut shop, &["stop", "shop", "worker"]).await;
        }
        verb(&mut shop, &[what, "shop", "worker"]).await;
        let now = starts.of(&docker, ALL).await;
        assert_eq!(now, [before[0], before[1], before[2] + 1, before[3]], "{what}: init, web, worker, side");
        assert!(of(&docker, "web").contains("exited"), "{what}: what a person stopped stays stopped");
    }
    verb(&mut shop, &["start", "shop", "web"]).await;
    shop.serves("2").await;
}

#[tokio::test]
async fn a_rebuild_of_all_runs_a_task_once() {
    let all = |docker: &Docker| Terms { compose: Some("serves = \"web:8000\"\nrebuild = \"all\"".into()), ..Terms::composed(docker).within("5s") };
    let Some((mut shop, docker)) = Shop::open_composed(all).await else { return };
    let run = shop.push_and_see(&with_init(&shop, "2", "2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    let mut starts = Starts::follow(&docker).await;
    verb(&mut shop, &["rebuild", "shop"]).await;
    assert_eq!(starts.of(&docker, ALL).await, [1; 4]);
    shop.serves("2").await;
}

#[tokio::test]
async fn what_publishes_its_port_is_told_how_to_go_behind_the_proxy() {
    let Some((mut shop, docker)) = Shop::open_composed(|docker| Terms::composed(docker).within("5s")).await else { return };
    let before = ["web", "side"].map(|service| of(&docker, service));
    shop.change_terms(&proxied(&docker)).await;
    let refused = shop.host.deploy("shop").await;
    assert!(refused.code != Some(0) && format!("{refused:?}").contains("`doorstep stop shop`, then `doorstep deploy shop`"), "{refused:?}");
    assert_eq!(["web", "side"].map(|service| of(&docker, service)), before, "nothing was touched");
    shop.serves("1").await;
    verb(&mut shop, &["stop", "shop"]).await;
    let refused = shop.host.verb(&["start", "shop"]).await;
    assert!(refused.code != Some(0) && format!("{refused:?}").contains("`doorstep deploy shop` puts it behind the proxy"), "{refused:?}");
    let deployed = shop.host.deploy("shop").await;
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    shop.serves("1").await;
    let before = ["web", "side"].map(|service| of(&docker, service));
    let refused = shop.host.verb(&["rollback", "shop", "--to", "1"]).await;
    assert!(refused.code != Some(0) && format!("{refused:?}").contains("release 1 publishes"), "{refused:?}");
    assert_eq!(["web", "side"].map(|service| of(&docker, service)), before, "nothing was touched");
    shop.serves("1").await;
}
