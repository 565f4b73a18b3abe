//! Services that a person stopped alone, so that nobody takes them for ill and
//! no way back starts them.
//!
//! Invariant: they rest until a person starts them, or a deploy of the whole
//! project ends well. What is absent: keeping them down; whoever starts them past
//! us has started them.

use std::collections::BTreeSet;

use super::super::{Fault, Runner};
use crate::compose::Stack;

impl Runner {
    /// The services that are to rest. What cannot be read is none.
    pub(super) fn resting(&self) -> BTreeSet<String> {
        self.shared.journal.stopped_services(&self.project.name).unwrap_or_default()
    }

    /// Does this service rest, whatever this run does?
    pub(super) fn rests(&self, service: &str) -> bool {
        let is_left_alone = self.restoring || self.only().is_some_and(|only| only != service);
        is_left_alone && self.resting().contains(service)
    }

    /// Notes that a person stopped the service that this run is about.
    pub(super) fn lay_to_rest(&self) -> Result<(), Fault> {
        let mut resting = self.resting();
        resting.extend(self.only().map(str::to_owned));
        self.set_resting(&resting)
    }

    /// Of a stopped project one service is to run: the others rest from now on.
    pub(super) fn let_others_rest(&self, stack: &Stack) -> Result<(), Fault> {
        let is_wanted = self.shared.journal.wants_running(&self.project.name).unwrap_or(true);
        let Some(only) = self.only().filter(|_| !is_wanted) else { return Ok(()) };
        let others: BTreeSet<String> = stack.parts.keys().filter(|service| *service != only).cloned().collect();
        self.set_resting(&others)
    }

    /// A person wants what this run is about to run.
    pub(super) fn wake(&self, stack: &Stack) -> Result<(), Fault> {
        self.let_others_rest(stack)?;
        self.end_rest()?;
        self.want(true)
    }

    /// What this run is about rests no more.
    pub(super) fn end_rest(&self) -> Result<(), Fault> {
        let mut resting = self.resting();
        match self.only() {
            Some(only) => _ = resting.remove(only),
            None => resting.clear(),
        }
        self.set_resting(&resting)
    }

    /// The same at the end of a deploy, which has gone well without this row.
    pub(super) fn end_rest_anyway(&self) {
        if let Err(fault) = self.end_rest() {
            tracing::warn!("{}", fault.message);
        }
    }

    fn set_resting(&self, resting: &BTreeSet<String>) -> Result<(), Fault> {
        if *resting == self.resting() {
            return Ok(());
        }
        self.shared.journal.set_stopped_services(&self.project.name, resting).map_err(|fault| self.fault("journal", &format!("{fault:#}")))
    }
}
