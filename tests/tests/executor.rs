//! The executor as a neighbour: what it leaves open, what it survives, what it
//! says when something is wrong, and what it costs.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::net::TcpListener;
use std::path::PathBuf;

use doorstep_tests::{App, Host, Shop, Terms, Tools, machine, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const MARKER: &str = "DOORSTEP_PROJECT=shop";

/// Kills the app behind the executor's back.
fn kill(pid: &Value) {
    let pid = i32::try_from(pid.as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
}

/// Waits until another process than this one serves, and returns its id.
async fn successor(shop: &mut Shop, pid: &Value) -> Value {
    let is_other = |shop: &Value| shop["process"]["pid"].is_u64() && shop["process"]["pid"] != *pid;
    shop.status_when("the app to be started again", is_other).await["process"]["pid"].clone()
}

#[tokio::test]
async fn nothing_listens_but_what_the_hosts_file_names() {
    let shop = Shop::open(&App::bare("1")).await;
    assert_eq!(machine::listens_at(shop.host.daemon().id()), []);
    let pong = shop.host.ask_proxy(&json!({"ping": {}})).await.unwrap();
    let proxy = u32::try_from(pong["pong"]["pid"].as_u64().unwrap()).unwrap();
    assert_eq!(machine::listens_at(proxy), [shop.address()]);
    // The proof that this looks at the right thing: the app's own port.
    let [app] = machine::processes_marked(MARKER, shop.host.dir())[..] else { panic!("one app runs") };
    assert_eq!(machine::listens_at(app).len(), 1);
}

#[tokio::test]
async fn the_app_outlives_the_daemon_and_the_next_one_finds_it() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let before = shop.status().await["process"].clone();
    let prober = shop.probe();
    let ended = shop.host.stop().await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    shop.edge.sees_host("attic", false).await;
    assert_eq!(shop.version().await.as_deref(), Some("1"));
    shop.host.run_online(&shop.edge).await;
    assert_eq!(shop.status().await["process"], before, "the same process on the same port");
    shop.host.restart().await;
    shop.status_when("a daemon after a crash", |shop| shop["process"] == before).await;
    let probed = prober.stop().await;
    assert!(probed.failed.is_empty(), "{probed:#?}");
    assert_eq!(shop.host.words().matches("was found again").count(), 2);
}

#[tokio::test]
async fn an_app_that_dies_is_started_again_and_called_failing_when_it_goes_on() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let mut pid = shop.status().await["process"]["pid"].clone();
    let prober = shop.probe();
    for _ in 0..3 {
        kill(&pid);
        pid = successor(&mut shop, &pid).await;
        shop.serves("1").await;
    }
    let failing = shop.status().await;
    assert_eq!((&failing["state"], &failing["reason"]), (&json!("failing"), &json!("it was ended by signal 9")));
    let shown = async || shop.edge.get("/api/projects").await["projects"][0]["state"].clone();
    wait::until("the edge to show it", shown, |state| state == "failing").await;
    let probed = prober.stop().await;
    assert!(probed.failed.len() <= 3 * 2, "at most the two requests in flight at each death failed: {probed:#?}");
    // A new version begins with a clean slate.
    shop.push_and_see(&App::bare("2")).await;
    shop.serves("2").await;
    let well = shop.status().await;
    assert_eq!((&well["state"], &well["reason"]), (&json!("running"), &Value::Null));
}

#[tokio::test]
async fn a_crash_loop_is_shown_with_its_reason_and_ended_by_a_push() {
    let gate = tempfile::tempdir().unwrap();
    let broken = format!("import os, sys\nif os.path.exists('{}/broken'): sys.exit(3)", gate.path().display());
    let first = App::bare("1").beginning(&broken);
    let mut shop = Shop::open(&first).await;
    let pid = shop.status().await["process"]["pid"].clone();
    std::fs::write(gate.path().join("broken"), "").unwrap();
    kill(&pid);
    let exited = |shop: &Value| shop["state"] == "failing" && shop["reason"] == "it exited with 3";
    shop.status_when("the crash loop to be shown", exited).await;
    let run = shop.push_and_see(&App::bare("2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
    assert_eq!(shop.status().await["state"], "running");
    assert_eq!(machine::processes_marked(MARKER, shop.host.dir()).len(), 1);
}

#[tokio::test]
async fn what_is_wrong_is_said_and_has_its_number() {
    let mut shop = Shop::found(Terms::of(&App::bare("1"))).await;
    shop.host.run_online(&shop.edge).await;
    let second = shop.host.verb(&["run"]).await;
    assert_eq!(second.code, Some(8), "{second:?}");
    assert!(second.stderr.contains("a daemon runs on"), "{second:?}");
    let again = shop.host.verb(&["join", &shop.edge.url(""), "any", "--name", "attic"]).await;
    assert!(again.code == Some(1) && again.stderr.contains("is enrolled at"), "{again:?}");

    let wrong = "[project.shop]\nrepo = 7\nbrunch = \"main\"\n[project.shop.process]\ncommand = []\nlisten = \"nowhere\"\n";
    let mut host = Host::new("cellar", &shop.edge, wrong);
    let ended = host.verb(&["run"]).await;
    assert_eq!(ended.code, Some(3), "{ended:?}");
    for place in ["doorstep.toml:4:8", "doorstep.toml:5:1", "doorstep.toml:7:", "doorstep.toml:8:"] {
        assert!(ended.stderr.contains(place), "{place}: {}", ended.stderr);
    }
    assert!(ended.stderr.contains("branch"), "what was meant: {}", ended.stderr);

    let refused = host.verb(&["join", &shop.edge.url(""), "ABCD-EFGH-JKLM-NPQR"]).await;
    assert_eq!(refused.code, Some(7), "{refused:?}");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let lost = host.verb(&["join", &format!("http://{nobody}"), "ABCD-EFGH-JKLM-NPQR"]).await;
    assert_eq!(lost.code, Some(6), "{lost:?}");
    assert_eq!(host.verb(&["frobnicate"]).await.code, Some(2));
}

#[tokio::test]
async fn a_host_that_is_not_enrolled_works_by_hand_and_says_so() {
    let mut shop = Shop::found(Terms::of(&App::bare("1"))).await;
    std::fs::remove_file(shop.host.state().join("identity.json")).unwrap();
    App::bare("1").push_to(&shop.origin, "by hand");
    shop.host.run();
    let status = shop.host.status_when("the daemon to answer", |status| status["daemon"]["pid"].is_u64()).await;
    assert_eq!((&status["host"], &status["link"]), (&Value::Null, &json!("none")));
    assert!(shop.host.words().contains("not enrolled"), "{}", shop.host.words());
    assert_eq!(shop.host.deploy("shop").await.code, Some(0));
    shop.serves("1").await;
}

#[tokio::test]
async fn a_revoked_host_is_told_and_its_apps_run_on() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let process = shop.status().await["process"].clone();
    assert_eq!(shop.edge.api("DELETE", "/api/hosts/attic").await.status, 200);
    let status = shop.host.status_when("the daemon to be told", |status| status["link"] == "refused").await;
    assert!(status["refused"].as_str().unwrap().contains("revoked"), "{status:#}");
    assert_eq!((shop.version().await.as_deref(), &shop.status().await["process"]), (Some("1"), &process));
    shop.host.restart().await;
    shop.host.status_when("the next daemon to be told", |status| status["link"] == "refused").await;
    assert_eq!((shop.version().await.as_deref(), &shop.status().await["process"]), (Some("1"), &process));
    assert!(shop.host.words().contains("the edge refuses this host"), "{}", shop.host.words());
}

#[tokio::test]
async fn the_link_comes_back_after_a_crash_of_the_edge() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let ended = shop.edge.kill_workerd().await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    shop.host.status_when("the link to be down", |status| status["link"] == "down").await;
    assert_eq!(shop.version().await.as_deref(), Some("1"));
    shop.edge.restart().await;
    shop.edge.sees_host("attic", true).await;
    assert_eq!(shop.push_and_see(&App::bare("2")).await["run"]["state"], "succeeded");
    shop.serves("2").await;
}

#[tokio::test]
async fn pushes_to_a_host_that_is_off_wait_for_it() {
    let mut shop = Shop::open(&App::bare("1")).await;
    shop.host.stop().await;
    shop.edge.sees_host("attic", false).await;
    let missed = shop.push(&App::bare("2")).await;
    let last = shop.push(&App::bare("3")).await;
    let waiting: Vec<_> = shop.edge.jobs().await.iter().map(|job| job["id"].clone()).collect();
    assert_eq!(waiting, std::slice::from_ref(&last.job));
    shop.host.run_online(&shop.edge).await;
    assert_eq!(shop.ended(&last).await["run"]["commit"], last.commit);
    shop.serves("3").await;
    assert!(shop.runs().await.iter().all(|run| run["job"] != missed.job));
}

#[tokio::test]
async fn an_address_that_somebody_else_has_is_named_and_left_alone() {
    let mut shop = Shop::found(Terms::of(&App::bare("1"))).await;
    let theirs = TcpListener::bind(shop.address()).unwrap();
    shop.host.run_online(&shop.edge).await;
    let run = shop.push_and_see(&App::bare("1")).await;
    assert_eq!((&run["run"]["state"], &run["run"]["failure"]["step"]), (&json!("failed"), &json!("start")), "{run:#}");
    assert!(run["run"]["failure"]["message"].as_str().unwrap().contains(&shop.address().to_string()), "{run:#}");
    assert!(machine::processes_marked(MARKER, shop.host.dir()).is_empty(), "nothing was started");
    drop(theirs);
    shop.serves("1").await;
}

/// The release build, wherever `./test` put it.
fn release_build() -> Option<PathBuf> {
    let built = Tools::find().doorstep;
    let sibling = built.parent()?.parent()?.join("release/doorstep");
    sibling.is_file().then_some(sibling)
}

#[tokio::test]
async fn what_it_costs_is_measured() {
    const MEMORY_KIB: u64 = 12 * 1024;
    const BINARY_BYTES: u64 = 12_000_000;
    let Some(release) = release_build() else {
        println!("no release build is there; nothing was measured");
        return;
    };
    let mut shop = Shop::found(Terms::of(&App::bare("1"))).await;
    shop.host.use_binary(&release);
    shop.host.run_online(&shop.edge).await;
    shop.push_and_see(&App::bare("1")).await;
    shop.is_idle().await;
    let memory = machine::memory(shop.host.daemon().id());
    let bytes = std::fs::metadata(&release).unwrap().len();
    let over = |value: u64, most: u64| format!("{:+.1} %", (value as f64 / most as f64 - 1.0) * 100.0);
    println!("{}: {bytes} bytes ({} of {BINARY_BYTES})", release.display(), over(bytes, BINARY_BYTES));
    println!("idle daemon after a deploy: {memory:?} KiB (RSS {} of {MEMORY_KIB} KiB)", over(memory.rss, MEMORY_KIB));
    assert!(bytes < BINARY_BYTES, "the binary has {bytes} bytes");
}
