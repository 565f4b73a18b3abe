//! What right files mean.

use std::path::{Path, PathBuf};
use std::time::Duration;

use doorstep_shared::ids::Action;

use super::super::{Config, Probe, RemotePolicy, Repo, Signal, Sync};
use super::{SHOP, read, shop_and};

const EVERYTHING: &str = r#"
edge = "https://doorstep.example.workers.dev/"

[policy]
remote = ["fetch", "deploy", "restart", "stop", "start", "rebuild", "rollback"]

[project.shop]
repo   = "https://github.com/me/shop"
branch = "release/1"
paths  = ["apps/shop/**"]
dir    = "/srv/shop"
token_file = "shop.token"
env_file = "/etc/shop.env"

[project.shop.policy]
remote = ["deploy", "logs", "deploy"]

[project.shop.python]
sync = "upgrade"

[project.shop.process]
command = ["python", "-m", "uvicorn", "app:app", "--port", "{port}"]
listen  = "127.0.0.1:8000"
stop    = { signal = "INT", grace = "5s" }
env     = { LOG = "info" }

[project.shop.health]
http     = "/health"
good     = 5
interval = "20ms"
within   = "2m"

[project.media]
repo = "git@github.com:me/media"
[project.media.compose]
file     = "compose.yaml"
services = ["web", "jobs"]

[project.broker]
repo = "./broker"
[project.broker.command]
build  = [["make", "build"], ["make", "docs"]]
verify = [["make", "check"]]
reload = ["systemctl", "reload", "broker"]
"#;

fn good(text: &str) -> Config {
    read(text).unwrap()
}

#[test]
fn a_file_with_everything() {
    let config = good(EVERYTHING);
    assert_eq!(
        config.edge.as_deref(),
        Some("https://doorstep.example.workers.dev")
    );
    assert_eq!(config.remote.actions.len(), 7);
    assert_eq!(config.warnings, [""; 0]);
    let shop = &config.projects["shop"];
    assert_eq!(shop.name, "shop");
    assert_eq!(shop.branch, "release/1");
    assert_eq!(shop.paths, ["apps/shop/**"]);
    assert_eq!(shop.dir.as_deref(), Some(Path::new("/srv/shop")));
    assert_eq!(shop.remote.actions, [Action::Deploy]);
    assert!(shop.remote.logs && !config.remote.logs);
    assert!(shop.remote.allows(Action::Deploy) && !shop.remote.allows(Action::Stop));
    assert_eq!(shop.python.as_ref().unwrap().sync, Sync::Upgrade);
    let process = shop.process.as_ref().unwrap();
    assert_eq!(process.command.len(), 6);
    assert_eq!(process.listen.unwrap().to_string(), "127.0.0.1:8000");
    assert_eq!(process.stop.signal, Signal::Int);
    assert_eq!(process.stop.grace, Duration::from_secs(5));
    assert_eq!(process.env["LOG"], "info");
    let health = shop.health.as_ref().unwrap();
    assert_eq!(health.probe, Probe::HttpPath("/health".to_owned()));
    assert_eq!(health.good, 5);
    assert_eq!(health.interval, Duration::from_millis(20));
    assert_eq!(health.within, Duration::from_mins(2));
    let compose = config.projects["media"].compose.as_ref().unwrap();
    assert_eq!(compose.files, [Path::new("compose.yaml")]);
    assert_eq!(compose.services.as_ref().unwrap(), &["web", "jobs"]);
    let command = config.projects["broker"].command.as_ref().unwrap();
    assert_eq!(command.build, [["make", "build"], ["make", "docs"]]);
    assert_eq!(command.verify, [["make", "check"]]);
    assert_eq!(command.reload.as_ref().unwrap().len(), 3);
    assert_eq!(config.projects["broker"].remote, config.remote);
}

#[test]
fn what_is_not_said_has_its_default() {
    let empty = good("");
    assert_eq!((empty.edge, empty.projects.len()), (None, 0));
    assert_eq!(empty.remote, RemotePolicy::default());
    assert_eq!(empty.remote.actions, [Action::Fetch, Action::Deploy]);
    let config = good(&shop_and(
        "[project.shop.python]\n[project.shop.process]\ncommand=['x', '{port}']\n[project.shop.health]\nhttp='/'\n[project.shop.command]\n",
    ));
    let shop = &config.projects["shop"];
    assert_eq!(shop.branch, "main");
    assert_eq!(shop.python.as_ref().unwrap().sync, Sync::Locked);
    let process = shop.process.as_ref().unwrap();
    assert_eq!(process.stop.signal, Signal::Term);
    assert_eq!(process.stop.grace, Duration::from_secs(30));
    let health = shop.health.as_ref().unwrap();
    assert_eq!(health.good, 3);
    assert_eq!(health.interval, Duration::from_millis(3));
    assert_eq!(health.within, Duration::from_mins(1));
    assert_eq!(shop.command.as_ref().unwrap().build.len(), 0);
    assert_eq!(shop.dir, None);
    assert_eq!(shop.compose, None);
}

#[test]
fn origins_are_asked_every_ten_minutes_or_as_somebody_says() {
    assert_eq!(good("").reconcile, Some(Duration::from_mins(10)));
    assert_eq!(good("reconcile = '30s'").reconcile, Some(Duration::from_secs(30)));
    assert_eq!(good("reconcile = 'off'").reconcile, None);
    for wrong in ["'0s'", "'500ms'", "'25h'", "'never'", "''"] {
        let told = read(&format!("reconcile = {wrong}")).expect_err(wrong);
        assert!(told[0].contains("reconcile"), "{told:?}");
    }
}

#[test]
fn texts_that_are_right() {
    for lines in [
        "",
        "branch = 'feature/ünï'",
        "process = { command = ['x'], listen = '[::1]:80' }",
        "process.command = ['x']\nprocess.listen = 'localhost:80'",
        "process.command = ['x']\nhealth.tcp = 'db.lan:5432'",
        "process.command = ['x', '{port}']\nhealth.tcp = '127.0.0.1:{port}'",
        "process.command = ['x', \"two\\nlines\"]",
        "health.command = ['true']",
        "health.http = 'https://shop.example/health'",
        "compose = {}",
        "compose.services = ['web']\nhealth.http = 'http://127.0.0.1:8080/'",
        "compose = { files = ['a.yaml', 'b.yaml'], profiles = ['prod'], name = 'a_b', adopt = 'yes', rebuild = 'all' }",
        "compose = { serves = 'web:8000', listen = '127.0.0.1:80', binds = ['/srv/media'], allow = ['web:privileged'] }\nhealth.http = '/'",
        "policy.remote = []",
        "health = { command = ['true'], good = 1000, interval = '1ms', within = '1h' }",
        "process = { command = ['x'], stop = { grace = '0s' } }",
        "process.command = ['x']\nhealth.soak = '30s'",
        "process.command = ['x']\nhealth.grace = '3s'",
        "health = { http = 'http://127.0.0.1:80/', status = 204, body = 'ok', headers = { Host = 'shop.example' }, timeout = '1s' }",
        "process.command = ['x']\nprocesses.jobs = { command = ['y'], stop = { signal = 'INT', grace = '5m' } }\nprocesses.clock.command = ['z']",
        "data = ['media/', 'var/shop.sqlite3', 'mediator']",
        "hooks = { before_switch = [['python', 'manage.py', 'migrate']], after_switch = [['true'], ['false']], within = '10m' }",
        "# a comment\r\n\r\n\tbranch\t=\t'main'\r\n",
        "process.command = [\n  'x', # why\n  'y',\n]",
    ] {
        let text = shop_and(lines);
        assert!(read(&text).is_ok(), "{lines}: {:?}", read(&text));
    }
    let quoted = good("[project.\"my.app\"]\nrepo = '/x'");
    assert!(quoted.projects.contains_key("my.app"));
    let marked = good(&format!("\u{feff}{SHOP}"));
    assert_eq!(marked.projects.len(), 1);
    let crlf = good(&EVERYTHING.replace('\n', "\r\n"));
    assert_eq!(crlf, good(EVERYTHING));
}

#[test]
fn what_is_expected_of_a_release_is_read_whole() {
    let config = good(&shop_and(
        "process.command = ['x', '{port}']\nhealth = { http = '/', status = 204, body = 'ok', headers = { Host = 'h' }, timeout = '2s', grace = '1s', soak = '30s' }\nhooks = { before_switch = [['a', 'b']], after_switch = [['c']] }",
    ));
    let shop = &config.projects["shop"];
    let health = shop.health.as_ref().unwrap();
    assert_eq!((health.expected.status, health.expected.body.as_deref()), (Some(204), Some("ok")));
    assert_eq!(health.expected.headers["Host"], "h");
    assert_eq!((health.timeout, health.grace, health.soak), (Duration::from_secs(2), Some(Duration::from_secs(1)), Duration::from_secs(30)));
    assert_eq!(shop.hooks.before_switch, [["a", "b"]]);
    assert_eq!((&shop.hooks.after_switch, shop.hooks.within), (&vec![vec!["c".to_owned()]], Duration::from_mins(5)));
    let silent = good(&shop_and("process.command = ['x']\nhealth.soak = '1s'"));
    assert_eq!(silent.projects["shop"].health.as_ref().unwrap().probe, Probe::Stays);
    // Containers have states and checks of their own.
    let containers = good(&shop_and("compose = {}\nhealth.within = '1m'"));
    let health = containers.projects["shop"].health.clone().unwrap();
    assert_eq!((health.probe, health.within), (Probe::Stays, Duration::from_mins(1)));
}

#[test]
fn what_cannot_be_expected_is_told() {
    for (lines, wanted) in [
        ("process.command = ['x']\nhealth = {}", "needs one of `http`, `tcp`, `command`, or for an app that answers nothing a `grace` or a `soak`"),
        ("health = { tcp = 'a:1', status = 200 }", "`status`, `body` and `headers` go with `http`"),
        ("health = { http = 'http://a/', status = 99 }", "`status` is a whole number from 100 to 599"),
        ("health = { http = 'http://a/', body = '' }", "every answer holds an empty text"),
        ("health = { http = 'http://a/', headers = { 'a b' = 'x' } }", "`a b` is no name of a header"),
        ("health = { http = 'http://a/', headers = { Authorization = 'x' } }", "looks like a secret"),
        ("hooks.before_switch = ['python manage.py migrate']", "expected a list"),
        ("hooks.after_switch = [[]]", "`after_switch` is an empty list"),
        ("processes.jobs.command = ['x']", "[project.shop.processes] is what runs beside the main process, and there is no [project.shop.process]"),
        ("process.command = ['x']\nprocesses.jobs = {}", "needs `command`, the program to run"),
        ("process.command = ['x']\nprocesses.jobs.command = ['y', '{port}']", "only the main process is given a port"),
        ("process.command = ['x']\nprocesses.Jobs.command = ['y']", "Jobs is no name"),
        ("process.command = ['x']\nprocesses.jobs = { command = ['y'], listen = ':80' }", "unknown key `listen`"),
        ("data = ['/etc']", "a path inside the repository is needed"),
        ("data = ['../x']", "a path holds no `..`"),
        ("data = ['.git/config']", "git's own folder is no data"),
        ("data = ['media/', 'media/photos']", "`data`: media/ holds media/photos already"),
        ("hooks.within = '2h'", "`within`: the duration is from 1ms to 1h"),
        ("hooks.before_start = [['x']]", "unknown key `before_start`"),
    ] {
        let told = read(&shop_and(lines)).expect_err(lines);
        assert!(told.len() == 1 && told[0].contains(wanted), "{lines}: {told:?}");
    }
}

#[test]
fn relative_paths_are_resolved_when_asked() {
    let mut config = good(EVERYTHING);
    config.resolve_paths(Path::new("/etc/doorstep"));
    let path = |p: &str| Some(PathBuf::from(p));
    assert_eq!(
        config.projects["broker"].repo,
        Repo::Path(PathBuf::from("/etc/doorstep/./broker"))
    );
    let shop = &config.projects["shop"];
    assert_eq!(shop.token_file, path("/etc/doorstep/shop.token"));
    assert_eq!(shop.env_file, path("/etc/shop.env"));
    assert_eq!(shop.repo.to_string(), "https://github.com/me/shop");
}

#[test]
fn a_token_file_without_use_is_a_warning() {
    let config = good(&shop_and("token_file = '/x'"));
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("the project shop"));
}

#[test]
fn where_people_reach_a_project_may_be_said() {
    let of = |line: &str| read(&format!("{SHOP}{line}"));
    assert_eq!(of("url = \"https://shop.example\"").unwrap().projects["shop"].url.as_deref(), Some("https://shop.example"));
    assert_eq!(of("").unwrap().projects["shop"].url, None);
    let faults = of("url = \"shop.example\"").unwrap_err();
    assert!(faults[0].contains("https://"), "{faults:?}");
}
