//! What hosts say to the queue: they come, hold, settle, cannot, are gone for good.

use super::retry::{retries, retry_delay_ms};
use super::{Job, LEASE_MS, Queue, RELEASE_BASE_MS, RELEASE_CAP_MS, RENEWED_MS, RUN_MS_MAX, Turn, Verdict, key_of};
#[cfg(feature = "planted-bugs")]
use super::QueueBug;
use crate::ids::{JobState, Name};
use crate::protocol::Holding;
use crate::time::{Timestamp, backoff_ms, mix};

impl Queue {
    pub(super) fn connected(&mut self, host: &Name, holding: &[Holding], now: Timestamp, turn: &mut Turn) {
        self.online.insert(host.clone());
        let mut released = Vec::new();
        for job in self.jobs.values_mut().filter(|job| &job.host == host) {
            if holding.contains(&Holding { job: job.id, attempt: job.attempt }) {
                continue;
            }
            // The grant was lost on its way, or the host lost its journal.
            if job.state == JobState::Leased {
                release(job, now);
                turn.touch(job.id);
                released.push(job.id);
            }
        }
        for id in released {
            self.keep_newest(id, turn);
        }
        self.renew(host, holding, now, turn);
    }

    fn is_current(&self, host: &Name, held: &Holding) -> bool {
        self.jobs.get(&held.job).is_some_and(|job| &job.host == host && job.attempt == held.attempt)
    }

    pub(super) fn renew(&mut self, host: &Name, holding: &[Holding], now: Timestamp, turn: &mut Turn) {
        for held in holding {
            let Some(job) = self.jobs.get(&held.job) else { continue };
            if &job.host != host || job.attempt != held.attempt {
                continue;
            }
            // A lease that ran out is taken up again, unless the project moved
            // on; an attempt whose failure is settled has no lease any more,
            // and its host may not have heard so yet.
            let other_runs = self.jobs_of(&key_of(job)).any(|o| o.id != job.id && o.state == JobState::Leased);
            let settled = job.lease_until == Timestamp(0);
            if job.state == JobState::Waiting && (other_runs || settled) {
                continue;
            }
            // Nothing is moved that is not written: memory is what the rows say.
            let is_fresh = job.state == JobState::Leased && job.lease_until.ms_since(now) >= RENEWED_MS;
            if is_fresh {
                continue;
            }
            let parked = self.parked.contains(host);
            if let Some(job) = self.jobs.get_mut(&held.job) {
                // Time without a lease, or without room on the disk, is no running time.
                if job.state == JobState::Waiting || parked {
                    job.run_until = now.plus_ms(RUN_MS_MAX);
                }
                job.state = JobState::Leased;
                job.lease_until = now.plus_ms(LEASE_MS);
                job.is_graced = false;
                turn.touch(job.id);
            }
        }
        // Each time, not only at a hello: a host that slept may hold what was
        // superseded meanwhile, on a socket that both ends still believe in.
        for stale in holding.iter().filter(|held| !self.is_current(host, held)) {
            turn.cancels.push((host.clone(), *stale));
        }
    }

    pub(super) fn settle(&mut self, host: &Name, holding: Holding, verdict: Verdict, now: Timestamp, turn: &mut Turn) {
        #[cfg(feature = "planted-bugs")]
        let (fence_off, lose_retry) = (self.has(QueueBug::FenceIgnored), self.has(QueueBug::RetryLost));
        #[cfg(not(feature = "planted-bugs"))]
        let (fence_off, lose_retry) = (false, false);
        let Some(job) = self.jobs.get_mut(&holding.job) else { return };
        if !fence_off && (&job.host != host || job.attempt != holding.attempt || job.attempt == 0) {
            return;
        }
        // Settled before as failed, and waiting for its next try: the outcome
        // was told twice.
        if !fence_off && job.state == JobState::Waiting && job.lease_until == Timestamp(0) {
            return;
        }
        turn.touch(job.id);
        match verdict {
            Verdict::Done => {
                job.state = JobState::Done;
                job.reason = None;
            }
            Verdict::Failed { kind, reason } => {
                job.failures = job.failures.saturating_add(1);
                let failures = job.failures_by_kind.entry(kind).or_default();
                *failures = failures.saturating_add(1);
                job.reason = Some(reason);
                if *failures > retries(kind) || lose_retry {
                    job.state = JobState::Dead;
                } else {
                    job.state = JobState::Waiting;
                    job.lease_until = Timestamp(0);
                    job.not_before = now.plus_ms(retry_delay_ms(job, kind));
                }
            }
        }
        self.keep_newest(holding.job, turn);
    }

    pub(super) fn park(&mut self, host: Name, parked: bool) {
        if parked {
            self.parked.insert(host);
        } else {
            self.parked.remove(&host);
        }
    }

    pub(super) fn revoke(&mut self, host: &Name, turn: &mut Turn) {
        self.online.remove(host);
        self.parked.remove(host);
        for job in self.jobs.values_mut().filter(|job| &job.host == host) {
            job.state = JobState::Dead;
            job.reason = Some("its host was revoked".to_owned());
            turn.touch(job.id);
        }
    }
}

/// Lets a grant go. Each one after the first waits longer, so that two daemons
/// of one identity, or a host that forgets, do not use up the attempts at once.
pub(super) fn release(job: &mut Job, now: Timestamp) {
    job.state = JobState::Waiting;
    let tries = job.attempt.saturating_sub(job.spared);
    let wait_ms = match tries.checked_sub(2) {
        Some(again) => backoff_ms(again, RELEASE_BASE_MS, RELEASE_CAP_MS, mix(job.id.0) ^ u64::from(job.attempt)),
        None => 0,
    };
    job.not_before = now.plus_ms(wait_ms);
}
