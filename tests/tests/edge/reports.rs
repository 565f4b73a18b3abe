//! What hosts report, and what becomes of it.

use std::time::Duration;

use doorstep_shared::ids::{Action, Cause, FailureKind, JobState, RunState, StepState};
use doorstep_shared::protocol::{Failure, Grant, Report};
use doorstep_shared::time::Timestamp;
use doorstep_tests::{Edge, GitHub, Heard, Push, Session, WEBHOOK_SECRET, project, wait};
use serde_json::json;

use crate::history::jobs_of;
use crate::shared_edge;

const AT: u64 = 1_795_000_000_000;

/// A run of this project begins.
pub fn started(run: &str, project: &str, grant: Option<&Grant>) -> Report {
    Report::Started {
        run: run.into(),
        job: grant.map(|grant| grant.job),
        attempt: grant.map_or(0, |grant| grant.attempt),
        project: project.parse().unwrap(),
        action: Action::Deploy,
        cause: Cause::Push,
        service: None,
        at: Timestamp(AT),
    }
}

/// A step of it.
pub fn step(run: &str, index: u16, name: &str, state: StepState) -> Report {
    let (name, detail) = (name.into(), format!("{name} it"));
    Report::Step { run: run.into(), index, name, state, at: Timestamp(AT + 1), duration_ms: Some(12), detail, commit: None }
}

/// Lines of its log.
pub fn log(run: &str, lines: &[&str]) -> Report {
    Report::Log { run: run.into(), lines: lines.iter().map(|&line| line.to_owned()).collect() }
}

/// It ends.
pub fn outcome(run: &str, grant: Option<&Grant>, state: RunState, failure: Option<FailureKind>) -> Report {
    let failure = failure.map(|kind| Failure { kind, step: "check".into(), message: "it answered 500".into() });
    Report::Outcome {
        run: run.into(),
        job: grant.map(|grant| grant.job),
        attempt: grant.map_or(0, |grant| grant.attempt),
        state,
        failure,
        commit: Some("c0ffee".repeat(6) + "c0ff"),
        at: Timestamp(AT + 2_000),
    }
}

/// A connected host with one project, both of this name, and a grant for it.
async fn granted(edge: &Edge, name: &str) -> (Session, Grant) {
    let repo = format!("{name}/shop");
    let mut session = edge.enrolled(name).await.connect(&[project(name, &repo)]).await;
    let push = GitHub::new(WEBHOOK_SECRET).push(&repo, Push::to("main"));
    edge.deliver(&push).await;
    let grant = session.grant().await;
    (session, grant)
}

#[tokio::test]
async fn a_run_is_shown_as_it_happens() {
    let edge = shared_edge().await;
    let (mut session, grant) = granted(&edge, "told").await;
    session.report(started("told-1", "told", Some(&grant))).await;
    let run = &edge.get("/api/runs/told-1").await["run"];
    assert_eq!((&run["state"], &run["job"], &run["host"]), (&json!("running"), &json!(grant.job), &json!("told")));
    session.report(step("told-1", 0, "fetch", StepState::Started)).await;
    session.report(step("told-1", 0, "fetch", StepState::Succeeded)).await;
    session.report(step("told-1", 1, "build", StepState::Succeeded)).await;
    session.report(log("told-1", &["cloning", "\u{1b}[31mred\u{1b}[0m \u{7}and <b>bold</b>"])).await;
    session.report(log("told-1", &["done"])).await;
    session.report(outcome("told-1", Some(&grant), RunState::Succeeded, None)).await;

    let shown = edge.get("/api/runs/told-1").await;
    assert_eq!((&shown["run"]["state"], &shown["run"]["ended"]), (&json!("succeeded"), &json!(AT + 2_000)));
    let steps: Vec<_> = shown["steps"].as_array().unwrap().iter().map(|step| (step["name"].as_str(), step["state"].as_str())).collect();
    assert_eq!(steps, [(Some("fetch"), Some("succeeded")), (Some("build"), Some("succeeded"))]);
    let lines = edge.get("/api/runs/told-1/log").await["lines"].clone();
    assert_eq!(lines.as_array().unwrap().len(), 3);
    assert!(!lines.to_string().contains("\\u0007"), "control characters are taken out: {lines}");
    assert_eq!((&lines[0], &lines[2]), (&json!("cloning"), &json!("done")));
    assert_eq!(jobs_of(&edge, "told").await.len(), 0, "the job is settled");
    let runs = edge.get("/api/runs?host=told&project=told").await;
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    let cookie = edge.session().await;
    let page = edge.request("GET", "/runs/told-1", &[("cookie", &cookie)], "").await;
    assert_eq!(page.status, 200);
    assert!(!page.text().contains("<b>bold"), "a log is text, never markup");
}

/// A step that names the commit of its run.
fn step_about(run: &str, index: u16, about: &str) -> Report {
    let mut step = step(run, index, "fetch", StepState::Succeeded);
    if let Report::Step { commit, .. } = &mut step {
        *commit = Some(about.to_owned());
    }
    step
}

#[tokio::test]
async fn a_run_under_way_names_its_commit_as_soon_as_a_step_does() {
    let edge = shared_edge().await;
    let (mut session, grant) = granted(&edge, "about").await;
    let commit = async || edge.get("/api/runs/about-1").await["run"]["commit"].clone();
    session.report(started("about-1", "about", Some(&grant))).await;
    session.report(step("about-1", 0, "fetch", StepState::Started)).await;
    assert_eq!(commit().await, json!(null));
    let (known, long) = ("ab".repeat(20), "\u{1b}[31m".to_owned() + &"f".repeat(3_000));
    session.report(step_about("about-1", 0, &known)).await;
    assert_eq!(commit().await, json!(known));
    // A host of an older version says no more of it, and it stays known.
    session.report(step("about-1", 1, "build", StepState::Started)).await;
    assert_eq!(commit().await, json!(known));
    session.report(step_about("about-1", 2, &long)).await;
    assert_eq!(commit().await, json!("f".repeat(64)), "whatever a host says is made fit");
    // Steps past those that are kept name it too.
    session.report(step_about("about-1", 5_000, &known)).await;
    assert_eq!(commit().await, json!(known));
    let runs = edge.get("/api/runs?host=about&project=about").await;
    assert_eq!((&runs["runs"][0]["commit"], &runs["runs"][0]["state"]), (&json!(known), &json!("running")));
}

#[tokio::test]
async fn a_log_is_kept_in_colours_and_told_in_words() {
    let edge = shared_edge().await;
    let (mut session, grant) = granted(&edge, "painter").await;
    session.report(started("painter-1", "painter", Some(&grant))).await;
    // Not in the normal form, and more than colours.
    let lines = ["\u{1b}[1m\u{1b}[38;5;196merror\u{1b}[m: <b>", "\u{1b}]0;title\u{7}a\u{1b}[41mb\u{202e}\u{1b}[32m"];
    session.report(log("painter-1", &lines)).await;
    session.report(log("painter-1", &["\u{1b}[4munder"])).await;
    let words = json!(["error: <b>", "ab", "under"]);
    assert_eq!(edge.get("/api/runs/painter-1/log").await["lines"], words);
    let part = edge.get("/api/runs/painter-1/log?after=0").await;
    assert_eq!((&part["lines"], &part["more"]), (&words, &json!(false)));
    let raw = edge.api("GET", "/api/runs/painter-1/log?format=text").await.text();
    assert_eq!(raw, "error: <b>\nab\nunder");

    let html = edge.api("GET", "/api/runs/painter-1/log?format=html&after=0").await;
    assert!(html.header("content-security-policy").is_some(), "it is a page");
    let end = part["next"].as_u64().unwrap();
    let lists = "<li><span class=\"c9 bold\">error</span>: &lt;b&gt;\n</li><li>ab\n</li><li><span class=\"underlined\">under</span>\n</li></ol>";
    assert_eq!(html.text(), format!("<!doctype html><title>Log</title><ol data-next=\"{end}\">{lists}"));
    let rest = edge.api("GET", &format!("/api/runs/painter-1/log?format=html&after={end}")).await.text();
    assert!(rest.ends_with(&format!("<ol data-next=\"{end}\"></ol>")), "{rest}");
    assert_eq!(edge.api("GET", "/api/runs/none/log?format=html&after=0").await.status, 404);
    let cookie = edge.session().await;
    let page = edge.request("GET", "/runs/painter-1", &[("cookie", &cookie)], "").await.text();
    assert!(page.contains("<span class=\"c9 bold\">error</span>: &lt;b&gt;") && !page.contains('\u{1b}'), "{page}");
}

#[tokio::test]
async fn a_failure_decides_whether_the_job_is_tried_again() {
    let edge = shared_edge().await;
    for (name, kind, remains) in [("sick", FailureKind::Health, 0), ("unbuilt", FailureKind::Build, 1), ("offline", FailureKind::Network, 1)] {
        let (mut session, grant) = granted(&edge, name).await;
        let run = format!("{name}-1");
        session.report(started(&run, name, Some(&grant))).await;
        session.report(outcome(&run, Some(&grant), RunState::RolledBack, Some(kind))).await;
        let shown = edge.get(&format!("/api/runs/{run}")).await["run"].clone();
        assert_eq!(shown["failure"], json!({"kind": kind, "step": "check", "message": "it answered 500"}));
        let jobs = jobs_of(&edge, name).await;
        assert_eq!(jobs.len(), remains, "{name}: {jobs:?}");
        // Its next try may have begun by now.
        assert!(jobs.iter().all(|job| [json!(JobState::Waiting), json!(JobState::Leased)].contains(&job["state"])));
    }
}

#[tokio::test]
async fn a_report_counts_once() {
    let edge = shared_edge().await;
    let (mut session, grant) = granted(&edge, "counted").await;
    session.report(started("counted-1", "counted", Some(&grant))).await;
    session.report(log("counted-1", &["first"])).await;
    // Sent again, as after a lost acknowledgement, and changed on the way.
    session.tell(2, log("counted-1", &["again"])).await;
    assert_eq!(session.acknowledgement().await, 2);
    session.tell(1, log("counted-1", &["long ago"])).await;
    assert_eq!(session.acknowledgement().await, 2, "what is acknowledged is the newest");
    session.tell(3, log("counted-1", &["second"])).await;
    assert_eq!(session.acknowledgement().await, 3);
    assert_eq!(edge.get("/api/runs/counted-1/log").await["lines"], json!(["first", "second"]));
}

#[tokio::test]
async fn a_gap_ends_the_connection_and_what_is_missing_comes_on_the_next() {
    let edge = shared_edge().await;
    let host = edge.enrolled("gap").await;
    let projects = [project("gap", "gap/shop")];
    let mut session = host.connect(&projects).await;
    session.report(started("gap-1", "gap", None)).await;
    session.report(log("gap-1", &["first"])).await;
    session.tell(4, log("gap-1", &["from the future"])).await;
    let heard = async || session.socket.hear().await;
    wait::until_within(Duration::from_secs(5), "the socket to end", heard, |heard| matches!(heard, Heard::Closed(1011))).await;
    let mut session = host.connect(&projects).await;
    assert_eq!(session.acknowledged, 2);
    session.tell(3, log("gap-1", &["second"])).await;
    assert_eq!(session.acknowledgement().await, 3);
    session.tell(4, log("gap-1", &["third"])).await;
    assert_eq!(session.acknowledgement().await, 4);
    assert_eq!(edge.get("/api/runs/gap-1/log").await["lines"], json!(["first", "second", "third"]));
}

#[tokio::test]
async fn an_edge_put_back_to_an_older_state_takes_reports_up_where_they_are() {
    let edge = shared_edge().await;
    let host = edge.enrolled("restored").await;
    let mut session = host.connect(&[project("restored", "restored/shop")]).await;
    session.tell(41, started("restored-1", "restored", None)).await;
    assert_eq!(session.acknowledgement().await, 41);
    session.tell(42, log("restored-1", &["on"])).await;
    assert_eq!(session.acknowledgement().await, 42);
}

#[tokio::test]
async fn the_hub_knows_where_a_journal_stands() {
    let edge = shared_edge().await;
    let mut host = edge.enrolled("journal").await;
    let mut session = host.connect(&[project("journal", "journal/shop")]).await;
    assert_eq!(session.acknowledged, 0);
    session.report(started("journal-1", "journal", None)).await;
    session.report(log("journal-1", &["one"])).await;
    drop(session);
    assert_eq!(host.connect(&[]).await.acknowledged, 2);
    // A host that lost its disk begins anew.
    host.journal = "another".into();
    let mut session = host.connect(&[project("journal", "journal/shop")]).await;
    assert_eq!(session.acknowledged, 0);
    session.report(log("journal-1", &["two"])).await;
    assert_eq!(edge.get("/api/runs/journal-1/log").await["lines"], json!(["one", "two"]));
}

#[tokio::test]
async fn a_host_speaks_for_itself_only() {
    let edge = shared_edge().await;
    let (mut victim, grant) = granted(&edge, "victim").await;
    victim.report(started("victim-1", "victim", Some(&grant))).await;
    let before = edge.get("/api/runs/victim-1").await;
    let mut liar = edge.enrolled("liar").await.connect(&[project("victim", "liar/shop")]).await;
    let lies = [
        started("victim-1", "victim", Some(&grant)),
        step("victim-1", 0, "fetch", StepState::Failed),
        log("victim-1", &["I was here"]),
        outcome("victim-1", Some(&grant), RunState::Failed, Some(FailureKind::Policy)),
        outcome("liar-1", Some(&grant), RunState::Succeeded, None),
    ];
    for lie in lies {
        liar.report(lie).await;
    }
    assert_eq!(edge.get("/api/runs/victim-1").await, before);
    assert_eq!(edge.get("/api/runs/victim-1/log").await["lines"], json!([]));
    let jobs = edge.jobs().await.into_iter().filter(|job| job["host"] == "victim").count();
    assert_eq!(jobs, 1, "the victim still holds its job");
    victim.report(outcome("victim-1", Some(&grant), RunState::Succeeded, None)).await;
    assert_eq!(edge.get("/api/runs/victim-1").await["run"]["state"], "succeeded");
}

#[tokio::test]
async fn an_old_attempt_settles_nothing() {
    let edge = shared_edge().await;
    let host = edge.enrolled("stale").await;
    let projects = [project("stale", "stale/shop")];
    let mut session = host.connect(&projects).await;
    edge.deliver(&GitHub::new(WEBHOOK_SECRET).push("stale/shop", Push::to("main"))).await;
    let first = session.grant().await;
    drop(session);
    let mut session = host.connect(&projects).await;
    let second = session.grant().await;
    assert_eq!((second.job, second.attempt), (first.job, 2));
    session.report(outcome("stale-1", Some(&first), RunState::Succeeded, None)).await;
    assert_eq!(jobs_of(&edge, "stale").await.len(), 1, "acknowledged and ignored");
    session.report(outcome("stale-2", Some(&second), RunState::Succeeded, None)).await;
    assert_eq!(jobs_of(&edge, "stale").await.len(), 0);
}

#[tokio::test]
async fn a_log_ends_at_its_limit() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("chatty").await.connect(&[project("chatty", "chatty/shop")]).await;
    session.report(started("chatty-1", "chatty", None)).await;
    // A line that is longer is cut.
    let line = "x".repeat(4_000);
    for _ in 0..60 {
        session.report(log("chatty-1", &[line.as_str(); 8])).await;
    }
    let kept = edge.get("/api/runs/chatty-1/log").await;
    let (last, lines) = kept["lines"].as_array().unwrap().split_last().unwrap();
    assert!((250..270).contains(&lines.len()), "{} lines are kept of 480", lines.len());
    assert!(lines.iter().all(|kept| *kept == json!(line)), "each of them whole");
    assert!(last.as_str().unwrap().contains("`doorstep logs chatty --run chatty-1`"), "{last}");
    // Who follows it comes to its end.
    let (mut after, mut followed) = (0, 0);
    loop {
        let part = edge.get(&format!("/api/runs/chatty-1/log?after={after}")).await;
        followed += part["lines"].as_array().unwrap().len();
        after = part["next"].as_u64().unwrap();
        if part["more"] != true {
            break;
        }
    }
    assert_eq!(followed, lines.len() + 1);
    session.report(outcome("chatty-1", None, RunState::Succeeded, None)).await;
    assert_eq!(edge.get("/api/runs/chatty-1").await["run"]["state"], "succeeded");
}

/// Somebody fetches so often on the host.
async fn fetches(session: &mut Session, project: &str, from: usize, count: usize) {
    for number in from..from + count {
        let run = format!("{project}-{number:04}");
        let Report::Started { job, attempt, project, cause, service, at, .. } = started(&run, project, None) else { return };
        session.report(Report::Started { run: run.clone(), job, attempt, project, action: Action::Fetch, cause, service, at }).await;
        session.report(outcome(&run, None, RunState::Succeeded, None)).await;
    }
}

#[tokio::test]
async fn what_went_wrong_stays_until_it_was_made_good_however_much_came_between() {
    let edge = shared_edge().await;
    let name = "lasting";
    let (mut session, _) = granted(&edge, name).await;
    let look = async || edge.get("/api/projects").await["projects"].as_array().unwrap().iter().find(|project| project["name"] == name).cloned().unwrap();
    session.report(started("lasting-0000", name, None)).await;
    session.report(outcome("lasting-0000", None, RunState::RolledBack, Some(FailureKind::Health))).await;
    fetches(&mut session, name, 1, 35).await;
    assert_eq!(look().await["trouble"]["id"], "lasting-0000");
    session.report(started("lasting-0036", name, None)).await;
    session.report(outcome("lasting-0036", None, RunState::Succeeded, None)).await;
    assert_eq!(look().await["trouble"], json!(null));
    fetches(&mut session, name, 37, 35).await;
    let seen = look().await;
    assert_eq!((&seen["trouble"], &seen["last_run"]["id"]), (&json!(null), &json!("lasting-0071")));
}
