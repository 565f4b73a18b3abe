//! What people see of jobs and do about them, and when a host takes none.

use doorstep_shared::ids::{Action, Cause, FailureKind, JobId, RunState};
use doorstep_shared::protocol::{Grant, ProjectView, Refusal, ToEdge, ToExecutor};
use doorstep_tests::{Edge, FakeExecutor, GitHub, Heard, Push, Session, Socket, WEBHOOK_SECRET, project, wait};
use serde_json::{Value, json};

use crate::history::jobs_of;
use crate::reports::{outcome, started};
use crate::shared_edge;

/// A connected host with one project, both of this name, and a grant for it.
async fn granted(edge: &Edge, name: &str) -> (Session, Grant) {
    let repo = format!("{name}/shop");
    let mut session = edge.enrolled(name).await.connect(&[project(name, &repo)]).await;
    edge.deliver(&GitHub::new(WEBHOOK_SECRET).push(&repo, Push::to("main"))).await;
    let grant = session.grant().await;
    (session, grant)
}

async fn act(edge: &Edge, job: impl std::fmt::Display, what: &str) -> (u16, Value) {
    let answer = edge.api("POST", &format!("/api/jobs/{job}/{what}")).await;
    (answer.status, answer.json())
}

/// One job as the list shows it.
async fn job(edge: &Edge, id: JobId) -> Value {
    let jobs = edge.get(&format!("/api/jobs?before={}&limit=1", id.0 + 1)).await["jobs"].clone();
    assert_eq!(jobs[0]["id"], json!(id), "{jobs}");
    jobs[0].clone()
}

/// The run of a grant ends, as done or dead.
async fn settle(session: &mut Session, run: &str, name: &str, grant: &Grant, failure: Option<FailureKind>) {
    session.report(started(run, name, Some(grant))).await;
    let state = if failure.is_some() { RunState::Failed } else { RunState::Succeeded };
    session.report(outcome(run, Some(grant), state, failure)).await;
}

#[tokio::test]
async fn a_leased_job_is_cancelled_and_the_next_one_runs() {
    let edge = shared_edge().await;
    let (mut session, grant) = granted(&edge, "cancelled").await;
    let next = edge.api("POST", "/api/projects/cancelled/cancelled/restart").await.json()["job"].clone();
    assert_eq!(act(&edge, grant.job, "cancel").await, (202, json!({"job": grant.job})));
    // The project's next job is granted, and the host is told to stop this one.
    let heard = [session.socket.hear().await, session.socket.hear().await];
    let stopped = Heard::Frame(ToExecutor::Cancel { job: grant.job, attempt: grant.attempt });
    assert!(heard.contains(&stopped), "{heard:?}");
    let follows = |heard: &Heard| matches!(heard, Heard::Frame(ToExecutor::Grant { grant }) if json!(grant.job) == next);
    assert!(heard.iter().any(follows), "{heard:?}");
    let dead = job(&edge, grant.job).await;
    assert_eq!((&dead["state"], &dead["reason"]), (&json!("dead"), &json!("cancelled")));
    assert!(dead["died"].as_u64().is_some_and(|at| at > 1_700_000_000_000), "{dead}");
    let (status, said) = act(&edge, grant.job, "cancel").await;
    assert_eq!((status, &said["error"]), (409, &json!("ended")), "{said}");
    assert_eq!(act(&edge, 1, "cancel").await.0, 404);
}

#[tokio::test]
async fn a_dead_job_is_tried_again_under_a_higher_attempt() {
    let edge = shared_edge().await;
    let (mut session, first) = granted(&edge, "revived").await;
    let (status, said) = act(&edge, first.job, "revive").await;
    assert_eq!((status, &said["error"]), (409, &json!("not_dead")), "{said}");
    settle(&mut session, "revived-1", "revived", &first, Some(FailureKind::Health)).await;
    assert_eq!(job(&edge, first.job).await["state"], "dead");
    assert_eq!(act(&edge, first.job, "revive").await, (202, json!({"job": first.job})));
    let again = session.grant().await;
    assert_eq!((again.job, again.action), (first.job, Action::Deploy));
    assert!(again.attempt > first.attempt, "{again:?}");
    settle(&mut session, "revived-2", "revived", &again, None).await;
    let done = job(&edge, first.job).await;
    assert_eq!((&done["state"], &done["died"]), (&json!("done"), &Value::Null));
    let (status, said) = act(&edge, first.job, "revive").await;
    assert_eq!((status, &said["error"]), (409, &json!("not_dead")));
    assert!(said["message"].as_str().unwrap().contains("done"), "{said}");
    assert_eq!(act(&edge, 1, "revive").await.0, 404);
    for bad in ["", "x", "-1", "%2e%2e", "99999999999999999999"] {
        assert_eq!(act(&edge, bad, "revive").await.0, 404, "{bad}");
    }
}

#[tokio::test]
async fn a_revived_job_outlives_a_restart() {
    let mut edge = Edge::start().await;
    let (mut session, first) = granted(&edge, "attic").await;
    settle(&mut session, "r-1", "attic", &first, Some(FailureKind::Policy)).await;
    drop(session);
    edge.sees_host("attic", false).await;
    assert_eq!(act(&edge, first.job, "revive").await.0, 202);
    edge.kill_workerd().await;
    edge.restart().await;
    let waiting = jobs_of(&edge, "attic").await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!((&waiting[0]["id"], &waiting[0]["state"]), (&json!(first.job), &json!("waiting")));
    assert!(waiting[0]["waits_until"].as_u64().is_some(), "its host is off: {waiting:?}");
}

#[tokio::test]
async fn what_cannot_run_again_is_refused() {
    let edge = shared_edge().await;
    let (mut session, first) = granted(&edge, "gone-for-good").await;
    settle(&mut session, "gone-1", "gone-for-good", &first, Some(FailureKind::Source)).await;
    // A newer deploy waits behind a restart: it does the same.
    edge.api("POST", "/api/projects/gone-for-good/gone-for-good/restart").await;
    session.grant().await;
    edge.api("POST", "/api/projects/gone-for-good/gone-for-good/deploy").await;
    let (status, said) = act(&edge, first.job, "revive").await;
    assert_eq!((status, &said["error"]), (409, &json!("superseded")), "{said}");
    assert_eq!(job(&edge, first.job).await["state"], "dead", "and nothing was changed");
    assert_eq!(edge.api("DELETE", "/api/hosts/gone-for-good").await.status, 200);
    let (status, said) = act(&edge, first.job, "revive").await;
    assert_eq!((status, &said["error"]), (409, &json!("revoked")), "{said}");
}

#[tokio::test]
async fn jobs_are_listed_newest_first_and_by_what_is_asked() {
    let edge = Edge::start().await;
    let (mut session, first) = granted(&edge, "attic").await;
    settle(&mut session, "r-1", "attic", &first, Some(FailureKind::Build)).await;
    let restart = edge.api("POST", "/api/projects/attic/attic/restart").await.json();
    assert_eq!(restart["host_online"], json!(true));
    drop(session);
    edge.sees_host("attic", false).await;
    let stop = edge.api("POST", "/api/projects/attic/attic/stop").await.json();
    assert_eq!(stop["host_online"], json!(false));
    let list = async |query: &str| edge.get(&format!("/api/jobs{query}")).await;
    let ids = |answer: &Value| answer["jobs"].as_array().unwrap().iter().map(|job| job["id"].clone()).collect::<Vec<_>>();
    let (newest, middle, oldest) = (stop["job"].clone(), restart["job"].clone(), json!(first.job));
    let all = list("").await;
    assert_eq!((ids(&all), &all["before"]), (vec![newest.clone(), middle.clone(), oldest.clone()], &Value::Null));
    let failed = &all["jobs"][2];
    assert_eq!((&failed["failures"], &failed["reason"]), (&json!(1), &json!("check: it answered 500")));
    let page = list("?limit=2").await;
    assert_eq!((ids(&page), &page["before"]), (vec![newest, middle.clone()], &middle));
    assert_eq!(ids(&list(&format!("?before={middle}")).await), [oldest]);
    assert_eq!(ids(&list("?host=attic&project=attic&state=waiting").await).len(), 3);
    for none in ["?state=done", "?host=cellar", "?project=blog", "?host=%27%20OR%201=1%20--"] {
        assert_eq!(ids(&list(none).await).len(), 0, "{none}");
    }
    for bad in ["?state=running", "?limit=x", "?before=-1"] {
        assert_eq!(edge.api("GET", &format!("/api/jobs{bad}")).await.status, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_person_finds_dead_jobs_and_tries_them_again() {
    let edge = shared_edge().await;
    let (mut session, first) = granted(&edge, "buried").await;
    settle(&mut session, "buried-1", "buried", &first, Some(FailureKind::Health)).await;
    let cookie = edge.session().await;
    let signed_in = [("cookie", cookie.as_str())];
    for path in ["/", "/projects/buried/buried"] {
        let page = edge.request("GET", path, &signed_in, "").await.text();
        let form = format!("action=\"/jobs/{}/revive\"><input", first.job);
        assert!(page.contains(&form) && page.contains("check: it answered 500"), "{path}: {page}");
    }
    let revive = format!("/jobs/{}/revive", first.job);
    let answer = edge.press(&cookie, &revive, "").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/projects/buried/buried")), "{}", answer.text());
    let again = session.grant().await;
    let refused = edge.press(&cookie, &revive, "").await;
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("only a dead job can be tried again"), "{}", refused.text());
    let page = edge.request("GET", "/projects/buried/buried", &signed_in, "").await.text();
    assert!(page.contains(&format!("action=\"/jobs/{}/cancel\"", first.job)), "{page}");
    settle(&mut session, "buried-2", "buried", &again, None).await;
}

#[tokio::test]
async fn the_deploy_button_leads_back_to_the_project() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("button").await.connect(&[project("button", "button/shop")]).await;
    let cookie = edge.session().await;
    let answer = edge.press(&cookie, "/projects/button/button/deploy", "").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/projects/button/button")), "{}", answer.text());
    assert_eq!(session.grant().await.cause, Cause::Dashboard);
    let refused = edge.press(&cookie, "/projects/button/nothing/deploy", "").await;
    assert_eq!(refused.status, 404);
    assert!(refused.header("content-type").unwrap().starts_with("text/html"), "a person gets a page");
}

/// Says hello as a host that takes no jobs.
async fn hello_parked(host: &FakeExecutor, edge: &Edge, projects: &[ProjectView], why: &str) -> Socket {
    let mut socket = Socket::dial(edge).await;
    let mut frame = host.hello_frame(&socket.nonce, &[], projects);
    if let ToEdge::Hello { parked, .. } = &mut frame {
        *parked = Some(why.to_owned());
    }
    socket.send(&frame).await;
    assert!(matches!(socket.hear().await, Heard::Frame(ToExecutor::Welcome { .. })));
    socket
}

#[tokio::test]
async fn a_host_that_takes_no_jobs_gets_none_until_it_does() {
    let mut edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let (host, projects) = (edge.enrolled("attic").await, [project("shop", "me/shop")]);
    let mut socket = hello_parked(&host, &edge, &projects, "the disk is full").await;
    let push = async |edge: &Edge, github: &mut GitHub| {
        assert_eq!(edge.deliver(&github.push("me/shop", Push::to("main"))).await.status, 202);
    };
    push(&edge, &mut github).await;
    assert_eq!(socket.beat().await, Heard::Pong, "nothing is granted");
    let why = json!("the disk is full");
    assert_eq!(edge.host("attic").await.unwrap()["parked"], why);
    assert_eq!(jobs_of(&edge, "shop").await[0]["parked"], why);
    let cookie = edge.session().await;
    let page = edge.request("GET", "/", &[("cookie", &cookie)], "").await.text();
    assert!(page.contains("takes no jobs</span>: <bdi>the disk is full"), "{page}");

    // It holds over a restart of the edge, since the host says so again.
    edge.kill_workerd().await;
    edge.restart().await;
    let mut socket = hello_parked(&host, &edge, &projects, "the disk is full").await;
    push(&edge, &mut github).await;
    assert_eq!(socket.beat().await, Heard::Pong, "still nothing");

    socket.send(&ToEdge::Parked { reason: None }).await;
    let Heard::Frame(ToExecutor::Grant { grant }) = socket.hear().await else { panic!("a host that takes jobs gets them") };
    assert_eq!(edge.host("attic").await.unwrap()["parked"], Value::Null);
    // Parked again, by a frame.
    socket.send(&ToEdge::Parked { reason: Some("no inodes\u{7}\u{1b}[31m".into()) }).await;
    let parked = async || edge.host("attic").await.unwrap()["parked"].clone();
    let seen = wait::until("the host to be parked", parked, |parked| !parked.is_null()).await;
    assert!(!seen.as_str().unwrap().contains('\u{7}'), "{seen}");
    assert_eq!(act(&edge, grant.job, "cancel").await.0, 202);
    assert!(matches!(socket.hear().await, Heard::Frame(ToExecutor::Cancel { .. })), "what runs can be stopped");
    push(&edge, &mut github).await;
    assert_eq!(socket.beat().await, Heard::Pong, "nothing is granted");
    // A new connection that says nothing of it takes jobs.
    host.connect(&projects).await.grant().await;
}

#[tokio::test]
async fn a_host_behind_its_branch_gets_one_job() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("behind").await.connect(&[project("behind", "behind/shop")]).await;
    let head = "c0ffee".repeat(6) + "c0ff";
    let behind = |name: &str| ToEdge::Behind { project: name.parse().unwrap(), head: head.clone(), first: false };
    session.socket.send(&behind("unheard-of")).await;
    session.socket.send(&behind("behind")).await;
    let grant = session.grant().await;
    assert_eq!((grant.project.as_str(), grant.action, grant.cause), ("behind", Action::Deploy, Cause::Reconcile));
    assert_eq!(grant.hint_commit.as_ref(), Some(&head));
    session.socket.send(&behind("behind")).await;
    // Frames are handled in order: this one's answer comes after what they did.
    session.report(started("behind-1", "behind", Some(&grant))).await;
    let of_host = edge.get("/api/jobs?host=behind").await["jobs"].clone();
    assert_eq!(of_host.as_array().unwrap().len(), 1, "one is live, and nothing is unheard of: {of_host}");
    session.report(outcome("behind-1", Some(&grant), RunState::Succeeded, None)).await;
    session.socket.send(&behind("behind")).await;
    assert!(session.grant().await.job > grant.job, "it is behind again");
}

#[tokio::test]
async fn an_executor_of_the_version_before_is_served() {
    let edge = shared_edge().await;
    let host = edge.enrolled("version-1").await;
    let mut socket = Socket::dial(&edge).await;
    let ToEdge::Hello { signature, .. } = host.hello_frame(&socket.nonce, &[], &[]) else { unreachable!() };
    // As version 1 wrote it.
    socket
        .send_text(format!(
            r#"{{"type":"hello","version":1,"executor_version":"0.1.0","host":"version-1","signature":"{signature}","journal":"j","holding":[],"projects":[{{"name":"old","repo":"https://github.com/version-1/shop","branch":"main","paths":[],"remote":["deploy"],"state":"running"}}]}}"#
        ))
        .await;
    assert!(matches!(socket.hear().await, Heard::Frame(ToExecutor::Welcome { .. })));
    edge.deliver(&GitHub::new(WEBHOOK_SECRET).push("version-1/shop", Push::to("main"))).await;
    let Heard::Frame(ToExecutor::Grant { grant }) = socket.hear().await else { panic!("a push is granted") };
    let said = [
        format!(r#"{{"kind":"started","run":"v1-1","job":{},"attempt":1,"project":"old","action":"deploy","cause":"push","at":5}}"#, grant.job),
        r#"{"kind":"log","run":"v1-1","lines":["x"]}"#.to_owned(),
        format!(r#"{{"kind":"outcome","run":"v1-1","job":{},"attempt":1,"state":"rolled_back","failure":{{"kind":"health","step":"check","message":"m"}},"commit":"c","at":9}}"#, grant.job),
    ];
    for (seq, report) in (1u64..).zip(said) {
        socket.send_text(format!(r#"{{"type":"report","seq":{seq},"report":{report}}}"#)).await;
        assert_eq!(socket.hear().await, Heard::Frame(ToExecutor::Acknowledge { seq }));
    }
    assert_eq!(edge.get("/api/runs/v1-1").await["run"]["state"], "rolled_back");
    assert_eq!(job(&edge, grant.job).await["state"], "dead");

    let mut newer = Socket::dial(&edge).await;
    let mut frame = host.hello_frame(&newer.nonce, &[], &[]);
    if let ToEdge::Hello { version, .. } = &mut frame {
        *version = version.saturating_add(1);
    }
    newer.send(&frame).await;
    assert_eq!(newer.refusal().await, Refusal::Version, "a version of tomorrow is refused, and told why");
}

#[tokio::test]
async fn what_a_person_cancelled_is_not_found_again_by_reconciling() {
    let edge = shared_edge().await;
    let host = edge.enrolled("cancels").await;
    drop(host.connect(&[project("cancels", "cancels/shop")]).await);
    edge.sees_host("cancels", false).await;
    let push = GitHub::new(WEBHOOK_SECRET).push("cancels/shop", Push::to("main"));
    let job = edge.deliver(&push).await.json()["jobs"][0].as_u64().unwrap();
    let answer = edge.api("POST", &format!("/api/jobs/{job}/cancel")).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let mut session = host.connect(&[project("cancels", "cancels/shop")]).await;
    let behind = |head: String| ToEdge::Behind { project: "cancels".parse().unwrap(), head, first: false };
    session.socket.send(&behind(push.commit())).await;
    // The next commit is wanted again.
    let next = "d".repeat(40);
    session.socket.send(&behind(next.clone())).await;
    let grant = session.grant().await;
    assert_eq!((grant.cause, grant.hint_commit), (Cause::Reconcile, Some(next)));
    assert_eq!(jobs_of(&edge, "cancels").await.len(), 1, "no job came before it");
}
