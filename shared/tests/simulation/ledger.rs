//! What the hub's rows may do, checked row by row and turn by turn against
//! rules written down a second time, not read from the engine.

use std::collections::{BTreeMap, BTreeSet};

use doorstep_shared::ids::{Action, FailureKind, JobId, JobState, Name};
use doorstep_shared::protocol::Holding;
use doorstep_shared::queue::{
    ATTEMPTS_MAX, GRACE_MS, Input, Job, LATE_MS, LEASE_MS, LIVE_JOBS_PER_PROJECT_MAX, Output, Queue, RUN_MS_MAX, Verdict,
};
use doorstep_shared::time::Timestamp;

use super::coverage::Seen;
use super::rows::{Rows, is_live};
use super::stage::Stage;

/// The input under way and what it may change.
#[derive(Default)]
struct Facts {
    /// An outcome of the current attempt of a live job.
    settles: Option<(JobId, Verdict)>,
    stale: bool,
    cancels: Option<JobId>,
    /// A new or revived job, and how many of its project lived before it.
    enqueues: Option<(JobId, usize)>,
    revives: Option<JobId>,
    connects: bool,
    /// Whose attempts are held still, by what their host says.
    holds: Option<(Name, Vec<Holding>)>,
    /// Attempts that their host must be told to stop.
    stops: Vec<Holding>,
    /// Jobs that were granted.
    grants: Vec<JobId>,
}

/// What the model remembers of a hub's past.
#[derive(Default)]
pub struct Ledger {
    facts: Facts,
    /// Attempts whose outcome was obeyed.
    settled: BTreeSet<Holding>,
    /// Since when an attempt is held without a break.
    held_since: BTreeMap<Holding, Timestamp>,
    parked: BTreeSet<Name>,
}

impl Ledger {
    /// Notes what this input may change in these rows.
    pub fn begin(&mut self, input: &Input, rows: &BTreeMap<JobId, Job>) {
        self.facts = Facts::default();
        match input {
            Input::Settle { host, holding, verdict } => {
                let current = rows.get(&holding.job).is_some_and(|job| is_current(job, host, holding));
                self.facts.stale = !current || self.settled.contains(holding);
                if !self.facts.stale {
                    self.facts.settles = Some((holding.job, verdict.clone()));
                    self.settled.insert(*holding);
                }
            }
            Input::Cancel { job } => {
                self.facts.cancels = Some(*job);
                let leased = rows.get(job).filter(|job| job.state == JobState::Leased);
                self.facts.stops = leased.map(held_by).into_iter().collect();
            }
            Input::Enqueue(new) => {
                let same = |job: &&Job| job.host == new.host && job.project == new.project;
                self.facts.enqueues = Some((new.id, rows.values().filter(same).count()));
            }
            Input::Revive(dead) => {
                let same = |job: &&Job| same_project(job, dead);
                self.facts.enqueues = Some((dead.id, rows.values().filter(same).count()));
                self.facts.revives = Some(dead.id).filter(|id| !rows.contains_key(id));
            }
            Input::Parked { host, parked: true } => {
                self.parked.insert(host.clone());
            }
            Input::Parked { host, parked: false } => {
                self.parked.remove(host);
            }
            Input::Connected { host, holding } | Input::Renew { host, holding } => {
                self.facts.connects = matches!(input, Input::Connected { .. });
                self.facts.holds = Some((host.clone(), holding.clone()));
                let stale = |held: &&Holding| !rows.get(&held.job).is_some_and(|job| is_current(job, host, held));
                self.facts.stops = holding.iter().filter(stale).copied().collect();
            }
            Input::Disconnected { .. } | Input::Revoke { .. } | Input::Tick => {}
        }
    }

    /// May this row become that row?
    pub fn check_row(&mut self, stage: &mut Stage, old: Option<&Job>, new: &Job) {
        let id = new.id;
        let revived = self.facts.revives == Some(id) && old.is_some_and(|old| old.state == JobState::Dead);
        stage.check(revived || old.is_none_or(|old| is_live(old.state)), || format!("job {id} came back to life"));
        let spared = old.map_or(0, |old| if revived { old.attempt + 1 } else { old.spared });
        stage.check(new.spared == spared, || format!("job {id} is spared {} attempts, not {spared}", new.spared));
        // A new life begins behind the last attempt of the old one.
        let (attempt, failures) = if revived { (spared, 0) } else { old.map_or((0, 0), |old| (old.attempt, old.failures)) };
        let stepped = new.attempt == attempt || new.attempt == attempt + 1;
        stage.check(stepped, || format!("job {id} went from attempt {attempt} to {}", new.attempt));
        let failed = matches!(self.verdict(id), Some(Verdict::Failed { .. }));
        stage.check(new.failures == failures + u32::from(failed), || {
            format!("job {id} counts {} failures after {failures}, outcome obeyed: {failed}", new.failures)
        });
        self.check_kinds(stage, old.filter(|_| !revived), new);
        if let Some(old) = old {
            self.check_lease(stage, old, new);
        }
        if new.attempt > attempt {
            stage.check(new.not_before <= stage.hub_now(), || format!("job {id} was granted before its time"));
            self.facts.grants.push(id);
        }
        match new.state {
            JobState::Waiting => {}
            JobState::Leased => self.check_leased(stage, new),
            JobState::Done => {
                let done = matches!(self.verdict(id), Some(Verdict::Done));
                stage.check(done, || format!("job {id} is done and its current attempt did not say so"));
            }
            JobState::Dead => self.check_dead(stage, old, new),
            JobState::Superseded => stage.saw(Seen::Supersedes),
        }
        if let Some(Verdict::Failed { kind, .. }) = self.verdict(id)
            && new.state != JobState::Dead
        {
            stage.check(new.failures_of(*kind) <= tries_again(*kind), || format!("job {id} is tried again after {kind}"));
            stage.saw(Seen::Retries);
        }
        self.note_hold(stage, old, new);
    }

    /// Each kind of failure counts for itself.
    fn check_kinds(&self, stage: &mut Stage, old: Option<&Job>, new: &Job) {
        for &kind in FailureKind::ALL {
            let told = matches!(self.verdict(new.id), Some(Verdict::Failed { kind: told, .. }) if *told == kind);
            let count = old.map_or(0, |old| old.failures_of(kind)) + u32::from(told);
            stage.check(new.failures_of(kind) == count, || format!("job {} failed {count} times of {kind}, and counts {}", new.id, new.failures_of(kind)));
        }
    }

    fn verdict(&self, id: JobId) -> Option<&Verdict> {
        self.facts.settles.as_ref().filter(|(job, _)| *job == id).map(|(_, verdict)| verdict)
    }

    /// A lease is taken away by time, by an outcome, by a host that does not
    /// hold it, or by a person; it grows for a host that says it holds it.
    fn check_lease(&self, stage: &mut Stage, old: &Job, new: &Job) {
        let id = old.id;
        let held = self.says_held(old);
        if new.state == JobState::Leased && new.attempt == old.attempt {
            let grew = old.state != JobState::Leased || new.lease_until != old.lease_until;
            // A hub that was not running gives its hosts the time to renew, once.
            let late = stage.hub_now().ms_since(old.lease_until) >= LATE_MS && !old.is_graced;
            let forgiven = late && new.is_graced && new.lease_until == stage.hub_now().plus_ms(GRACE_MS);
            stage.check(!grew || held || forgiven, || format!("job {id} was renewed for somebody who does not hold it"));
            if forgiven {
                stage.saw(Seen::Graces);
            }
        } else if old.state == JobState::Leased {
            let expired = old.lease_until <= stage.hub_now();
            let let_go = self.facts.connects && !held;
            let ended = self.verdict(id).is_some() || self.facts.cancels == Some(id) || self.ran_too_long(stage, old);
            stage.check(expired || let_go || ended, || format!("job {id} lost its lease for no reason"));
            let unforgiven = old.is_graced || stage.hub_now().ms_since(old.lease_until) < LATE_MS || old.runs_until() <= stage.hub_now();
            stage.check(let_go || ended || unforgiven, || format!("job {id} lost its lease to a hub that was not running"));
            if expired && !let_go && !ended {
                stage.saw(Seen::Expiries);
            }
        }
    }

    /// Counts the time for which an attempt is held while its host can work.
    fn note_hold(&mut self, stage: &Stage, old: Option<&Job>, new: &Job) {
        let broken = old.is_none_or(|old| old.state != JobState::Leased || old.attempt != new.attempt);
        let held = held_by(new);
        if new.state != JobState::Leased {
            self.held_since.remove(&held);
        } else if broken || (self.parked.contains(&new.host) && self.says_held(new)) {
            self.held_since.insert(held, stage.hub_now());
        }
    }

    fn says_held(&self, job: &Job) -> bool {
        let by_host = |(host, holds): &(Name, Vec<Holding>)| *host == job.host && holds.contains(&held_by(job));
        self.facts.holds.as_ref().is_some_and(by_host)
    }

    fn ran_too_long(&self, stage: &Stage, job: &Job) -> bool {
        let since = self.held_since.get(&held_by(job));
        since.is_some_and(|since| stage.hub_now().ms_since(*since) >= RUN_MS_MAX)
    }

    fn check_leased(&self, stage: &mut Stage, new: &Job) {
        let held = held_by(new);
        stage.check(!self.settled.contains(&held), || format!("{held:?} is leased again after its outcome was obeyed"));
        let tries = new.attempt.saturating_sub(new.spared);
        stage.check(tries > 0 && tries <= ATTEMPTS_MAX, || format!("{held:?} is leased, the {tries}th try"));
        let ahead_ms = new.lease_until.ms_since(stage.hub_now());
        stage.check(ahead_ms > 0 && ahead_ms <= LEASE_MS, || format!("{held:?} is leased for {ahead_ms} ms"));
    }

    /// A job dies of a reason that a person can be told.
    fn check_dead(&mut self, stage: &mut Stage, old: Option<&Job>, new: &Job) {
        stage.saw(Seen::Burials);
        let cancelled = self.facts.cancels == Some(new.id);
        let failed = match self.verdict(new.id) {
            Some(Verdict::Failed { kind, .. }) => new.failures_of(*kind) > tries_again(*kind),
            Some(Verdict::Done) | None => false,
        };
        let worn_out = old.is_some_and(|old| old.attempt - old.spared >= ATTEMPTS_MAX);
        let endless = old.is_some_and(|old| old.state == JobState::Leased && self.ran_too_long(stage, old));
        let crowded = self.facts.enqueues.is_some_and(|(id, live)| id == new.id && live >= LIVE_JOBS_PER_PROJECT_MAX);
        if worn_out && !cancelled && !failed {
            stage.saw(Seen::WornOut);
        }
        if endless && !cancelled && !failed {
            stage.saw(Seen::Endless);
            self.facts.stops.push(held_by(new));
        }
        stage.check(cancelled || failed || worn_out || crowded || endless, || {
            let reason = new.reason.as_deref().unwrap_or_default();
            format!("job {} is dead of `{reason}` after {} failures", new.id, new.failures)
        });
        stage.check(new.reason.is_some(), || format!("job {} is dead and nobody knows why", new.id));
    }

    /// Was the input obeyed?
    pub fn check_input(&self, stage: &mut Stage, rows: &Rows, outputs: &[Output]) {
        self.check_stops(stage, outputs);
        for job in self.facts.grants.iter().filter_map(|id| rows.get(*id)).filter(|job| job.action == Action::Deploy) {
            let newer = |other: &&Job| other.id > job.id && other.action == Action::Deploy && same_project(other, job);
            let waits = rows.live.values().filter(newer).any(|other| other.state == JobState::Waiting);
            stage.check(!waits, || format!("job {} was granted while a newer deploy waits", job.id));
        }
        if self.facts.stale {
            stage.saw(Seen::StaleOutcomes);
        }
        if let Some((id, Verdict::Done)) = &self.facts.settles {
            let done = rows.get(*id).is_some_and(|job| job.state == JobState::Done);
            stage.check(done, || format!("job {id} was carried out and is not done"));
        }
        if let Some((id, _)) = self.facts.enqueues {
            stage.check(rows.get(id).is_some(), || format!("job {id} was wanted and is not stored"));
        }
        let cancelled = |id| !rows.live.contains_key(&id);
        stage.check(self.facts.cancels.is_none_or(cancelled), || "a cancelled job lives on".to_owned());
    }

    /// A host is told to stop what it holds for nothing, and nothing else.
    fn check_stops(&self, stage: &mut Stage, outputs: &[Output]) {
        let told = |output: &Output| match output {
            Output::Cancel { holding, .. } => Some(*holding),
            Output::Save(_) | Output::Grant { .. } => None,
        };
        let told: Vec<Holding> = outputs.iter().filter_map(told).collect();
        stage.check(told == self.facts.stops, || format!("told to stop {told:?} instead of {:?}", self.facts.stops));
    }

    /// Do rows and memory say the same, and no more than is allowed?
    pub fn check_turn(&self, stage: &mut Stage, live: &BTreeMap<JobId, Job>, queue: &Queue) {
        let mut leased: Vec<&Job> = Vec::new();
        let mut deploys: Vec<&Job> = Vec::new();
        let mut memory = queue.jobs();
        for job in live.values() {
            stage.check(memory.next() == Some(job), || format!("job {}: row and memory differ", job.id));
            if job.state == JobState::Leased {
                let alone = !leased.iter().any(|other| same_project(other, job));
                stage.check(alone, || format!("two leased jobs of {}", job.project));
                stage.check(!self.ran_too_long(stage, job), || format!("job {} runs without end", job.id));
                leased.push(job);
            } else if job.action == Action::Deploy {
                let alone = !deploys.iter().any(|other| same_project(other, job));
                stage.check(alone, || format!("two deploys of {} wait", job.project));
                deploys.push(job);
            }
        }
        stage.check(memory.next().is_none(), || "memory holds a job that no row knows".to_owned());
    }
}

/// How often a job is tried again after a failure of this kind (the words of
/// [`FailureKind`], in numbers).
fn tries_again(kind: FailureKind) -> u32 {
    match kind {
        FailureKind::Network => 8,
        FailureKind::Disk => 3,
        FailureKind::Build | FailureKind::Host => 1,
        FailureKind::Source
        | FailureKind::Health
        | FailureKind::Policy
        | FailureKind::Cancelled
        | FailureKind::Crash => 0,
    }
}

fn is_current(job: &Job, host: &Name, held: &Holding) -> bool {
    is_live(job.state) && job.host == *host && job.attempt == held.attempt && job.attempt > 0
}

fn held_by(job: &Job) -> Holding {
    Holding { job: job.id, attempt: job.attempt }
}

fn same_project(a: &Job, b: &Job) -> bool {
    a.host == b.host && a.project == b.project
}
