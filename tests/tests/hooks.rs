//! What the host's file has run around the switch, and what is watched after
//! it: a failure at any of them ends with the old release serving.

use doorstep_tests::told::{end, log, message, step_names};
use doorstep_tests::{App, Shop, Terms};
use serde_json::json;

/// Terms with these lines of `[project.shop.hooks]`, and the health's soak.
fn terms(hooks: &str, soak: &str) -> Terms {
    let terms = Terms::of(&App::quick(""));
    Terms { health: format!("{}\nsoak = \"{soak}\"\n[project.shop.hooks]\n{hooks}", terms.health), ..terms }
}

#[tokio::test]
async fn hooks_run_before_and_after_the_switch_in_the_new_release() {
    let hooks = r#"before_switch = [["sh", "-c", "echo before $DOORSTEP_COMMIT in $PWD; ! grep -q 'ISNOTNEW' app.py"]]
after_switch = [["sh", "-c", "echo after"], ["sh", "-c", "echo and then"]]"#;
    let mut shop = Shop::open_on(terms(hooks, "0s"), &App::quick("1")).await;
    let pushed = shop.push(&App::quick("2")).await;
    shop.serves("2").await;
    let run = shop.ended(&pushed).await;
    assert_eq!(step_names(&run), ["fetch", "verify", "build", "before_switch", "start", "check", "switch", "after_switch", "stop"]);
    let log = log(&run);
    assert!(log.contains(&format!("before {} in ", pushed.commit)) && log.contains("/shop/releases/"), "{log}");
    let at = |line: &str| log.lines().position(|seen| seen == line);
    assert!(at("after").is_some() && at("after") < at("and then"), "{log}");
}

#[tokio::test]
async fn a_migration_that_fails_leaves_the_old_release_untouched() {
    let hooks = r#"before_switch = [["sh", "-c", "if grep -q BADMIGRATION app.py; then echo 'no such column: price'; exit 3; fi"]]"#;
    let mut shop = Shop::open_on(terms(hooks, "0s"), &App::quick("1")).await;
    let pid = shop.status().await["process"]["pid"].clone();
    let pushed = shop.push(&App::quick("2").beginning("# BADMIGRATION")).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["failed", "build", "before_switch"]);
    assert!(message(&run).contains("exited with 3") && message(&run).contains("no such column: price"), "{}", message(&run));
    assert!(!step_names(&run).contains(&"start"), "{run:#}");
    assert_eq!((shop.version().await.as_deref(), &shop.status().await["process"]["pid"]), (Some("1"), &pid));
}

#[tokio::test]
async fn a_hook_that_hangs_is_ended_with_all_it_started() {
    let hooks = "before_switch = [[\"sh\", \"-c\", \"if grep -q HANGS app.py; then sleep 3456 & sleep 3456; fi\"]]\nwithin = \"500ms\"";
    let mut shop = Shop::open_on(terms(hooks, "0s"), &App::quick("1")).await;
    let pushed = shop.push(&App::quick("2").beginning("# HANGS")).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["failed", "build", "before_switch"]);
    assert!(message(&run).contains("did not end within 500ms"), "{}", message(&run));
    assert_eq!(doorstep_tests::machine::processes_marked("DOORSTEP_PROJECT=shop", shop.host.dir()).len(), 1);
    assert_eq!(shop.version().await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_failure_after_the_switch_puts_the_old_release_back_at_once() {
    let hooks = r#"after_switch = [["sh", "-c", "! grep -q SOUR app.py"]]"#;
    let mut shop = Shop::open_on(terms(hooks, "0s"), &App::quick("1")).await;
    let before = shop.status().await;
    let prober = shop.probe();
    let pushed = shop.push(&App::quick("2").beginning("# SOUR")).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["rolled_back", "health", "after_switch"]);
    let seen = prober.stop().await;
    assert!(seen.good > 0 && seen.failed.is_empty(), "{seen:?}");
    let after = shop.status().await;
    assert_eq!(after["process"]["pid"], before["process"]["pid"], "the old process was kept");
    assert_eq!((&after["live"]["commit"], &after["state"]), (&before["live"]["commit"], &json!("running")));
    assert_eq!(shop.version().await.as_deref(), Some("1"));
    // The next good one comes as ever.
    shop.push_and_see(&App::quick("3")).await;
    shop.serves("3").await;
}

#[tokio::test]
async fn an_app_that_dies_while_it_soaks_is_rolled_back() {
    let mut shop = Shop::open_on(terms("", "20s"), &App::quick("1")).await;
    let dies = App::quick("2").beginning("import threading; threading.Timer(1.5, lambda: __import__('os')._exit(7)).start()");
    let pushed = shop.push(&dies).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["rolled_back", "health", "soak"]);
    assert!(message(&run).contains("exited with 7 soon after the switch"), "{}", message(&run));
    shop.serves("1").await;
    assert_eq!(shop.status().await["state"], "running");
}

#[tokio::test]
async fn in_place_too_the_old_release_comes_back_after_a_bad_hook() {
    let plain = terms(r#"after_switch = [["sh", "-c", "! grep -q SOUR app.py"]]"#, "0s");
    let terms = Terms { command: plain.command.replace("{port}", "{number}"), is_proxied: false, health: plain.health.replace("\"/health\"", "\"http://{address}/health\""), ..plain };
    let mut shop = Shop::open_on(terms, &App::quick("1")).await;
    let pushed = shop.push(&App::quick("2").beginning("# SOUR")).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["rolled_back", "health", "after_switch"]);
    shop.serves("1").await;
}

#[tokio::test]
async fn what_an_app_writes_where_it_may_outlives_its_release() {
    let writes = "import pathlib\npathlib.Path('media/seen').open('a').write(VERSION)\npathlib.Path('db').open('a').write(VERSION)";
    let terms = Terms { project: "data = [\"media/\", \"db\"]".into(), ..Terms::of(&App::quick("")) };
    let mut shop = Shop::open_on(terms, &App::quick("1").beginning(writes)).await;
    for version in ["2", "3"] {
        // What the commit has there gives way.
        let app = App::quick(version).beginning(writes).file("media/seen", "of the commit").file("db", "of the commit");
        let run = shop.push_and_see(&app).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    }
    let data = shop.host.apps().join("shop/data");
    let seen = ["media/seen", "db"].map(|path| std::fs::read_to_string(data.join(path)).unwrap());
    assert_eq!(seen, ["123", "123"]);
}
