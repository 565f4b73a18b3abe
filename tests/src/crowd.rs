//! A fleet with a past: hosts with projects that were deployed again and again,
//! of which some are behind, some fail and some have a job under way.
//!
//! What the first page shows of each is as much as it shows of a real one. The
//! hosts beat while this value lives, and carry nothing out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorstep_shared::ids::{Action, Cause, FailureKind, ProjectState, RunState};
use doorstep_shared::protocol::{BehindView, CommitView, Failure, LiveView, ProjectView, Report};
use doorstep_shared::time::{Timestamp, mix};
use futures_util::future::join_all;
use tokio::task::JoinSet;

use crate::{Edge, GitHub, Push, Session, WEBHOOK_SECRET};

const BEAT: Duration = Duration::from_secs(5);
/// Between two runs of a project.
const APART_MS: u64 = 5 * 3_600 * 1_000;
/// Subjects are made of these.
const WORDS: [[&str; 6]; 4] = [
    ["Show", "Fix", "Ask for", "Move", "Remove", "Bump"],
    ["the basket", "an empty order", "the address", "payments", "the search", "the till"],
    ["once", "without a reload", "in its own module", "for guests", "on small screens", "at midnight"],
    ["", "and test it", "(#412)", "as before", "behind a flag", "again"],
];
const AUTHORS: [&str; 4] = ["Ann Archer", "Bob Baker", "Chidi Okafor", "Dörte Müller"];

/// The hosts; they go away with this value.
#[derive(Debug)]
pub struct Crowd {
    /// `host/project`, in order.
    pub projects: Vec<String>,
    _hosts: JoinSet<()>,
}

impl Crowd {
    /// Enrols and connects so many hosts, each with so many projects, each with
    /// so many runs behind it, the newest of them minutes ago.
    pub async fn gather(edge: &Edge, hosts: usize, projects: usize, runs: usize) -> Self {
        let now = now();
        let sessions = join_all((0..hosts).map(|host| told(edge, host, projects, runs, now))).await;
        // A push that some follow: a job is under way, and stays so.
        let mut github = GitHub::new(WEBHOOK_SECRET);
        for (host, project) in each(hosts, projects).filter(|(_, project)| project % 5 == 1) {
            let answer = edge.deliver(&github.push(&repo(host, project), Push::to("main"))).await;
            assert_eq!(answer.status, 202, "{}", answer.text());
        }
        let mut beating = JoinSet::new();
        for session in sessions {
            beating.spawn(beat(session));
        }
        let projects = each(hosts, projects).map(|(host, project)| format!("{}/{}", host_name(host), project_name(project))).collect();
        Self { projects, _hosts: beating }
    }
}

fn each(hosts: usize, projects: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..hosts).flat_map(move |host| (0..projects).map(move |project| (host, project)))
}

async fn beat(mut session: Session) {
    let mut beats = tokio::time::interval(BEAT);
    loop {
        beats.tick().await;
        session.socket.beat().await;
    }
}

async fn told(edge: &Edge, host: usize, projects: usize, runs: usize, now: Timestamp) -> Session {
    let views: Vec<ProjectView> = (0..projects).map(|project| view(host, project, now)).collect();
    let mut session = edge.enrolled(&host_name(host)).await.connect(&views).await;
    let reports = (0..projects).flat_map(|project| (0..runs).flat_map(move |age| run(host, project, runs - age, now)));
    session.report_all(reports).await;
    session
}

fn host_name(host: usize) -> String {
    format!("host-{host:02}")
}

fn project_name(project: usize) -> String {
    format!("app-{project:03}")
}

fn repo(host: usize, project: usize) -> String {
    format!("crowd-{host:02}/{}", project_name(project))
}

fn view(host: usize, project: usize, now: Timestamp) -> ProjectView {
    let (state, reason) = match project % 7 {
        3 => (ProjectState::Failing, Some("it ended 4 times within a minute; the last exit code was 1".to_owned())),
        5 => (ProjectState::Degraded, Some("the process `queue` is started again and again".to_owned())),
        _ => (ProjectState::Running, None),
    };
    let of = host * 131 + project;
    ProjectView {
        state,
        reason,
        live: Some(LiveView {
            release: 40 + project as u64,
            commit: commit(of, 1),
            subject: subject(of, 1),
            since: Timestamp(now.0 - 600_000),
            author: AUTHORS[of % AUTHORS.len()].to_owned(),
            committed: Some(Timestamp(now.0 - 900_000)),
        }),
        address: Some(format!("127.0.0.1:{}", 8_000 + project)),
        shows_logs: true,
        behind: (project % 3 == 2).then(|| behind(of, now)),
        ..crate::project(&project_name(project), &repo(host, project))
    }
}

fn behind(of: usize, now: Timestamp) -> BehindView {
    let commits = (0..4).map(|age| CommitView {
        commit: commit(of, 100 + age),
        subject: subject(of, 100 + age),
        author: AUTHORS[age % AUTHORS.len()].to_owned(),
        at: Timestamp(now.0 - 60_000 * (age as u64 + 1)),
    });
    BehindView { behind: 4, ahead: 0, commits: commits.collect() }
}

/// How one run of the past began and ended; `age` is 1 for the newest.
fn run(host: usize, project: usize, age: usize, now: Timestamp) -> [Report; 2] {
    let began = now.0 - 600_000 - APART_MS * (age as u64 - 1);
    let id = format!("{began:012x}-{}-{}", host_name(host), project_name(project));
    let state = match (project + age) % 9 {
        0 => RunState::Failed,
        4 => RunState::RolledBack,
        _ => RunState::Succeeded,
    };
    let message = "the check at /health answered 500 for 60 s, and 200 is wanted".to_owned();
    let failure = (state != RunState::Succeeded).then(|| Failure { kind: FailureKind::Health, step: "check".to_owned(), message });
    let (at, ended) = (Timestamp(began), Timestamp(began + 4_000 + 997 * (age as u64 % 13)));
    let project_name = project_name(project).parse().unwrap();
    [
        Report::Started { run: id.clone(), job: None, attempt: 0, project: project_name, action: Action::Deploy, cause: Cause::Push, service: None, at },
        Report::Outcome { run: id, job: None, attempt: 0, state, failure, commit: Some(commit(host * 131 + project, age)), at: ended },
    ]
}

/// Forty digits that look like nothing, and do not compress.
fn commit(of: usize, age: usize) -> String {
    let seed = (of * 1_000 + age) as u64;
    format!("{:016x}{:016x}{:08x}", mix(seed), mix(seed + (1 << 32)), mix(seed + (1 << 33)) >> 32)
}

fn subject(of: usize, age: usize) -> String {
    let seed = mix((of * 1_000 + age) as u64);
    let words = (0u32..).zip(WORDS).map(|(place, words)| words[(seed >> (16 * place)) as usize % words.len()]);
    words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(0))
}
