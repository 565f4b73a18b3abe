//! The harness itself: its fakes are what they stand for, and leave nothing.

use std::process::Command;

use doorstep_tests::{App, Child, GitHub, GitOrigin, Push, git, signature, wait};
use serde_json::Value;

#[test]
fn signatures_are_githubs() {
    // The example of GitHub's documentation, "Validating webhook deliveries".
    let expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    assert_eq!(signature("It's a Secret to Everybody", b"Hello, World!"), expected);
}

#[test]
fn github_remembers_heads_and_deliveries() {
    let mut github = GitHub::new("secret");
    let body = |delivery: &doorstep_tests::Delivery| -> Value { serde_json::from_slice(&delivery.body).unwrap() };
    let first = github.push("me/shop", Push::to("main"));
    assert_eq!((&body(&first)["created"], &body(&first)["before"]), (&Value::Bool(true), &"0".repeat(40).into()));
    let second = github.push("me/shop", Push::to("main").at(&"ab".repeat(20)));
    assert_eq!((&body(&second)["before"], &body(&second)["created"]), (&body(&first)["after"], &Value::Bool(false)));
    assert_eq!(body(&second)["head_commit"]["id"], "ab".repeat(20));
    let gone = github.push("me/shop", Push::to("main").deleted());
    assert_eq!((&body(&gone)["deleted"], &body(&gone)["after"]), (&Value::Bool(true), &"0".repeat(40).into()));
    assert_eq!(body(&github.push("me/shop", Push::to("main")))["created"], true);
    assert_eq!(github.redeliver(&first.guid).body, first.body);
    assert_ne!(first.guid, second.guid);
    assert_ne!(github.ping("me/shop").body, github.ping("me/shop").body);
}

#[test]
fn an_origin_is_cloned_over_http() {
    let origin = GitOrigin::new("me/shop");
    let first = origin.commit("first", &[("app.py", Some("1")), ("docs/a.md", Some("a"))]);
    let second = origin.commit("second", &[("app.py", Some("2")), ("docs/a.md", None)]);
    let dir = tempfile::tempdir().unwrap();
    git(dir.path(), &["clone", "-q", &origin.url(), "clone"]);
    let clone = dir.path().join("clone");
    assert_eq!(git(&clone, &["rev-parse", "HEAD"]), second);
    assert_eq!(git(&clone, &["ls-files"]), "app.py");
    assert_eq!(origin.rewind(&first), first);
    git(&clone, &["fetch", "-q"]);
    assert_eq!(git(&clone, &["rev-parse", "origin/main"]), first);
    assert!(origin.requests() > 2);

    origin.protect("s3cret");
    let refused = |url: &str| {
        let output = Command::new("git").args(["ls-remote", url]).env("GIT_TERMINAL_PROMPT", "0").env("no_proxy", "*").output().unwrap();
        !output.status.success()
    };
    let with = |password: &str| origin.url().replacen("//", &format!("//x-access-token:{password}@"), 1);
    assert!(refused(&origin.url()) && refused(&with("wrong")));
    assert!(!refused(&with("s3cret")));
    origin.set_down(true);
    assert!(refused(&with("s3cret")));
}

#[tokio::test]
async fn children_end_with_their_families() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "sleep 1000 & echo $!; wait"]);
    let child = Child::start("family", dir.path(), &mut command, &[]);
    let said = wait::until("a grandchild", async || child.stdout(), |said| said.ends_with('\n')).await;
    assert_eq!(child.descendants("sleep").len(), 1);
    let stat = format!("/proc/{}/stat", said.trim());
    let lives = async || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(lives().await);
    drop(child);
    wait::until("the grandchild to be gone", lives, |lives| !lives).await;
}

#[test]
fn an_app_is_locked_when_it_is_needed() {
    let dir = tempfile::tempdir().unwrap();
    App::plain("1").locked().write(dir.path());
    assert!(dir.path().join("uv.lock").is_file() && dir.path().join("app.py").is_file());
}
