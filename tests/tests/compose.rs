//! Compose projects on a real engine: each kind of push ends as documented, and
//! the old containers serve wherever they could.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use doorstep_tests::{Docker, Shop, Terms, told::end, told::log, told::message, told::step_names};
use serde_json::Value;

fn service<'a>(status: &'a Value, name: &str) -> &'a Value {
    let services = status["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == name).unwrap_or(&Value::Null)
}

#[tokio::test]
async fn a_push_replaces_what_changed_and_nothing_else() {
    let Some((mut shop, docker)) = Shop::open_composed(Terms::composed).await else { return };
    let (web, side) = (docker.id("shop-web-1"), docker.id("shop-side-1"));
    let run = shop.push_and_see(&shop.composed("2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!(step_names(&run), ["fetch", "verify", "build", "config", "images", "stop", "start", "check", "switch"]);
    shop.serves("2").await;
    assert_eq!(docker.id("shop-side-1"), side, "what did not change was not touched");
    assert_ne!(docker.id("shop-web-1"), web);
    let status = shop.status_when("the services", |project| service(project, "web")["state"] == "running").await;
    let web = service(&status, "web");
    assert_eq!((&status["state"], &web["containers"], &web["image"]), (&"running".into(), &1.into(), &"shop-web".into()), "{status:#}");
    assert!(web["digest"].as_str().unwrap().starts_with("sha256:") && web["started"].as_u64().unwrap() > 0, "{web:#}");
    assert_eq!(web["ports"][0], format!("{}->8000/tcp", shop.address()));

    let web = docker.id("shop-web-1");
    let run = shop.push_and_see(&shop.composed("2").file("README.md", "words")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!((docker.id("shop-web-1"), docker.id("shop-side-1")), (web, side), "nothing that runs has changed");
    assert!(log(&run).contains("0 built, 0 pulled, 2 were here") || run["steps"].to_string().contains("0 built, 0 pulled, 2 were here"), "{run:#}");
}

#[tokio::test]
async fn a_push_that_is_not_well_leaves_the_old_containers() {
    let Some((mut shop, docker)) = Shop::open_composed(|docker| Terms::composed(docker).within("3s")).await else { return };
    let bad = [
        ("does not build", shop.composed("bad").file("web/Dockerfile", "FROM base:1\nRUN [\"/bin/false\"]\n"), "build", "exit code: 1"),
        ("crashes", shop.composed("bad").before_it_listens("echo it is broken; exit 3"), "health", "it is broken"),
        ("is unhealthy", shop.composed("bad").before_it_listens("rm /www/health"), "health", "404"),
        ("is no compose file", shop.composed("bad").file("compose.yaml", "services: [web"), "policy", "compose.yaml"),
        ("names no service", shop.composed("bad").file("compose.yaml", "volumes: {}\n"), "source", "no service"),
    ];
    let side = docker.id("shop-side-1");
    for (what, app, kind, says) in bad {
        let run = shop.push_and_see(&app).await;
        let state = if kind == "health" { "rolled_back" } else if kind == "policy" { "refused" } else { "failed" };
        assert_eq!(end(&run)[..2], [state, kind], "{what}: {run:#}");
        assert!(message(&run).contains(says), "{what}: {}", message(&run));
        shop.serves("1").await;
        assert_eq!(docker.id("shop-side-1"), side, "{what}");
        assert_eq!(docker.containers(), ["shop-side-1", "shop-web-1"], "{what}");
    }
    let run = shop.push_and_see(&shop.composed("2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
}

#[tokio::test]
async fn behind_the_proxy_no_request_is_dropped() {
    let compose = "serves = \"web:8000\"\nlisten = \"{address}\"";
    let proxied = |docker: &Docker| Terms { compose: Some(compose.to_owned()), ..Terms::composed(docker).within("3s") };
    let Some((mut shop, docker)) = Shop::open_composed(proxied).await else { return };
    let probe = shop.probe();
    for version in ["2", "3", "4"] {
        let run = shop.push_and_see(&shop.composed(version)).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop.serves(version).await;
    }
    let run = shop.push_and_see(&shop.composed("bad").before_it_listens("exit 3")).await;
    assert_eq!(end(&run)[..2], ["rolled_back", "health"], "{run:#}");
    shop.serves("4").await;
    let web = docker.containers().into_iter().find(|name| name.contains("web")).unwrap();
    let rebuilt = shop.host.verb(&["rebuild", "shop", "web"]).await;
    assert_eq!(rebuilt.code, Some(0), "{rebuilt:?}");
    assert!(!docker.containers().contains(&web), "it was made anew");
    shop.serves("4").await;
    let probed = probe.stop().await;
    assert_eq!(probed.failed, Vec::<String>::new(), "{probed:?}");
    let containers = docker.containers();
    assert_eq!(containers.len(), 2);
    // Somebody takes its address while it is down.
    let web = containers.iter().find(|name| name.contains("web")).unwrap();
    docker.said(&["stop", web]);
    docker.said(&["run", "--detach", "--network", "shop_default", "base:1", "/bin/sleep", "100000"]);
    docker.said(&["start", web]);
    shop.serves("4").await;
}

/// Is well only once it answers, two seconds after its start.
const NEEDED: &str = "  side:
    image: base:1
    command: [\"/bin/sh\", \"-c\", \"trap 'exit 0' TERM; sleep 2; touch /up; mkdir /s; echo @VERSION@ >/s/v; httpd -f -p 9000 -h /s & wait\"]
    healthcheck: {test: [\"CMD\", \"/bin/test\", \"-e\", \"/up\"]}
";

#[tokio::test]
async fn what_starts_beside_waits_for_what_it_needs() {
    let compose = "serves = \"web:8000\"\nlisten = \"{address}\"";
    let proxied = |docker: &Docker| Terms { compose: Some(compose.to_owned()), ..Terms::composed(docker).within("10s") };
    let Some((mut shop, _docker)) = Shop::open_composed(proxied).await else { return };
    let app = |shop: &Shop, version: &str| {
        let app = shop.composed(version).before_it_listens("wget -q -O /www/needed http://side:9000/v || exit 3");
        let (head, _) = app.text("compose.yaml").split_once("  side:").unwrap();
        let needs = "restart: unless-stopped\n    depends_on: {side: {condition: service_healthy}}";
        let compose = format!("{}{}", head.replace("restart: unless-stopped", needs), NEEDED.replace("@VERSION@", version));
        app.file("compose.yaml", &compose)
    };
    let probe = shop.probe();
    for version in ["2", "3"] {
        let run = shop.push_and_see(&app(&shop, version)).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop.serves(version).await;
        let needed = shop.get("/needed").await.unwrap();
        assert_eq!(String::from_utf8_lossy(&needed.body).trim(), version, "it found what it needs");
    }
    let probed = probe.stop().await;
    assert_eq!(probed.failed, Vec::<String>::new(), "{probed:?}");
}

#[tokio::test]
async fn services_that_live_in_each_others_namespaces() {
    let Some((mut shop, docker)) = Shop::open_composed(|docker| Terms::composed(docker).within("5s")).await else { return };
    let app = |shop: &Shop, version: &str| {
        let app = shop.composed(version);
        let compose = app.text("compose.yaml").replace("  side:\n    image: base:1\n", "  side:\n    image: base:1\n    network_mode: service:web\n    volumes_from: [web:ro]\n");
        app.file("compose.yaml", &compose)
    };
    for version in ["2", "3"] {
        let run = shop.push_and_see(&app(&shop, version)).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop.serves(version).await;
        let web = docker.id("shop-web-1");
        assert_eq!(docker.inspect("shop-side-1")["HostConfig"]["NetworkMode"], format!("container:{web}"));
    }
    let (web, side) = (docker.id("shop-web-1"), docker.id("shop-side-1"));
    let run = shop.push_and_see(&app(&shop, "3").file("README.md", "words")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!((docker.id("shop-web-1"), docker.id("shop-side-1")), (web.clone(), side), "nothing that runs has changed");
    let run = shop.push_and_see(&app(&shop, "3").with_compose("the side is up", "the other side")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!(docker.id("shop-web-1"), web, "only what lives in it has changed");
    assert_eq!(docker.inspect("shop-side-1")["HostConfig"]["NetworkMode"], format!("container:{web}"));
}
