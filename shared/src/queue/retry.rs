//! How often, and how soon, what failed is tried again.
//!
//! Each kind of failure has tries of its own: a network that was bad does not
//! use up the second try of a build. All of them together are below
//! [`ATTEMPTS_MAX`](super::ATTEMPTS_MAX) grants, or end there.

use super::{ATTEMPTS_MAX, Job};
use crate::ids::FailureKind;
use crate::time::{backoff_ms, mix};

/// How often a job is tried again after this kind of failure, whatever else failed.
#[must_use]
pub fn retries(kind: FailureKind) -> u32 {
    match kind {
        FailureKind::Network => 8,
        // Its host is parked meanwhile, so each try finds room, or lost it again.
        FailureKind::Disk => 3,
        FailureKind::Build | FailureKind::Host => 1,
        FailureKind::Source
        | FailureKind::Health
        | FailureKind::Policy
        | FailureKind::Cancelled
        | FailureKind::Crash => 0,
    }
}

pub(super) fn retry_delay_ms(job: &Job, kind: FailureKind) -> u64 {
    let (base_ms, cap_ms) = match kind {
        FailureKind::Network => (2_000, 5 * 60_000),
        _ => (5_000, 60_000),
    };
    backoff_ms(job.failures_of(kind), base_ms, cap_ms, mix(job.id.0) ^ u64::from(job.attempt))
}

/// Why a job is given up that was granted [`ATTEMPTS_MAX`] times.
pub(super) fn worn_out(job: &Job) -> String {
    match (job.failures, &job.reason) {
        (0, _) => format!("granted {ATTEMPTS_MAX} times and never settled"),
        (failures, None) => format!("granted {ATTEMPTS_MAX} times, of which {failures} failed"),
        (failures, Some(reason)) => format!("granted {ATTEMPTS_MAX} times, of which {failures} failed, the last with: {reason}"),
    }
}
