//! A unit of systemd runs the app: a real manager, a real unit, and a release
//! that takes its place or does not.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use doorstep_tests::{App, Shop, Systemd, Terms, told::end, told::log, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const FILE: &str = "[Service]
WorkingDirectory=@DIR@/shop/current
ExecStart=@PYTHON@ app.py @PORT@
Restart=always
RestartSec=100ms
";

fn terms(systemd: &Systemd) -> Terms {
    Terms {
        unit: Some(systemd.unit()),
        health: "http = \"http://{address}/health\"\nwithin = \"2s\"".into(),
        environment: vec![("XDG_RUNTIME_DIR", systemd.runtime_dir())],
        ..Terms::of(&App::bare("1"))
    }
}

/// A shop that a unit runs. The manager is named last, so that it goes first:
/// it would start what the shop ends.
async fn open() -> Option<(Shop, String, Systemd)> {
    let systemd = Systemd::start().await?;
    let mut shop = Shop::found(terms(&systemd)).await;
    let python = doorstep_tests::Tools::python();
    let file = FILE.replace("@DIR@", shop.host.apps().to_str()?).replace("@PYTHON@", python.to_str()?);
    let file = file.replace("@PORT@", &shop.address().port().to_string());
    systemd.write(&systemd.unit(), Some(&file));
    shop.host.run_online(&shop.edge).await;
    let run = shop.push_and_see(&App::bare("1")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("1").await;
    Some((shop, file, systemd))
}

fn pid(status: &Value) -> u64 {
    status["process"]["pid"].as_u64().unwrap()
}

#[tokio::test]
async fn a_unit_runs_each_release_and_the_old_one_again_after_a_bad_one() {
    let Some((mut shop, _, systemd)) = open().await else { return };
    let unit = systemd.unit();
    let run = shop.push_and_see(&App::bare("2")).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
    let good = shop.status().await;
    assert_eq!(pid(&good), systemd.main_pid(&unit));

    let run = shop.push_and_see(&App::crashing("3")).await;
    // Whether it was seen to start depends on who was quicker.
    assert_eq!(end(&run)[..2], ["rolled_back", "health"]);
    assert!(run["run"]["failure"]["message"].as_str().unwrap().contains("exited with 1"), "{run:#}");
    shop.serves("2").await;
    assert_eq!(shop.status().await["live"], good["live"]);

    let run = shop.push_and_see(&App::bare("4").made_sick()).await;
    assert_eq!(end(&run), ["rolled_back", "health", "check"]);
    assert!(log(&run).contains("500"), "{}", log(&run));
    shop.serves("2").await;
    let ended = shop.host.verb(&["rollback", "shop"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    shop.serves("1").await;
}

#[tokio::test]
async fn what_its_manager_does_is_followed_and_it_outlives_the_daemon() {
    let Some((mut shop, _, systemd)) = open().await else { return };
    let unit = systemd.unit();
    let first = systemd.main_pid(&unit);
    kill_process(Pid::from_raw(i32::try_from(first).unwrap()).unwrap(), Signal::KILL).unwrap();
    let again = shop.status_when("the next main process", |shop| shop["process"]["pid"].as_u64().is_some_and(|pid| pid != first)).await;
    assert_eq!((again["restarts"].as_u64(), pid(&again)), (Some(1), systemd.main_pid(&unit)));

    shop.host.stop().await;
    assert_eq!(systemd.main_pid(&unit), pid(&again), "the daemon's end is not the unit's");
    // While no daemon runs, a person restarts it.
    systemd.systemctl(&["restart", &unit]);
    let restarted = systemd.main_pid(&unit);
    shop.host.run_online(&shop.edge).await;
    assert_eq!((pid(&shop.status().await), systemd.main_pid(&unit)), (restarted, restarted), "it is found and left alone");

    let ended = shop.host.verb(&["stop", "shop"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(systemd.main_pid(&unit), 0);
    assert_eq!(shop.status().await["state"], "stopped");
    let ended = shop.host.verb(&["start", "shop"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    shop.serves("1").await;
    let running = pid(&shop.status().await);
    let ended = shop.host.verb(&["restart", "shop"]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_ne!(pid(&shop.status().await), running);
}

#[tokio::test]
async fn a_unit_that_gives_up_shows_and_one_that_is_unknown_is_named() {
    let Some((mut shop, file, systemd)) = open().await else { return };
    let unit = systemd.unit();
    systemd.systemctl(&["stop", &unit]);
    shop.status_when("it shows that nothing runs", |shop| shop["state"] == "failing").await;
    systemd.systemctl(&["start", &unit]);
    shop.status_when("it shows that it runs again", |shop| !shop["process"].is_null()).await;
    shop.serves("1").await;

    systemd.write(&unit, None);
    let run = shop.push_and_see(&App::bare("2")).await;
    let why = run["run"]["failure"]["message"].as_str().unwrap().to_owned();
    assert!(why.contains("is not known to systemd") && why.contains(&unit), "{why}");
    assert!(why.contains("the old release does not start again"), "{why}");
    // The host's owner puts it right, and need not tell anybody: the old one is
    // started again, unless the second try of the push comes first.
    systemd.write(&unit, Some(&file));
    let _ = wait::until("a release to serve again", async || shop.version().await, Option::is_some).await;
}

/// One that takes its socket from its manager, answers what it has accepted,
/// and ends between two requests.
const SOCKET_APP: &str = r#"import os, signal, socket, sys

VERSION = "@VERSION@"
assert os.environ["LISTEN_FDS"] == "1" and os.environ["LISTEN_PID"] == str(os.getpid())
is_over = []
signal.signal(signal.SIGTERM, lambda *_: is_over.append(1))
server = socket.socket(fileno=3)
server.settimeout(0.02)
while not is_over:
    try:
        client, _ = server.accept()
    except TimeoutError:
        continue
    client.settimeout(5)
    client.recv(4096)
    body = b'{"version": "%s"}' % VERSION.encode()
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    client.close()
"#;

#[tokio::test]
async fn with_a_socket_of_its_managers_connections_wait_for_the_next_release() {
    let Some(systemd) = Systemd::start().await else { return };
    let app = |version: &str| App::bare(version).file("app.py", &SOCKET_APP.replace("@VERSION@", version));
    let mut shop = Shop::found(terms(&systemd)).await;
    // The manager goes first.
    let (unit, systemd) = (systemd.unit(), systemd);
    let python = doorstep_tests::Tools::python();
    let file = FILE.replace("@DIR@", shop.host.apps().to_str().unwrap()).replace("@PYTHON@", python.to_str().unwrap()).replace("@PORT@", "");
    let socket = unit.replace(".service", ".socket");
    systemd.write(&unit, Some(&file));
    systemd.write(&socket, Some(&format!("[Socket]\nListenStream={}\n", shop.address())));
    shop.host.run_online(&shop.edge).await;
    systemd.systemctl(&["start", &socket]);
    let first = shop.push_and_see(&app("1")).await;
    assert_eq!(first["run"]["state"], "succeeded", "{first:#}");
    let prober = shop.probe();
    for version in ["2", "3"] {
        let run = shop.push_and_see(&app(version)).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        shop.serves(version).await;
    }
    let seen = prober.stop().await;
    assert_eq!((seen.failed.as_slice(), seen.versions.as_slice()), (&[] as &[String], ["1", "2", "3"].map(str::to_owned).as_slice()));
    systemd.systemctl(&["stop", &socket]);
}
