//! What was sent, granted and settled, kept by number: a few words for each
//! delivery and never its body.
//!
//! A delivery's number is in its GUID and in its head commit, so a row of the
//! history and a grant both say which one they are about.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use doorstep_shared::ids::JobId;
use tokio::sync::Notify;

use super::SETTLED_MAX;
use crate::stats::Series;

/// All that is known of a run of the load.
#[derive(Debug)]
pub struct Ledger {
    inner: Mutex<Inner>,
    settling: Notify,
    projects: usize,
    followers: usize,
}

#[derive(Debug, Default)]
struct Inner {
    /// By number; the first is 1.
    deliveries: Vec<Delivery>,
    jobs: HashMap<JobId, Run>,
    /// The newest job of each project, and its delivery.
    newest: Vec<(JobId, u64)>,
    waits: Series,
    granted_again: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Delivery {
    sent: Option<Instant>,
    is_accepted: bool,
    /// Jobs of it whose outcome the hub acknowledged.
    settled: usize,
}

/// What the executors did for one job.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// How often it was started, under any attempt.
    pub starts: u32,
    /// The hub has its outcome.
    pub is_settled: bool,
}

impl Ledger {
    /// A ledger of so many deliveries, given to the projects in turn.
    pub fn new(deliveries: u64, projects: usize, followers: usize) -> Self {
        let count = usize::try_from(deliveries).unwrap_or(usize::MAX).saturating_add(1);
        let inner = Inner { deliveries: vec![Delivery::default(); count], newest: vec![(JobId(0), 0); projects], ..Inner::default() };
        Self { inner: Mutex::new(inner), settling: Notify::new(), projects, followers }
    }

    /// Jobs that one delivery makes.
    pub fn followers(&self) -> usize {
        self.followers
    }

    /// The project that delivery `number` is for.
    pub fn project_of(&self, number: u64) -> usize {
        usize::try_from(number).unwrap_or(0) % self.projects
    }

    /// The POST begins.
    pub fn sent(&self, number: u64) {
        self.delivery(number, |delivery| delivery.sent = Some(Instant::now()));
    }

    /// It was answered 202.
    pub fn accepted(&self, number: u64) {
        self.delivery(number, |delivery| delivery.is_accepted = true);
    }

    /// The hub says which jobs it made.
    pub fn made(&self, number: u64, jobs: &[JobId]) {
        let (project, mut inner) = (self.project_of(number), self.lock());
        if let (Some(job), Some(newest)) = (jobs.iter().max(), inner.newest.get_mut(project)) {
            *newest = (*newest).max((*job, number));
        }
    }

    /// An executor stored a grant and begins.
    pub fn started(&self, number: Option<u64>, job: JobId, at: Instant) {
        let mut inner = self.lock();
        let run = inner.jobs.entry(job).or_default();
        run.starts += 1;
        let is_first = run.starts == 1;
        let sent = number.and_then(|number| inner.deliveries.get(index(number))?.sent);
        if let (Some(sent), true) = (sent, is_first) {
            inner.waits.push(at.saturating_duration_since(sent).as_secs_f64() * 1e3);
        }
    }

    /// A grant came that was stored already; nothing was done.
    pub fn granted_again(&self) {
        self.lock().granted_again += 1;
    }

    /// The hub acknowledged a job's outcome.
    pub fn settled(&self, number: Option<u64>, job: JobId) {
        let mut inner = self.lock();
        inner.jobs.entry(job).or_default().is_settled = true;
        if let Some(delivery) = number.and_then(|number| inner.deliveries.get_mut(index(number))) {
            delivery.settled += 1;
        }
        drop(inner);
        self.settling.notify_waiters();
    }

    /// Waits until every job of this delivery is settled.
    pub async fn until_settled(&self, number: u64) -> Result<()> {
        let is_settled = || self.lock().deliveries.get(index(number)).is_some_and(|delivery| delivery.settled >= self.followers);
        loop {
            // Asked for before the look, so that nothing is missed in between.
            let change = self.settling.notified();
            if is_settled() {
                return Ok(());
            }
            tokio::time::timeout(SETTLED_MAX, change).await.with_context(|| format!("delivery {number} was not settled in time"))?;
        }
    }

    /// Projects whose newest delivery is not settled yet.
    pub fn unsettled(&self) -> usize {
        let inner = self.lock();
        let is_open = |number: u64| inner.deliveries.get(index(number)).is_some_and(|delivery| delivery.settled < self.followers);
        inner.newest.iter().filter(|(_, number)| *number > 0 && is_open(*number)).count()
    }

    /// Was this delivery answered 202?
    pub fn is_accepted(&self, number: u64) -> bool {
        self.lock().deliveries.get(index(number)).is_some_and(|delivery| delivery.is_accepted)
    }

    /// Deliveries that were answered 202.
    pub fn accepted_count(&self) -> usize {
        self.lock().deliveries.iter().filter(|delivery| delivery.is_accepted).count()
    }

    /// What the executors did for a job.
    pub fn run_of(&self, job: JobId) -> Run {
        self.lock().jobs.get(&job).copied().unwrap_or_default()
    }

    /// Jobs that were started more than once.
    pub fn started_twice(&self) -> usize {
        self.lock().jobs.values().filter(|run| run.starts > 1).count()
    }

    /// Grants that came again, without effect.
    pub fn granted_again_count(&self) -> u64 {
        self.lock().granted_again
    }

    /// The newest job of a project.
    pub fn newest(&self, project: usize) -> JobId {
        self.lock().newest.get(project).map_or(JobId(0), |(job, _)| *job)
    }

    /// Milliseconds from each POST to its grant since this was last asked.
    pub fn take_waits(&self) -> Series {
        std::mem::take(&mut self.lock().waits)
    }

    fn delivery(&self, number: u64, change: impl FnOnce(&mut Delivery)) {
        if let Some(delivery) = self.lock().deliveries.get_mut(index(number)) {
            change(delivery);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_project_is_settled_when_its_newest_delivery_is() {
        let ledger = Ledger::new(4, 2, 1);
        // 1 and 3 are for project 1; the later job is the newest, whoever was answered first.
        ledger.made(3, &[JobId(9)]);
        ledger.made(1, &[JobId(7)]);
        assert_eq!((ledger.unsettled(), ledger.newest(1)), (1, JobId(9)));
        ledger.settled(Some(1), JobId(7));
        assert_eq!(ledger.unsettled(), 1, "an older one does not count");
        ledger.settled(Some(3), JobId(9));
        assert_eq!(ledger.unsettled(), 0);
    }

    #[test]
    fn a_job_that_is_started_twice_is_seen() {
        let ledger = Ledger::new(1, 1, 1);
        ledger.sent(1);
        ledger.started(Some(1), JobId(5), Instant::now());
        assert_eq!((ledger.started_twice(), ledger.take_waits().len()), (0, 1));
        ledger.started(Some(1), JobId(5), Instant::now());
        assert_eq!((ledger.started_twice(), ledger.take_waits().len()), (1, 0));
    }
}
