//! Views for tests, and what a person sees of a page.

use doorstep_shared::ids::{Action, Cause, JobId, JobState, Name, ProjectState};
use doorstep_shared::protocol::{BackView, BehindView, CommitView, Failure, LiveView, ServiceView};
use doorstep_shared::time::Timestamp;

use super::Viewer;
use crate::quota::Counts;
use crate::view::{
    AskedAll, AuditRow, AuditView, ContainersHost, ContainersProject, ContainersView, DeliveryRow, FleetView, FollowedJob, HostView, JobRow, Problem, ProjectRow, RunPage, RunRow, SessionRow, SettingsView, StepRow,
};

pub const NOW: Timestamp = Timestamp(1_790_000_000_000);
/// Who looks at the pages of tests.
pub const VIEWER: Viewer<'static> = Viewer { now: NOW, form_token: "f0f1f2" };
pub const COMMIT: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9001122334";

const LONG: &str = match std::str::from_utf8(&[b'<'; 4_096]) {
    Ok(text) => text,
    Err(_) => "",
};

/// Words that somebody else chose. The long ones are 4 KB.
pub const HOSTILE: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' autofocus onfocus='alert(1)",
    "</title></pre></textarea><svg/onload=alert(1)>",
    "javascript:alert(1)//<b>",
    "<!-- ]]> &lt;b&gt; &#x3c;b&#x3e; &amp;",
    "\u{202e}gpj.exe\u{2066}\u{200f}",
    "مرحبا بالعالم שלום",
    "line one\nline two\r\n\0\u{1b}[31mred\u{7f}\u{85}",
    "💥\u{feff}\u{10ffff}\u{e000}",
    "..",
    " ",
    LONG,
];

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub fn before(ms: u64) -> Timestamp {
    Timestamp(NOW.0 - ms)
}

pub fn a_host(of: &str, online: bool) -> HostView {
    HostView {
        name: name(of),
        online,
        last_seen: Some(before(3 * 3_600_000)),
        enrolled: before(9 * 86_400_000),
        executor_version: "0.1.0".into(),
        parked: None,
        round_trip_ms: None,
        started: online.then(|| before(86_400_000)),
        booted: online.then(|| before(9 * 86_400_000)),
    }
}

pub fn a_project(host: &str, of: &str) -> ProjectRow {
    ProjectRow {
        host: name(host),
        online: true,
        host_last_seen: Some(before(1_000)),
        name: name(of),
        repo: "https://github.com/me/shop.git".into(),
        branch: "main".into(),
        state: ProjectState::Running,
        reason: None,
        live: Some(LiveView {
            release: 17,
            commit: COMMIT.into(),
            subject: "Add the cart".into(),
            since: before(190_000),
            author: "Ann".into(),
            committed: Some(before(300_000)),
        }),
        address: Some("https://shop.example".into()),
        shows_logs: true,
        services: vec![],
        behind: None,
        quarantined: None,
        back: None,
        remote: Action::ALL.to_vec(),
        jobs: vec![],
        dead: vec![],
        last_run: Some(a_run("r1", "succeeded")),
        trouble: None,
        recent: vec![],
    }
}

pub fn a_job(action: &str, state: &str) -> JobRow {
    JobRow {
        id: JobId(1_832_960_000_001),
        host: name("attic"),
        project: name("shop"),
        action: action.parse().unwrap(),
        service: None,
        cause: Cause::Push,
        state: state.parse().unwrap(),
        attempt: 1,
        failures: 0,
        created: before(20_000),
        reason: None,
        hint_commit: Some(COMMIT.into()),
        waits_until: None,
        parked: None,
        again: None,
        died: None,
    }
}

pub fn a_dead_job(why: &str) -> JobRow {
    JobRow {
        id: JobId(1_832_960_000_009),
        reason: Some(why.into()),
        died: Some(before(2 * 3_600_000)),
        ..a_job("deploy", "dead")
    }
}

pub fn a_run(id: &str, state: &str) -> RunRow {
    let (started, took, failure) = match state {
        "running" => (42_000, None, None),
        "succeeded" => (200_000, Some(12_400), None),
        _ => (270_000, Some(31_000), Some(("health", "check", "/health answered 500"))),
    };
    RunRow {
        id: id.into(),
        host: name("attic"),
        project: name("shop"),
        job: Some(JobId(1_832_960_000_001)),
        attempt: 1,
        action: Action::Deploy,
        service: None,
        cause: Cause::Push,
        state: state.parse().unwrap(),
        started: before(started),
        ended: took.map(|ms| before(started).plus_ms(ms)),
        commit: Some(COMMIT.into()),
        failure: failure.map(|(kind, step, message)| Failure {
            kind: kind.parse().unwrap(),
            step: step.into(),
            message: message.into(),
        }),
    }
}

/// The page of a run with this log, of a project that allows everything.
pub fn a_run_page(run: RunRow, steps: Vec<StepRow>, log: &[String]) -> RunPage {
    RunPage {
        run,
        steps,
        log: Some(log.to_vec()),
        log_end: 2_000,
        repo: Some("https://github.com/me/shop.git".into()),
        remote: Action::ALL.to_vec(),
        live: Some(COMMIT.into()),
        back: None,
        job: None,
        delivery: Some("d1".into()),
    }
}

pub fn a_step(of: &str, state: &str, duration_ms: Option<u64>, detail: &str) -> StepRow {
    StepRow { name: of.into(), state: state.parse().unwrap(), at: before(20_000), duration_ms, detail: detail.into() }
}

pub fn a_delivery(id: &str, status: &str, ago_ms: u64) -> DeliveryRow {
    DeliveryRow {
        id: NOW.0.saturating_sub(ago_ms),
        delivery_id: id.into(),
        event_type: "push".into(),
        status: status.parse().unwrap(),
        reason: None,
        repo: Some("me/shop".into()),
        git_ref: Some("refs/heads/main".into()),
        commit: Some(COMMIT.into()),
        received_at: before(ago_ms),
        jobs: vec![JobId(1_832_960_000_000)],
    }
}

/// A job of this number, and its run if one began.
pub fn a_followed_job(id: u64, run: Option<&str>) -> FollowedJob {
    let state = if run.is_some() { JobState::Done } else { JobState::Leased };
    FollowedJob { id: JobId(id), host: name("attic"), project: name("shop"), state, run: run.map(|state| a_run("r1", state)) }
}

pub fn a_service(of: &str, state: &str) -> ServiceView {
    let runs = state == "running";
    ServiceView {
        name: of.parse().unwrap(),
        state: state.parse().unwrap(),
        health: runs.then(|| "healthy".parse().unwrap()),
        image: "ghcr.io/me/web:1.2".into(),
        digest: Some(format!("sha256:{}", "a".repeat(64))),
        created: Some(before(10_900_000)),
        started: Some(before(10_800_000)),
        restarts: 2,
        exit_code: None,
        ports: vec!["127.0.0.1:8080->80/tcp".into(), "443/tcp".into()],
        containers: 1,
        stopped: false,
        known_until: None,
    }
}

/// Two hosts with a project each, one failing and one whose host is offline.
pub fn some_containers() -> ContainersView {
    let problems = vec![
        Problem { service: None, why: "failing: no such image".into() },
        Problem { service: Some("jobs".parse().unwrap()), why: "exited with 1".into() },
    ];
    let media = ContainersProject {
        name: name("media"),
        state: ProjectState::Failing,
        reason: Some("no such image".into()),
        remote: Action::ALL.to_vec(),
        shows_logs: false,
        problems,
        services: vec![ServiceView { exit_code: Some(1), ..a_service("jobs", "exited") }, a_service("web", "running")],
        used: vec![],
        jobs: vec![JobRow { service: Some("web".parse().unwrap()), project: name("media"), ..a_job("restart", "leased") }],
    };
    let blog = ContainersProject {
        name: name("blog"),
        state: ProjectState::Running,
        reason: None,
        remote: vec![Action::Restart],
        shows_logs: false,
        problems: vec![],
        services: vec![a_service("web", "running")],
        used: vec![],
        jobs: vec![],
    };
    let host = |of: &str, online, project| {
        let HostView { name, online, last_seen, parked, .. } = a_host(of, online);
        ContainersHost { name, online, last_seen, parked, projects: vec![project] }
    };
    ContainersView { hosts: vec![host("attic", true, media), host("cellar", false, blog)] }
}

/// Something that somebody did.
pub fn a_deed(id: u64, who: &str, action: &str, target: &str, result: &str) -> AuditRow {
    AuditRow {
        id,
        at: before(5_000 * id),
        who: who.into(),
        address: "192.0.2.7".into(),
        action: action.into(),
        target: target.into(),
        result: result.into(),
        host: None,
        project: None,
    }
}

/// What two people and a guesser did.
pub fn an_audit() -> AuditView {
    let of_project = AuditRow { host: Some(name("attic")), project: Some(name("shop")), ..a_deed(1, "bearer", "deploy", "shop on attic", "queued job 12") };
    let rows = vec![of_project, a_deed(2, "01234567", "sign_in", "", "signed in"), a_deed(3, "nobody", "sign_in", "", "refused: wrong_password")];
    AuditView { rows, jobs: vec![], search: String::new(), before: Some(3) }
}

/// Somebody who is signed in.
pub fn a_session(handle: &str, is_this: bool) -> SessionRow {
    SessionRow {
        handle: handle.into(),
        created: before(2 * 86_400_000),
        seen: before(3 * 3_600_000),
        ends: NOW.plus_ms(28 * 86_400_000),
        address: "2001:db8::7".into(),
        agent: "Mozilla/5.0 (X11; Linux x86_64)".into(),
        is_this,
    }
}

/// Two sessions, two hosts and a day's cost.
pub fn some_settings() -> SettingsView {
    SettingsView {
        sessions: vec![a_session("01234567", true), a_session("89abcdef", false)],
        hosts: vec![a_host("attic", true), a_host("cellar", false)],
        today: Counts { requests: 1_234, rows_read: 56_789, rows_written: 2_500 },
        yesterday: Counts { requests: 99_000, rows_read: 1_000, rows_written: 120_000 },
        version: "0.1.0",
        wire: (1, 3),
    }
}

pub fn an_ask_to_all() -> AskedAll {
    AskedAll {
        host: name("attic"),
        action: Action::Restart,
        host_online: false,
        jobs: vec![JobId(1), JobId(2)],
        queued: vec![name("blog"), name("media")],
        not_allowed: vec![name("shop")],
        busy: vec![],
    }
}

/// A service that says `word` wherever it may say anything.
pub fn hostile_service(word: &str) -> ServiceView {
    ServiceView {
        image: word.into(),
        digest: Some(word.into()),
        created: Some(Timestamp(u64::MAX)),
        started: Some(Timestamp(u64::MAX)),
        restarts: u32::MAX,
        exit_code: Some(i64::MIN),
        ports: vec![word.into(); 3],
        containers: u32::MAX,
        ..a_service("web", "running")
    }
}

/// Hosts whose services say `word`.
pub fn hostile_containers(word: &str) -> ContainersView {
    let mut view = some_containers();
    for host in &mut view.hosts {
        host.parked = Some(word.into());
        host.last_seen = Some(Timestamp(u64::MAX));
        for project in &mut host.projects {
            project.reason = Some(word.into());
            project.problems = vec![Problem { service: None, why: word.into() }, Problem { service: Some("web".parse().unwrap()), why: word.into() }];
            project.services = vec![hostile_service(word)];
        }
    }
    view
}

/// Two hosts, one of them offline, and a project in every state but stopped.
pub fn a_fleet() -> FleetView {
    let mut broker = a_project("attic", "broker");
    (broker.state, broker.reason) = (ProjectState::Failing, Some("exited with 1, 5 times in a minute".into()));
    (broker.address, broker.remote) = (None, vec![Action::Fetch]);
    broker.live = Some(LiveView {
        release: 3,
        commit: "9f2c11d0aa".into(),
        subject: "Bump the wire version".into(),
        since: before(2 * 86_400_000),
        author: "Ann".into(),
        committed: None,
    });
    broker.last_run = Some(a_run("r2", "rolled_back"));
    broker.trouble.clone_from(&broker.last_run);
    let mut media = a_project("attic", "media");
    (media.state, media.live, media.last_run) = (ProjectState::Degraded, None, None);
    media.address = Some("http://10.0.0.4:8096".into());
    let mut shop = a_project("attic", "shop");
    shop.jobs = vec![a_job("deploy", "leased"), a_job("fetch", "waiting"), a_job("fetch", "waiting")];
    for (number, job) in shop.jobs.iter_mut().enumerate() {
        job.id = JobId(number as u64);
    }
    shop.last_run = Some(RunRow { job: Some(JobId(0)), ..a_run("r3", "running") });
    shop.recent = vec![a_run("r3", "running"), a_run("r2", "rolled_back"), a_run("r1", "succeeded")];
    shop.behind = Some(BehindView { behind: 2, ahead: 0, commits: vec![CommitView { commit: "b1".into(), subject: "Count the items".into(), author: "Bo".into(), at: before(60_000) }] });
    let mut far = a_project("cellar", "shop");
    far.host_last_seen = Some(before(3 * 3_600_000));
    let waits_until = Some(NOW.plus_ms(13 * 86_400_000));
    (far.online, far.jobs) = (false, vec![JobRow { host: name("cellar"), waits_until, ..a_job("deploy", "waiting") }]);
    far.dead = vec![JobRow { host: name("cellar"), ..a_dead_job("its host did not carry it out within 14 days") }];
    let attic = HostView { parked: Some("the disk is full".into()), ..a_host("attic", true) };
    FleetView { hosts: vec![attic, a_host("cellar", false)], projects: vec![broker, media, shop, far] }
}

/// A host that says `word` wherever it may say anything.
pub fn hostile_host(word: &str) -> HostView {
    HostView { executor_version: word.into(), parked: Some(word.into()), last_seen: Some(Timestamp(u64::MAX)), ..a_host("attic", false) }
}

/// A project that says `word` wherever it may say anything.
pub fn hostile_project(word: &str) -> ProjectRow {
    ProjectRow {
        repo: word.into(),
        branch: word.into(),
        reason: Some(word.into()),
        live: Some(LiveView {
            release: u64::MAX,
            commit: word.into(),
            subject: word.into(),
            since: Timestamp(u64::MAX),
            author: word.into(),
            committed: Some(Timestamp(u64::MAX)),
        }),
        address: Some(word.into()),
        services: vec![hostile_service(word)],
        behind: Some(BehindView { behind: u32::MAX, ahead: u32::MAX, commits: vec![CommitView { commit: word.into(), subject: word.into(), author: word.into(), at: Timestamp(u64::MAX) }] }),
        jobs: vec![JobRow { reason: Some(word.into()), hint_commit: Some(word.into()), waits_until: Some(Timestamp(u64::MAX)), ..a_job("deploy", "waiting") }],
        dead: vec![JobRow { died: Some(Timestamp(u64::MAX)), hint_commit: Some(word.into()), ..a_dead_job(word) }],
        host_last_seen: Some(Timestamp(u64::MAX)),
        quarantined: Some(LiveView { release: u64::MAX, commit: word.into(), subject: word.into(), since: Timestamp(0), author: word.into(), committed: None }),
        back: Some(BackView { to: Some(word.into()), kept: vec![word.into()] }),
        last_run: Some(hostile_run(word)),
        trouble: Some(hostile_run(word)),
        recent: vec![hostile_run(word)],
        ..a_project("attic", "shop")
    }
}

/// A run that says `word` wherever it may say anything.
pub fn hostile_run(word: &str) -> RunRow {
    RunRow {
        id: word.into(),
        attempt: u32::MAX,
        started: Timestamp(u64::MAX),
        ended: Some(Timestamp(0)),
        commit: Some(word.into()),
        failure: Some(Failure { kind: "build".parse().unwrap(), step: word.into(), message: word.into() }),
        ..a_run("x", "failed")
    }
}

/// What stands between `<` and `>`, in order.
pub fn tags(page: &str) -> Vec<&str> {
    page.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag).collect()
}

/// A page without its words: every tag with the names of its attributes. Two
/// pages of the same view must have the same, whatever words the view holds.
pub fn skeleton(page: &str) -> Vec<String> {
    tags(page).into_iter().map(|tag| tag.split('"').step_by(2).collect()).collect()
}

/// Every element that must be closed is, in order.
pub fn assert_well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in tags(page) {
        let name = tag.trim_start_matches('/').split(' ').next().unwrap();
        match name {
            "!doctype" | "meta" | "link" | "input" => {}
            _ if tag.starts_with('/') => assert_eq!(open.pop(), Some(name), "{tag}"),
            _ => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

/// What a person sees: one line for each block, `#` for headings, `[…]` for
/// buttons, `|` between a row's cells.
pub fn seen(page: &str) -> String {
    let (_, body) = page.split_once("Skip to content</a>").unwrap();
    let mut out = String::new();
    let (mut in_row, mut in_pre) = (false, false);
    for piece in body.split('<') {
        let (tag, text) = piece.split_once('>').unwrap_or(("", piece));
        match tag.split(' ').next().unwrap() {
            "h1" => out.push_str("\n# "),
            "h2" => out.push_str("\n## "),
            "h3" => out.push_str("\n### "),
            "button" => out.push_str(if in_row { "[" } else { "\n[" }),
            "/button" => out.push_str(if in_row { "]" } else { "]\n" }),
            "tr" => in_row = true,
            "/tr" => {
                in_row = false;
                out.truncate(out.trim_end_matches([' ', '|']).len());
                out.push('\n');
            }
            "/th" | "/td" => out.push_str(" | "),
            "pre" | "/pre" => {
                in_pre = tag.starts_with("pre");
                out.push('\n');
            }
            "" | "a" | "/a" | "bdi" | "/bdi" | "code" | "/code" | "small" | "/small" | "span" | "/span" | "strong"
            | "/strong" | "time" | "/time" => {}
            _ => out.push(if in_row { ' ' } else { '\n' }),
        }
        let words = text
            .replace("&lt;", "<")
            .replace("&gt;", ">")
            .replace("&quot;", "\"")
            .replace("&#39;", "'")
            .replace("&amp;", "&");
        out.push_str(&if in_pre { words.replace(' ', "\u{a0}") } else { words });
    }
    let lines = out.lines().map(|line| line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n").replace('\u{a0}', " ")
}
