//! What time does to the queue: leases that end, jobs that are given up, jobs
//! whose turn it is.

use super::{ATTEMPTS_MAX, GRACE_MS, Key, LEASE_MS, Queue, RUN_MS_MAX, Turn, WAIT_MS_MAX, is_live};
use super::hosts::release;
use super::retry::worn_out;
#[cfg(feature = "planted-bugs")]
use super::QueueBug;
use crate::ids::{JobState, Name};
use crate::time::Timestamp;

impl Queue {
    pub(super) fn expire(&mut self, now: Timestamp, turn: &mut Turn) {
        #[cfg(feature = "planted-bugs")]
        if self.has(QueueBug::LeaseEndless) {
            return;
        }
        #[cfg(feature = "planted-bugs")]
        let (endless, endless_grace) = (self.has(QueueBug::RunEndless), self.has(QueueBug::GraceEndless));
        #[cfg(not(feature = "planted-bugs"))]
        let (endless, endless_grace) = (false, false);
        let mut released = Vec::new();
        for job in self.jobs.values_mut().filter(|job| is_live(job.state)) {
            if job.state == JobState::Leased && job.lease_until <= now && (job.is_forgiven(now) || endless_grace) {
                job.lease_until = now.plus_ms(GRACE_MS);
                job.is_graced = true;
                turn.touch(job.id);
            } else if job.state == JobState::Leased && job.lease_until <= now {
                release(job, now);
                turn.touch(job.id);
                released.push(job.id);
            } else if job.state == JobState::Leased && job.runs_until() <= now && !endless {
                turn.bury(job, format!("it ran for more than {} hours", RUN_MS_MAX / 3_600_000));
            }
            // Also of a lease that just ran out: its deadline would have passed.
            if job.state == JobState::Waiting && job.waits_until() <= now {
                let days = WAIT_MS_MAX / (24 * 3_600 * 1_000);
                turn.bury(job, format!("its host did not carry it out within {days} days"));
            }
        }
        for id in released {
            self.keep_newest(id, turn);
        }
    }

    /// Grants what can be granted: of each project the oldest job, if nothing of
    /// it has a lease. One that waits for its next try holds its place: order is
    /// kept.
    pub(super) fn grant(&mut self, now: Timestamp, turn: &mut Turn) {
        let free: Vec<Key> = self.by_project.keys().filter(|key| self.is_free(key, now)).cloned().collect();
        for key in free {
            for id in self.ids_of(&key) {
                let Some(job) = self.jobs.get_mut(&id).filter(|job| job.state == JobState::Waiting) else { continue };
                if job.not_before > now {
                    break;
                }
                turn.touch(id);
                if job.attempt.saturating_sub(job.spared) >= ATTEMPTS_MAX {
                    job.state = JobState::Dead;
                    job.reason = Some(worn_out(job));
                    // The next of the project has its turn now, not at a deadline that has passed.
                    continue;
                }
                job.state = JobState::Leased;
                job.attempt += 1;
                job.lease_until = now.plus_ms(LEASE_MS);
                job.is_graced = false;
                job.run_until = now.plus_ms(RUN_MS_MAX);
                turn.grants.insert(id);
                break;
            }
        }
    }

    /// Can a job of this project be granted now?
    fn is_free(&self, key: &Key, now: Timestamp) -> bool {
        let due = self.jobs_of(key).find(|job| job.state == JobState::Waiting).is_some_and(|job| job.not_before <= now);
        due && !self.has_lease(key) && self.may_be_granted(&key.0)
    }

    fn has_lease(&self, key: &Key) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.has(QueueBug::TwoAtOnce) {
            return false;
        }
        self.jobs_of(key).any(|job| job.state == JobState::Leased)
    }

    fn may_be_granted(&self, host: &Name) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.has(QueueBug::ParkedGranted) {
            return self.online.contains(host);
        }
        self.takes_jobs(host)
    }
}
