//! Services of compose projects: what pages and programs see of them, and what
//! can be asked of one, of a project, of all that a host has.

use doorstep_shared::ids::{Action, Cause, ContainerHealth, ProjectState, RunState, ServiceName, ServiceState};
use doorstep_shared::protocol::{GO_BACK_TO_VERSION, Grant, ProjectView, Report, SERVICE_VERSION, SERVICES_MAX, ServiceView, ToEdge, ToExecutor};
use doorstep_shared::time::Timestamp;
use doorstep_tests::{Answer, Edge, FakeExecutor, Heard, Socket, project, wait};
use serde_json::{Value, json};

use crate::reports::outcome;
use crate::shared_edge;

fn service(name: &str, state: ServiceState) -> ServiceView {
    ServiceView {
        name: name.parse().unwrap(),
        state,
        health: None,
        image: format!("ghcr.io/me/{name}:1.2"),
        digest: Some(format!("sha256:{}", "ab".repeat(32))),
        created: Some(Timestamp(1_795_000_000_000)),
        started: Some(Timestamp(1_795_000_001_000)),
        restarts: 0,
        exit_code: None,
        ports: vec!["127.0.0.1:8080->80/tcp".into()],
        containers: 1,
        stopped: false,
        known_until: None,
    }
}

/// A project that allows everything, with `web` and `jobs`, both running.
fn media(name: &str) -> ProjectView {
    let services = vec![service("web", ServiceState::Running), service("jobs", ServiceState::Running)];
    ProjectView { services, ..project(name, &format!("{name}/media")) }
}

async fn ask(edge: &Edge, path: &str, body: &str) -> (u16, Value) {
    let answer = edge.request("POST", &format!("/api/projects/{path}"), &[("authorization", &bearer())], body).await;
    (answer.status, answer.json())
}

fn bearer() -> String {
    format!("Bearer {}", doorstep_tests::API_TOKEN)
}

/// A press of a button by a person who signed in.
async fn press(edge: &Edge, path: &str, form: &str) -> Answer {
    edge.press(&edge.session().await, path, form).await
}

async fn page(edge: &Edge, path: &str) -> String {
    let answer = edge.request("GET", path, &[("cookie", &edge.session().await)], "").await;
    assert_eq!(answer.status, 200, "{path}");
    answer.text()
}

/// The services of a host, as `/api/containers` shows them.
async fn containers(edge: &Edge, host: &str) -> Value {
    let told = edge.get("/api/containers").await;
    let hosts = told["hosts"].as_array().unwrap();
    hosts.iter().find(|of| of["name"] == host).cloned().unwrap_or_default()
}

/// Says hello as a doorstep that knows nothing of services.
async fn hello_old(host: &FakeExecutor, edge: &Edge, projects: &[ProjectView]) -> Socket {
    hello_as(SERVICE_VERSION - 1, host, edge, projects).await
}

async fn hello_as(spoken: u16, host: &FakeExecutor, edge: &Edge, projects: &[ProjectView]) -> Socket {
    let mut socket = Socket::dial(edge).await;
    let mut frame = host.hello_frame(&socket.nonce, &[], projects);
    if let ToEdge::Hello { version, .. } = &mut frame {
        *version = spoken;
    }
    socket.send(&frame).await;
    assert!(matches!(socket.hear().await, Heard::Frame(ToExecutor::Welcome { .. })));
    socket
}

fn web() -> Option<ServiceName> {
    Some("web".parse().unwrap())
}

#[tokio::test]
async fn a_grant_names_the_service_that_was_asked_for() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("svc-ask").await.connect(&[media("svc-ask")]).await;
    for (action, query, body) in [
        (Action::Restart, "?service=web", ""),
        (Action::Stop, "", r#"{"service":"web"}"#),
        (Action::Start, "?service=web", "{}"),
        (Action::Rebuild, "", r#"{"service":"web"}"#),
    ] {
        let (status, said) = ask(&edge, &format!("svc-ask/svc-ask/{action}{query}"), body).await;
        assert_eq!((status, &said["host_online"]), (202, &json!(true)), "{action}: {said}");
        let grant = session.grant().await;
        assert_eq!((json!(grant.job), grant.action, grant.cause), (said["job"].clone(), action, Cause::Dashboard));
        assert_eq!(grant.service, web(), "{action}");
        session.report(outcome(&format!("svc-ask-{action}"), Some(&grant), RunState::Succeeded, None)).await;
    }
    let (_, whole) = ask(&edge, "svc-ask/svc-ask/restart", "").await;
    let grant = session.grant().await;
    assert_eq!((json!(grant.job), grant.service), (whole["job"].clone(), None), "without a name all of them are meant");
}

fn started(run: &str, project: &str, grant: &Grant) -> Report {
    let (job, attempt, action, cause) = (Some(grant.job), grant.attempt, grant.action, grant.cause);
    Report::Started { run: run.into(), job, attempt, project: project.parse().unwrap(), action, cause, service: None, at: Timestamp(1_795_000_000_000) }
}

#[tokio::test]
async fn a_job_and_its_run_say_which_service() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("svc-run").await.connect(&[media("svc-run")]).await;
    let answer = press(&edge, "/projects/svc-run/svc-run/restart", "service=web").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/projects/svc-run/svc-run")), "{}", answer.text());
    let grant = session.grant().await;
    assert_eq!(grant.service, web());
    let job = edge.get("/api/jobs?host=svc-run").await["jobs"][0].clone();
    assert_eq!((&job["action"], &job["service"]), (&json!("restart"), &json!("web")), "{job}");
    for path in ["/projects/svc-run/svc-run", "/containers"] {
        assert!(page(&edge, path).await.contains("restart web"), "{path}");
    }
    session.report(started("svc-run-1", "svc-run", &grant)).await;
    session.report(outcome("svc-run-1", Some(&grant), RunState::Succeeded, None)).await;
    // Told again, as after a connection that broke, when its job has ended.
    session.report(started("svc-run-1", "svc-run", &grant)).await;
    let run = edge.get("/api/runs/svc-run-1").await["run"].clone();
    assert_eq!((&run["action"], &run["service"]), (&json!("restart"), &json!("web")), "{run}");
    assert!(page(&edge, "/runs/svc-run-1").await.contains("<h1>restart web "));
    // One that a person asked for on the host has no job, and says it itself.
    let began = Report::Started { run: "svc-run-2".into(), job: None, attempt: 0, project: "svc-run".parse().unwrap(), action: Action::Restart, cause: Cause::Manual, service: web(), at: Timestamp(1_795_000_000_000) };
    session.report(began).await;
    session.report(outcome("svc-run-2", None, RunState::Succeeded, None)).await;
    let run = edge.get("/api/runs/svc-run-2").await["run"].clone();
    assert_eq!((&run["action"], &run["service"]), (&json!("restart"), &json!("web")), "{run}");
}

#[tokio::test]
async fn what_names_no_service_that_can_be_asked_is_refused() {
    let edge = shared_edge().await;
    let only_restart = ProjectView { remote: vec![Action::Restart], ..media("strict") };
    let mut session = edge.enrolled("svc-no").await.connect(&[media("svc-no"), only_restart, project("plain", "svc-no/plain")]).await;
    for (path, body, status, code) in [
        ("svc-no/svc-no/restart?service=db", "", 404, "unknown_service"),
        ("svc-no/plain/restart?service=web", "", 404, "unknown_service"),
        ("svc-no/nothing/restart?service=web", "", 404, "not_found"),
        ("svc-no/strict/stop?service=web", "", 403, "not_allowed"),
        ("svc-no/svc-no/deploy?service=web", "", 400, "service_not_allowed"),
        ("svc-no/svc-no/fetch?service=web", "", 400, "service_not_allowed"),
        ("svc-no/svc-no/rollback", r#"{"service":"web"}"#, 400, "service_not_allowed"),
        ("svc-no/svc-no/stop?service=--all", "", 400, "bad_ask"),
        ("svc-no/svc-no/stop?service=", "", 400, "bad_ask"),
        ("svc-no/svc-no/stop?services=web", "", 400, "bad_ask"),
        ("svc-no/svc-no/stop?service=web", r#"{"service":"jobs"}"#, 400, "bad_ask"),
        ("svc-no/svc-no/stop", r#"{"services":"web"}"#, 400, "bad_ask"),
        ("svc-no/svc-no/stop", "service=web", 400, "bad_ask"),
    ] {
        let (said_status, said) = ask(&edge, path, body).await;
        assert_eq!((said_status, &said["error"]), (status, &json!(code)), "{path} {body}: {said}");
    }
    let (_, said) = ask(&edge, "svc-no/svc-no/restart?service=db", "").await;
    assert_eq!(said["message"], "svc-no on svc-no has no service `db`; it has jobs, web");
    assert_eq!(ask(&edge, "svc-no/svc-no/stop", &" ".repeat(5_000)).await.0, 413);
    for form in ["service=-x", "service=db", "next=%2F"] {
        let answer = press(&edge, "/projects/svc-no/svc-no/stop", form).await;
        assert!([400, 404].contains(&answer.status), "{form}: {}", answer.status);
        assert!(answer.header("content-type").unwrap().starts_with("text/html"), "a person gets a page");
    }
    assert_eq!(session.socket.beat().await, Heard::Pong, "nothing was granted");
    assert_eq!(edge.get("/api/jobs?host=svc-no").await["jobs"], json!([]));
}

#[tokio::test]
async fn a_doorstep_that_knows_no_services_is_never_asked_for_one() {
    let edge = shared_edge().await;
    let (host, projects) = (edge.enrolled("svc-old").await, [media("svc-old")]);
    let mut socket = hello_old(&host, &edge, &projects).await;
    let (status, said) = ask(&edge, "svc-old/svc-old/stop?service=web", "").await;
    assert_eq!((status, &said["error"]), (409, &json!("host_too_old")), "{said}");
    assert!(said["message"].as_str().unwrap().contains("update it"), "{said}");
    assert_eq!(press(&edge, "/projects/svc-old/svc-old/stop", "service=web").await.status, 409);
    // Asked while a newer one was away: it ends, and what waits behind it goes on.
    host.connect(&projects).await;
    edge.sees_host("svc-old", false).await;
    let (status, stop) = ask(&edge, "svc-old/svc-old/stop?service=web", "").await;
    assert_eq!((status, &stop["host_online"]), (202, &json!(false)), "{stop}");
    let (_, restart) = ask(&edge, "svc-old/svc-old/restart", "").await;
    drop(socket);
    socket = hello_old(&host, &edge, &projects).await;
    let Heard::Frame(ToExecutor::Grant { grant }) = socket.hear().await else { panic!("the whole project can be restarted") };
    assert_eq!((json!(grant.job), grant.service), (restart["job"].clone(), None));
    let dead = edge.get("/api/jobs?host=svc-old&state=dead").await["jobs"].clone();
    assert_eq!((&dead[0]["id"], dead.as_array().unwrap().len()), (&stop["job"], 1), "{dead}");
    assert_eq!(dead[0]["reason"], "the doorstep on svc-old is too old to act on one service");
    // Nor when a person tries it again.
    let again = edge.api("POST", &format!("/api/jobs/{}/revive", stop["job"])).await;
    assert_eq!(again.status, 202, "it waits behind the restart: {}", again.text());
    let settled = Report::Outcome { run: "svc-old-1".into(), job: Some(grant.job), attempt: grant.attempt, state: RunState::Succeeded, failure: None, commit: None, at: Timestamp(1) };
    socket.send(&ToEdge::Report { seq: 1, report: settled }).await;
    assert!(matches!(socket.hear().await, Heard::Frame(ToExecutor::Acknowledge { seq: 1 })));
    assert_eq!(socket.beat().await, Heard::Pong, "and nothing is granted");
    let (_, whole) = ask(&edge, "svc-old/svc-old/restart", "").await;
    let Heard::Frame(ToExecutor::Grant { grant }) = socket.hear().await else { panic!("it is asked again") };
    assert_eq!(json!(grant.job), whole["job"]);
}

#[tokio::test]
async fn a_commit_to_go_back_to_is_granted_only_to_who_understands_it() {
    let edge = shared_edge().await;
    let (host, projects) = (edge.enrolled("back-to").await, [project("back-to", "back-to/shop")]);
    let commit = "c0ffee".repeat(7)[..40].to_owned();
    let body = json!({"commit": commit}).to_string();
    let mut old = hello_as(GO_BACK_TO_VERSION - 1, &host, &edge, &projects).await;
    let (status, said) = ask(&edge, "back-to/back-to/rollback", &body).await;
    assert_eq!((status, &said["error"]), (409, &json!("host_too_old")), "{said}");
    assert_eq!(old.beat().await, Heard::Pong, "nothing was granted");
    let mut session = host.connect(&projects).await;
    for (path, body, code) in [
        ("back-to/back-to/deploy", body.as_str(), "commit_not_allowed"),
        ("back-to/back-to/rollback", r#"{"commit": "main"}"#, "bad_ask"),
        ("back-to/back-to/rollback?commit=c0ffee", "", "bad_ask"),
    ] {
        let (status, said) = ask(&edge, path, body).await;
        assert_eq!((status, &said["error"]), (400, &json!(code)), "{path} {body}: {said}");
    }
    let (status, asked) = ask(&edge, "back-to/back-to/rollback", &body).await;
    assert_eq!(status, 202, "{asked}");
    let grant = session.grant().await;
    assert_eq!((json!(grant.job), grant.hint_commit), (asked["job"].clone(), Some(commit)));
}

#[tokio::test]
async fn every_service_is_shown_also_while_its_host_is_away() {
    let edge = shared_edge().await;
    let mut sick = media("svc-seen");
    sick.services[0].health = Some(ContainerHealth::Unhealthy);
    (sick.services[1].state, sick.services[1].exit_code) = (ServiceState::Exited, Some(3));
    let host = edge.enrolled("svc-seen").await;
    let session = host.connect(&[sick, project("plain", "svc-seen/plain")]).await;
    let told = containers(&edge, "svc-seen").await;
    let projects = told["projects"].as_array().unwrap();
    assert_eq!((&told["online"], projects.len()), (&json!(true), 1), "a project without services is not here: {told}");
    let names: Vec<_> = projects[0]["services"].as_array().unwrap().iter().map(|service| service["name"].clone()).collect();
    assert_eq!(names, [json!("jobs"), json!("web")], "by name");
    assert_eq!(projects[0]["problems"], json!([{"service": "jobs", "why": "exited with 3"}, {"service": "web", "why": "unhealthy"}]));
    let of_project = edge.get("/api/projects").await;
    let of_project = of_project["projects"].as_array().unwrap().iter().find(|of| of["name"] == "svc-seen").unwrap().clone();
    assert_eq!(of_project["services"], projects[0]["services"]);
    let html = page(&edge, "/containers").await;
    let (problems, groups) = html.split_once("id=\"host/").unwrap();
    assert!(problems.contains("exited with 3") && problems.contains("unhealthy"), "what needs a look comes first: {problems}");
    assert!(groups.contains("ghcr.io/me/web:1.2\">web:1.2</code>") && groups.contains("127.0.0.1:8080-&gt;80/tcp"), "{groups}");
    let html = page(&edge, "/projects/svc-seen/svc-seen").await;
    assert!(html.contains("<h2>Services</h2>") && html.contains("name=\"service\" value=\"web\""), "{html}");
    drop(session);
    edge.sees_host("svc-seen", false).await;
    let away = containers(&edge, "svc-seen").await;
    assert_eq!((&away["online"], &away["projects"][0]["services"]), (&json!(false), &projects[0]["services"]));
    assert!(away["last_seen"].as_u64().is_some_and(|at| at > 1_700_000_000_000), "{away}");
    let html = page(&edge, "/containers").await;
    assert!(html.contains("all of this was true when it was last heard, <time") && html.contains("last known: exited"), "{html}");
}

#[tokio::test]
async fn what_a_host_says_of_its_services_is_made_fit() {
    let edge = shared_edge().await;
    let many = (0..SERVICES_MAX + 20).map(|n| service(&format!("s{n:03}"), ServiceState::Running));
    let mut liar = ProjectView { services: many.collect(), ..media("svc-liar") };
    let first = &mut liar.services[0];
    first.image = "<script>\u{7}\u{1b}[31m".to_owned() + &"x".repeat(5_000);
    first.digest = Some("\"><b>".repeat(1_000));
    first.ports = vec!["<i>80".repeat(30); 40];
    let _session = edge.enrolled("svc-liar").await.connect(&[liar]).await;
    let told = containers(&edge, "svc-liar").await["projects"][0]["services"].clone();
    assert_eq!(told.as_array().unwrap().len(), SERVICES_MAX);
    let (image, ports) = (told[0]["image"].as_str().unwrap(), told[0]["ports"].as_array().unwrap());
    assert!(image.starts_with("<script>xxx") && image.len() <= 512, "{image}");
    assert!(ports.len() == 20 && ports.iter().all(|port| port.as_str().unwrap().len() <= 100), "{ports:?}");
    let html = page(&edge, "/containers").await;
    assert!(!html.contains("<script>") && !html.contains("<i>") && !html.contains("<b>"), "{html}");
}

#[tokio::test]
async fn a_change_of_a_service_is_shown_on_an_open_page() {
    let edge = Edge::start().await;
    let empty = page(&edge, "/containers").await;
    assert!(empty.contains("No containers yet") && empty.contains("[project.media.compose]"), "{empty}");
    let mut session = edge.enrolled("attic").await.connect(&[media("media")]).await;
    let mut open = doorstep_tests::Page::open(&edge, &edge.session().await).await;
    let mut changed = media("media");
    (changed.state, changed.reason) = (ProjectState::Failing, Some("no such image".into()));
    changed.services[0].state = ServiceState::Restarting;
    session.socket.send(&ToEdge::Projects { projects: vec![changed.clone()] }).await;
    assert!(open.hear().await["changed"].is_array());
    let problems = containers(&edge, "attic").await["projects"][0]["problems"].clone();
    assert_eq!(problems, json!([{"service": null, "why": "failing: no such image"}, {"service": "web", "why": "restarting"}]));
    // The same again is no change, and no row.
    let rows = async || edge.get("/api/usage").await["rows_written"].clone();
    let before = rows().await;
    session.socket.send(&ToEdge::Projects { projects: vec![changed] }).await;
    assert_eq!(session.socket.beat().await, Heard::Pong);
    assert_eq!((rows().await, open.heard().await), (before, vec![]));
}

#[tokio::test]
async fn all_projects_of_a_host_are_asked_at_once() {
    let edge = shared_edge().await;
    let not_allowed = ProjectView { remote: vec![Action::Deploy], ..media("shut") };
    let projects = [media("one"), media("two"), not_allowed, project("plain", "svc-all/plain")];
    let mut session = edge.enrolled("svc-all").await.connect(&projects).await;
    let answer = edge.api("POST", "/api/containers/svc-all/restart").await;
    let said = answer.json();
    assert_eq!((answer.status, said["jobs"].as_array().unwrap().len()), (202, 2), "{said}");
    assert_eq!((&said["queued"], &said["not_allowed"], &said["busy"]), (&json!(["one", "two"]), &json!(["shut"]), &json!([])));
    for project in ["one", "two"] {
        let grant = session.grant().await;
        assert_eq!((grant.project.as_str(), grant.action, grant.service), (project, Action::Restart, None));
    }
    let answer = press(&edge, "/containers/svc-all/stop", "").await;
    let page = answer.text();
    assert_eq!(answer.status, 200, "{page}");
    assert!(page.contains("2 jobs were queued") && page.contains("Not allowed by the host's doorstep.toml: "), "{page}");
    let of_host = async || edge.get("/api/jobs?host=svc-all").await["jobs"].as_array().unwrap().len();
    wait::until("the jobs to be there", of_host, |jobs| *jobs == 4).await;
    for (path, status) in [("svc-all/deploy", 404), ("svc-all/rollback", 404), ("svc-nobody/stop", 404)] {
        assert_eq!(edge.api("POST", &format!("/api/containers/{path}")).await.status, status, "{path}");
    }
    assert_eq!(press(&edge, "/containers/svc-nobody/stop", "").await.status, 404);
}

#[tokio::test]
async fn a_button_on_the_page_of_all_services_leads_back_there() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("svc-back").await.connect(&[media("svc-back")]).await;
    let answer = press(&edge, "/projects/svc-back/svc-back/stop", "service=web&back=containers").await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/containers#project/svc-back/svc-back")), "{}", answer.text());
    assert_eq!(session.grant().await.service, web());
}
