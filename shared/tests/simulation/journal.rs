//! What a host keeps through every crash: the grants it stored, how far each
//! got, and every report it ever made. A method is one transaction, synced
//! before it returns.

use std::collections::{BTreeMap, BTreeSet};

use doorstep_shared::ids::{FailureKind, JobId, Name};
use doorstep_shared::protocol::{Grant, Holding, Report, ToEdge, fit};

use super::branch::Head;
use super::hub::Stored;

/// How far a stored grant got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Stored,
    Running,
    /// Its outcome is the report of this number; kept until that is acknowledged.
    Settled { seq: u64 },
}

/// A stored grant, or a run that the host wants by itself.
#[derive(Clone, Debug)]
pub struct Held {
    pub grant: Grant,
    /// No job is behind it.
    pub local: bool,
    pub phase: Phase,
    /// Where the branch stood when the run began: the model's own.
    pub began_at: u64,
    /// The next step.
    pub step: usize,
    /// How many processes began it.
    pub begun: u32,
    /// What the fetch found.
    pub target: Option<Head>,
    /// The release it makes.
    pub release: Option<u64>,
    /// What was current before the switch, noted before it.
    pub undo: Option<Option<u64>>,
    /// Decided before anything is undone.
    pub failure: Option<FailureKind>,
    /// Not in the journal after all: the planted bug.
    pub volatile: bool,
}

impl Held {
    pub fn holding(&self) -> Holding {
        Holding { job: self.grant.job, attempt: self.grant.attempt }
    }
}

/// What the last deploy of a project came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concluded {
    pub commit: u64,
    pub failure: Option<FailureKind>,
}

#[derive(Clone, Default)]
pub struct Journal {
    pub id: String,
    /// Every report, acknowledged or not; number n is in place n - 1.
    pub history: Vec<Report>,
    acknowledged: u64,
    /// Grants in the order they came.
    held: Vec<Held>,
    known: BTreeSet<Holding>,
    concluded: BTreeMap<Name, Concluded>,
    /// Commits that are known to be bad.
    quarantine: BTreeSet<(Name, u64)>,
    /// How often each attempt started, and ended, for ever: the model's own.
    pub starts: BTreeMap<Holding, u32>,
    pub outcomes: BTreeMap<Holding, u32>,
    /// Nothing is synced: the planted bug; and what it was before its last write.
    pub unsynced: bool,
    before: Option<Box<Journal>>,
}

impl Journal {
    pub fn new(id: String, unsynced: bool) -> Self {
        Self { id, unsynced, ..Self::default() }
    }

    /// The begin of each transaction.
    fn write(&mut self) {
        if self.unsynced {
            self.before = None;
            self.before = Some(Box::new(self.clone()));
        }
    }

    /// Was this attempt ever granted?
    pub fn knows(&self, holding: Holding) -> bool {
        self.known.contains(&holding)
    }

    pub fn store(&mut self, grant: Grant, local: bool, volatile: bool) {
        self.write();
        let held = Held {
            grant,
            local,
            phase: Phase::Stored,
            began_at: 0,
            step: 0,
            begun: 0,
            target: None,
            release: None,
            undo: None,
            failure: None,
            volatile,
        };
        self.starts.insert(held.holding(), 0);
        self.known.insert(held.holding());
        self.held.push(held);
    }

    pub fn get(&mut self, holding: Holding) -> Option<&mut Held> {
        self.held.iter_mut().find(|held| held.holding() == holding)
    }

    pub fn held(&self) -> &[Held] {
        &self.held
    }

    /// What is announced to the hub: everything not settled there for sure.
    pub fn holding(&self) -> Vec<Holding> {
        self.held.iter().filter(|held| !held.volatile && !held.local).map(Held::holding).collect()
    }

    pub fn running(&self, project: &Name) -> Option<&Held> {
        self.held.iter().find(|held| held.phase == Phase::Running && held.grant.project == *project)
    }

    /// Is anything of the project stored or under way?
    pub fn is_busy(&self, project: &Name) -> bool {
        let unsettled = |held: &Held| !matches!(held.phase, Phase::Settled { .. });
        self.held.iter().any(|held| unsettled(held) && held.grant.project == *project)
    }

    /// The grant of this project to carry out next, if none is under way.
    pub fn next(&self, project: &Name) -> Option<Holding> {
        let stored = |held: &&Held| held.grant.project == *project && held.phase == Phase::Stored;
        if self.running(project).is_some() { None } else { self.held.iter().find(stored).map(Held::holding) }
    }

    /// A run begins, or a new process finds it under way; how often so far.
    pub fn begin(&mut self, holding: Holding) -> u32 {
        let Some(held) = self.get(holding) else { return 0 };
        held.phase = Phase::Running;
        held.begun += 1;
        held.begun
    }

    /// Older attempts of the same job that are not settled.
    pub fn older(&self, holding: Holding) -> Vec<Holding> {
        let older = |held: &&Held| held.grant.job == holding.job && held.grant.attempt < holding.attempt;
        let unsettled = |held: &&Held| !matches!(held.phase, Phase::Settled { .. });
        self.held.iter().filter(older).filter(unsettled).map(Held::holding).collect()
    }

    /// Appends a report and returns its number.
    pub fn append(&mut self, report: Report) -> u64 {
        self.write();
        self.history.push(report);
        self.history.len() as u64
    }

    /// A run begins again from its first step; what it must put back stays known.
    pub fn rerun(&mut self, holding: Holding) {
        if let Some(held) = self.get(holding) {
            held.step = 0;
        }
    }

    /// The attempt ended and this says how.
    pub fn settle(&mut self, holding: Holding, outcome: Report) -> u64 {
        let seq = self.append(outcome);
        *self.outcomes.entry(holding).or_default() += 1;
        if let Some(held) = self.get(holding) {
            held.phase = Phase::Settled { seq };
        }
        seq
    }

    /// What the last deploy of a project came to, if it came to anything.
    pub fn concluded(&self, project: &Name) -> Option<Concluded> {
        self.concluded.get(project).copied()
    }

    /// A deploy ended with this.
    pub fn conclude(&mut self, project: Name, concluded: Concluded) {
        self.concluded.insert(project, concluded);
    }

    pub fn is_bad(&self, project: &Name, commit: u64) -> bool {
        self.quarantine.contains(&(project.clone(), commit))
    }

    pub fn mark_bad(&mut self, project: Name, commit: u64) {
        self.quarantine.insert((project, commit));
    }

    /// The hub has everything up to this number.
    pub fn forget(&mut self, seq: u64) {
        self.write();
        self.acknowledged = self.acknowledged.max(seq);
        let acknowledged = self.acknowledged;
        let settled = |held: &Held| matches!(held.phase, Phase::Settled { seq } if seq <= acknowledged);
        self.held.retain(|held| !settled(held));
    }

    /// Reports that the hub may not have.
    pub fn outbox(&self) -> Vec<(u64, Report)> {
        let first = self.acknowledged as usize;
        let unsent = self.history.iter().enumerate().skip(first);
        unsent.map(|(place, report)| (place as u64 + 1, report.clone())).collect()
    }

    /// The highest number that a report of this journal ever had.
    pub fn last_report(&self) -> u64 {
        self.history.len() as u64
    }

    /// Is this what it said, as far as that version of the protocol has words for it?
    pub fn says(&self, stored: &Stored, version: u16) -> bool {
        let first = stored.base as usize;
        let Some(said) = self.history.get(first..first + stored.reports.len()) else { return false };
        let same = |(said, stored): (&Report, &Report)| said == stored || as_told(said, version).as_ref() == Some(stored);
        said.iter().zip(&stored.reports).all(same)
    }

    /// How many reports from the first that the hub may lack to this one.
    /// `known` is what could not be written of that, on a full disk.
    pub fn in_flight(&self, seq: u64, known: u64) -> u64 {
        seq.saturating_sub(self.acknowledged.max(known))
    }

    pub fn is_settled(&self) -> bool {
        self.held.is_empty() && self.acknowledged >= self.history.len() as u64
    }

    /// The process died.
    pub fn crash(&mut self) {
        self.held.retain(|held| !held.volatile);
    }

    /// The power went: what was not synced is gone. What the model counts stays.
    pub fn power_cut(&mut self) {
        if let Some(before) = self.before.take() {
            let (starts, outcomes) = (std::mem::take(&mut self.starts), std::mem::take(&mut self.outcomes));
            *self = Self { starts, outcomes, ..*before };
        }
    }
}

fn as_told(report: &Report, version: u16) -> Option<Report> {
    match fit(ToEdge::Report { seq: 1, report: report.clone() }, version) {
        Some(ToEdge::Report { report, .. }) => Some(report),
        _ => None,
    }
}

/// Numbers of runs that no job is behind are above every job's.
pub fn local_id(count: u64) -> JobId {
    JobId((1 << 62) + count)
}
