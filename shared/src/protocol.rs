//! The wire between hub and executor: JSON text frames over one WebSocket.
//!
//! The hub sends names and hints only. No frame to the executor carries a
//! command, a path, an address or a branch: a hostile edge can ask for what
//! the host's own file allows and for nothing else.
//!
//! The order of one connection: the hub sends [`ToExecutor::Challenge`]; the
//! executor answers [`ToEdge::Hello`] (or [`ToEdge::Join`] once in its life);
//! the hub answers [`ToExecutor::Welcome`] and grants jobs; reports flow until
//! the socket ends. Every enum is tagged, and new fields get defaults, so a
//! peer one version older still reads the frame.

mod views;

pub use views::{BACK_COMMITS_MAX, BackView, BehindView, CommitView, LiveView, ProjectView, ServiceView, UsedView};

use serde::{Deserialize, Serialize};

use crate::ids::{Action, Attempt, Cause, FailureKind, JobId, Name, RunState, ServiceName, StepState};
use crate::time::Timestamp;

/// The version this build speaks; either end understands those before too.
///
/// 5 adds to 4: a grant to roll back that names the commit to go back to, the
/// `service` of a run that began, and the `commit` of a step.
/// 4 adds to 3: `measure` and `used`, who wrote the live commit and when, how the
/// live release stands to its branch, and since when a host and its daemon run.
/// 3 adds to 2: a grant that names a `service`, and the `services` of a project.
/// 2 adds to 1: `behind`, `parked`, `watch`, `printed`, and the failures `crash`
/// and `disk`.
/// [`fit`] says what of it a peer of version 1 is told.
pub const VERSION: u16 = 5;
/// The oldest version this build understands.
pub const VERSION_MIN: u16 = 1;

/// Longest frame either end reads, in bytes. A log report carries at most
/// [`LOG_BYTES_MAX`] of text, which JSON's escapes can make six times longer:
/// 6 × 32 KiB = 192 KiB. A hello is 200 KiB of projects and 47 KB of attempts.
pub const FRAME_BYTES_MAX: usize = 256 * 1024;
/// Most text of one log report, in bytes.
pub const LOG_BYTES_MAX: usize = 32 * 1024;
/// Most text of a run's log that an edge keeps, in bytes as
/// [`log_cost`](crate::run_log::log_cost) counts; what comes later is dropped and said.
pub const RUN_LOG_BYTES_MAX: usize = 1024 * 1024;
/// How long a host shows what an app prints after it was asked to; who goes on
/// watching asks again in time.
pub const WATCH_MS: u64 = 60_000;
/// Lines of the past that are shown first.
pub const WATCH_TAIL_LINES: usize = 200;
/// The oldest version whose hosts understand a grant that names a service; one
/// that is older would do to the whole project what was asked of one service.
pub const SERVICE_VERSION: u16 = 3;
/// Most services of one project that are told.
pub const SERVICES_MAX: usize = 100;
/// The oldest version whose hosts say what is used when they are asked.
pub const MEASURE_VERSION: u16 = 4;
/// The oldest version whose hosts go back to the commit that a grant names; one
/// that is older would go back to whatever was live before.
pub const GO_BACK_TO_VERSION: u16 = 5;
/// How often a host that is asked says what is used.
pub const MEASURE_MS: u64 = 2_000;
/// Most commits that are told of those that are not live yet.
pub const BEHIND_COMMITS_MAX: usize = 5;
/// Most commits that are counted.
pub const BEHIND_COUNT_MAX: u32 = 999;
/// Most projects one host announces.
pub const PROJECTS_MAX: usize = 200;
/// Longest free text of a report (a message, a detail), in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8 * 1024;

/// The heartbeat: a text frame that the platform answers without waking the hub.
pub const PING: &str = "ping";
/// The answer to [`PING`].
pub const PONG: &str = "pong";

/// What a host signs to answer a challenge.
#[must_use]
pub fn hello_message(host: &Name, nonce: &str) -> Vec<u8> {
    format!("doorstep hello v1\n{host}\n{nonce}").into_bytes()
}

/// What a host signs to enrol: proof that it holds the key it registers.
#[must_use]
pub fn join_message(host: &Name, nonce: &str, public_key: &str) -> Vec<u8> {
    format!("doorstep join v1\n{host}\n{nonce}\n{public_key}").into_bytes()
}

/// A frame from the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToExecutor {
    /// First frame of every connection.
    Challenge {
        /// 32 random bytes in hex; fresh for each connection.
        nonce: String,
        /// Newest version the hub speaks.
        version: u16,
        /// Oldest version the hub understands.
        #[serde(default)]
        version_min: u16,
    },
    /// The host is enrolled; dial again and say hello.
    Joined {
        /// The name it was enrolled under.
        host: Name,
    },
    /// The hello was believed.
    Welcome {
        /// Highest report number the hub has stored for this journal.
        acknowledged: u64,
        /// How long a lease lasts at least, in milliseconds; renew each third of it.
        lease_ms: u64,
    },
    /// A job, granted.
    Grant {
        /// What to do.
        grant: Grant,
    },
    /// Stop this job if it runs.
    Cancel {
        /// The job.
        job: JobId,
        /// The attempt that is meant.
        attempt: Attempt,
    },
    /// Reports up to this number are stored.
    Acknowledge {
        /// The highest report number.
        seq: u64,
    },
    /// Somebody watches what this project's app prints: show it for
    /// [`WATCH_MS`], if the host's file allows that. Since version 2.
    Watch {
        /// The project.
        project: Name,
        /// Whoever asks has seen nothing yet: begin with the last lines.
        #[serde(default)]
        tail: bool,
    },
    /// Somebody looks at what is used here: say it each [`MEASURE_MS`] for
    /// [`WATCH_MS`]. Since version 4.
    Measure,
    /// The hub will not talk to this executor; the socket ends.
    Refuse {
        /// What to make of it.
        refusal: Refusal,
        /// A sentence for a person.
        message: String,
    },
}

/// A job as its host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The job.
    pub job: JobId,
    /// The lease's number.
    pub attempt: Attempt,
    /// The project, by the name in the host's file.
    pub project: Name,
    /// What is asked.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// The commit that the push named: for display, never fetched by. Of a
    /// rollback: the commit whose release goes live again, the one before when
    /// there is none; since version 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint_commit: Option<String>,
    /// The one service that is meant, by its name in the host's live release;
    /// all of them when there is none. Since version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
}

/// Why the hub refuses an executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The host was revoked, or its signature is wrong. Stop.
    NotAuthorised,
    /// The hub has never heard of this host: it is not enrolled, or the edge lost
    /// its rows or is an older copy. Dial again much later. Since version 2.
    Unknown,
    /// The enrolment code is wrong, used or too old. Stop.
    BadCode,
    /// Another host has this name. Stop.
    NameTaken,
    /// No version in common. Dial again much later.
    Version,
    /// A newer socket of this host took over.
    Replaced,
    /// A frame was malformed or out of order.
    Protocol,
    /// The hub cannot now; dial again later.
    Busy,
}

/// A frame from the executor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToEdge {
    /// Enrol this host.
    Join {
        /// The one-time code.
        code: String,
        /// The name it wants.
        host: Name,
        /// Its Ed25519 public key, 32 bytes in hex.
        public_key: String,
        /// Signature of [`join_message`], 64 bytes in hex.
        signature: String,
    },
    /// Prove who this is, and say what it holds.
    Hello {
        /// Version of the protocol it will speak.
        version: u16,
        /// Version of the program, for display.
        #[serde(default)]
        executor_version: String,
        /// Its name.
        host: Name,
        /// Signature of [`hello_message`], 64 bytes in hex.
        signature: String,
        /// Identity of its journal: report numbers count within one journal.
        journal: String,
        /// The grants it has stored and not settled.
        #[serde(default)]
        holding: Vec<Holding>,
        /// Its projects, complete.
        #[serde(default)]
        projects: Vec<ProjectView>,
        /// Why it can take no job now, if so. Since version 2.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parked: Option<String>,
        /// Since when its daemon runs. Since version 4.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started: Option<Timestamp>,
        /// Since when the machine runs. Since version 4.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        booted: Option<Timestamp>,
    },
    /// Its projects changed.
    Projects {
        /// Its projects, complete.
        projects: Vec<ProjectView>,
    },
    /// It still holds these.
    Renew {
        /// The grants it holds.
        holding: Vec<Holding>,
    },
    /// It can take no job now, and why; or it can again. Since version 2.
    Parked {
        /// Why, in a sentence; nothing when it can again.
        #[serde(default)]
        reason: Option<String>,
    },
    /// The branch at a project's origin is elsewhere than what this host
    /// concluded last, and it has no job for it. Since version 2.
    Behind {
        /// The project.
        project: Name,
        /// The head at the origin, 40 hex digits; for display.
        head: String,
        /// Nothing was ever deployed here: no push was missed.
        #[serde(default)]
        first: bool,
    },
    /// What a watched app printed, cleaned. Nothing keeps it, and it may be lost.
    /// At most [`LOG_BYTES_MAX`] of text. Since version 2.
    Printed {
        /// The project.
        project: Name,
        /// These are the last lines so far; forget what was shown before.
        #[serde(default)]
        first: bool,
        /// The lines.
        lines: Vec<String>,
    },
    /// What everything here uses. Nothing keeps it, and it may be lost. Since
    /// version 4.
    Used {
        /// How long the last heartbeat took to the edge and back, in milliseconds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        round_trip_ms: Option<u32>,
        /// By project and service.
        used: Vec<UsedView>,
    },
    /// Something happened; sent until acknowledged.
    Report {
        /// Number within its journal, from 1, without gaps.
        seq: u64,
        /// What happened.
        report: Report,
    },
}

/// A grant that an executor has stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Holding {
    /// The job.
    pub job: JobId,
    /// The lease's number.
    pub attempt: Attempt,
}

/// What the executor says about a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Report {
    /// A run began (or began again after a restart of the daemon).
    Started {
        /// The run.
        run: String,
        /// The job, unless a person asked on the host.
        #[serde(default)]
        job: Option<JobId>,
        /// The attempt of the job.
        #[serde(default)]
        attempt: Attempt,
        /// The project.
        project: Name,
        /// What is done.
        action: Action,
        /// Why.
        cause: Cause,
        /// The one service that is meant, of a compose project. Since version 5.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
        /// When.
        at: Timestamp,
    },
    /// A step changed.
    Step {
        /// The run.
        run: String,
        /// Its place among the run's steps, from 0.
        index: u16,
        /// Its name: fetch, verify, build, …
        name: String,
        /// Where it stands.
        state: StepState,
        /// When it changed.
        at: Timestamp,
        /// How long it took, once it ended.
        #[serde(default)]
        duration_ms: Option<u64>,
        /// What is worth knowing, in a line.
        #[serde(default)]
        detail: String,
        /// The commit that the run is about, once known. Since version 5.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        commit: Option<String>,
    },
    /// Lines of the run's log, already cleaned. A line may have colours, in the
    /// form of [`colour`](crate::colour); an older hub takes them out, and an older
    /// host sends none.
    Log {
        /// The run.
        run: String,
        /// The lines.
        lines: Vec<String>,
    },
    /// The run ended.
    Outcome {
        /// The run.
        run: String,
        /// The job, unless a person asked on the host.
        #[serde(default)]
        job: Option<JobId>,
        /// The attempt of the job.
        #[serde(default)]
        attempt: Attempt,
        /// How it ended.
        state: RunState,
        /// What went wrong.
        #[serde(default)]
        failure: Option<Failure>,
        /// The commit it was about, once known.
        #[serde(default)]
        commit: Option<String>,
        /// When.
        at: Timestamp,
    },
}

/// Why a run did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of thing it was.
    pub kind: FailureKind,
    /// The step that failed.
    pub step: String,
    /// A sentence for a person.
    pub message: String,
}

/// A frame as a hub of this version understands it; `None` when it has no word
/// for it at all. What version 3 added are fields that an older hub passes over.
#[must_use]
pub fn fit(mut frame: ToEdge, version: u16) -> Option<ToEdge> {
    if let ToEdge::Hello { version: spoken, .. } = &mut frame {
        *spoken = version.min(*spoken);
    }
    if version < MEASURE_VERSION && matches!(frame, ToEdge::Used { .. }) {
        return None;
    }
    if version >= 2 {
        return Some(frame);
    }
    match &mut frame {
        ToEdge::Parked { .. } | ToEdge::Behind { .. } | ToEdge::Printed { .. } | ToEdge::Used { .. } => return None,
        ToEdge::Hello { parked, .. } => *parked = None,
        ToEdge::Report { report: Report::Outcome { failure: Some(failure), .. }, .. } => {
            if matches!(failure.kind, FailureKind::Crash | FailureKind::Disk) {
                failure.kind = FailureKind::Host;
            }
        }
        ToEdge::Join { .. } | ToEdge::Projects { .. } | ToEdge::Renew { .. } | ToEdge::Report { .. } => {}
    }
    Some(frame)
}

/// Why a frame was not read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong(usize),
    /// Not JSON, or not a frame of ours.
    #[error("not a frame of this protocol: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Reads one frame.
///
/// # Errors
///
/// When it is too long or not a frame of this protocol.
pub fn decode<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, FrameError> {
    if text.len() > FRAME_BYTES_MAX {
        return Err(FrameError::TooLong(text.len()));
    }
    Ok(serde_json::from_str(text)?)
}

/// Writes one frame.
///
/// # Errors
///
/// Never for the types of this module; the caller logs it.
pub fn encode<T: Serialize>(frame: &T) -> Result<String, FrameError> {
    Ok(serde_json::to_string(frame)?)
}

#[cfg(test)]
mod tests;
