//! A fleet as somebody would have it at home and in an office: hosts, apps and
//! services with a history, spoken by hand. What it shows is what the README's
//! pictures show.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorstep_shared::ids::{Action, Cause, ContainerHealth, FailureKind, ProjectState, RunState, ServiceState, StepState};
use doorstep_shared::protocol::{BehindView, CommitView, Failure, LiveView, ProjectView, Report, ServiceView, ToEdge, UsedView};
use doorstep_shared::time::Timestamp;
use doorstep_tests::{Edge, Session, project};
use tokio::task::JoinHandle;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
/// The run whose page is looked at, newer than all of the others.
const FLEET_RUN: &str = "ffffffffffff0000";
/// How often a host says what is used.
const TOLD: Duration = Duration::from_millis(250);

/// Hosts that live as long as this value.
pub struct Fleet(Vec<JoinHandle<()>>);

impl Drop for Fleet {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

fn ago(ms: u64) -> Timestamp {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    Timestamp(u64::try_from(now).unwrap() - ms)
}

/// Some commit of a name, always the same.
fn commit(of: &str) -> String {
    let hash = of.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{hash:016x}{:016x}{:08x}", hash.rotate_left(17), hash as u32)
}

fn live(subject: &str, author: &str, since_ms: u64) -> Option<LiveView> {
    Some(LiveView { release: 41, commit: commit(subject), subject: subject.into(), since: ago(since_ms), author: author.into(), committed: Some(ago(since_ms + 4 * MINUTE_MS)) })
}

fn service(name: &str, state: ServiceState, image: &str) -> ServiceView {
    let runs = state == ServiceState::Running;
    ServiceView {
        name: name.parse().unwrap(),
        state,
        health: runs.then_some(ContainerHealth::Healthy),
        image: image.into(),
        digest: Some(format!("sha256:{}", &commit(image).repeat(2)[..64])),
        created: Some(ago(50 * HOUR_MS)),
        started: Some(ago(50 * HOUR_MS)),
        restarts: 0,
        exit_code: None,
        ports: Vec::new(),
        containers: 1,
        stopped: false,
        known_until: None,
    }
}

fn at_home() -> Vec<ProjectView> {
    let behind = BehindView {
        behind: 2,
        ahead: 0,
        commits: [("Sort the feed by date", "Ann"), ("Shorter titles", "Ben")]
            .map(|(subject, author)| CommitView { commit: commit(subject), subject: subject.into(), author: author.into(), at: ago(20 * MINUTE_MS) })
            .to_vec(),
    };
    let recipes = ServiceView { restarts: 4, exit_code: Some(137), ..service("worker", ServiceState::Restarting, "ghcr.io/ann/recipes:3.1") };
    let web = ServiceView { ports: vec!["127.0.0.1:8096->8096/tcp".into()], ..service("web", ServiceState::Running, "ghcr.io/ann/media:2.4") };
    vec![
        ProjectView { live: live("Show the weather of tomorrow", "Ann", 26 * HOUR_MS), address: Some("https://home.example".into()), ..project("dashboard", "ann/dashboard") },
        ProjectView { live: live("Subtitles in Finnish", "Ann", 9 * MINUTE_MS), services: vec![web, service("db", ServiceState::Running, "postgres:17.2"), service("jobs", ServiceState::Running, "ghcr.io/ann/media:2.4")], shows_logs: true, address: Some("https://media.example".into()), ..project("media", "ann/media") },
        ProjectView { live: live("Portions for two", "Ben", 3 * HOUR_MS), state: ProjectState::Degraded, reason: Some("worker is started again and again".into()), services: vec![service("web", ServiceState::Running, "ghcr.io/ann/recipes:3.1"), recipes], ..project("recipes", "ann/recipes") },
        ProjectView { live: live("Cache the front page", "Ben", 8 * 24 * HOUR_MS), behind: Some(behind), address: Some("https://news.example".into()), remote: vec![Action::Fetch, Action::Deploy], ..project("news", "ann/news") },
    ]
}

fn at_work() -> Vec<ProjectView> {
    vec![ProjectView { live: live("Invoices as PDF", "Cleo", 2 * 24 * HOUR_MS), address: Some("https://books.example".into()), ..project("books", "cleo/books") }]
}

/// The runs of a project, the oldest first: how each ended, and after how long.
async fn history(session: &mut Session, name: &str, every_ms: u64, runs: &[(RunState, u64)]) {
    for (place, (state, took_ms)) in runs.iter().enumerate() {
        let began = ago((runs.len() - place) as u64 * every_ms);
        let id = format!("{:012x}{}", began.0, &commit(&format!("{name}{place}"))[..8]);
        let failure = (*state != RunState::Succeeded).then(|| Failure { kind: FailureKind::Health, step: "check".into(), message: "not healthy within 30s: /health answered 502".into() });
        session.report(Report::Started { run: id.clone(), job: None, attempt: 0, project: name.parse().unwrap(), action: Action::Deploy, cause: Cause::Push, service: None, at: began }).await;
        let step = |index, name: &str, state, duration_ms, detail: &str| Report::Step { run: id.clone(), index, name: name.into(), state, at: began, duration_ms: Some(duration_ms), detail: detail.into(), commit: None };
        session.report(step(0, "fetch", StepState::Succeeded, took_ms / 8, "3 objects, 709 bytes")).await;
        let end = Timestamp(began.0 + took_ms);
        session.report(Report::Outcome { run: id, job: None, attempt: 0, state: *state, failure, commit: Some(commit(name)), at: end }).await;
    }
}

/// One more of `media` with all that a run says, so that its page has all of it.
async fn one_run(session: &mut Session) {
    let (run, began) = (FLEET_RUN.to_owned(), ago(9 * MINUTE_MS + 21_000));
    session.report(Report::Started { run: run.clone(), job: None, attempt: 0, project: "media".parse().unwrap(), action: Action::Deploy, cause: Cause::Push, service: None, at: began }).await;
    let steps = [
        ("fetch", 840, "b9facdc Subtitles in Finnish (14 objects, 9.1 KB)"),
        ("verify", 35, "1 added, 2 modified, 0 removed"),
        ("resolve", 410, "3 services; web differs"),
        ("pull", 2_300, "1 image"),
        ("build", 9_600, "1 image built"),
        ("up", 3_100, "1 recreated, 2 unchanged"),
        ("check", 1_450, "3 good answers in a row, the last after 9 ms"),
        ("prune", 620, "1 image of an older release removed"),
    ];
    let mut at = began.0;
    for (index, (name, took_ms, detail)) in (0..).zip(steps) {
        at += took_ms;
        session.report(Report::Step { run: run.clone(), index, name: name.into(), state: StepState::Succeeded, at: Timestamp(at), duration_ms: Some(took_ms), detail: detail.into(), commit: None }).await;
    }
    let lines = "+ media/locales/fi.json\n~ media/player.py\n~ compose.yaml\n$ docker compose build web\n#5 [web 2/4] COPY . .\n#6 [web 3/4] RUN uv sync --locked\n#6 1.204 Resolved 48 packages in 3ms\n#6 2.871 Installed 48 packages in 61ms\n#7 [web 4/4] RUN python -m media check\n\u{1b}[32m212 passed\u{1b}[0m, \u{1b}[33m1 skipped\u{1b}[0m in 3.94s\n$ docker compose up --detach --wait web\n Container media-web-1  Recreated\n Container media-web-1  Healthy";
    session.report(Report::Log { run: run.clone(), lines: lines.lines().map(str::to_owned).collect() }).await;
    let commit = commit("Subtitles in Finnish");
    session.report(Report::Outcome { run, job: None, attempt: 0, state: RunState::Succeeded, failure: None, commit: Some(commit), at: Timestamp(at) }).await;
}

/// A host's hello with a version as releases have it, up for so many days.
fn as_released(hello: &mut ToEdge, days: u64) {
    if let ToEdge::Hello { executor_version, started, booted, .. } = hello {
        (*executor_version, *started, *booted) = ("1.0.0".into(), Some(ago(26 * HOUR_MS)), Some(ago(days * 24 * HOUR_MS)));
    }
}

/// Some thirty runs with here and there one that did not go well.
fn some_runs(seed: u64, typical_ms: u64, bad: &[usize]) -> Vec<(RunState, u64)> {
    let took = |place: usize| typical_ms + typical_ms * ((place as u64 * 7 + seed * 13) % 11) / 9;
    let state = |place: usize| if bad.contains(&place) { RunState::RolledBack } else { RunState::Succeeded };
    (0..30).map(|place| (state(place), took(place))).collect()
}

fn stays(mut session: Session, used: Vec<(&'static str, Option<&'static str>, u32, u64)>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut beats = tokio::time::interval(TOLD);
        for number in 0_u32.. {
            beats.tick().await;
            let wave = |base: u32, phase: u32| base * (80 + (number + phase) * 37 % 41) / 100;
            let views = used.iter().zip(0..).map(|((project, service, cpu, mib), phase)| UsedView {
                project: project.parse().unwrap(),
                service: service.map(|name| name.parse().unwrap()),
                cpu_permille: wave(*cpu, phase * 5),
                memory_bytes: (mib << 20) + (u64::from(wave(1_000, phase * 3)) << 12),
            });
            let lines = ["db | checkpoint complete", "web | GET / 200", "web | GET /film 200"].map(str::to_owned).to_vec();
            session.socket.send(&ToEdge::Printed { project: "media".parse().unwrap(), first: true, lines }).await;
            session.socket.send(&ToEdge::Used { round_trip_ms: Some(18 + number % 5), used: views.collect() }).await;
            session.socket.beat().await;
        }
    })
}

/// `nas`, where four projects run, and `office`, which was switched off.
pub async fn fleet(edge: &Edge) -> Fleet {
    let mut nas = edge.enrolled("nas").await.connect_saying(&at_home(), |hello| as_released(hello, 12)).await;
    history(&mut nas, "dashboard", 31 * HOUR_MS, &some_runs(1, 2_400, &[])).await;
    history(&mut nas, "media", 17 * HOUR_MS, &some_runs(2, 14_000, &[7, 21])).await;
    history(&mut nas, "recipes", 11 * HOUR_MS, &some_runs(3, 42_000, &[12])).await;
    history(&mut nas, "news", 25 * HOUR_MS, &some_runs(4, 3_100, &[3, 29])).await;
    let mut office = edge.enrolled("office").await.connect_saying(&at_work(), |hello| as_released(hello, 40)).await;
    history(&mut office, "books", 40 * HOUR_MS, &some_runs(5, 8_000, &[])).await;
    drop(office);
    edge.sees_host("office", false).await;
    one_run(&mut nas).await;
    let used = vec![("dashboard", None, 12, 58), ("news", None, 31, 84), ("media", Some("web"), 140, 312), ("media", Some("db"), 46, 201), ("media", Some("jobs"), 8, 96), ("recipes", Some("web"), 22, 77)];
    Fleet(vec![stays(nas, used)])
}
