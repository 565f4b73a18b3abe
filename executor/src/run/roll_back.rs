//! Putting the old release back, in the run that failed or in the next daemon.
//!
//! Invariant: why the run failed is in its row before anything is put back, so
//! a crash meanwhile is followed by more of the same and never by another try.
//! Every step may be done twice.

use std::time::Duration;

use doorstep_shared::ids::{FailureKind, RunState};

use super::deploy::short;
use super::steps::Wrong;
use super::{Fault, ROLL_BACK, Runner};
use crate::journal::{Point, Release, ReleaseState};
use crate::process::Process;
use crate::supervisor::local;

/// How long requests in flight may go on at a release that is not well.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

impl Runner {
    /// The new release is not well: it goes, and the old one serves.
    pub(super) async fn put_back(&mut self, process: Option<Process>, release: Option<&Release>, fault: Fault) -> (Fault, RunState) {
        self.record.failure = Some(self.failure(&fault));
        // Putting back must not depend on a row about it.
        if let Err(fault) = self.begin_anyway(Point::RollingBack, ROLL_BACK) {
            tracing::warn!("{}", fault.message);
        }
        // The proxy first, then `current`: they may lead to what is stopped next.
        if let Err(fault) = self.route_to_live().await {
            tracing::warn!("{fault:#}");
        }
        if let Err(fault) = self.restore_current() {
            tracing::warn!("`current` is not put back yet: {fault}");
        }
        if let Some(process) = process {
            // It may have served for a while, and the old one does already.
            self.drain_process(&process, DRAIN_LIMIT).await;
            let _ = self.stop_process(&process).await;
        }
        // A restart's release was live before, and stays what it is.
        if let Some(release) = release
            && fault.kind == FailureKind::Health
            && release.state != ReleaseState::Live
            && let Err(wrong) = self.shared.journal.mark_bad(release)
        {
            tracing::warn!("{wrong:#}");
        }
        let restored = self.restore().await;
        let old = self.shared.journal.live_release(&self.project.name).ok().flatten();
        let outcome = match (&old, restored) {
            (Some(old), Ok(())) => Ok(((), format!("release {} ({}) serves", old.id, short(&old.commit)))),
            (None, Ok(())) => Ok(((), "there is no earlier release".to_owned())),
            (_, Err(wrong)) => Err(Wrong::host(format!("the old release does not start again: {}", wrong.message))),
        };
        let state = if old.is_some() && outcome.is_ok() { RunState::RolledBack } else { RunState::Failed };
        if let Err(also) = self.end(outcome) {
            let message = format!("{}; and then: {}", fault.message, also.message);
            return (Fault { message, ..fault }, RunState::Failed);
        }
        (fault, state)
    }

    /// Removes what this run started, points `current` at what the journal
    /// calls live, and sees that it serves.
    pub(super) async fn restore(&mut self) -> Result<(), Fault> {
        // Each is done whatever became of the one before: above all, the old one serves.
        let ended = self.shared.supervisor.end_others(&self.project.name, &self.record.id).await;
        let current = self.restore_current();
        let serves = self.live_serves().await;
        let all = ended.and(current.map_err(anyhow::Error::new)).and(serves);
        all.map_err(|fault| self.fault("recover", &format!("{fault:#}")))
    }

    /// Sees that what the journal calls live runs.
    pub(super) async fn live_serves(&mut self) -> anyhow::Result<()> {
        if self.is_stack() {
            return self.restore_stack().await.map_err(|fault| anyhow::anyhow!(fault.message));
        }
        self.shared.supervisor.ensure_live(&self.project).await
    }

    /// Points the project's address at what the journal calls live.
    async fn route_to_live(&self) -> anyhow::Result<()> {
        if self.is_stack() {
            let live = self.shared.journal.live_release(&self.project.name)?;
            let Some(stack) = live.and_then(|live| self.stack_of(&live).ok()) else { return Ok(()) };
            let upstream = self.upstream_of(&stack).await.map_err(|wrong| anyhow::anyhow!(wrong.message))?;
            return self.shared.supervisor.route(&self.project, upstream).await.map(drop);
        }
        let port = self.shared.supervisor.live_process(&self.project.name).and_then(|live| live.port);
        self.shared.supervisor.route(&self.project, port.map(local)).await.map(drop)
    }

    fn restore_current(&self) -> std::io::Result<()> {
        let layout = self.shared.supervisor.layout(&self.project);
        let live = self.shared.journal.live_release(&self.project.name).map_err(std::io::Error::other)?;
        match (live, layout.current()) {
            (Some(live), current) if current != Some(live.slot) => layout.switch(live.slot),
            (None, Some(_)) => layout.forget(),
            (Some(_) | None, _) => Ok(()),
        }
    }
}
