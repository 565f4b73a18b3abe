//! After the switch: hooks and a time of soaking, in which a failure still puts
//! the old release back.
//!
//! Invariant: the old process is not stopped before the new release has
//! settled, where both can run at once. The journal's live release is moved
//! back in one transaction, together with why; from then on the run is one
//! that rolls back, whatever crashes.

use doorstep_shared::ids::{Action, FailureKind, RunState};

use super::steps::Wrong;
use super::{Fault, LAST_LINES_FOLLOW, Runner};
use crate::clock;
use crate::config::Health;
use crate::health::{self, Asked, Place, Verdict};
use crate::journal::{Point, ProcessRow, Release, ReleaseState, RunRecord};
use crate::process::Process;

impl Runner {
    /// Is there anything to be done or watched once this release serves? What
    /// is only started again, or gone back to, has nothing to go back to.
    pub(super) fn settles(&self, release: &Release) -> bool {
        let is_new = release.state != ReleaseState::Live && self.record.action != Action::Rollback;
        is_new && (self.soaking(release).is_some() || !self.project.hooks.after_switch.is_empty())
    }

    /// The check that goes on after the switch, if it does. A first release has
    /// nothing to go back to, and is left to the supervisor.
    fn soaking(&self, release: &Release) -> Option<Health> {
        let health = self.project.health.clone().filter(|health| !health.soak.is_zero())?;
        let others = self.shared.journal.releases(&self.project.name).ok()?;
        let is_before = |other: &Release| other.id != release.id && matches!(other.state, ReleaseState::Live | ReleaseState::Previous);
        others.iter().any(is_before).then_some(health)
    }

    /// Sees a release that serves through its hooks and its soaking; or puts
    /// the old one back, whose process is `old` if it still runs.
    pub(super) async fn settle(&mut self, process: Option<&Process>, release: &Release, old: Option<Process>) -> Result<Option<Process>, (Fault, RunState)> {
        let settled = match self.after_switch(release).await {
            Ok(()) => self.soak(process, release).await,
            Err(fault) => Err(fault),
        };
        match settled {
            Ok(()) => Ok(old),
            Err(fault) => Err(self.turn_back(release, old, fault).await),
        }
    }

    async fn soak(&mut self, process: Option<&Process>, release: &Release) -> Result<(), Fault> {
        let Some(health) = self.soaking(release) else { return Ok(()) };
        self.begin(Point::Settling, "soak")?;
        if self.is_stack() {
            let outcome = self.soak_stack(release, &health).await;
            return self.end(outcome);
        }
        let place = self.place(release, process.and_then(|process| process.port));
        let (client, cancel) = (health::client(), self.cancel.clone());
        let asked = Asked { health: Some(&health), process, place: &place, client: &client };
        let verdict = health::soak(asked, cancel.cancelled()).await;
        let outcome = self.judged(verdict, release, |good| format!("well for {:?}, {good} good answers", health.soak)).await;
        self.end(outcome)
    }

    /// A verdict as the outcome of a step, with the app's last lines.
    pub(super) async fn judged(&self, verdict: Verdict, release: &Release, say: impl FnOnce(u32) -> String) -> Result<((), String), Wrong> {
        match verdict {
            Verdict::Well(good) => Ok(((), say(good))),
            Verdict::Cancelled => Err(Wrong { kind: FailureKind::Cancelled, message: "it was cancelled".to_owned() }),
            Verdict::Unwell(why) => {
                let lines = self.shared.supervisor.last_lines(&self.project, release, super::LAST_LINES).await;
                let message = if lines.is_empty() { why } else { format!("{why}{LAST_LINES_FOLLOW}\n{}", lines.join("\n")) };
                Err(Wrong { kind: FailureKind::Health, message })
            }
        }
    }

    /// Where a health command of a release runs.
    pub(super) fn place(&self, release: &Release, port: Option<u16>) -> Place {
        let supervisor = &self.shared.supervisor;
        let layout = supervisor.layout(&self.project);
        let env = supervisor.environment(&self.project, release, port, None);
        Place { dir: layout.slot(release.slot), bin: layout.env(release.slot).join("bin"), env: env.unwrap_or_default() }
    }

    /// The new release serves and is not well: the one before it goes live again.
    async fn turn_back(&mut self, release: &Release, old: Option<Process>, fault: Fault) -> (Fault, RunState) {
        let turned = RunRecord { point: Point::RollingBack, failure: Some(self.failure(&fault)), told: self.untold.told(), ..self.record.clone() };
        // An engine that went away says nothing of the release.
        let away = if fault.kind == FailureKind::Network { ReleaseState::Built } else { ReleaseState::Bad };
        let previous = match self.shared.journal.turn_back(&turned, release, away, clock::wall()) {
            Ok(previous) => previous,
            Err(wrong) => {
                let message = format!("{}; and the old release cannot be put back: {wrong:#}", fault.message);
                return (Fault { message, ..fault }, RunState::Failed);
            }
        };
        self.record = turned;
        let new = self.shared.supervisor.take(&self.project.name);
        if let (Some(previous), Some(old)) = (previous, old)
            && old.has_ended().is_none()
        {
            self.shared.supervisor.watch(&self.project, previous, old);
        }
        // What it is now is written already.
        self.put_back(new, None, fault).await
    }

    /// A new daemon finds a release that was settling: once more from the start.
    pub(super) async fn settle_again(&mut self, release: &Release) -> Result<(), (Fault, RunState)> {
        let failed = |fault| (fault, RunState::Failed);
        self.serve_live(release).await.map_err(failed)?;
        let process = self.shared.supervisor.live_process(&self.project.name);
        let old = self.old_process(release).map_err(failed)?;
        self.settle(process.as_ref(), release, old).await?;
        self.stop_others().await.map_err(failed)
    }

    /// The process of the release before this one, if it still runs.
    fn old_process(&self, release: &Release) -> Result<Option<Process>, Fault> {
        let releases = self.shared.journal.releases(&self.project.name).map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        let previous = releases.into_iter().find(|other| other.state == ReleaseState::Previous && other.id != release.id);
        let is_old = |row: &ProcessRow| previous.as_ref().is_some_and(|previous| previous.id == row.release);
        let row = self.rows()?.into_iter().find(is_old);
        Ok(row.and_then(|row| Process::again(&row)))
    }
}
