//! What may be, checked row by row, turn by turn and at rest; written down a
//! second time, not read from the engines.

use doorstep_shared::ids::{FailureKind, JobState};
use doorstep_shared::queue::{Input, Job, LEASE_MS, Verdict};
use doorstep_shared::time::Timestamp;

use super::state::{Held, Phase, Row, Rule, State, held, is_live};

type Verdicts = Result<(), (Rule, String)>;

/// The input of a turn, and what it may change.
#[derive(Default)]
pub struct Facts {
    at: Timestamp,
    /// The outcome of the current attempt of a live job.
    settles: Option<(Held, Verdict)>,
    connects: bool,
    /// What the host says it holds.
    holds: Vec<Held>,
}

impl Facts {
    pub fn new(input: Option<&Input>, state: &State, at: Timestamp) -> Self {
        let mut facts = Self { at, ..Self::default() };
        match input {
            Some(Input::Settle { holding, verdict, .. }) => {
                let told = held(*holding);
                let current = state.hub.rows.iter().any(|row| is_live(row.0.state) && attempt(&row.0) == told);
                if current && !state.hub.settled.contains(&told) {
                    facts.settles = Some((told, verdict.clone()));
                }
            }
            Some(Input::Connected { holding, .. }) => {
                facts.connects = true;
                facts.holds = holding.iter().copied().map(held).collect();
            }
            Some(Input::Renew { holding, .. }) => facts.holds = holding.iter().copied().map(held).collect(),
            // Whatever else there is may not settle, connect or renew.
            Some(_) | None => {}
        }
        facts
    }

    /// The attempt whose outcome is obeyed.
    pub fn settles(&self) -> Option<Held> {
        self.settles.as_ref().map(|(held, _)| *held)
    }

    fn verdict(&self, job: &Job) -> Option<&Verdict> {
        self.settles.as_ref().filter(|(held, _)| held.0 == job.id).map(|(_, verdict)| verdict)
    }
}

/// May this row become that row?
pub fn check_row(facts: &Facts, old: Option<&Job>, new: &Job) -> Verdicts {
    let id = new.id;
    ensure(old.is_none_or(|old| is_live(old.state)), Rule::Attempts, || format!("job {id} came back to life"))?;
    let (before, failures) = old.map_or((0, 0), |old| (old.attempt, old.failures));
    let granted = new.attempt == before + 1;
    ensure(granted || new.attempt == before, Rule::Attempts, || {
        format!("job {id} went from attempt {before} to {}", new.attempt)
    })?;
    let failed = matches!(facts.verdict(new), Some(Verdict::Failed { .. }));
    ensure(new.failures == failures + u32::from(failed), Rule::Attempts, || {
        format!("job {id} counts {} failures after {failures}, outcome obeyed: {failed}", new.failures)
    })?;
    if granted {
        ensure(new.not_before <= facts.at, Rule::Attempts, || format!("job {id} was granted before its time"))?;
    }
    if let Some(old) = old {
        check_lease(facts, old, new)?;
    }
    check_end(facts, new)
}

/// A lease ends with time, with an outcome, or with a host that does not hold
/// it; it grows for a host that says it holds it.
fn check_lease(facts: &Facts, old: &Job, new: &Job) -> Verdicts {
    let says_held = facts.holds.contains(&attempt(old));
    if new.state == JobState::Leased && new.attempt == old.attempt {
        let grew = old.state != JobState::Leased || new.lease_until != old.lease_until;
        return ensure(!grew || says_held, Rule::Attempts, || {
            format!("job {} was renewed for a host that does not hold it", old.id)
        });
    }
    let expired = old.lease_until <= facts.at;
    let let_go = facts.connects && !says_held;
    let reason = old.state != JobState::Leased || expired || let_go || facts.verdict(old).is_some();
    ensure(reason, Rule::Attempts, || format!("job {} lost its lease for no reason", old.id))
}

/// A job ends for a reason that a person can be told.
fn check_end(facts: &Facts, new: &Job) -> Verdicts {
    let right = match (new.state, facts.verdict(new)) {
        (JobState::Waiting | JobState::Superseded, _) => true,
        (JobState::Leased, _) => {
            let ahead_ms = new.lease_until.ms_since(facts.at);
            new.attempt > 0 && ahead_ms > 0 && ahead_ms <= LEASE_MS
        }
        (JobState::Done, verdict) => matches!(verdict, Some(Verdict::Done)),
        (JobState::Dead, Some(Verdict::Failed { kind, .. })) => new.failures_of(*kind) > tries_again(*kind),
        (JobState::Dead, Some(Verdict::Done) | None) => false,
    };
    ensure(right, Rule::Attempts, || format!("job {} is {} after {:?}", new.id, new.state, facts.settles))
}

/// What must be true of the rows after a turn.
pub fn check_turn(facts: &Facts, before: &[Row], state: &State) -> Verdicts {
    let rows = || state.hub.rows.iter().map(|row| &*row.0);
    for job in rows() {
        let leased = job.state == JobState::Leased;
        // The attempt that this turn settles is one of the settled ones by now.
        ensure(!(leased && state.hub.settled.contains(&attempt(job))), Rule::Attempts, || {
            format!("{:?} is leased after its outcome was obeyed", attempt(job))
        })?;
        let was = before.iter().find(|row| row.0.id == job.id).map_or(0, |row| row.0.attempt);
        let newer = || rows().find(|other| other.id > job.id && other.state == JobState::Waiting);
        if job.attempt > was {
            ensure(newer().is_none(), Rule::Newest, || format!("job {} was granted while a newer one waits", job.id))?;
        }
    }
    check_done(facts, state)
}

/// What the host calls done was carried out: at least what was wanted is live
/// or was before something newer.
fn check_done(facts: &Facts, state: &State) -> Verdicts {
    let Some((told, Verdict::Done)) = &facts.settles else { return Ok(()) };
    let done = state.hub.rows.iter().any(|row| row.0.id == told.0 && row.0.state == JobState::Done);
    ensure(done, Rule::CarriedOut, || format!("{told:?} was carried out and its job is not done"))?;
    let wanted = wanted(state, told.0.0);
    let run = state.host.runs.iter().find(|run| run.held == *told);
    let carried_out = run.is_some_and(|run| run.failure.is_none() && run.starts == 1 && run.commit >= wanted);
    ensure(carried_out && state.host.live >= wanted, Rule::CarriedOut, || format!("{told:?} is done, and it is not"))
}

fn wanted(state: &State, job: u64) -> u8 {
    state.hub.wanted.get(job as usize - 1).copied().unwrap_or(u8::MAX)
}

/// At most one job has a lease, and at most one deploy waits.
pub fn is_alone(state: &State) -> bool {
    let count = |wanted: JobState| state.hub.rows.iter().filter(|row| row.0.state == wanted).count();
    count(JobState::Leased) <= 1 && count(JobState::Waiting) <= 1
}

/// An attempt starts once and ends once; at most one run is under way.
pub fn starts_once(state: &State) -> bool {
    let once = state.host.runs.iter().all(|run| run.starts <= 1 && run.outcomes <= 1);
    let distinct = (0..state.hub.settled.len()).all(|n| !state.hub.settled[..n].contains(&state.hub.settled[n]));
    once && distinct && state.host.runs.iter().filter(|run| super::host::is_running(run)).count() <= 1
}

/// A delivery that GitHub was told is stored has its job.
pub fn is_stored(state: &State) -> bool {
    let has_row = |id| state.hub.rows.iter().any(|row| row.0.id == id);
    state.deliveries.iter().all(|delivery| !delivery.accepted || delivery.job.is_some_and(has_row))
}

/// What must be true of a state in which nothing happens by itself any more.
pub fn check_ending(state: &State) -> Verdicts {
    let rows = || state.hub.rows.iter().map(|row| &*row.0);
    for job in rows() {
        ensure(!is_live(job.state), Rule::Ending, || format!("job {} is {} for ever", job.id, job.state))?;
        let reasoned = job.state == JobState::Done || job.reason.is_some();
        ensure(reasoned, Rule::Ending, || format!("job {} is {} without a reason", job.id, job.state))?;
    }
    for run in &state.host.runs {
        let ended = run.phase == Phase::Forgotten && run.outcomes == 1;
        ensure(ended, Rule::Ending, || format!("{:?} is {:?} for ever", run.held, run.phase))?;
    }
    let (made, host, hub) = (state.host.history.len() as u64, state.host.acknowledged, state.hub.stored);
    ensure(made == host && made == hub, Rule::Ending, || format!("{made} reports, {hub} stored, {host} acknowledged"))?;
    check_newest(state)
}

/// The newest job is carried out or dead, never superseded; if it is carried
/// out, what was pushed before it was wanted is live.
fn check_newest(state: &State) -> Verdicts {
    let Some(newest) = state.hub.rows.iter().map(|row| &*row.0).max_by_key(|job| job.id) else { return Ok(()) };
    let ended = matches!(newest.state, JobState::Done | JobState::Dead);
    ensure(ended, Rule::Ending, || format!("the newest job {} gave way to nothing", newest.id))?;
    let done = state.hub.rows.iter().filter(|row| row.0.state == JobState::Done);
    let floor = done.map(|row| wanted(state, row.0.id.0)).max().unwrap_or(0);
    let live = state.host.live;
    ensure(live >= floor && live <= state.head, Rule::Ending, || format!("{live} is live and {floor} was deployed"))
}

/// How often a job is tried again after a failure of this kind.
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

fn attempt(job: &Job) -> Held {
    (job.id, job.attempt)
}

fn ensure(holds: bool, rule: Rule, how: impl FnOnce() -> String) -> Verdicts {
    if holds { Ok(()) } else { Err((rule, how())) }
}
