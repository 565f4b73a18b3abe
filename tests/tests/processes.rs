//! What runs of a release beside its main process.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use doorstep_tests::{App, Shop, Terms, machine, wait};
use serde_json::{Value, json};

/// A worker that says what it is of, once, and ends on TERM.
const JOBS: &str = r#"
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: (print("jobs let go of", os.environ["DOORSTEP_COMMIT"], flush=True), sys.exit(0)))
print("jobs of", os.environ["DOORSTEP_COMMIT"], flush=True)
while not os.path.exists(os.environ["TMPDIR"] + "/crash"):
    time.sleep(0.02)
os.remove(os.environ["TMPDIR"] + "/crash")
sys.exit(7)
"#;

fn app(version: &str) -> App {
    App::quick(version).file("jobs.py", JOBS)
}

fn terms() -> Terms {
    let terms = Terms::of(&app(""));
    Terms { health: format!("{}\n[project.shop.processes.jobs]\ncommand = [\"python3\", \"jobs.py\"]\nstop = {{ grace = \"5s\" }}", terms.health), ..terms }
}

async fn open() -> (Shop, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let mut terms = terms();
    terms.environment.push(("TMPDIR", dir.path().to_str().unwrap().to_owned()));
    (Shop::open_on(terms, &app("1")).await, dir)
}

/// Process id of the one that runs, as `status` says; waits until it is another.
async fn jobs(shop: &mut Shop, before: &Value) -> Value {
    let status = shop.host.status_when("jobs to run", |status| {
        let pid = &status["projects"][0]["processes"]["jobs"];
        pid.is_u64() && pid != before
    });
    status.await["projects"][0]["processes"]["jobs"].clone()
}

fn cwd(pid: &Value) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default()
}

fn count(shop: &Shop) -> usize {
    machine::processes_marked("DOORSTEP_PROJECT=shop", shop.host.dir()).len()
}

fn current(shop: &Shop) -> std::path::PathBuf {
    shop.host.apps().join("shop/current").canonicalize().unwrap()
}

#[tokio::test]
async fn a_worker_moves_with_each_release_and_comes_back_with_the_old_one() {
    let (mut shop, _dir) = open().await;
    let first = jobs(&mut shop, &Value::Null).await;
    assert_eq!(cwd(&first), current(&shop));
    let run = shop.push_and_see(&app("2")).await;
    assert_eq!(run["steps"].as_array().unwrap().last().unwrap()["name"], "processes", "{run:#}");
    let second = jobs(&mut shop, &first).await;
    assert_eq!((cwd(&second), count(&shop)), (current(&shop), 2));
    // A release that is not well never gets as far.
    let run = shop.push_and_see(&app("3").beginning("sys.exit(1)")).await;
    assert_eq!(run["run"]["state"], "rolled_back");
    assert_eq!(shop.status().await["processes"]["jobs"], second);
    shop.host.kill().await;
    shop.host.run();
    assert_eq!(jobs(&mut shop, &Value::Null).await, second, "found again, not started again");
    assert_eq!(count(&shop), 2);
}

#[tokio::test]
async fn a_worker_that_ends_is_started_again_and_shows() {
    let (mut shop, dir) = open().await;
    let first = jobs(&mut shop, &Value::Null).await;
    std::fs::write(dir.path().join("crash"), "").unwrap();
    let second = jobs(&mut shop, &first).await;
    let status = shop.status().await;
    assert_eq!((&status["state"], &status["reason"]), (&json!("degraded"), &json!("`jobs` exited with 7")));
    // And once more while the daemon is away.
    shop.host.kill().await;
    std::fs::write(dir.path().join("crash"), "").unwrap();
    wait::until("the worker to end", async || count(&shop), |count| *count == 1).await;
    shop.host.run();
    let third = jobs(&mut shop, &second).await;
    assert_eq!((cwd(&third), count(&shop)), (current(&shop), 2));
}

#[tokio::test]
async fn what_left_the_hosts_file_ends() {
    let (mut shop, _dir) = open().await;
    jobs(&mut shop, &Value::Null).await;
    shop.change_terms(&Terms::of(&app("1"))).await;
    let is_alone = async || machine::processes_marked("DOORSTEP_PROJECT=shop", shop.host.dir()).len();
    wait::until("the worker to end", is_alone, |count| *count == 1).await;
    shop.serves("1").await;
}
