//! The environment over the file.

use std::path::Path;
use std::time::Duration;

use doorstep_shared::ids::Action;

use super::super::{Probe, Signal};
use super::{SHOP, shop_and, with_env};

#[test]
fn variables_win_over_the_file() {
    let text = shop_and(
        "branch = 'main'\n[project.shop.process]\ncommand = ['x']\nstop.signal = 'INT'\nenv = { LOG = 'info' }\n[project.shop.health]\ntcp = 'x:1'\n",
    );
    let config = with_env(
        &text,
        &[
            ("DOORSTEP_EDGE", "https://d.example/"),
            ("DOORSTEP_POLICY_REMOTE", "[\"stop\"]"),
            ("DOORSTEP_PROJECT_SHOP_BRANCH", "next"),
            ("DOORSTEP_PROJECT_SHOP_DIR", "/srv/x"),
            ("DOORSTEP_PROJECT_SHOP_PATHS", "[\"a/**\", \"b\"]"),
            ("DOORSTEP_PROJECT_SHOP_PROCESS_COMMAND", "[\"y\", \"z\"]"),
            ("DOORSTEP_PROJECT_SHOP_PROCESS_LISTEN", "127.0.0.1:81"),
            ("DOORSTEP_PROJECT_SHOP_PROCESS_STOP_SIGNAL", "HUP"),
            ("DOORSTEP_PROJECT_SHOP_PROCESS_ENV_LOG", "debug"),
            ("DOORSTEP_PROJECT_SHOP_HEALTH_WITHIN", "2m"),
            ("DOORSTEP_PROJECT_SHOP_HEALTH_GOOD", "7"),
            ("DOORSTEP_PROJECT_SHOP_COMMAND_BUILD", "[[\"make\"]]"),
            ("DOORSTEP_STATE_DIR", "/x"),
            ("DOORSTEP_OTHER", "x"),
            ("PATH", "/bin"),
        ],
    )
    .unwrap();
    assert_eq!(config.edge.as_deref(), Some("https://d.example"));
    assert_eq!(config.remote.actions, [Action::Stop]);
    assert_eq!(config.warnings, [""; 0]);
    let shop = &config.projects["shop"];
    assert_eq!(shop.branch, "next");
    assert_eq!(shop.dir.as_deref(), Some(Path::new("/srv/x")));
    assert_eq!(shop.paths, ["a/**", "b"]);
    let process = shop.process.as_ref().unwrap();
    assert_eq!(process.command, ["y", "z"]);
    assert_eq!(process.listen.unwrap().port(), 81);
    assert_eq!(process.stop.signal, Signal::Hup);
    assert_eq!(process.env["LOG"], "debug");
    let health = shop.health.as_ref().unwrap();
    assert_eq!(health.within, Duration::from_mins(2));
    assert_eq!(health.good, 7);
    assert_eq!(shop.command.as_ref().unwrap().build, [["make"]]);
}

#[test]
fn a_variable_can_bring_a_table_into_being() {
    let config = with_env(
        SHOP,
        &[(
            "DOORSTEP_PROJECT_SHOP_HEALTH_HTTP",
            "http://127.0.0.1:8080/",
        )],
    );
    let health = config.unwrap().projects["shop"].health.clone();
    let expected = Probe::HttpUrl("http://127.0.0.1:8080/".to_owned());
    assert_eq!(health.unwrap().probe, expected);
    let repo = with_env("[project.shop]\n", &[("DOORSTEP_PROJECT_SHOP_REPO", "/x")]);
    assert!(repo.is_ok());
    let wrong = with_env(SHOP, &[("DOORSTEP_PROJECT_SHOP_PROCESS_STOP_GRACE", "1s")]);
    let expected = "f:1:1: [project.shop.process] needs `command`, the program to run";
    assert_eq!(wrong.unwrap_err(), [expected]);
}

#[test]
fn a_fault_in_a_variable_names_the_variable() {
    for (name, value, expected) in [
        ("EDGE", "d.example", "`edge`: expected a URL"),
        ("POLICY_REMOTE", "deploy", "expected a JSON array such as"),
        (
            "POLICY_REMOTE",
            "\"deploy\"",
            "expected a list, found a string",
        ),
        (
            "POLICY_REMOTE",
            "[\"deplot\"]",
            "in `remote`: \"deplot\" is none of",
        ),
        (
            "POLICY_REMOTE",
            "[1, {}]",
            "expected a string, found a table",
        ),
        ("PROJECT_SHOP_REPO", "-x", "`repo`: not a git origin"),
        ("PROJECT_SHOP_BRANCH", "a b", "`branch`: not a branch name"),
        (
            "PROJECT_SHOP_HEALTH_GOOD",
            "many",
            "expected a whole number",
        ),
        (
            "PROJECT_SHOP_HEALTH_GOOD",
            "0",
            "`good` is a whole number from 1",
        ),
        (
            "PROJECT_SHOP_HEALTH_WITHIN",
            "1.5s",
            "`within`: a duration is",
        ),
        (
            "PROJECT_SHOP_COMMAND_BUILD",
            "[\"make\"]",
            "expected a list, found a string",
        ),
    ] {
        let name = format!("DOORSTEP_{name}");
        let text = shop_and("health.tcp = 'x:1'");
        let report = with_env(&text, &[(&name, value)]).unwrap_err();
        let start = format!("environment variable {name}: {expected}");
        assert!(report[0].starts_with(&start), "{report:#?}");
    }
    let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let long = format!("[\"{}\"]", "x".repeat(70_000));
    for value in [nested, long] {
        let report = with_env(SHOP, &[("DOORSTEP_PROJECT_SHOP_PATHS", &value)]);
        assert_eq!(report.unwrap_err().len(), 1);
    }
}

#[test]
fn variables_come_after_the_file_in_the_report() {
    let vars = [
        ("DOORSTEP_EDGE", "x"),
        ("DOORSTEP_PROJECT_SHOP_BRANCH", "-"),
    ];
    let report = with_env(&shop_and("brnch = 'x'"), &vars).unwrap_err();
    let starts = [
        "f:3:1: ",
        "environment variable DOORSTEP_EDGE: ",
        "environment variable DOORSTEP_PROJECT_SHOP_BRANCH: ",
    ];
    assert_eq!(report.len(), 3);
    for (line, start) in report.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}");
    }
}

#[test]
fn a_shared_variable_is_a_fault_only_when_it_is_set() {
    let text = "[project.a-b]\nrepo = '/x'\n[project.a_b]\nrepo = '/x'\n";
    assert!(with_env(text, &[("DOORSTEP_EDGE", "https://x")]).is_ok());
    for key in ["BRANCH", "TOKEN", "HEALTH_HTTP"] {
        let name = format!("DOORSTEP_PROJECT_A_B_{key}");
        let report = with_env(text, &[(&name, "http://x/")]).unwrap_err();
        let start = format!("environment variable {name}: it could mean project.a-b.");
        assert!(
            report.iter().any(|line| line.starts_with(&start)),
            "{report:#?}"
        );
    }
    let crossing = "[project.a.process]\ncommand=['x']\nenv={ REPO='y' }\n[project.a]\nrepo='/x'\n[project.a-process-env]\nrepo='/x'\n";
    let report = with_env(crossing, &[("DOORSTEP_PROJECT_A_PROCESS_ENV_REPO", "/z")]);
    assert!(
        report.unwrap_err()[0].contains("project.a.process.env.REPO or project.a-process-env.repo")
    );
}

#[test]
fn an_empty_variable_is_not_set() {
    let vars = [("DOORSTEP_EDGE", ""), ("DOORSTEP_PROJECT_SHOP_BRANCH", "")];
    let config = with_env(SHOP, &vars).unwrap();
    assert_eq!(config.edge, None);
    assert_eq!(config.projects["shop"].branch, "main");
}

#[test]
fn variables_that_match_nothing_are_warnings_where_they_could_be_meant() {
    let config = with_env(
        SHOP,
        &[
            ("DOORSTEP_PROJECT_SHOP_BRNCH", "hunter2"),
            ("DOORSTEP_PROJECT_MEDIA_PASSWORD", "hunter2"),
            ("DOORSTEP_POLICY_LOCAL", "x"),
            ("DOORSTEP_PROJECT_SHOP_TOKEN", "hunter2"),
            ("DOORSTEP_PROJECT_OLD_TOKEN", "hunter2"),
            ("DOORSTEP_PROJECT", "shop"),
            ("DOORSTEP_GIT_TOKEN", "hunter2"),
            ("DOORSTEP_EDGES", "x"),
        ],
    );
    let warnings = config.unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:#?}");
    assert!(warnings[2].ends_with("did you mean `DOORSTEP_PROJECT_SHOP_BRANCH`?"));
    assert!(!warnings.concat().contains("hunter2"));
}
