//! Hosts beside the real one, spoken by hand: what a page shows that the real
//! host has nothing of, such as services, many projects, and words that are out
//! to do harm. They beat and carry nothing out.

use std::time::Duration;

use doorstep_shared::ids::{Action, Cause, ContainerHealth, FailureKind, ProjectState, RunState, ServiceState, StepState};
use doorstep_shared::protocol::{BehindView, CommitView, Failure, LiveView, ProjectView, Report, ServiceView};
use doorstep_shared::time::Timestamp;
use doorstep_tests::{Edge, Push, Session, Shop, project};
use tokio::task::JoinHandle;

const AT: Timestamp = Timestamp(1_795_000_000_000);
const BEAT: Duration = Duration::from_secs(5);
/// Whatever a page would have to keep from being markup, a command to a terminal
/// or a change of direction.
const HOSTILE: &str = "<script>window.__harm=1</script><img src=x onerror=window.__harm=2>\"><svg onload=window.__harm=3>'\u{1b}[31m\u{1b}]0;title\u{7}\u{202e}drow\u{2066}&lt;";

/// A host that beats while this value lives.
pub struct Guest(JoinHandle<()>);

impl Guest {
    fn stays(mut session: Session) -> Self {
        Self(tokio::spawn(async move {
            let mut beats = tokio::time::interval(BEAT);
            loop {
                beats.tick().await;
                session.socket.beat().await;
            }
        }))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn service(name: &str, state: ServiceState) -> ServiceView {
    ServiceView {
        name: name.parse().unwrap(),
        state,
        health: None,
        image: format!("registry.example/media/{name}:1.2"),
        digest: Some(format!("sha256:{}", "3f".repeat(32))),
        created: Some(AT),
        started: Some(AT),
        restarts: 0,
        exit_code: None,
        ports: vec!["0.0.0.0:8096->8096/tcp".to_owned()],
        containers: 1,
        stopped: false,
        known_until: None,
    }
}

/// `cellar` with the compose project `media`, of whose services one is not well.
pub async fn media(edge: &Edge) -> Guest {
    let web = ServiceView { health: Some(ContainerHealth::Healthy), ..service("web", ServiceState::Running) };
    let jobs = ServiceView { restarts: 7, exit_code: Some(1), ..service("jobs", ServiceState::Restarting) };
    let view = ProjectView { state: ProjectState::Degraded, reason: Some("jobs is started again and again".to_owned()), live: Some(live("Add subtitles", "Ann")), behind: Some(behind("Add chapters", "Bob")), services: vec![web, jobs], ..project("media", "me/media") };
    Guest::stays(edge.enrolled("cellar").await.connect(&[view]).await)
}

/// `loft` with so many projects that the first page is long.
pub async fn many(edge: &Edge) -> Guest {
    let all: Vec<_> = (1..=30).map(|number| project(&format!("p{number}"), &format!("me/p{number}"))).collect();
    Guest::stays(edge.enrolled("loft").await.connect(&all).await)
}

/// `mill`, whose run `mill-1` logs a numbered line ten times a second and does
/// nothing else.
pub async fn loud(edge: &Edge) -> Guest {
    let mut session = edge.enrolled("mill").await.connect(&[project("flour", "me/flour")]).await;
    let run = "mill-1".to_owned();
    session.report(Report::Started { run: run.clone(), job: None, attempt: 0, project: "flour".parse().unwrap(), action: Action::Deploy, cause: Cause::Manual, service: None, at: AT }).await;
    Guest(tokio::spawn(async move {
        let mut times = tokio::time::interval(Duration::from_millis(100));
        for number in 0u64.. {
            times.tick().await;
            session.report(Report::Log { run: run.clone(), lines: vec![format!("line {number}")] }).await;
        }
    }))
}

fn live(subject: &str, author: &str) -> LiveView {
    LiveView { release: 1, commit: "c0ffee12".repeat(5), subject: subject.to_owned(), since: AT, author: author.to_owned(), committed: Some(AT) }
}

fn behind(subject: &str, author: &str) -> BehindView {
    let commit = CommitView { commit: "decade34".repeat(5), subject: subject.to_owned(), author: author.to_owned(), at: AT };
    BehindView { behind: 1, ahead: 0, commits: vec![commit] }
}

/// `den`, all of whose words are hostile; the run `den-1` of it; and deliveries,
/// by somebody who knows the webhook's secret.
pub async fn hostile(shop: &mut Shop) -> Guest {
    let host = shop.edge.enrolled("den").await;
    let sick = ServiceView { image: HOSTILE.to_owned(), digest: Some(HOSTILE.to_owned()), ports: vec![HOSTILE.to_owned()], ..service("web", ServiceState::Dead) };
    let view = ProjectView {
        branch: HOSTILE.to_owned(),
        state: ProjectState::Failing,
        reason: Some(HOSTILE.to_owned()),
        live: Some(live(HOSTILE, HOSTILE)),
        behind: Some(behind(HOSTILE, HOSTILE)),
        address: Some(format!("javascript:window.__harm=4//{HOSTILE}")),
        services: vec![sick],
        ..project("lair", "me/lair")
    };
    let mut session = host.connect(&[view]).await;
    for report in run() {
        session.report(report).await;
    }
    deliver(shop).await;
    Guest::stays(session)
}

/// A run that says hostile things wherever it can say anything.
fn run() -> Vec<Report> {
    let (run, text) = ("den-1".to_owned(), HOSTILE.to_owned());
    let failure = Failure { kind: FailureKind::Build, step: text.clone(), message: text.clone() };
    vec![
        Report::Started { run: run.clone(), job: None, attempt: 0, project: "lair".parse().unwrap(), action: Action::Deploy, cause: Cause::Manual, service: None, at: AT },
        Report::Step { run: run.clone(), index: 0, name: text.clone(), state: StepState::Failed, at: AT, duration_ms: Some(12), detail: text.clone(), commit: None },
        Report::Log { run: run.clone(), lines: vec![text.clone(), format!("</pre>{text}"), "an honest line".to_owned()] },
        Report::Outcome { run, job: None, attempt: 0, state: RunState::Failed, failure: Some(failure), commit: Some(text), at: AT },
    ]
}

/// A branch, a repository, an author and a message that are hostile.
async fn deliver(shop: &mut Shop) {
    let pushes = [("me/shop", Push::to(HOSTILE).saying(HOSTILE)), ("me/<svg onload=window.__harm=5>", Push::to("main").saying(HOSTILE))];
    for (repo, push) in pushes {
        let sent = shop.github.push(repo, push);
        let mut body: serde_json::Value = serde_json::from_slice(&sent.body).unwrap();
        body["pusher"]["name"] = HOSTILE.into();
        body["head_commit"]["author"]["name"] = HOSTILE.into();
        let sent = shop.github.deliver_bytes("push", body.to_string());
        let answer = shop.edge.deliver(&sent).await;
        assert!(answer.status < 500, "{}", answer.text());
    }
    // A real commit, whose subject the real host tells.
    let app = doorstep_tests::App::quick("2").file("say", HOSTILE);
    let commit = app.push_to(&shop.origin, HOSTILE);
    let pushed = shop.tell(&commit).await;
    let run = shop.ended(&pushed).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
}
