//! What goes wrong around a compose project: its engine, its disk, its images,
//! hands that reach in. Each ends as documented, and the old containers serve
//! wherever they could.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;

use doorstep_tests::{Docker, GitOrigin, Shop, Terms, told::end, told::message, wait};
use serde_json::Value;

fn quick(docker: &Docker) -> Terms {
    Terms::composed(docker).within("3s")
}

/// A registry that has nothing.
fn empty_registry() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let read = stream.read(&mut request).unwrap_or(0);
            let is_root = request[..read].starts_with(b"GET /v2/ ");
            let (status, body) = if is_root { ("200 OK", "{}") } else { ("404 Not Found", r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#) };
            let _ = write!(stream, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        }
    });
    port
}

#[tokio::test]
async fn what_is_well_once_and_then_crashes_is_turned_back() {
    let soaking = |docker: &Docker| Terms { health: "http = \"/health\"\nwithin = \"3s\"\nsoak = \"10s\"".into(), ..Terms::composed(docker) };
    let Some((mut shop, docker)) = Shop::open_composed(soaking).await else { return };
    let run = shop.push_and_see(&shop.composed("bad").before_it_listens("(sleep 2; kill 1) &")).await;
    assert_eq!(end(&run), ["rolled_back", "health", "soak"], "{run:#}");
    assert!(message(&run).contains("service web ended"), "{}", message(&run));
    shop.serves("1").await;
    assert_eq!(docker.containers(), ["shop-side-1", "shop-web-1"]);
}

#[tokio::test]
async fn an_image_that_is_nowhere_changes_nothing() {
    let Some((mut shop, docker)) = Shop::open_composed(quick).await else { return };
    let side = docker.id("shop-side-1");
    let image = format!("127.0.0.1:{}/nothing:1", empty_registry());
    let run = shop.push_and_see(&shop.composed("bad").with_compose("image: base:1", &format!("image: {image}"))).await;
    assert_eq!(end(&run), ["failed", "source", "images"], "{run:#}");
    assert!(message(&run).contains("not found") || message(&run).contains("manifest unknown"), "{}", message(&run));
    let run = shop.push_and_see(&shop.composed("bad").with_compose("image: base:1", "image: nobody/has-it:1\n    pull_policy: never")).await;
    assert_eq!(end(&run), ["failed", "source", "images"], "{run:#}");
    shop.serves("1").await;
    assert_eq!(docker.id("shop-side-1"), side);
}

#[tokio::test]
async fn a_full_disk_is_told_and_waited_for() {
    let Some(docker) = Docker::start_on(Some(600)).await else { return };
    let mut shop = Shop::open_composed_on(&docker, quick(&docker)).await;
    let full = docker.fill(8);
    let pushed = shop.push(&shop.composed("2")).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run)[..2], ["failed", "disk"], "{run:#}");
    shop.serves("1").await;
    std::fs::remove_file(&full).unwrap();
    let run = shop.push_and_see(&shop.composed("3")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("3").await;

    let filler = "FROM base:1\nRUN [\"/bin/dd\", \"if=/dev/zero\", \"of=/big\", \"bs=1M\", \"count=2000\"]\n";
    let run = shop.push_and_see(&shop.composed("bad").file("web/Dockerfile", filler)).await;
    assert_eq!(end(&run), ["failed", "disk", "images"], "{run:#}");
    shop.serves("3").await;
}

#[tokio::test]
async fn an_engine_that_is_away_is_waited_for() {
    let Some((mut shop, mut docker)) = Shop::open_composed(quick).await else { return };
    // Before.
    docker.down().await;
    let status = shop.status_when("the engine to be missed", |project| project["state"] == "degraded").await;
    assert!(status["reason"].as_str().unwrap().contains("does not answer"), "{status:#}");
    assert!(status["services"][1]["known_until"].is_u64(), "what runs is not known: {status:#}");
    let told = shop.host.verb(&["status"]).await.stdout;
    assert!(told.contains("unknown, last running"), "{told}");
    let pushed = shop.push(&shop.composed("2")).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run)[..2], ["failed", "network"], "{run:#}");
    docker.up().await;
    shop.serves("2").await;

    // During: it goes while the new containers are checked, and comes back.
    let before = docker.id("shop-web-1");
    shop.push(&shop.composed("3").before_it_listens("sleep 2")).await;
    wait::until("the new container", async || docker.id("shop-web-1"), |id| !id.is_empty() && *id != before).await;
    docker.down().await;
    docker.up().await;
    shop.serves("3").await;

    // After.
    docker.down().await;
    docker.up().await;
    shop.serves("3").await;
    let status = shop.status_when("all to be well again", |project| project["state"] == "running").await;
    assert!(status["services"][1]["known_until"].is_null(), "{status:#}");
}

#[tokio::test]
async fn an_engine_that_goes_away_in_a_soak_makes_no_release_bad() {
    let soaking = |docker: &Docker| Terms { health: "http = \"/health\"\nwithin = \"3s\"\nsoak = \"8s\"".into(), ..Terms::composed(docker) };
    let Some((mut shop, mut docker)) = Shop::open_composed(soaking).await else { return };
    let pushed = shop.push(&shop.composed("2")).await;
    let has = |run: &Value, step: &str| run["steps"].as_array().is_some_and(|steps| steps.iter().any(|known| known["name"] == step));
    let newest = async || match shop.runs().await.first() {
        Some(run) => shop.run(&run["id"]).await,
        None => Value::Null,
    };
    wait::until("the soak", newest, |run| has(run, "soak")).await;
    docker.down().await;
    wait::until("the run to go back", newest, |run| has(run, "roll back")).await;
    docker.up().await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run)[1..], ["network", "soak"], "{run:#}");
    // Tried again by itself, since nobody has found it bad.
    shop.serves("2").await;
    let runs = async || shop.runs().await;
    wait::until("a run that ends well", runs, |runs| runs[0]["state"] == "succeeded" && runs[0]["job"] == pushed.job).await;
}

#[tokio::test]
async fn what_hands_removed_is_shown_and_comes_back_when_asked() {
    let head = "[policy]\nremote = [\"deploy\", \"start\", \"stop\", \"restart\", \"rebuild\", \"rollback\"]\n".to_owned();
    let Some((mut shop, docker)) = Shop::open_composed(|docker| Terms { head, ..quick(docker) }).await else { return };
    let side = docker.id("shop-side-1");
    docker.said(&["rm", "--force", "shop-web-1"]);
    let absent = |project: &Value| project["services"].as_array().is_some_and(|all| all.iter().any(|service| service["name"] == "web" && service["state"] == "absent"));
    let told = wait::until("the edge to show it", async || shop.edge.get("/api/projects").await["projects"][0].clone(), absent).await;
    assert_eq!(told["state"], "degraded", "{told:#}");
    let ended = shop.host.verb(&["start", "shop"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    shop.serves("1").await;
    assert_eq!(docker.id("shop-side-1"), side);
    // A push of what is live already puts right what is missing, too.
    docker.said(&["rm", "--force", "shop-web-1"]);
    shop.status_when("it to be missed", absent).await;
    let run = shop.push_and_see(&shop.composed("1").file("README.md", "x")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("1").await;
}

#[tokio::test]
async fn a_stopped_project_stays_stopped_when_a_push_is_not_well() {
    let Some((mut shop, docker)) = Shop::open_composed(quick).await else { return };
    let ended = shop.host.verb(&["stop", "shop"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    shop.status_when("it to be stopped", |project| project["state"] == "stopped").await;
    let run = shop.push_and_see(&shop.composed("bad").before_it_listens("exit 3")).await;
    assert_eq!(end(&run)[1], "health", "{run:#}");
    assert_eq!(docker.said(&["ps", "--quiet"]), "", "nothing runs");
    shop.status_when("it to be stopped", |project| project["state"] == "stopped").await;
    let started = shop.host.verb(&["start", "shop"]).await;
    assert_eq!(started.code, Some(0), "{started:?}");
    shop.serves("1").await;
    let ended = shop.host.verb(&["stop", "shop"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let run = shop.push_and_see(&shop.composed("worse").before_it_listens("exit 4")).await;
    assert_eq!(end(&run)[1], "health", "{run:#}");
    // Hands that start what is there find the release that is live.
    docker.said(&["start", "shop-web-1"]);
    shop.serves("1").await;
    docker.said(&["stop", "shop-web-1"]);
    let run = shop.push_and_see(&shop.composed("2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
}

#[tokio::test]
async fn two_projects_at_once_and_nobody_else() {
    let Some(docker) = Docker::start().await else { return };
    docker.said(&["run", "--detach", "--name", "somebody", "--volume", "theirs:/data", "base:1", "/bin/sleep", "100000"]);
    docker.said(&["tag", "base:1", "doorstep.invalid/other/web:theirs"]);
    let other = GitOrigin::new("me/other");
    let head = format!("[project.other]\nrepo = \"{}\"\ndir = \"{{dir}}/other\"\n[project.other.compose]\n", other.url());
    let mut shop = Shop::open_composed_on(&docker, Terms { head, ..quick(&docker) }).await;
    let somebody = docker.id("somebody");
    let second = doorstep_tests::App::composed("9").with_compose("ports: [\"@PORT@:8000\"]", "expose: [\"8000\"]");
    second.push_to(&other, "the other");
    let pushed = shop.push(&shop.composed("2")).await;
    let deployed = shop.host.deploy("other").await;
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    let run = shop.ended(&pushed).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
    assert_eq!(docker.containers(), ["other-side-1", "other-web-1", "shop-side-1", "shop-web-1", "somebody"]);
    assert_eq!(docker.id("somebody"), somebody);
    assert!(docker.said(&["volume", "ls", "--quiet"]).contains("theirs"));

    // A project that takes the name of another's containers is told apart.
    let moved = format!("[project.other]\nrepo = \"{}\"\ndir = \"{{dir}}/other\"\n[project.other.compose]\nname = \"elsewhere\"\n", other.url());
    shop.change_terms(&Terms { head: moved, ..quick(&docker) }).await;
    second.file("README.md", "again").push_to(&other, "again");
    let refused = shop.host.deploy("other").await;
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("run under the name `other`"), "{refused:?}");
    let taken = format!("[project.other]\nrepo = \"{}\"\ndir = \"{{dir}}/third\"\n[project.other.compose]\nname = \"shop\"\n", other.url());
    shop.change_terms(&Terms { head: taken, ..quick(&docker) }).await;
    let refused = shop.host.deploy("other").await;
    assert!(refused.stderr.contains("belong to the project shop"), "{refused:?}");
    // One that leaves the file leaves its containers, and that is said.
    shop.change_terms(&quick(&docker)).await;
    let told = |words: &String| words.contains("containers of other, which is not in the host's file any more, still run; `docker compose -p other down`");
    wait::until("what was left to be told", async || shop.host.words(), told).await;
    shop.serves("2").await;
}

#[tokio::test]
async fn a_docker_without_compose_is_the_hosts_fault_and_tried_again() {
    let Some((mut shop, _docker)) = Shop::open_composed(quick).await else { return };
    let program = shop.host.dir().join("docker-without-compose");
    let write = |text: &str| {
        std::fs::write(&program, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    write("printf 'unknown flag: --ansi\\n\\nUsage:  docker [OPTIONS] COMMAND [ARG...]\\n' >&2; exit 125");
    shop.host.set("DOORSTEP_DOCKER", program.to_str().unwrap());
    shop.host.stop().await;
    shop.host.run_online(&shop.edge).await;
    shop.push(&shop.composed("2")).await;
    let failed = |runs: &Vec<Value>| runs.first().is_some_and(|run| run["state"] == "failed");
    let runs = wait::until("the run to fail", async || shop.runs().await, failed).await;
    let run = shop.run(&runs[0]["id"]).await;
    assert_eq!(end(&run), ["failed", "host", "config"], "{run:#}");
    assert!(message(&run).starts_with("Compose 2 is not installed: `docker compose` is not known to this docker"), "{}", message(&run));
    write("exec docker \"$@\"");
    shop.serves("2").await;
}

#[tokio::test]
async fn what_another_project_of_the_repository_left_is_not_this_ones() {
    let Some((mut shop, docker)) = Shop::open_composed(quick).await else { return };
    let labels = ["com.docker.compose.project=legacy", "com.docker.compose.service=web", "doorstep.project=adopted", &format!("doorstep.repo={}", shop.origin.url())];
    let words: Vec<&str> = ["run", "--detach", "--name", "legacy-web-1"].into_iter().chain(labels.into_iter().flat_map(|label| ["--label", label])).chain(["base:1", "/bin/sleep", "100000"]).collect();
    docker.said(&words);
    let run = shop.push_and_see(&shop.composed("2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "what is live here was not called otherwise before: {run:#}");
    shop.serves("2").await;
    // A project that is new here may be that one.
    let second = format!("[project.second]\nrepo = \"{}\"\ndir = \"{{dir}}/second\"\n[project.second.compose]\n", shop.origin.url());
    shop.change_terms(&Terms { head: second, ..quick(&docker) }).await;
    let refused = shop.host.deploy("second").await;
    assert!(refused.stderr.contains("containers of the project adopted of the same repository") && refused.stderr.contains("set name = \"legacy\""), "{refused:?}");
}

#[tokio::test]
async fn a_push_whose_webhook_is_lost_is_found() {
    let finding = |docker: &Docker| {
        let mut terms = quick(docker);
        terms.environment.push(("DOORSTEP_RECONCILE", "1s".to_owned()));
        terms
    };
    let Some((shop, _docker)) = Shop::open_composed(finding).await else { return };
    shop.composed("2").push_to(&shop.origin, "nobody is told");
    shop.serves("2").await;
}
