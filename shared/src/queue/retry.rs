//! How often, and how soon, what failed is tried again.

use super::Job;
use crate::ids::FailureKind;
use crate::time::{backoff_ms, mix};

/// How often a job is tried again after this kind of failure.
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
    backoff_ms(job.failures, base_ms, cap_ms, mix(job.id.0) ^ u64::from(job.attempt))
}
