//! Going back, and what does not come again by itself afterwards.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use doorstep_tests::told::step_names;
use doorstep_tests::{App, Shop, Terms, wait};
use serde_json::{Value, json};

fn terms() -> Terms {
    Terms { head: "[policy]\nremote = [\"deploy\", \"rollback\", \"rebuild\"]\n".to_owned(), ..Terms::of(&App::quick("")).within("5s") }
}

async fn with_three_versions() -> Shop {
    let mut shop = Shop::open_on(terms(), &App::quick("1")).await;
    for version in ["2", "3"] {
        let run = shop.push_and_see(&App::quick(version)).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    }
    shop
}

async fn project(shop: &Shop) -> Value {
    shop.edge.get("/api/projects").await["projects"][0].clone()
}

async fn ask(shop: &Shop, action: &str) -> Value {
    ask_with(shop, action, "").await
}

async fn ask_with(shop: &Shop, action: &str, body: &str) -> Value {
    let bearer = format!("Bearer {}", doorstep_tests::API_TOKEN);
    let answer = shop.edge.request("POST", &format!("/api/projects/attic/shop/{action}"), &[("authorization", &bearer)], body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let job = answer.json()["job"].clone();
    let is_it = |run: &Value| run["job"] == job && run["state"] != "running";
    let look = async || shop.newest_runs(20).await.into_iter().find(is_it);
    let seen = wait::until(&format!("the {action} to end"), look, Option::is_some).await;
    shop.run(&seen.unwrap()["id"]).await
}

#[tokio::test]
async fn going_back_only_switches_and_drops_no_request() {
    let shop = with_three_versions().await;
    let prober = shop.probe();
    let run = ask(&shop, "rollback").await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert_eq!(step_names(&run), ["start", "check", "switch", "stop"]);
    shop.serves("2").await;
    // Once more goes further back, and not forward again.
    let left = project(&shop).await;
    assert_eq!((&left["quarantined"]["release"], left["back"]["to"].is_string()), (&json!(3), true), "what was left is kept away: {left:#}");
    ask(&shop, "rollback").await;
    shop.serves("1").await;
    let nowhere = async || project(&shop).await["back"].clone();
    let back = wait::until("nothing to go back to", nowhere, |back| back["to"].is_null()).await;
    assert_eq!(back["kept"].as_array().unwrap().len(), 2, "a person may still name them: {back:#}");
    let none = ask(&shop, "rollback").await;
    assert_eq!((&none["run"]["state"], &none["run"]["failure"]["kind"]), (&json!("refused"), &json!("policy")));
    assert!(none["run"]["failure"]["message"].as_str().unwrap().contains("no earlier good release"), "{none:#}");
    let seen = project(&shop).await;
    assert!(seen["trouble"].is_null() && seen["dead"].as_array().unwrap().is_empty(), "who asked for it heard it: {seen:#}");
    let runs = async |before: &str| shop.edge.get(&format!("/api/runs?host=attic&project=shop{before}")).await["runs"].as_array().unwrap().clone();
    let all = runs("").await;
    assert_eq!(runs(&format!("&before={}", all[1]["id"].as_str().unwrap())).await, all[2..], "what is older can be asked for");
    shop.serves("1").await;
    let seen = prober.stop().await;
    assert!(seen.good > 0 && seen.failed.is_empty(), "{seen:?}");
}

#[tokio::test]
async fn one_goes_back_to_the_commit_that_was_named() {
    let mut shop = Shop::open_on(terms(), &App::quick("1")).await;
    let mut commits = vec![shop.status().await["live"]["commit"].as_str().unwrap().to_owned()];
    for version in ["2", "3"] {
        commits.push(shop.push(&App::quick(version)).await.commit);
        shop.serves(version).await;
    }
    shop.is_idle().await;
    let to = |commit: &str| json!({"commit": commit}).to_string();
    let run = ask_with(&shop, "rollback", &to(&commits[0])).await;
    assert_eq!((&run["run"]["state"], &run["run"]["commit"]), (&json!("succeeded"), &json!(commits[0])), "{run:#}");
    shop.serves("1").await;
    let audit = shop.edge.get("/api/audit?search=rollback").await;
    let to_first = format!("shop on attic, to {}", &commits[0][..7]);
    assert_eq!((&audit["rows"][0]["target"], &audit["jobs"][0]["run"]["state"]), (&json!(to_first), &json!("succeeded")), "{audit:#}");
    for (commit, why) in [(commits[0].as_str(), "is live already"), (&"0".repeat(40), "no release of 0000000 is known here")] {
        let run = ask_with(&shop, "rollback", &to(commit)).await;
        assert_eq!((&run["run"]["state"], &run["run"]["failure"]["kind"]), (&json!("refused"), &json!("policy")), "{run:#}");
        assert!(run["run"]["failure"]["message"].as_str().unwrap().contains(why), "{run:#}");
    }
    shop.serves("1").await;
}

#[tokio::test]
async fn what_was_gone_away_from_stays_away_until_somebody_asks() {
    let mut shop = with_three_versions().await;
    let third = shop.status().await["live"]["commit"].as_str().unwrap().to_owned();
    ask(&shop, "rollback").await;
    // GitHub tells of the same head again; a reconcile finds it too.
    let again = shop.tell(&third).await;
    let run = shop.ended(&again).await;
    assert_eq!((&run["run"]["state"], &run["run"]["failure"]["kind"]), (&json!("refused"), &json!("policy")));
    assert!(run["run"]["failure"]["message"].as_str().unwrap().contains("was bad here as release 3"), "{run:#}");
    shop.host.kill().await;
    shop.host.run_online(&shop.edge).await;
    shop.is_idle().await;
    assert_eq!(shop.version().await.as_deref(), Some("2"));
    // A person may have it, and another commit comes as ever.
    let ended = shop.host.deploy("shop").await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    shop.serves("3").await;
    ask(&shop, "rollback").await;
    shop.serves("2").await;
    shop.push_and_see(&App::quick("4")).await;
    shop.serves("4").await;
}

#[tokio::test]
async fn a_bad_commit_is_not_tried_again_by_itself() {
    let mut shop = Shop::open_on(terms(), &App::quick("1")).await;
    let bad = shop.push(&App::quick("2").beginning("sys.exit('not well')")).await;
    assert_eq!(shop.ended(&bad).await["run"]["state"], "rolled_back");
    let again = shop.tell(&bad.commit).await;
    let run = shop.ended(&again).await;
    assert_eq!(run["run"]["state"], "refused", "{run:#}");
    assert_eq!(step_names(&run), ["fetch"]);
}

#[tokio::test]
async fn the_command_line_goes_back_by_number_and_tells_the_history() {
    let mut shop = with_three_versions().await;
    let ended = shop.host.verb(&["rollback", "shop", "--to", "1"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    shop.serves("1").await;
    for (args, code, said) in [
        (vec!["rollback", "shop", "--to", "1"], 1, "live already"),
        (vec!["rollback", "shop", "--to", "99"], 1, "no release 99"),
        (vec!["rollback", "nobody"], 1, "not in the host's file"),
        (vec!["stop", "shop"], 0, ""),
        (vec!["start", "shop"], 0, ""),
        (vec!["restart", "shop"], 0, ""),
    ] {
        let ended = shop.host.verb(&args).await;
        assert_eq!(ended.code, Some(code), "{args:?}: {ended:?}");
        assert!(format!("{}{}", ended.stdout, ended.stderr).contains(said), "{args:?}: {ended:?}");
    }
    shop.serves("1").await;
    let text = shop.host.verb(&["history", "shop"]).await.stdout;
    assert!(text.lines().all(|line| line.chars().count() <= 100) && text.contains("bad") && text.contains("rollback"), "{text}");
    shop.host.kill().await;
    let history: Value = serde_json::from_str(&shop.host.verb(&["history", "shop", "--json"]).await.stdout).unwrap();
    let states: Vec<&str> = history["releases"].as_array().unwrap().iter().map(|release| release["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["bad", "built", "live"], "{history:#}");
    assert!(history["runs"].as_array().unwrap().len() >= 6, "{history:#}");
}

#[tokio::test]
async fn a_rebuild_makes_everything_anew_beside_what_serves() {
    let mut shop = Shop::open_on(terms(), &App::quick("1")).await;
    let before = shop.status().await["live"].clone();
    let run = ask(&shop, "rebuild").await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    let after = shop.status().await["live"].clone();
    assert_eq!(after["commit"], before["commit"]);
    assert_ne!(after["release"], before["release"]);
}

#[tokio::test]
async fn a_release_that_does_not_start_any_more_leaves_the_live_one() {
    let mut shop = with_three_versions().await;
    // Somebody took the program away from the release before.
    let releases = shop.host.apps().join("shop/releases");
    for slot in std::fs::read_dir(&releases).unwrap() {
        let app = slot.unwrap().path().join("app.py");
        let text = std::fs::read_to_string(&app).unwrap();
        if text.contains("VERSION = \"2\"") {
            std::fs::write(&app, "raise SystemExit(9)").unwrap();
        }
    }
    let ended = shop.host.verb(&["rollback", "shop"]).await;
    assert_eq!(ended.code, Some(4), "{ended:?}");
    assert_eq!(shop.version().await.as_deref(), Some("3"));
    assert_eq!(shop.status().await["state"], "running");
    // The next one does not meet it again.
    let ended = shop.host.verb(&["rollback", "shop"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(shop.version().await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_release_whose_environment_is_gone_is_refused_and_status_names_what_stays_away() {
    let mut shop = Shop::open_on(Terms { head: terms().head, ..Terms::of(&App::plain("1")) }.with_uv(), &App::plain("1")).await;
    shop.push_and_see(&App::plain("2")).await;
    std::fs::remove_dir_all(shop.host.apps().join("shop/envs/0")).unwrap();
    let ended = shop.host.verb(&["rollback", "shop"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("environment of release 1 is gone"), "{ended:?}");
    assert_eq!(shop.version().await.as_deref(), Some("2"));

    let run = shop.push_and_see(&App::plain("3").beginning("sys.exit('not well')")).await;
    assert_eq!(run["run"]["state"], "rolled_back", "{run:#}");
    assert_eq!(shop.status().await["quarantined"]["release"], 3);
    let said = shop.host.verb(&["status"]).await.stdout;
    assert!(said.contains("was bad here as release 3"), "{said}");
}

#[tokio::test]
async fn what_is_not_live_yet_is_told_by_its_commits() {
    let mut shop = Shop::open_on(terms().within("2s"), &App::quick("1")).await;
    let project = async |shop: &Shop| shop.edge.get("/api/projects").await["projects"][0].clone();
    let seen = wait::until("who wrote what is live", async || project(&shop).await, |seen| !seen["live"]["author"].is_null()).await;
    assert_eq!((&seen["live"]["author"], &seen["behind"]), (&json!("Ann"), &Value::Null), "{seen:#}");
    let mut bad = Vec::new();
    for version in ["2", "3"] {
        let pushed = shop.push(&App::sick(version)).await;
        shop.ended(&pushed).await;
        bad.push(pushed.commit);
    }
    let seen = wait::until("the two commits", async || project(&shop).await, |seen| seen["behind"]["behind"] == 2).await;
    let commits: Vec<&Value> = seen["behind"]["commits"].as_array().unwrap().iter().map(|commit| &commit["commit"]).collect();
    assert_eq!(commits, [&bad[1], &bad[0]], "{seen:#}");
    assert_eq!((&seen["behind"]["ahead"], &seen["behind"]["commits"][0]["subject"]), (&json!(0), &json!("a version")));
    let run = shop.push_and_see(&App::quick("4")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    wait::until("nothing to be behind", async || project(&shop).await, |seen| seen["behind"].is_null()).await;
}

#[tokio::test]
async fn a_rebuild_is_gone_back_from_to_another_commit() {
    let mut shop = Shop::open_on(terms(), &App::quick("1")).await;
    shop.push_and_see(&App::quick("2")).await;
    ask(&shop, "rebuild").await;
    assert!(shop.status().await["quarantined"].is_null());
    let run = ask(&shop, "rollback").await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("1").await;
    // Nothing but the same commit once more: that is no way back, but may be named.
    ask(&shop, "rebuild").await;
    shop.serves("2").await;
    let ended = shop.host.verb(&["rollback", "shop", "--to", "3"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let status = shop.status().await;
    assert!(status["quarantined"].is_null(), "the live commit was called bad: {status:#}");
}

#[tokio::test]
async fn what_failed_leaves_the_good_releases_where_they_are() {
    let mut shop = with_three_versions().await;
    for version in ["4", "5", "6", "7"] {
        let push = shop.push(&App::quick(version).beginning("sys.exit('not well')")).await;
        assert_eq!(shop.ended(&push).await["run"]["state"], "rolled_back");
    }
    for version in ["2", "1"] {
        let run = ask(&shop, "rollback").await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop.serves(version).await;
    }
}
