//! A run that meets a fault halfway, and what earlier daemons left behind.
//! Faults come from triggers in the journal's own database, so the program is
//! the ordinary one.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use doorstep_tests::{App, Shop, Terms, machine, wait};
use serde_json::{Value, json};

const NO_SWITCH: &str = "CREATE TRIGGER fault BEFORE UPDATE ON releases WHEN NEW.state = 'live' BEGIN SELECT RAISE(ABORT, 'no release goes live'); END";
const NO_END: &str = "CREATE TRIGGER fault BEFORE INSERT ON runs WHEN NEW.ended IS NOT NULL BEGIN SELECT RAISE(ABORT, 'no run ends'); END";
const NO_PROCESS: &str = "CREATE TRIGGER fault BEFORE INSERT ON processes BEGIN SELECT RAISE(ABORT, 'no process is noted'); END";
const NO_MORE: &str = "DROP TRIGGER fault";

fn apps(shop: &Shop) -> Vec<u32> {
    machine::processes_marked("DOORSTEP_PROJECT=shop", shop.host.dir())
}

fn current(shop: &Shop) -> Option<String> {
    std::fs::read_to_string(shop.host.apps().join("shop/current/app.py")).ok()
}

fn steps(run: &Value) -> Vec<String> {
    let steps = run["steps"].as_array().unwrap().iter();
    steps.map(|step| format!("{} {}", step["name"].as_str().unwrap(), step["state"].as_str().unwrap())).collect()
}

/// A program that a daemon of this journal might have started.
fn stray(identity: &str) -> Child {
    let mut command = Command::new("sleep");
    command.arg("1000").env("DOORSTEP_JOURNAL", identity).stdin(Stdio::null()).process_group(0);
    command.spawn().unwrap()
}

#[tokio::test]
async fn a_switch_that_fails_halfway_is_put_back() {
    let mut shop = Shop::open(&App::quick("1")).await;
    let (before, prober) = (shop.status().await["process"].clone(), shop.probe());
    assert!(shop.host.journal(NO_SWITCH).is_empty());
    let run = shop.push_and_see(&App::quick("2")).await;
    assert_eq!((&run["run"]["state"], &run["run"]["failure"]["step"]), (&json!("rolled_back"), &json!("switch")), "{run:#}");
    assert!(run["run"]["failure"]["message"].as_str().unwrap().contains("no release goes live"), "{run:#}");
    assert_eq!(steps(&run)[5..], ["switch failed", "roll back succeeded"]);
    assert_eq!(shop.version().await.as_deref(), Some("1"));
    assert!(current(&shop).unwrap().contains("VERSION = \"1\""), "`current` is the old release again");
    assert_eq!(shop.status().await["process"], before);
    assert_eq!(apps(&shop).len(), 1, "the new one is gone");
    let probed = prober.stop().await;
    assert!(probed.failed.is_empty(), "the proxy was put back before the new one was stopped: {probed:#?}");
    assert!(shop.host.journal(NO_MORE).is_empty());
    assert_eq!(shop.push_and_see(&App::quick("3")).await["run"]["state"], "succeeded");
}

#[tokio::test]
async fn a_first_switch_that_fails_leaves_nothing_behind() {
    let mut shop = Shop::found(Terms::of(&App::quick("1"))).await;
    shop.host.run_online(&shop.edge).await;
    assert!(shop.host.journal(NO_SWITCH).is_empty());
    let run = shop.push_and_see(&App::quick("1")).await;
    assert_eq!((&run["run"]["state"], &run["run"]["failure"]["step"]), (&json!("failed"), &json!("switch")), "{run:#}");
    assert!(!shop.host.apps().join("shop/current").is_symlink(), "`current` is forgotten");
    assert_eq!(apps(&shop).len(), 0, "and nothing runs");
    assert!(shop.host.journal(NO_MORE).is_empty());
    assert_eq!(shop.push_and_see(&App::quick("2")).await["run"]["state"], "succeeded");
    shop.serves("2").await;
}

#[tokio::test]
async fn the_end_of_a_run_is_written_as_soon_as_it_can_be() {
    let mut shop = Shop::open(&App::quick("1")).await;
    assert!(shop.host.journal(NO_END).is_empty());
    let pushed = shop.push(&App::quick("2")).await;
    let says = async || shop.host.words();
    wait::until("the daemon to say so", says, |words| words.contains("a run's end cannot be written yet")).await;
    assert_eq!(shop.status().await["last_run"]["state"], "running");
    assert!(shop.runs().await.iter().any(|run| run["job"] == pushed.job && run["state"] == "running"), "nothing is told that is not written");
    assert!(shop.host.journal(NO_MORE).is_empty());
    assert_eq!(shop.ended(&pushed).await["run"]["state"], "succeeded");
    shop.is_idle().await;
}

#[tokio::test]
async fn a_process_that_cannot_be_written_down_does_not_run() {
    let mut shop = Shop::open(&App::quick("1")).await;
    let before = apps(&shop);
    assert!(shop.host.journal(NO_PROCESS).is_empty());
    let run = shop.push_and_see(&App::quick("2")).await;
    assert_eq!((&run["run"]["state"], &run["run"]["failure"]["step"]), (&json!("failed"), &json!("start")), "{run:#}");
    let apps = async || apps(&shop);
    wait::until("the old one to be alone", apps, |apps| *apps == before).await;
    assert_eq!(shop.version().await.as_deref(), Some("1"));
}

#[tokio::test]
async fn what_a_daemon_started_and_never_wrote_down_is_ended_at_the_next_start() {
    let mut shop = Shop::open(&App::quick("1")).await;
    shop.host.stop().await;
    let identity = shop.host.journal("SELECT value FROM meta WHERE key = 'identity'").remove(0);
    let (mut ours, mut others) = (stray(&identity), stray("of-another-journal"));
    shop.host.run();
    wait::until("the stray to be ended", async || ours.try_wait().unwrap(), Option::is_some).await;
    assert!(others.try_wait().unwrap().is_none(), "what is not ours is left alone");
    others.kill().unwrap();
    others.wait().unwrap();
    assert_eq!(shop.version().await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_push_to_a_stopped_project_makes_it_run_again() {
    let terms = Terms { head: "[policy]\nremote = [\"stop\"]\n".into(), ..Terms::of(&App::quick("1")) };
    let mut shop = Shop::open_on(terms, &App::quick("1")).await;
    assert_eq!(shop.edge.api("POST", "/api/projects/attic/shop/stop").await.status, 202);
    shop.status_when("it to be stopped", |shop| shop["state"] == "stopped" && shop["last_run"]["state"] == "succeeded").await;
    shop.host.restart().await;
    shop.status_when("it to stay stopped", |shop| shop["state"] == "stopped").await;
    assert_eq!(apps(&shop).len(), 0);
    assert_eq!(shop.push_and_see(&App::quick("2")).await["run"]["state"], "succeeded");
    shop.serves("2").await;
    let pid = shop.status().await["process"]["pid"].clone();
    shop.host.restart().await;
    shop.status_when("it to run on", |shop| shop["process"]["pid"] == pid).await;
}
