//! What the queue is told, what it wants done, and the row it keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Action, Attempt, Cause, FailureKind, JobId, JobState, Name, ServiceName};
use crate::protocol::{Grant, Holding};
use crate::time::Timestamp;

/// One unit of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// The host it is for.
    pub host: Name,
    /// The project on that host.
    pub project: Name,
    /// What is asked.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// The commit a push named, for display.
    pub hint_commit: Option<String>,
    /// The one service that is meant, of a compose project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Where it stands.
    pub state: JobState,
    /// How often it was granted.
    pub attempt: Attempt,
    /// How often it failed.
    pub failures: u32,
    /// The same by kind, since each kind has tries of its own. In rows of an
    /// older build there is none, and all its tries are still to come.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failures_by_kind: BTreeMap<FailureKind, u32>,
    /// When it was enqueued.
    pub created: Timestamp,
    /// Not to be granted before.
    pub not_before: Timestamp,
    /// End of the lease; 0 when the current attempt holds none: never granted,
    /// or settled.
    pub lease_until: Timestamp,
    /// Since when its limits count: when it was enqueued, or revived. 0 in rows
    /// of an older build: then [`created`](Self::created) counts.
    #[serde(default)]
    pub since: Timestamp,
    /// Attempts before it was revived; they do not count for its limit.
    #[serde(default)]
    pub spared: Attempt,
    /// When the current attempt is given up, however often it is renewed; 0 in
    /// rows of an older build, which set no such limit.
    #[serde(default)]
    pub run_until: Timestamp,
    /// Its lease ended while the edge was not running, and goes on once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_graced: bool,
    /// Why it stands where it stands, in a sentence.
    pub reason: Option<String>,
}

impl Job {
    /// When it is given up if its host stays away.
    #[must_use]
    pub fn waits_until(&self) -> Timestamp {
        self.since.max(self.created).plus_ms(super::WAIT_MS_MAX)
    }

    /// When its current attempt is given up.
    #[must_use]
    pub fn runs_until(&self) -> Timestamp {
        if self.run_until == Timestamp(0) { self.ends_by() } else { self.run_until.min(self.ends_by()) }
    }

    /// Did its lease end while the edge was not running, so that its host could
    /// not renew it? That is forgiven once, and no run lasts longer for it.
    pub(super) fn is_forgiven(&self, now: Timestamp) -> bool {
        now.ms_since(self.lease_until) >= super::LATE_MS && !self.is_graced && self.runs_until() > now
    }

    /// How often it failed in this way.
    #[must_use]
    pub fn failures_of(&self, kind: FailureKind) -> u32 {
        self.failures_by_kind.get(&kind).copied().unwrap_or(0)
    }

    /// When it is given up whatever happens.
    #[must_use]
    pub fn ends_by(&self) -> Timestamp {
        self.since.max(self.created).plus_ms(super::AGE_MS_MAX)
    }
}

/// What an enqueuer knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// A number never used before and larger than all before it.
    pub id: JobId,
    /// The host it is for.
    pub host: Name,
    /// The project on that host.
    pub project: Name,
    /// What is asked.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// The commit a push named, for display.
    pub hint_commit: Option<String>,
    /// The one service that is meant, of a compose project.
    pub service: Option<ServiceName>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A job is wanted.
    Enqueue(NewJob),
    /// A host proved who it is; it has these grants stored and unsettled.
    Connected {
        /// The host.
        host: Name,
        /// What it holds.
        holding: Vec<Holding>,
    },
    /// A host's socket ended.
    Disconnected {
        /// The host.
        host: Name,
    },
    /// A host still holds these.
    Renew {
        /// The host.
        host: Name,
        /// What it holds.
        holding: Vec<Holding>,
    },
    /// A host says how an attempt ended.
    Settle {
        /// The host.
        host: Name,
        /// The job and the attempt.
        holding: Holding,
        /// How it ended.
        verdict: Verdict,
    },
    /// A person wants it gone.
    Cancel {
        /// The job.
        job: JobId,
    },
    /// A person wants a dead job to be tried again; its row, as stored.
    Revive(Job),
    /// A host can take no job now, or can again.
    Parked {
        /// The host.
        host: Name,
        /// Can it take none?
        parked: bool,
    },
    /// A host was revoked: nothing of it will ever run.
    Revoke {
        /// The host.
        host: Name,
    },
    /// Time passed.
    Tick,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Carried out.
    Done,
    /// Not carried out.
    Failed {
        /// Decides whether it is tried again.
        kind: FailureKind,
        /// A sentence for a person.
        reason: String,
    },
}

/// What the shell must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write this row; a job that ended is never seen again here.
    Save(Job),
    /// Send this grant to the host, after the rows are written.
    Grant {
        /// The host.
        host: Name,
        /// The grant.
        grant: Grant,
    },
    /// Tell the host to stop this attempt.
    Cancel {
        /// The host.
        host: Name,
        /// The attempt.
        holding: Holding,
    },
}
