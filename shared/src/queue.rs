//! The queue engine: which job runs where, who holds it, when it is given up.
//!
//! Contract: [`Queue::handle`] takes one input and the time and returns what
//! the shell must do, in order: write every [`Output::Save`] in one
//! transaction, then send. If the write fails, the shell drops this struct
//! and loads it again, so memory equals storage after each turn.
//!
//! Invariants: a project has at most one leased job and at most one waiting
//! deploy; only the current attempt settles a job; every job ends as done,
//! dead or superseded. What is absent: sockets, rows, clocks, and any notion
//! of what an action does.

mod clockwork;
mod hosts;
mod retry;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{Action, Attempt, JobId, JobState, Name};
use crate::protocol::{Grant, Holding};
use crate::time::Timestamp;

pub use retry::retries;
pub use types::{Input, Job, NewJob, Output, Verdict};

/// Time between two renewals of an executor.
pub const RENEW_MS: u64 = 20_000;
/// What an executor is told that its leases last: it renews each third of that.
pub const LEASE_TOLD_MS: u64 = 3 * RENEW_MS;
/// Length of a lease, and with [`RENEWED_MS`] how seldom its row is written: of
/// five renewals' length, 80 and 60 s are left at the first two renewals, which
/// change nothing, and 40 s at the third, which makes it 100 again. So a running
/// job costs a row a minute, and at least 40 s are left for a renewal to come:
/// two of them may be lost.
pub const LEASE_MS: u64 = 5 * RENEW_MS;
/// A renewal makes a lease new when less than this is left of it: a half.
const RENEWED_MS: u64 = LEASE_MS / 2;
/// The end of a lease is seen at its deadline. An edge that sees it later than
/// this was not running (a laptop that slept, a process that was stopped), and
/// its hosts could not renew.
pub const LATE_MS: u64 = 2_000;
/// Then a lease goes on for so long, once: more than the time between two
/// renewals, and two heartbeats, after which a host whose socket died dials again.
pub const GRACE_MS: u64 = 30_000;
const _: () = assert!(RENEW_MS < GRACE_MS && GRACE_MS < RENEWED_MS, "the first renewal ends the grace");
/// A job whose host stays away longer than this is buried: 14 days.
pub const WAIT_MS_MAX: u64 = 14 * 24 * 3_600 * 1_000;
/// A job older than this is buried even if somebody keeps renewing it: its
/// waiting time and a day of running.
pub const AGE_MS_MAX: u64 = WAIT_MS_MAX + 24 * 3_600 * 1_000;
/// Grants of one job, whatever the reason for the last one; then it is buried.
pub const ATTEMPTS_MAX: Attempt = 12;
/// An attempt that is renewed for longer than this is stopped and buried: 6
/// hours. Each step of a run has a limit of its own, in all below 2 hours.
pub const RUN_MS_MAX: u64 = 6 * 3_600 * 1_000;
/// First and last ceiling of the wait before a grant that was let go is
/// granted again. The first time there is none: it was lost on its way.
const RELEASE_BASE_MS: u64 = 1_000;
const RELEASE_CAP_MS: u64 = 60_000;
/// Live jobs of one project. One runs, one deploy waits; the rest are actions
/// that people clicked, and nobody clicks more than this in good faith.
pub const LIVE_JOBS_PER_PROJECT_MAX: usize = 20;

/// Why a job is dead that a person cancelled.
pub const CANCELLED: &str = "cancelled";

/// Known-wrong variants, for the test that must catch each of them.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueBug {
    /// A stale attempt settles a job.
    FenceIgnored,
    /// A second job of a project is granted while one is leased.
    TwoAtOnce,
    /// A lease never ends.
    LeaseEndless,
    /// A newer push does not replace the waiting one.
    SupersedeForgotten,
    /// The row of a grant is not written.
    GrantNotSaved,
    /// A retryable failure loses the job.
    RetryLost,
    /// A revived job goes on with the attempt that it died with.
    ReviveKeepsFence,
    /// A parked host is granted jobs.
    ParkedGranted,
    /// An attempt that is renewed runs for ever.
    RunEndless,
    /// What a late edge lets go on, goes on each time.
    GraceEndless,
}

/// A project by its host and name.
type Key = (Name, Name);

/// The live jobs of a fleet, and who is connected.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    jobs: BTreeMap<JobId, Job>,
    /// The numbers in `jobs` by host and project, so that what concerns one
    /// project looks at its own jobs only.
    by_project: BTreeMap<Key, BTreeSet<JobId>>,
    online: BTreeSet<Name>,
    /// Hosts that can take no job now.
    parked: BTreeSet<Name>,
    #[cfg(feature = "planted-bugs")]
    bug: Option<QueueBug>,
}

impl Queue {
    /// A queue over the live rows; rows that ended are left out.
    #[must_use]
    pub fn load(rows: impl IntoIterator<Item = Job>, online: impl IntoIterator<Item = Name>) -> Self {
        let mut queue = Self { online: online.into_iter().collect(), ..Self::default() };
        for job in rows.into_iter().filter(|job| is_live(job.state)) {
            queue.insert(job);
        }
        queue
    }

    fn insert(&mut self, job: Job) {
        self.by_project.entry(key_of(&job)).or_default().insert(job.id);
        self.jobs.insert(job.id, job);
    }

    fn remove(&mut self, id: JobId) {
        let Some(job) = self.jobs.remove(&id) else { return };
        let key = key_of(&job);
        if let Some(ids) = self.by_project.get_mut(&key) {
            ids.remove(&id);
            if ids.is_empty() {
                self.by_project.remove(&key);
            }
        }
    }

    /// The numbers of a project's jobs, the oldest first.
    fn ids_of(&self, key: &Key) -> Vec<JobId> {
        self.by_project.get(key).map(|ids| ids.iter().copied().collect()).unwrap_or_default()
    }

    /// A project's jobs, the oldest first.
    fn jobs_of(&self, key: &Key) -> impl Iterator<Item = &Job> {
        self.by_project.get(key).into_iter().flatten().filter_map(|id| self.jobs.get(id))
    }

    /// Says which hosts can take no job now, after [`load`](Self::load).
    pub fn load_parked(&mut self, hosts: impl IntoIterator<Item = Name>) {
        self.parked = hosts.into_iter().collect();
    }

    /// Makes this queue wrong in one way.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: QueueBug) {
        self.bug = Some(bug);
    }

    #[cfg(feature = "planted-bugs")]
    fn has(&self, bug: QueueBug) -> bool {
        self.bug == Some(bug)
    }

    /// The live jobs in order of their numbers.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.values()
    }

    /// Is this host's socket up?
    #[must_use]
    pub fn is_online(&self, host: &Name) -> bool {
        self.online.contains(host)
    }

    /// When [`Input::Tick`] has something to do, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.by_project.keys().filter_map(|key| self.deadline_of(key)).min()
    }

    /// Only the oldest job of a project can be granted, and only while none has a lease.
    fn deadline_of(&self, key: &Key) -> Option<Timestamp> {
        let has_lease = self.jobs_of(key).any(|job| job.state == JobState::Leased);
        let free = !has_lease && self.takes_jobs(&key.0);
        let deadline = |(place, job): (usize, &Job)| match job.state {
            JobState::Leased => job.lease_until.min(job.runs_until()),
            JobState::Waiting if place == 0 && free => job.not_before.min(job.ends_by()),
            JobState::Waiting => job.waits_until(),
            JobState::Done | JobState::Dead | JobState::Superseded => job.ends_by(),
        };
        self.jobs_of(key).enumerate().map(deadline).min()
    }

    fn takes_jobs(&self, host: &Name) -> bool {
        self.online.contains(host) && !self.parked.contains(host)
    }

    /// Handles one input; see the module's contract.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Output> {
        let mut turn = Turn::default();
        match input {
            Input::Enqueue(new) => self.enqueue(new, now, &mut turn),
            Input::Connected { host, holding } => self.connected(&host, &holding, now, &mut turn),
            Input::Disconnected { host } => {
                self.online.remove(&host);
            }
            Input::Renew { host, holding } => self.renew(&host, &holding, now, &mut turn),
            Input::Settle { host, holding, verdict } => self.settle(&host, holding, verdict, now, &mut turn),
            Input::Cancel { job } => self.cancel(job, &mut turn),
            Input::Revive(job) => self.revive(job, now, &mut turn),
            Input::Parked { host, parked } => self.park(host, parked),
            Input::Revoke { host } => self.revoke(&host, &mut turn),
            Input::Tick => {}
        }
        self.expire(now, &mut turn);
        self.grant(now, &mut turn);
        self.finish(turn)
    }

    fn enqueue(&mut self, new: NewJob, now: Timestamp, turn: &mut Turn) {
        let job = Job {
            id: new.id,
            host: new.host,
            project: new.project,
            action: new.action,
            cause: new.cause,
            hint_commit: new.hint_commit,
            service: new.service,
            state: JobState::Waiting,
            attempt: 0,
            failures: 0,
            failures_by_kind: BTreeMap::new(),
            created: now,
            not_before: now,
            lease_until: Timestamp(0),
            since: now,
            spared: 0,
            run_until: Timestamp(0),
            is_graced: false,
            reason: None,
        };
        if self.jobs.contains_key(&job.id) {
            return;
        }
        if job.action == Action::Deploy {
            self.supersede_waiting(&job, turn);
        }
        self.admit(job, turn);
    }

    fn admit(&mut self, mut job: Job, turn: &mut Turn) {
        let live = self.jobs_of(&key_of(&job)).filter(|other| is_live(other.state)).count();
        // At most one deploy waits, so a push is never too much.
        if live >= LIVE_JOBS_PER_PROJECT_MAX && job.action != Action::Deploy {
            job.state = JobState::Dead;
            job.reason = Some(format!("{LIVE_JOBS_PER_PROJECT_MAX} jobs of this project wait already"));
        }
        turn.touch(job.id);
        self.insert(job);
    }

    /// A dead job waits again, as if it had never been tried.
    fn revive(&mut self, mut job: Job, now: Timestamp, turn: &mut Turn) {
        if job.state != JobState::Dead || self.jobs.contains_key(&job.id) {
            return;
        }
        job.state = JobState::Waiting;
        // Whoever still holds an attempt of its former life holds a stale one.
        #[cfg(feature = "planted-bugs")]
        let fence = u32::from(!self.has(QueueBug::ReviveKeepsFence));
        #[cfg(not(feature = "planted-bugs"))]
        let fence = 1;
        job.attempt = job.attempt.saturating_add(fence);
        (job.spared, job.failures) = (job.attempt, 0);
        job.failures_by_kind.clear();
        (job.since, job.not_before) = (now, now);
        (job.lease_until, job.run_until) = (Timestamp(0), Timestamp(0));
        job.reason = None;
        let id = job.id;
        self.admit(job, turn);
        self.keep_newest(id, turn);
    }

    fn supersede_waiting(&mut self, by: &Job, turn: &mut Turn) {
        #[cfg(feature = "planted-bugs")]
        if self.has(QueueBug::SupersedeForgotten) {
            return;
        }
        self.supersede_older(by, turn);
    }

    fn supersede_older(&mut self, by: &Job, turn: &mut Turn) {
        for id in self.ids_of(&key_of(by)).into_iter().filter(|id| *id < by.id) {
            if let Some(job) = self.jobs.get_mut(&id)
                && job.action == Action::Deploy
                && job.state == JobState::Waiting
            {
                job.state = JobState::Superseded;
                job.reason = Some(format!("job {} is newer", by.id));
                turn.touch(id);
            }
        }
    }

    /// Of a deploy that waits again and one that waits already, the older gives
    /// way. The older may be the other one: a person revived it meanwhile.
    fn keep_newest(&mut self, id: JobId, turn: &mut Turn) {
        let Some(job) = self.jobs.get(&id) else { return };
        if job.state != JobState::Waiting || job.action != Action::Deploy {
            return;
        }
        let newer = self.jobs_of(&key_of(job)).find(|other| {
            other.id > id && other.action == Action::Deploy && other.state == JobState::Waiting
        });
        if let Some(newer) = newer.map(|job| job.id)
            && let Some(job) = self.jobs.get_mut(&id)
        {
            job.state = JobState::Superseded;
            job.reason = Some(format!("job {newer} is newer"));
            turn.touch(id);
        } else if let Some(job) = self.jobs.get(&id).cloned() {
            self.supersede_older(&job, turn);
        }
    }

    fn cancel(&mut self, id: JobId, turn: &mut Turn) {
        if let Some(job) = self.jobs.get_mut(&id) {
            turn.bury(job, CANCELLED.to_owned());
        }
    }

    fn finish(&mut self, turn: Turn) -> Vec<Output> {
        let mut outputs = Vec::new();
        for id in &turn.touched {
            let Some(job) = self.jobs.get(id) else { continue };
            #[cfg(feature = "planted-bugs")]
            if self.has(QueueBug::GrantNotSaved) && job.state == JobState::Leased {
                continue;
            }
            outputs.push(Output::Save(job.clone()));
        }
        for id in &turn.grants {
            if let Some(job) = self.jobs.get(id) {
                outputs.push(Output::Grant { host: job.host.clone(), grant: grant_of(job) });
            }
        }
        outputs.extend(turn.cancels.into_iter().map(|(host, holding)| Output::Cancel { host, holding }));
        let ended = |id: &JobId| self.jobs.get(id).is_some_and(|job| !is_live(job.state));
        for id in turn.touched.into_iter().filter(ended).collect::<Vec<_>>() {
            self.remove(id);
        }
        outputs
    }
}

#[derive(Default)]
struct Turn {
    touched: BTreeSet<JobId>,
    /// In order of their numbers.
    grants: BTreeSet<JobId>,
    cancels: Vec<(Name, Holding)>,
}

impl Turn {
    fn touch(&mut self, id: JobId) {
        self.touched.insert(id);
    }

    /// A job dies; whoever holds it is told to stop.
    fn bury(&mut self, job: &mut Job, reason: String) {
        if job.state == JobState::Leased {
            self.cancels.push((job.host.clone(), Holding { job: job.id, attempt: job.attempt }));
        }
        job.state = JobState::Dead;
        job.reason = Some(reason);
        self.touch(job.id);
    }
}

fn is_live(state: JobState) -> bool {
    matches!(state, JobState::Waiting | JobState::Leased)
}

fn key_of(job: &Job) -> Key {
    (job.host.clone(), job.project.clone())
}

fn grant_of(job: &Job) -> Grant {
    Grant {
        job: job.id,
        attempt: job.attempt,
        project: job.project.clone(),
        action: job.action,
        cause: job.cause,
        hint_commit: job.hint_commit.clone(),
        service: job.service.clone(),
    }
}

#[cfg(test)]
mod tests;
