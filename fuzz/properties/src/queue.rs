//! The queue: a string of bytes is a history of inputs; after each of them the
//! rules of the queue hold, and in the end every job ends.
//!
//! Two bytes are one input: what happens and to whom, then which job is meant
//! and how much time passed before. A row is kept for every job that was saved,
//! as the hub keeps it. What is absent: the wire between hub and host, which the
//! simulation of `shared` has.

use std::collections::{BTreeMap, BTreeSet};

use doorstep_shared::ids::{Action, Attempt, Cause, FailureKind, JobId, JobState, Name};
use doorstep_shared::protocol::Holding;
use doorstep_shared::queue::{ATTEMPTS_MAX, Input, Job, LEASE_MS, NewJob, Output, Queue, Verdict};
use doorstep_shared::time::Timestamp;

/// Inputs of one history; more find nothing new and take long.
const INPUTS_MAX: usize = 64;
/// Turns until the last job has ended: each is granted a few times, and each
/// grant takes a turn to be given and one to run out.
const LAST_TURNS_MAX: usize = 4 * INPUTS_MAX * ATTEMPTS_MAX as usize;
/// How far the clock goes before an input, in milliseconds.
const PAUSES_MS: [u64; 8] = [0, 0, 1, 1_000, LEASE_MS / 3, LEASE_MS, 24 * 3_600_000, 8 * 24 * 3_600_000];
const HOSTS: [&str; 2] = ["attic", "cellar"];
const PROJECTS: [&str; 2] = ["shop", "site"];

/// Lives through one history.
pub fn check(data: &[u8]) {
    let mut hub = Hub::new();
    for pair in data.chunks_exact(2).take(INPUTS_MAX) {
        let [what, which] = [pair[0], pair[1]];
        hub.now = hub.now.plus_ms(PAUSES_MS[usize::from(which >> 5)]);
        if what & 0x0f == 0x0f {
            hub.wakes_again();
        } else if let Some(input) = hub.input(what, usize::from(which & 0x1f)) {
            hub.turn(input);
        }
    }
    hub.ends();
}

struct Hub {
    queue: Queue,
    rows: BTreeMap<JobId, Job>,
    online: BTreeSet<Name>,
    parked: BTreeSet<Name>,
    /// Attempts whose outcome was obeyed.
    settled: BTreeSet<Holding>,
    now: Timestamp,
}

impl Hub {
    fn new() -> Self {
        Self {
            queue: Queue::default(),
            rows: BTreeMap::new(),
            online: BTreeSet::new(),
            parked: BTreeSet::new(),
            settled: BTreeSet::new(),
            now: Timestamp(1_000_000),
        }
    }

    /// The input that a byte stands for: four bits say what, then which host,
    /// which project, and a variant.
    fn input(&self, what: u8, which: usize) -> Option<Input> {
        let host: Name = HOSTS[usize::from(what >> 4 & 1)].parse().ok()?;
        let project: Name = PROJECTS[usize::from(what >> 5 & 1)].parse().ok()?;
        let variant = usize::from(what >> 6);
        let job = self.rows.values().rev().nth(which);
        Some(match what & 0x0f {
            0..=2 => Input::Enqueue(NewJob {
                id: JobId(self.rows.keys().next_back().map_or(1, |last| last.0 + 1)),
                host,
                project,
                action: Action::ALL[(which + variant) % Action::ALL.len()],
                cause: Cause::Push,
                hint_commit: None,
                service: None,
            }),
            3 => Input::Enqueue(NewJob {
                id: JobId(self.rows.keys().next_back().map_or(1, |last| last.0 + 1)),
                host,
                project,
                action: Action::Deploy,
                cause: Cause::Push,
                hint_commit: None,
                service: None,
            }),
            4 => Input::Connected { holding: self.held(&host, variant), host },
            5 => Input::Disconnected { host },
            6 => Input::Renew { holding: self.held(&host, variant), host },
            7..=9 => {
                let job = job?;
                // Sometimes the attempt before, sometimes the other host.
                let attempt = job.attempt.saturating_sub(Attempt::from(variant == 3));
                let host = if variant == 2 { host } else { job.host.clone() };
                Input::Settle { host, holding: Holding { job: job.id, attempt }, verdict: verdict(what & 0x0f, which) }
            }
            10 => Input::Cancel { job: job?.id },
            11 if variant == 3 => Input::Revoke { host },
            12 => Input::Revive(job?.clone()),
            13 => Input::Parked { host, parked: variant % 2 == 0 },
            _ => Input::Tick,
        })
    }

    /// What a host says it holds: all that was granted to it, all but the
    /// first, nothing, or attempts of long ago.
    fn held(&self, host: &Name, variant: usize) -> Vec<Holding> {
        let granted = self.rows.values().filter(|job| &job.host == host && job.attempt > 0);
        let old = Attempt::from(variant == 3);
        let all = granted.map(|job| Holding { job: job.id, attempt: job.attempt.saturating_sub(old) });
        match variant {
            0 | 3 => all.collect(),
            1 => all.skip(1).collect(),
            _ => vec![],
        }
    }

    /// Memory was dropped; storage is all there is.
    fn wakes_again(&mut self) {
        self.queue = Queue::load(self.rows.values().cloned(), self.online.iter().cloned());
        self.queue.load_parked(self.parked.iter().cloned());
        self.rests();
    }

    fn turn(&mut self, input: Input) {
        match &input {
            Input::Connected { host, .. } => drop(self.online.insert(host.clone())),
            Input::Disconnected { host } => drop(self.online.remove(host)),
            Input::Revoke { host } => {
                self.online.remove(host);
                self.parked.remove(host);
            }
            Input::Parked { host, parked: true } => drop(self.parked.insert(host.clone())),
            Input::Parked { host, parked: false } => drop(self.parked.remove(host)),
            Input::Revive(_) | Input::Enqueue(_) | Input::Renew { .. } | Input::Settle { .. } | Input::Cancel { .. } | Input::Tick => {}
        }
        let mut raised = BTreeSet::new();
        for output in self.queue.handle(input.clone(), self.now) {
            self.obey(output, &mut raised, &input);
        }
        assert!(raised.is_empty(), "granted and nobody was told: {raised:?}");
        self.rests();
        let due = self.queue.deadline();
        assert!(due.is_none_or(|due| due > self.now), "due at {due:?} already, after {input:?} at {:?}", self.now);
        assert_eq!(self.queue.handle(Input::Tick, self.now), [], "something was left to do after {input:?}");
    }

    /// `raised` are the jobs whose attempt rose in this turn.
    fn obey(&mut self, output: Output, raised: &mut BTreeSet<JobId>, input: &Input) {
        match output {
            Output::Save(job) => {
                let old = self.rows.remove(&job.id);
                self.may_become(old.as_ref(), &job, input);
                // Reviving takes a number that is never granted.
                let void = Attempt::from(is_revived(input, old.as_ref()));
                if old.map_or(0, |old| old.attempt) + void != job.attempt {
                    raised.insert(job.id);
                }
                self.rows.insert(job.id, job);
            }
            Output::Grant { host, grant } => {
                let job = self.rows.get(&grant.job);
                let held = job.is_some_and(|job| {
                    job.state == JobState::Leased && job.attempt == grant.attempt && job.host == host
                });
                let takes_jobs = self.online.contains(&host) && !self.parked.contains(&host);
                assert!(held && takes_jobs, "{grant:?} for {host}");
                assert!(raised.remove(&grant.job), "{grant:?} was given before");
                assert!(grant.attempt - job.map_or(0, |job| job.spared) <= ATTEMPTS_MAX, "{grant:?}");
            }
            // Something that is not stored, or not stored like this, may be stopped; what runs may not.
            Output::Cancel { host, holding } => {
                let job = self.rows.get(&holding.job);
                let runs = job.is_some_and(|job| {
                    job.state == JobState::Leased && job.attempt == holding.attempt && job.host == host
                });
                assert!(!runs, "{holding:?} is stopped and leased");
            }
        }
    }

    /// May this row become that row?
    fn may_become(&mut self, old: Option<&Job>, new: &Job, input: &Input) {
        let revived = is_revived(input, old);
        assert!(revived || old.is_none_or(|old| is_live(old.state)), "{new:?} came back to life");
        let attempt = old.map_or(0, |old| old.attempt) + Attempt::from(revived);
        assert!(new.attempt == attempt || new.attempt == attempt + 1, "{new:?} after attempt {attempt}");
        let ended = !is_live(new.state) && new.state != JobState::Done;
        assert!(!ended || new.reason.is_some(), "{new:?} ended and nobody knows why");
        let told = |old: &Job| match input {
            Input::Settle { host, holding, .. } => {
                holding.job == old.id && holding.attempt == old.attempt && host == &old.host && old.attempt > 0
            }
            _ => false,
        };
        let told = old.is_some_and(told);
        assert!(new.state != JobState::Done || told, "{new:?} is done and its attempt did not say so");
        let failures = old.filter(|_| !revived).map_or(0, |old| old.failures);
        assert!(new.failures == failures || told && new.failures == failures + 1, "{new:?} after {failures} failures");
        if new.failures > failures || new.state == JobState::Done {
            let first = self.settled.insert(Holding { job: new.id, attempt });
            assert!(first, "{new:?} was settled twice in one attempt");
        }
        if new.state == JobState::Leased {
            let ahead_ms = new.lease_until.ms_since(self.now);
            assert!((1..=LEASE_MS).contains(&ahead_ms), "{new:?} is leased for {ahead_ms} ms");
            let held = Holding { job: new.id, attempt: new.attempt };
            assert!(!self.settled.contains(&held), "{new:?} is leased after its outcome");
        }
    }

    /// What holds after every turn.
    fn rests(&self) {
        let live: Vec<&Job> = self.rows.values().filter(|job| is_live(job.state)).collect();
        let known: Vec<&Job> = self.queue.jobs().collect();
        assert_eq!(known, live, "memory is not storage");
        let mut seen = BTreeSet::new();
        for job in live {
            let is_lease = job.state == JobState::Leased;
            if is_lease || job.action == Action::Deploy {
                let first = seen.insert((&job.host, &job.project, is_lease));
                assert!(first, "{job:?} is one too many of its project");
            }
        }
    }

    /// Nobody does anything any more; time passes.
    fn ends(&mut self) {
        let mut turns = 0;
        while let Some(due) = self.queue.deadline() {
            self.now = due;
            self.turn(Input::Tick);
            turns += 1;
            assert!(turns <= LAST_TURNS_MAX, "jobs that never end: {:?}", self.queue.jobs().collect::<Vec<_>>());
        }
        assert!(self.rows.values().all(|job| !is_live(job.state)), "a live job without a deadline");
    }
}

fn verdict(what: u8, which: usize) -> Verdict {
    if what == 7 {
        return Verdict::Done;
    }
    let kind = FailureKind::ALL[which % FailureKind::ALL.len()];
    Verdict::Failed { kind, reason: "it broke".to_owned() }
}

fn is_live(state: JobState) -> bool {
    matches!(state, JobState::Waiting | JobState::Leased)
}

fn is_revived(input: &Input, old: Option<&Job>) -> bool {
    old.is_some_and(|old| old.state == JobState::Dead && matches!(input, Input::Revive(job) if job.id == old.id))
}
