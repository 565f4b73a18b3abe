//! Pushes that nobody told of, and an edge that is gone: the branch is what counts.

use doorstep_tests::{App, Shop, Terms, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Terms under which origins are asked this often.
fn asking(app: &App, every: &str) -> Terms {
    let mut terms = Terms::of(app);
    terms.environment.push(("DOORSTEP_RECONCILE", every.to_owned()));
    terms
}

/// Waits until the origin was asked some more times: rounds went by.
async fn rounds_go_by(shop: &Shop) {
    let before = shop.origin.requests();
    wait::until("more rounds", async || shop.origin.requests(), |now| *now >= before + 3).await;
}

/// Waits until so many runs have ended, and returns all, newest first.
async fn runs_ended(shop: &Shop, count: usize) -> Vec<Value> {
    let all = |runs: &Vec<Value>| runs.iter().filter(|run| run["state"] != "running").count() >= count;
    wait::until(&format!("{count} runs to end"), async || shop.runs().await, all).await
}

#[tokio::test]
async fn a_push_whose_webhook_was_lost_is_deployed_once() {
    let app = App::bare("1");
    let mut shop = Shop::open_on(asking(&app, "1s"), &app).await;
    let commit = App::bare("2").push_to(&shop.origin, "nobody was told");
    shop.serves("2").await;
    let runs = runs_ended(&shop, 2).await;
    assert_eq!((&runs[0]["cause"], &runs[0]["commit"]), (&json!("reconcile"), &json!(commit)), "{runs:#?}");
    assert!(runs[0]["job"].is_u64(), "the edge made a job of it: {runs:#?}");
    rounds_go_by(&shop).await;
    assert_eq!(shop.runs().await.len(), 2);
    // The webhook arrives after all, and finds nothing to do.
    let late = shop.tell(&commit).await;
    let run = shop.ended(&late).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!(run["steps"].as_array().unwrap().len(), 1, "only the fetch: {run:#}");
}

#[tokio::test]
async fn a_head_that_was_found_bad_is_not_tried_again_until_there_is_a_new_one() {
    let app = App::bare("1");
    let mut shop = Shop::open_on(asking(&app, "1s").within("1s"), &app).await;
    App::sick("2").without("pyproject.toml").push_to(&shop.origin, "not well");
    let runs = runs_ended(&shop, 2).await;
    assert_eq!(runs[0]["state"], "rolled_back", "{runs:#?}");
    rounds_go_by(&shop).await;
    shop.host.restart().await;
    rounds_go_by(&shop).await;
    assert_eq!(shop.runs().await.len(), 2, "no loop");
    assert_eq!(shop.version().await.as_deref(), Some("1"));
    App::bare("3").push_to(&shop.origin, "well again");
    shop.serves("3").await;
}

#[tokio::test]
async fn what_was_pushed_while_the_host_was_off_is_found_at_connect() {
    let app = App::bare("1");
    let mut shop = Shop::open_on(asking(&app, "1h"), &app).await;
    shop.host.stop().await;
    App::bare("2").push_to(&shop.origin, "while it was off");
    shop.host.run();
    shop.serves("2").await;
}

#[tokio::test]
async fn a_project_that_was_never_deployed_comes_up_by_itself() {
    let app = App::bare("1");
    let mut shop = Shop::found(asking(&app, "1h")).await;
    app.push_to(&shop.origin, "before anybody looked");
    shop.host.run_online(&shop.edge).await;
    shop.serves("1").await;
}

#[tokio::test]
async fn with_the_edge_gone_apps_are_kept_up_and_deploys_go_on_and_are_told_later() {
    let app = App::bare("1");
    let mut shop = Shop::open_on(asking(&app, "1s"), &app).await;
    shop.edge.stop().await;
    let pid = shop.status().await["process"]["pid"].clone();
    let number = i32::try_from(pid.as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(number).unwrap(), Signal::KILL).unwrap();
    shop.status_when("the app to be started again", |shop| shop["process"]["pid"].is_u64() && shop["process"]["pid"] != pid).await;
    shop.serves("1").await;
    App::bare("2").push_to(&shop.origin, "found by the host alone");
    shop.serves("2").await;
    let third = App::bare("3").push_to(&shop.origin, "asked for on the host");
    let deployed = shop.host.deploy("shop").await;
    assert_eq!(deployed.code, Some(0), "{deployed:?}");
    shop.serves("3").await;
    shop.edge.restart().await;
    let runs = wait::until("every run to be told", async || shop.runs().await, |runs| {
        runs.iter().any(|run| run["commit"] == third.as_str() && run["state"] == "succeeded")
    })
    .await;
    assert!(runs.iter().any(|run| run["cause"] == "reconcile" && run["state"] == "succeeded" && run["job"].is_null()), "{runs:#?}");
    assert!(runs.iter().all(|run| run["state"] == "succeeded"), "{runs:#?}");
    shop.is_idle().await;
}

#[tokio::test]
async fn commits_that_touch_none_of_the_paths_are_passed_over() {
    let app = App::bare("1");
    let mut terms = asking(&app, "1s");
    "paths = [\"*.py\"]".clone_into(&mut terms.project);
    let shop = Shop::open_on(terms, &app).await;
    shop.origin.commit("words only", &[("README.md", Some("Read me."))]);
    let passed = async || shop.host.words();
    wait::until("the commit to be looked at", passed, |words| words.contains("touches none of the project's paths")).await;
    rounds_go_by(&shop).await;
    assert_eq!(shop.host.words().matches("touches none").count(), 1, "once is enough");
    assert_eq!(shop.runs().await.len(), 1);
    App::bare("2").file("README.md", "Read me again.").push_to(&shop.origin, "code");
    shop.serves("2").await;
}

#[tokio::test]
async fn what_ended_while_the_edge_was_gone_is_told_and_not_carried_out_again() {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let mut shop = Shop::open_on(Terms::of(&App::bare("1")).within("10s"), &App::bare("1")).await;
    let crashes = format!("import os, sys, time\nwhile not os.path.exists({open:?}):\n    time.sleep(0.005)\nsys.exit(3)");
    let pushed = shop.push(&App::bare("2").beginning(&crashes)).await;
    wait::until("the run to check", async || shop.edge.jobs().await, |jobs| jobs.iter().any(|job| job["state"] == "leased")).await;
    wait::until("the run to be told", async || shop.runs().await.len(), |runs| *runs == 2).await;
    shop.edge.stop().await;
    std::fs::write(&open, "").unwrap();
    shop.status_when("the run to end", |shop| shop["last_run"]["state"] == "rolled_back").await;
    shop.edge.restart().await;
    let run = shop.ended(&pushed).await;
    assert_eq!((&run["run"]["state"], &run["run"]["attempt"]), (&json!("rolled_back"), &json!(1)), "{run:#}");
    shop.is_idle().await;
    assert_eq!(shop.runs().await.len(), 2, "carried out once");
}
