//! Steering a compose project: one service or all, from the host and from the
//! edge, and back to an earlier release.

use doorstep_tests::{Child, Docker, Ended, Page, Shop, Terms, told::step_names, wait};
use serde_json::{Value, json};

const HEAD: &str = "[policy]\nremote = [\"deploy\", \"start\", \"stop\", \"restart\", \"rebuild\", \"rollback\"]\n";

fn steered(docker: &Docker) -> Terms {
    Terms { head: HEAD.to_owned(), ..Terms::composed(docker).within("3s") }
}

async fn verb(shop: &mut Shop, words: &[&str]) -> Ended {
    let ended = shop.host.verb(words).await;
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
    ended
}

fn started(docker: &Docker, name: &str) -> String {
    docker.said(&["inspect", "--format", "{{.State.StartedAt}}", name])
}

#[tokio::test]
async fn one_service_or_all_of_them() {
    let Some((mut shop, docker)) = Shop::open_composed(steered).await else { return };
    let (web, side) = (started(&docker, "shop-web-1"), started(&docker, "shop-side-1"));
    verb(&mut shop, &["restart", "shop", "web"]).await;
    shop.serves("1").await;
    assert_ne!(started(&docker, "shop-web-1"), web);
    assert_eq!(started(&docker, "shop-side-1"), side);

    verb(&mut shop, &["stop", "shop", "side"]).await;
    let status = shop.status_when("side to be stopped", |project| project["services"][0]["state"] == "exited").await;
    assert_eq!((&status["services"][0]["name"], &status["services"][0]["stopped"], &status["state"]), (&json!("side"), &json!(true), &json!("running")));
    shop.serves("1").await;
    verb(&mut shop, &["start", "shop", "side"]).await;
    docker.said(&["stop", "shop-web-1"]);
    let status = shop.status_when("web to be missed", |project| project["state"] == "degraded").await;
    assert_eq!(status["reason"], "service web has ended", "it should run, however well it ended: {status:#}");
    verb(&mut shop, &["start", "shop", "web"]).await;
    shop.serves("1").await;

    verb(&mut shop, &["stop", "shop"]).await;
    shop.status_when("all to be stopped", |project| project["state"] == "stopped").await;
    verb(&mut shop, &["start", "shop"]).await;
    shop.serves("1").await;

    let (web, side) = (docker.id("shop-web-1"), docker.id("shop-side-1"));
    verb(&mut shop, &["rebuild", "shop", "web"]).await;
    shop.serves("1").await;
    assert_ne!(docker.id("shop-web-1"), web);
    assert_eq!(docker.id("shop-side-1"), side, "only the one that was meant");

    let logs = shop.host.logs("shop").await;
    assert!(logs.contains("web | version 1 listens") && logs.contains("side | the side is up"), "{logs}");
    let logs = verb(&mut shop, &["logs", "shop", "web", "--since", "1h", "-n", "1"]).await.stdout;
    assert_eq!(logs, "version 1 listens\n");

    let wrong = shop.host.verb(&["restart", "shop", "nobody"]).await;
    assert!(wrong.code != Some(0) && wrong.stdout.contains("no service nobody; it has side, web"), "{wrong:?}");
}

#[tokio::test]
async fn the_edge_asks_for_one_service() {
    let Some((shop, docker)) = Shop::open_composed(steered).await else { return };
    let (web, side) = (started(&docker, "shop-web-1"), started(&docker, "shop-side-1"));
    let answer = shop.edge.api("POST", "/api/projects/attic/shop/restart?service=web").await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let ended = |runs: &Vec<Value>| runs.first().is_some_and(|run| run["action"] == "restart" && run["state"] == "succeeded");
    wait::until("the restart", async || shop.runs().await, ended).await;
    shop.serves("1").await;
    assert_ne!(started(&docker, "shop-web-1"), web);
    assert_eq!(started(&docker, "shop-side-1"), side);
}

#[tokio::test]
async fn back_to_the_release_before_with_its_own_images() {
    let Some((mut shop, docker)) = Shop::open_composed(steered).await else { return };
    let image = docker.said(&["inspect", "--format", "{{.Image}}", "shop-web-1"]);
    let run = shop.push_and_see(&shop.composed("2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
    verb(&mut shop, &["rollback", "shop"]).await;
    shop.serves("1").await;
    assert_eq!(docker.said(&["inspect", "--format", "{{.Image}}", "shop-web-1"]), image);
}

#[tokio::test]
async fn a_rebuild_of_all_takes_everything_down_where_the_file_says_so() {
    let all = |docker: &Docker| Terms { compose: Some("serves = \"web:8000\"\nrebuild = \"all\"".into()), ..steered(docker) };
    let Some((mut shop, docker)) = Shop::open_composed(all).await else { return };
    let (web, side) = (docker.id("shop-web-1"), docker.id("shop-side-1"));
    verb(&mut shop, &["rebuild", "shop"]).await;
    shop.serves("1").await;
    assert!(docker.id("shop-web-1") != web && docker.id("shop-side-1") != side);
    let run = &shop.runs().await[0];
    let run = shop.run(&run["id"]).await;
    assert!(step_names(&run).contains(&"stop"), "{run:#}");
}

#[tokio::test]
async fn what_is_mounted_outlives_its_release() {
    let mounting = "volumes: [\"./conf:/conf:ro\", \"./state:/state\"]\n    restart: unless-stopped";
    let Some((mut shop, docker)) = Shop::open_composed(steered).await else { return };
    let app = |shop: &Shop, version: &str| shop.composed(version).with_compose("restart: unless-stopped", mounting).file("conf/a", "one").before_it_listens("echo kept >> /state/log; cp /conf/a /www/conf; cp /state/log /www/log");
    let run = shop.push_and_see(&app(&shop, "2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
    let web = docker.id("shop-web-1");
    let run = shop.push_and_see(&app(&shop, "2").file("README.md", "x")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!(docker.id("shop-web-1"), web, "another slot is no other definition");
    let run = shop.push_and_see(&app(&shop, "2").file("conf/a", "two")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_ne!(docker.id("shop-web-1"), web, "what it mounts has changed");
    let body = async |path: &str| shop.get(path).await.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
    wait::until("the new file", async || body("/conf").await, |seen| seen.as_deref() == Some("two")).await;
    assert_eq!(body("/log").await.as_deref(), Some("kept\nkept\n"), "its data went with it");
}

#[tokio::test]
async fn a_page_shows_what_the_services_print() {
    let logs = |docker: &Docker| Terms { head: "[policy]\nremote = [\"deploy\", \"logs\"]".to_owned(), ..steered(docker) };
    let Some((mut shop, _docker)) = Shop::open_composed(logs).await else { return };
    let cookie = shop.edge.session().await;
    let mut page = Page::open(&shop.edge, &cookie).await;
    page.say(r#"{"watch":{"host":"attic","project":"shop","tail":true}}"#).await;
    page.prints("web | version 1 listens").await;
    shop.push(&shop.composed("2")).await;
    page.prints("web | version 2 listens").await;
}

#[tokio::test]
async fn followed_lines_go_on_with_what_comes_after() {
    let Some((mut shop, docker)) = Shop::open_composed(steered).await else { return };
    let mut followed = shop.host.begin(&["logs", "shop", "-f"]);
    let mut of_web = shop.host.begin(&["logs", "shop", "web", "-f", "-n", "1"]);
    let count = |of: &Child, line: &str| of.stdout().lines().filter(|heard| *heard == line).count();
    let prints = async |of: &Child, line: &str, times| _ = wait::until(line, async || (count(of, line), of.stdout()), |seen| seen.0 == times).await;
    prints(&followed, "web | version 1 listens", 1).await;
    // Within one second of the clock too, no line is lost and none comes twice.
    for times in 2..=4 {
        docker.said(&["restart", "--time", "5", "shop-web-1"]);
        prints(&followed, "web | version 1 listens", times).await;
    }
    shop.push(&shop.composed("2")).await;
    shop.serves("2").await;
    prints(&followed, "web | version 2 listens", 1).await;
    prints(&of_web, "version 2 listens", 1).await;
    assert_eq!((count(&followed, "web | version 1 listens"), count(&followed, "side | the side is up"), count(&of_web, "version 1 listens")), (4, 1, 4), "{}", followed.stdout());
    assert!(followed.ended().is_none() && of_web.ended().is_none());
    // An engine that is gone is no quiet end.
    let mut docker = docker;
    docker.down().await;
    let ended = followed.end().await;
    assert!(ended.code == Some(1) && ended.stderr.contains("the Docker engine at"), "{ended:?}");
}

#[tokio::test]
async fn a_page_shows_what_the_services_use() {
    let busy = |version: &str| doorstep_tests::App::composed(version).before_it_listens("(while :; do :; done) &");
    let Some((mut shop, _docker)) = Shop::open_composed(steered).await else { return };
    let run = shop.push_and_see(&busy("2").publishing(shop.address())).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    let cookie = shop.edge.session().await;
    let mut page = Page::open(&shop.edge, &cookie).await;
    page.say(r#"{"measure":true}"#).await;
    let of = |told: &Value, service: &str| told["used"]["used"].as_array().and_then(|used| used.iter().find(|one| one["service"] == service).cloned());
    let told = page.told("what web uses", |told| of(told, "web").is_some_and(|web| web["cpu_permille"].as_u64() > Some(100))).await;
    assert!(of(&told, "web").unwrap()["memory_bytes"].as_u64() > Some(100_000), "{told:#}");
    let side = of(&told, "side").unwrap();
    assert!(side["cpu_permille"].as_u64() < Some(100), "it sleeps: {told:#}");
    assert_eq!(told["used"]["host"], "attic");
    let shown = shop.edge.get("/api/containers").await;
    let used = shown["hosts"][0]["projects"][0]["used"].as_array().unwrap().clone();
    assert!(used.iter().any(|one| one["service"] == "web" && !one["cpu_permille"].as_array().unwrap().is_empty()), "{shown:#}");
}
