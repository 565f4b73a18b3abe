//! What a host keeps through every crash: the grants it stored, how far each
//! got, and every report it ever made. A method is one transaction.

use std::collections::BTreeMap;

use doorstep_shared::ids::{FailureKind, Name};
use doorstep_shared::protocol::{Grant, Holding, Report};

/// How far a stored grant got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Stored,
    Running,
    /// Its outcome is the report of this number; kept until that is acknowledged.
    Settled { seq: u64 },
}

/// A stored grant.
#[derive(Clone, Debug)]
pub struct Held {
    pub grant: Grant,
    pub phase: Phase,
    /// The next step.
    pub step: usize,
    /// What the fetch found.
    pub commit: Option<u64>,
    /// What was live before the switch, noted before it.
    pub previous: Option<u64>,
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

#[derive(Default)]
pub struct Journal {
    pub id: String,
    /// Every report, acknowledged or not; number n is in place n - 1.
    pub history: Vec<Report>,
    acknowledged: u64,
    /// Grants in the order they came.
    held: Vec<Held>,
    /// How often each attempt started, and ended, for ever.
    pub starts: BTreeMap<Holding, u32>,
    pub outcomes: BTreeMap<Holding, u32>,
}

impl Journal {
    pub fn new(id: String) -> Self {
        Self { id, ..Self::default() }
    }

    /// Was this attempt ever granted?
    pub fn knows(&self, holding: Holding) -> bool {
        self.starts.contains_key(&holding)
    }

    pub fn store(&mut self, grant: Grant, volatile: bool) {
        let held = Held {
            grant,
            phase: Phase::Stored,
            step: 0,
            commit: None,
            previous: None,
            failure: None,
            volatile,
        };
        self.starts.insert(held.holding(), 0);
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
        self.held.iter().filter(|held| !held.volatile).map(Held::holding).collect()
    }

    pub fn running(&self, project: &Name) -> Option<&Held> {
        self.held.iter().find(|held| held.grant.project == *project && held.phase == Phase::Running)
    }

    /// The grant of this project to carry out next, if none is under way.
    pub fn next(&self, project: &Name) -> Option<Holding> {
        let stored = |held: &&Held| held.grant.project == *project && held.phase == Phase::Stored;
        if self.running(project).is_some() { None } else { self.held.iter().find(stored).map(Held::holding) }
    }

    /// Older attempts of the same job that are not settled.
    pub fn older(&self, holding: Holding) -> Vec<Holding> {
        let older = |held: &&Held| held.grant.job == holding.job && held.grant.attempt < holding.attempt;
        let unsettled = |held: &&Held| !matches!(held.phase, Phase::Settled { .. });
        self.held.iter().filter(older).filter(unsettled).map(Held::holding).collect()
    }

    /// Appends a report and returns its number.
    pub fn append(&mut self, report: Report) -> u64 {
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

    /// The hub has everything up to this number.
    pub fn forget(&mut self, seq: u64) {
        self.acknowledged = self.acknowledged.max(seq);
        let acknowledged = self.acknowledged;
        self.held.retain(|held| !matches!(held.phase, Phase::Settled { seq } if seq <= acknowledged));
    }

    /// Reports that the hub may not have.
    pub fn outbox(&self) -> Vec<(u64, Report)> {
        let first = self.acknowledged as usize;
        let unsent = self.history.iter().enumerate().skip(first);
        unsent.map(|(place, report)| (place as u64 + 1, report.clone())).collect()
    }

    /// How many reports from the first that the hub may lack to this one.
    pub fn in_flight(&self, seq: u64) -> u64 {
        seq.saturating_sub(self.acknowledged)
    }

    pub fn is_settled(&self) -> bool {
        self.held.is_empty() && self.acknowledged >= self.history.len() as u64
    }

    /// The process died.
    pub fn crash(&mut self) {
        self.held.retain(|held| !held.volatile);
    }
}
