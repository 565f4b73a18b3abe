//! Push to deploy, with everything real: edge, executor, git over HTTP, uv.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::os::unix::fs::symlink;

use doorstep_tests::told::{end, log, message};
use doorstep_tests::{App, Raw, Shop, Terms, machine, wait};
use serde_json::{Value, json};

/// `name state` of every step of a run.
fn steps(run: &Value) -> Vec<String> {
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    run["steps"].as_array().unwrap().iter().map(|step| format!("{} {}", word(&step["name"]), word(&step["state"]))).collect()
}

#[tokio::test]
async fn a_push_is_live_and_its_run_is_on_record() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let followed = shop.host.begin(&["logs", "shop", "-f"]);
    wait::until("the first lines", async || followed.stdout(), |said| said.contains("version 1 listens")).await;
    let pushed = shop.push(&App::bare("2")).await;
    shop.serves("2").await;
    wait::until("those of the next release", async || followed.stdout(), |said| said.matches("version 2 listens").count() == 1).await;
    let run = shop.ended(&pushed).await;
    let row = &run["run"];
    assert_eq!((&row["state"], &row["cause"], &row["commit"]), (&json!("succeeded"), &json!("push"), &json!(pushed.commit)));
    assert!(row["ended"].as_u64() >= row["started"].as_u64(), "{row:#}");
    let names = ["fetch", "verify", "build", "start", "check", "switch", "stop"];
    assert_eq!(steps(&run), names.map(|name| format!("{name} succeeded")));
    assert!(run["steps"].as_array().unwrap().iter().all(|step| step["duration_ms"].is_u64()), "{run:#}");
    assert!(log(&run).contains("~ app.py"), "{run:#}");
    let project = shop.edge.get("/api/projects").await["projects"][0].clone();
    assert_eq!((&project["live"]["commit"], &project["state"]), (&json!(pushed.commit), &json!("running")));
    assert_eq!(project["address"], format!("http://{}", shop.address()));
    assert!(shop.host.logs("shop").await.contains("version 2 listens"));
    shop.is_idle().await;
}

#[tokio::test]
async fn nobody_who_uses_the_app_notices_a_deploy_good_or_bad() {
    let terms = Terms::of(&App::bare("1")).within("1s");
    let mut shop = Shop::open_on(terms, &App::bare("1")).await;
    let old = shop.status().await["live"].clone();
    let prober = shop.probe();
    let pushed = shop.push(&App::bare("2").made_sick()).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["rolled_back", "health", "check"]);
    assert_eq!(run["run"]["commit"], pushed.commit);
    assert!(message(&run).contains("answered 500") && message(&run).contains("\n2 GET /health"), "the app's own last lines: {}", message(&run));
    assert_eq!(steps(&run).last().unwrap(), "roll back succeeded");
    assert_eq!(shop.status().await["live"], old);
    let run = shop.push_and_see(&App::bare("3")).await;
    assert_eq!(run["run"]["state"], "succeeded");
    shop.serves("3").await;
    let probed = prober.stop().await;
    assert!(probed.failed.is_empty() && probed.good > 20, "{probed:#?}");
    assert_eq!(probed.versions, ["1", "3"], "no request met the sick one, and none went back");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_by_the_release_that_took_it() {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let slow = format!(
        "import os, time\nanswer = Handler.do_GET\ndef do_GET(self):\n    while self.path == '/slow' and not os.path.exists({open:?}):\n        time.sleep(0.005)\n    self.path = self.path.replace('slow', '')\n    answer(self)\nHandler.do_GET = do_GET"
    );
    let mut shop = Shop::open(&App::bare("1").beginning(&slow)).await;
    let address = shop.address();
    let request = tokio::spawn(async move { Raw::new("GET", "/slow").send(address).await });
    let routes = async || shop.host.ask_proxy(&json!({"list": {}})).await;
    wait::until("the slow request to begin", routes, |routes| routes.as_ref().is_some_and(|list| list["routes"]["routes"][0]["in_flight"] == 1)).await;
    let pushed = shop.push(&App::bare("2")).await;
    shop.serves("2").await;
    let last_step = async || -> Option<String> {
        let runs = shop.runs().await;
        let run = runs.iter().find(|run| run["job"] == pushed.job)?;
        steps(&shop.run(&run["id"]).await).pop()
    };
    wait::until("the old one's turn to end", last_step, |step| step.as_deref() == Some("stop started")).await;
    std::fs::write(&open, "").unwrap();
    let answer = request.await.unwrap().unwrap();
    assert_eq!((answer.status, &answer.json()["version"]), (200, &json!("1")));
    assert_eq!(shop.ended(&pushed).await["run"]["state"], "succeeded");
}

#[tokio::test]
async fn an_app_that_cannot_start_leaves_the_old_one_alone() {
    let mut shop = Shop::open_on(Terms::of(&App::bare("1")).within("1s"), &App::bare("1")).await;
    let pid = shop.status().await["process"]["pid"].clone();
    let prober = shop.probe();
    let run = shop.push_and_see(&App::crashing("2").without("pyproject.toml")).await;
    assert_eq!(end(&run), ["rolled_back", "health", "check"]);
    assert!(message(&run).contains("exited with 1") && message(&run).contains("version 2 cannot start"), "{}", message(&run));
    let run = shop.push_and_see(&App::bare("3").beginning("import time\ntime.sleep(1000)")).await;
    assert_eq!(end(&run), ["rolled_back", "health", "check"]);
    assert!(message(&run).contains("refused"), "{}", message(&run));
    let marker = "DOORSTEP_PROJECT=shop";
    assert_eq!(machine::processes_marked(marker, shop.host.dir()).len(), 1, "what did not start well is gone");
    let probed = prober.stop().await;
    assert_eq!((probed.failed.as_slice(), probed.versions.as_slice()), (&[][..], &["1".to_owned()][..]));
    assert_eq!(shop.status().await["process"]["pid"], pid);

    let terms = Terms { command: r#"["./serve", "{port}"]"#.into(), ..Terms::of(&App::bare("1")) };
    shop.change_terms(&terms).await;
    let run = shop.push_and_see(&App::bare("4")).await;
    assert_eq!(end(&run)[1..], ["source", "start"]);
    assert!(message(&run).contains("./serve"), "{}", message(&run));
    let run = shop.push_and_see(&App::bare("5").file("serve", "not executable")).await;
    assert_eq!(end(&run)[1..], ["source", "start"]);
    assert!(message(&run).contains("Permission denied"), "{}", message(&run));
    assert_eq!((shop.version().await.as_deref(), &shop.status().await["process"]["pid"]), (Some("1"), &pid));
    shop.is_idle().await;
}

#[tokio::test]
async fn what_uv_cannot_build_is_told_in_its_own_words() {
    let first = App::plain("1").locked();
    let mut shop = Shop::open_on(Terms::of(&first).with_uv(), &first).await;
    let pyproject = |dependency: &str| format!("[project]\nname = \"shop\"\nversion = \"0.1.0\"\nrequires-python = \">=3.11\"\ndependencies = [\"{dependency}\"]\n");
    let broken = first.clone().file("pyproject.toml", "[project\n");
    let unknown = App::plain("2").file("pyproject.toml", &pyproject("doorstep-no-such-package-7f3a"));
    let stale = first.clone().file("pyproject.toml", &pyproject("idna"));
    for (app, words) in [(broken, "TOML parse error"), (unknown, "doorstep-no-such-package-7f3a was not found"), (stale, "needs to be updated")] {
        let run = shop.push_and_see(&app).await;
        assert_eq!(end(&run), ["failed", "source", "sync"], "{run:#}");
        assert!(message(&run).contains(words), "{words}: {}", message(&run));
        assert!(log(&run).contains(words) && log(&run).contains("$ uv sync"), "{}", log(&run));
        assert_eq!(shop.version().await.as_deref(), Some("1"));
    }
    shop.is_idle().await;
}

#[tokio::test]
async fn a_fastapi_app_is_built_once_for_each_slot_and_rebuilt_when_its_lock_changes() {
    let app = App::fastapi("0").locked();
    let lock_stays = |version: &str| app.clone().file("app.py", App::fastapi(version).source());
    let mut shop = Shop::open_on(Terms::of(&app).with_uv(), &app).await;
    shop.serves("0").await;
    let mut fits = 0;
    // There are five slots; the sixth release is in the first one's again.
    for version in ["1", "2", "3", "4", "5"] {
        let run = shop.push_and_see(&lock_stays(version)).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop.serves(version).await;
        let sync = run["steps"].as_array().unwrap().iter().find(|step| step["name"] == "sync").unwrap().clone();
        fits += usize::from(sync["detail"] == "the environment fits already");
    }
    assert_eq!(fits, 1);
    let more = App::fastapi("6").beginning("import itsdangerous").depending(r#""fastapi", "uvicorn", "itsdangerous""#).locked();
    let run = shop.push_and_see(&more).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert!(log(&run).contains("+ itsdangerous"), "{}", log(&run));
    shop.serves("6").await;
}

#[tokio::test]
async fn dependencies_are_also_taken_from_where_no_lock_is() {
    let wants = "import idna";
    let listed = App::bare("1").beginning(wants).file("requirements.txt", "idna>=3\n");
    let mut shop = Shop::open_on(Terms::of(&listed).with_uv(), &listed).await;
    shop.serves("1").await;
    let unlocked = App::plain("2").beginning(wants).depending(r#""idna""#);
    let run = shop.push_and_see(&unlocked).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    assert!(log(&run).contains("there is no uv.lock"), "{}", log(&run));
    shop.serves("2").await;
}

#[tokio::test]
async fn an_app_with_a_fixed_port_is_replaced_in_its_place_and_put_back() {
    let terms = Terms {
        command: r#"["python", "app.py", "{number}"]"#.into(),
        is_proxied: false,
        health: "http = \"http://{address}/health\"\nwithin = \"1s\"".into(),
        ..Terms::of(&App::bare("1"))
    };
    let mut shop = Shop::open_on(terms, &App::bare("1")).await;
    let run = shop.push_and_see(&App::bare("2")).await;
    let names = ["fetch", "verify", "build", "stop", "start", "check", "switch"];
    assert_eq!(steps(&run), names.map(|name| format!("{name} succeeded")));
    assert_eq!(shop.version().await.as_deref(), Some("2"));
    let before = shop.status().await;
    let run = shop.push_and_see(&App::bare("3").made_sick()).await;
    assert_eq!(end(&run), ["rolled_back", "health", "check"]);
    shop.serves("2").await;
    let after = shop.status().await;
    assert_eq!(after["live"], before["live"]);
    assert_ne!(after["process"]["pid"], before["process"]["pid"], "the old release was started again");
    assert_eq!(machine::processes_marked("DOORSTEP_PROJECT=shop", shop.host.dir()).len(), 1);
}

#[tokio::test]
async fn a_token_opens_a_private_origin_and_is_seen_nowhere() {
    const TOKEN: &str = "ghp_r1ghtT0kenOfThisStory";
    let mut terms = Terms::of(&App::bare("1"));
    terms.environment.push(("DOORSTEP_PROJECT_SHOP_TOKEN", TOKEN.into()));
    terms.environment.push(("DOORSTEP_LOG", "debug".into()));
    let mut shop = Shop::found(terms).await;
    shop.origin.protect(TOKEN);
    shop.host.run_online(&shop.edge).await;
    // An app that says all it knows, and then fails.
    let run = shop.push_and_see(&App::bare("1").beginning("import os, sys\nsys.exit(str(dict(os.environ)))")).await;
    assert_eq!(end(&run)[2], "check");
    let args: String = machine::processes_of(shop.host.dir()).into_iter().map(machine::command_line).collect();
    shop.push_and_see(&App::bare("2")).await;
    shop.serves("2").await;
    shop.origin.protect("another-token-of-today");
    let run = shop.push_and_see(&App::bare("3")).await;
    assert_eq!(end(&run), ["failed", "source", "fetch"]);
    assert!(message(&run).contains("is the token right"), "{}", message(&run));
    let cookie = shop.edge.session().await;
    let id = run["run"]["id"].as_str().unwrap();
    let mut seen = vec![args, shop.host.words(), shop.host.status().await.to_string(), shop.host.logs("shop").await];
    for path in ["/", "/projects/attic/shop", &format!("/runs/{id}"), "/api/runs"] {
        seen.push(shop.edge.request("GET", path, &[("cookie", &cookie)], "").await.text());
    }
    for run in shop.runs().await {
        seen.push(shop.run(&run["id"]).await.to_string());
    }
    assert!(seen.iter().all(|text| !text.contains(TOKEN)), "the token was seen: {seen:#?}");
    assert_eq!(files_with(&shop.host.dir().join("state"), TOKEN), Vec::<String>::new());
    assert_eq!(files_with(&shop.host.apps(), TOKEN), Vec::<String>::new());
}

/// Files below a folder that hold this text.
fn files_with(dir: &std::path::Path, text: &str) -> Vec<String> {
    let output = std::process::Command::new("grep").args(["-rlaF", text]).arg(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn an_origin_is_waited_for_followed_back_and_missed() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let first = shop.runs().await[0]["commit"].as_str().unwrap().to_owned();
    shop.origin.set_down(true);
    let pushed = shop.push(&App::bare("2")).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["failed", "network", "fetch"]);
    shop.origin.set_down(false);
    shop.serves("2").await;
    shop.is_idle().await;
    assert_eq!(shop.ended(&pushed).await["run"]["state"], "succeeded", "the job was tried again");

    shop.origin.rewind(&first);
    let pushed = shop.tell(&first).await;
    let run = shop.ended(&pushed).await;
    assert_eq!((&run["run"]["state"], &run["run"]["commit"]), (&json!("succeeded"), &json!(first)));
    assert!(run["steps"][0]["detail"].as_str().unwrap().contains("history was rewritten"), "{run:#}");
    shop.serves("1").await;

    doorstep_tests::git(&shop.origin.path(), &["update-ref", "-d", "refs/heads/main"]);
    let pushed = shop.tell(&"ab".repeat(20)).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(end(&run), ["failed", "source", "fetch"]);
    assert_eq!(shop.version().await.as_deref(), Some("1"));
    shop.is_idle().await;
}

#[tokio::test]
async fn links_that_leave_the_release_are_refused() {
    let mut shop = Shop::open(&App::bare("1")).await;
    for (name, target) in [("passwd", "/etc/passwd"), ("above", "../../../state/identity.json")] {
        symlink(target, shop.origin.work().join(name)).unwrap();
        let commit = shop.origin.commit("a link", &[]);
        let pushed = shop.tell(&commit).await;
        let run = shop.ended(&pushed).await;
        assert_eq!(end(&run), ["failed", "source", "verify"]);
        assert!(message(&run).contains(name), "{}", message(&run));
        std::fs::remove_file(shop.origin.work().join(name)).unwrap();
    }
    symlink("app.py", shop.origin.work().join("inside.py")).unwrap();
    let commit = shop.origin.commit("a good link", &[]);
    let pushed = shop.tell(&commit).await;
    assert_eq!(shop.ended(&pushed).await["run"]["state"], "succeeded");
}

#[tokio::test]
async fn of_pushes_while_one_is_deployed_the_last_one_wins() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let gate = shop.host.dir().join("gate");
    let slow = shop.push(&App::bare("2").waiting_for(&gate)).await;
    shop.status_when("the slow one to be checked", |shop| shop["last_run"]["point"] == "checking").await;
    let middle = shop.push(&App::bare("3")).await;
    let last = shop.push(&App::bare("4")).await;
    let jobs: Vec<_> = shop.edge.jobs().await.iter().map(|job| (job["id"].clone(), job["state"].clone())).collect();
    assert_eq!(jobs, [(slow.job.clone(), json!("leased")), (last.job.clone(), json!("waiting"))], "{middle:?} was superseded");
    std::fs::write(&gate, "").unwrap();
    assert_eq!(shop.ended(&slow).await["run"]["commit"], slow.commit);
    assert_eq!(shop.ended(&last).await["run"]["commit"], last.commit);
    shop.serves("4").await;
    assert!(shop.runs().await.iter().all(|run| run["commit"] != middle.commit));
}

#[tokio::test]
async fn a_host_that_allows_nothing_still_follows_its_branch() {
    let terms = Terms { head: "[policy]\nremote = []\n".into(), ..Terms::of(&App::bare("1")) };
    let mut shop = Shop::open_on(terms, &App::bare("1")).await;
    for action in ["deploy", "restart", "stop"] {
        let answer = shop.edge.api("POST", &format!("/api/projects/attic/shop/{action}")).await;
        assert_eq!((answer.status, answer.error().as_str()), (403, "not_allowed"));
    }
    assert!(shop.edge.jobs().await.is_empty());
    assert_eq!(shop.push_and_see(&App::bare("2")).await["run"]["state"], "succeeded");
}

#[tokio::test]
async fn a_person_on_the_host_deploys_with_or_without_the_edge() {
    let mut shop = Shop::open_on(Terms::of(&App::bare("1")).within("1s"), &App::bare("1")).await;
    App::bare("2").push_to(&shop.origin, "by hand");
    let done = shop.host.deploy("shop").await;
    assert_eq!(done.code, Some(0), "{done:?}");
    for step in ["fetch", "verify", "build", "start", "check", "switch", "succeeded"] {
        assert!(done.stdout.contains(step), "{step}: {done:?}");
    }
    assert_eq!(shop.version().await.as_deref(), Some("2"));
    App::bare("3").made_sick().push_to(&shop.origin, "by hand");
    let done = shop.host.deploy("shop").await;
    assert_eq!(done.code, Some(4), "{done:?}");
    assert!(done.stdout.contains("rolled back") && done.stdout.contains("check failed"), "{done:?}");
    assert_eq!(shop.host.deploy("nothing-of-this-name").await.code, Some(1));

    shop.edge.stop().await;
    let commit = App::bare("4").push_to(&shop.origin, "by hand");
    assert_eq!(shop.host.deploy("shop").await.code, Some(0));
    assert_eq!(shop.version().await.as_deref(), Some("4"));
    shop.edge.restart().await;
    let newest = async || shop.runs().await.first().map(|run| (run["commit"].clone(), run["state"].clone(), run["cause"].clone()));
    let told = Some((json!(commit), json!("succeeded"), json!("manual")));
    wait::until("the edge to be told", newest, |seen| *seen == told).await;
}

#[tokio::test]
async fn a_secret_of_the_env_file_is_the_apps_alone() {
    const SECRET: &str = "hunter22-of-this-story";
    let mut terms = Terms::of(&App::bare("1")).with_uv();
    terms.project = "env_file = \"{dir}/shop.env\"".into();
    let mut shop = Shop::found(terms).await;
    std::fs::write(shop.host.apps().join("shop.env"), format!("DB_PASSWORD={SECRET}\nCOLOUR=teal\n")).unwrap();
    shop.host.run_online(&shop.edge).await;
    let check = format!("import os\nassert os.environ['DB_PASSWORD'] == '{}' + '22-of-this-story'", "hunter");
    let run = shop.push_and_see(&App::bare("1").beginning(&check)).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    let tells = App::bare("2").beginning("import os, sys\nsys.exit('the password is ' + os.environ['DB_PASSWORD'] + ' on ' + os.environ['COLOUR'])");
    let run = shop.push_and_see(&tells).await;
    assert!(message(&run).contains("the password is [secret] on teal"), "{}", message(&run));
    assert!(!run.to_string().contains(SECRET), "{run:#}");
    let run = shop.push_and_see(&App::plain("3").depending(&format!("\"{SECRET}\""))).await;
    assert_eq!(end(&run), ["failed", "source", "sync"]);
    assert!(message(&run).contains("[secret] was not found"), "{}", message(&run));
    assert!(!run.to_string().contains(SECRET), "{run:#}");
    assert!(!shop.host.words().contains(SECRET));
    // Run logs on the host are for its owner, and clean all the same.
    let run_logs = files_with(&shop.host.state().join("logs").join("shop"), SECRET);
    assert!(run_logs.iter().all(|path| !path.contains("/run-")), "{run_logs:?}");
}
