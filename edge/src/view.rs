//! What pages and `/api` show: plain data, made by the hub, decided nowhere else.
//!
//! The same values are serialised as JSON and rendered as pages, so the two
//! cannot disagree. Times are milliseconds since the Unix epoch.

use doorstep_shared::ids::{Action, Cause, DeliveryState, JobId, JobState, Name, ProjectState, RunState, ServiceName, StepState};
use doorstep_shared::protocol::{BackView, BehindView, Failure, LiveView, ServiceView};
use doorstep_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

use crate::call::EventsQuery;
use crate::fares::Fares;
use crate::used::Chart;

mod people;

pub use people::{AuditRow, AuditView, SessionRow, SettingsView};

/// A machine with an executor on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostView {
    /// Its name.
    pub name: Name,
    /// Derived from the live socket, never stored.
    pub online: bool,
    /// When it last said anything that was stored.
    pub last_seen: Option<Timestamp>,
    /// When it was enrolled.
    pub enrolled: Timestamp,
    /// Version of its executor.
    pub executor_version: String,
    /// Why it takes no jobs now, if so.
    pub parked: Option<String>,
    /// How long its last heartbeat took to here and back, in milliseconds, while
    /// somebody looks.
    pub round_trip_ms: Option<u32>,
    /// Since when its daemon runs; only while it is online.
    pub started: Option<Timestamp>,
    /// Since when the machine runs; only while it is online.
    pub booted: Option<Timestamp>,
}

/// A project on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectRow {
    /// Its host.
    pub host: Name,
    /// Is the host's socket up?
    pub online: bool,
    /// When the host last said anything that was stored.
    pub host_last_seen: Option<Timestamp>,
    /// Its name.
    pub name: Name,
    /// Its origin.
    pub repo: String,
    /// The branch it follows.
    pub branch: String,
    /// How it was when its host last spoke.
    pub state: ProjectState,
    /// Why, when there is more to say.
    pub reason: Option<String>,
    /// The live release.
    pub live: Option<LiveView>,
    /// Where it serves.
    pub address: Option<String>,
    /// What the dashboard may ask for.
    pub remote: Vec<Action>,
    /// May it show what the app prints?
    pub shows_logs: bool,
    /// Its services, by name, as they were when its host last spoke.
    pub services: Vec<ServiceView>,
    /// How the live release stands to its branch, if that is known to differ.
    pub behind: Option<BehindView>,
    /// Its jobs that have not ended, oldest first.
    pub jobs: Vec<JobRow>,
    /// Its dead jobs of the last 7 days that still matter, newest first. On the
    /// first page and in lists: only the newest.
    pub dead: Vec<JobRow>,
    /// The release of the branch's head, when it was found bad here.
    pub quarantined: Option<LiveView>,
    /// What can be gone back to; none: its host does not say.
    pub back: Option<BackView>,
    /// Its newest run.
    pub last_run: Option<RunRow>,
    /// The newest of its last runs that went wrong and was not made good since.
    pub trouble: Option<RunRow>,
    /// Its newest runs, newest first, as many as its bar shows. Only pages have them.
    #[serde(skip)]
    pub recent: Vec<RunRow>,
}

/// A job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobRow {
    /// Its number.
    pub id: JobId,
    /// Its host.
    pub host: Name,
    /// Its project.
    pub project: Name,
    /// What is asked.
    pub action: Action,
    /// The one service that is meant, if it is one.
    pub service: Option<ServiceName>,
    /// Why.
    pub cause: Cause,
    /// Where it stands.
    pub state: JobState,
    /// How often it was granted.
    pub attempt: u32,
    /// How often it failed.
    pub failures: u32,
    /// When it was enqueued.
    pub created: Timestamp,
    /// Why it stands there.
    pub reason: Option<String>,
    /// The commit a push named.
    pub hint_commit: Option<String>,
    /// It waits for a host that is off: when it is given up.
    pub waits_until: Option<Timestamp>,
    /// It waits for a host that takes no jobs: why.
    pub parked: Option<String>,
    /// It failed and waits to be tried again: when.
    pub again: Option<Timestamp>,
    /// It is dead: since when.
    pub died: Option<Timestamp>,
}

/// One run, without its steps and log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Its id.
    pub id: String,
    /// Its host.
    pub host: Name,
    /// Its project.
    pub project: Name,
    /// Its job, unless a person asked on the host.
    pub job: Option<JobId>,
    /// The attempt of the job.
    pub attempt: u32,
    /// What was done.
    pub action: Action,
    /// The one service that its job meant, if it was one.
    #[serde(default)]
    pub service: Option<ServiceName>,
    /// Why.
    pub cause: Cause,
    /// Where it stands.
    pub state: RunState,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// The commit, once known.
    pub commit: Option<String>,
    /// What went wrong.
    pub failure: Option<Failure>,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub state: StepState,
    /// When it last changed.
    pub at: Timestamp,
    /// How long it took.
    pub duration_ms: Option<u64>,
    /// What is worth knowing.
    pub detail: String,
}

/// A part of a run's log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogPart {
    /// Its lines in their colours ([`doorstep_shared::colour`]), without any
    /// other control character; plain where they are answered as JSON.
    pub lines: Vec<String>,
    /// What to ask for with `after` to go on.
    pub next: u64,
    /// Is there more already?
    pub more: bool,
}

/// One run's page: the run, and what is known around it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunPage {
    /// The run.
    pub run: RunRow,
    /// Its steps in order.
    pub steps: Vec<StepRow>,
    /// Its log in its colours, as in [`LogPart`]; none when the reader has it.
    pub log: Option<Vec<String>>,
    /// Where the log ends, for `after`.
    pub log_end: u64,
    /// Its project's origin, while the project is known.
    pub repo: Option<String>,
    /// What the dashboard may ask its project for.
    pub remote: Vec<Action>,
    /// The commit that is live now, while the project is known.
    pub live: Option<String>,
    /// What can be gone back to; none: the host does not say.
    pub back: Option<BackView>,
    /// Its job, while that has not ended.
    pub job: Option<JobRow>,
    /// GitHub's GUID of the delivery that its job came of.
    pub delivery: Option<String>,
}

/// One project, whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProjectPage {
    /// The project.
    pub project: ProjectRow,
    /// Its runs, newest first: the newest, or those before a run.
    pub runs: Vec<RunRow>,
    /// Before which run these are, if they are not the newest.
    pub before: Option<String>,
    /// What to ask for with `before` to see older ones, if there are any.
    pub older: Option<String>,
    /// What its app or its services used lately, while somebody looks.
    pub used: Vec<UsedRow>,
}

/// Everything the first page shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct FleetView {
    /// Every host that is not revoked, by name.
    pub hosts: Vec<HostView>,
    /// Every project, by host and name.
    pub projects: Vec<ProjectRow>,
}

/// Something that needs a look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The service; the project itself when there is none.
    pub service: Option<ServiceName>,
    /// What is wrong, in words.
    pub why: String,
}

/// What an app or a service used lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UsedRow {
    /// The service; the app itself when there is none.
    pub service: Option<ServiceName>,
    /// What it used, the newest last.
    #[serde(flatten)]
    pub chart: Chart,
}

/// A project that has services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainersProject {
    /// Its name.
    pub name: Name,
    /// How it was when its host last spoke.
    pub state: ProjectState,
    /// Why, when there is more to say.
    pub reason: Option<String>,
    /// What the dashboard may ask for.
    pub remote: Vec<Action>,
    /// May it show what the app prints?
    pub shows_logs: bool,
    /// What needs a look.
    pub problems: Vec<Problem>,
    /// Its services, by name.
    pub services: Vec<ServiceView>,
    /// What they used lately, while somebody looks.
    pub used: Vec<UsedRow>,
    /// Its jobs that have not ended, oldest first.
    pub jobs: Vec<JobRow>,
}

/// A host with projects that have services.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ContainersHost {
    /// Its name.
    pub name: Name,
    /// Is its socket up? If not, the rest is as it last was.
    pub online: bool,
    /// When it was last heard: since then nothing is known.
    pub last_seen: Option<Timestamp>,
    /// Why it takes no jobs now, if so.
    pub parked: Option<String>,
    /// Its projects that have services, by name.
    pub projects: Vec<ContainersProject>,
}

/// Every service of the fleet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ContainersView {
    /// Every host that has any, by name.
    pub hosts: Vec<ContainersHost>,
}

/// What became of an ask to every project with services of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AskedAll {
    /// The host.
    pub host: Name,
    /// What was asked.
    pub action: Action,
    /// Is the host's socket up? If not, the jobs wait for it.
    pub host_online: bool,
    /// The jobs that were made.
    pub jobs: Vec<JobId>,
    /// The projects that they are for, in the same order.
    pub queued: Vec<Name>,
    /// Projects whose host's file does not allow it from here.
    pub not_allowed: Vec<Name>,
    /// Projects that have too many jobs waiting already.
    pub busy: Vec<Name>,
}

/// One delivery, without its payload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryRow {
    /// Its place in the history, rising; `before` takes it.
    pub id: u64,
    /// GitHub's GUID.
    pub delivery_id: String,
    /// The event's name.
    pub event_type: String,
    /// What became of it.
    pub status: DeliveryState,
    /// Why nothing follows from it.
    pub reason: Option<String>,
    /// `owner/name`, when it names a repository.
    pub repo: Option<String>,
    /// The ref it is about.
    #[serde(rename = "ref")]
    pub git_ref: Option<String>,
    /// The commit it is about.
    pub commit: Option<String>,
    /// When it came.
    pub received_at: Timestamp,
    /// The jobs it made.
    pub jobs: Vec<JobId>,
}

/// What became of a job that a delivery made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FollowedJob {
    /// Its number.
    pub id: JobId,
    /// Its host.
    pub host: Name,
    /// Its project.
    pub project: Name,
    /// Where it stands.
    pub state: JobState,
    /// Its newest run, if one began.
    pub run: Option<RunRow>,
}

/// One delivery, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryPage {
    /// The delivery.
    pub row: DeliveryRow,
    /// What became of its jobs that are known still.
    pub jobs: Vec<FollowedJob>,
    /// Its payload, as it came.
    pub payload: String,
}

/// The deliveries' page.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveriesView {
    /// The newest deliveries that were asked for.
    pub rows: Vec<DeliveryRow>,
    /// What became of their jobs that are known still.
    pub jobs: Vec<FollowedJob>,
    /// What was asked for.
    pub query: EventsQuery,
    /// There may be more before this one.
    pub older: Option<u64>,
    /// How they fared lately.
    pub fares: Fares,
    /// Pushes of the last day whose webhook did not arrive.
    pub missed_last_day: u64,
}

/// A one-time enrolment code, shown once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EnrollmentView {
    /// The code.
    pub code: String,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The command to type on the host.
    pub command: String,
}
