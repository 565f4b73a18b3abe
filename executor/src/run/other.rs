//! Restart, stop and start: actions that make no release.

use doorstep_shared::ids::{FailureKind, RunState};

use super::steps::Wrong;
use super::{Fault, Runner};
use crate::journal::{Point, Release};
use crate::plan::takeover;
use crate::supervisor::owns_port;

impl Runner {
    fn live(&self, step: &str) -> Result<Release, Fault> {
        let live = self.shared.journal.live_release(&self.project.name).map_err(|fault| self.fault(step, &format!("{fault:#}")))?;
        let missing = || Fault { kind: FailureKind::Policy, ..self.fault(step, "nothing is live yet; deploy first") };
        live.filter(|_| self.project.runs()).ok_or_else(missing)
    }

    /// Starts what is live again: beside the running process where it can be.
    pub(super) async fn restart(&mut self) -> Result<(), (Fault, RunState)> {
        if self.is_stack() {
            return self.restart_stack().await;
        }
        let failed = |fault| (fault, RunState::Failed);
        let release = self.live("restart").map_err(failed)?;
        self.record.commit = Some(release.commit.clone());
        self.record.release = Some(release.id);
        self.want(true).map_err(failed)?;
        self.take_over(takeover(self.project.runs(), owns_port(&self.project)), release).await
    }

    /// Stops what is live and keeps it stopped.
    pub(super) async fn stop(&mut self) -> Result<(), Fault> {
        if self.is_stack() {
            return self.stop_stack().await;
        }
        let release = self.live("stop")?;
        self.record.commit = Some(release.commit);
        // What is wanted is this run's doing too: its row comes first.
        self.record.point = Point::Stopping;
        self.advance(Vec::new())?;
        self.want(false)?;
        match self.shared.supervisor.take(&self.project.name) {
            Some(process) => {
                if let Err(fault) = self.shared.supervisor.route(&self.project, None).await {
                    tracing::warn!("{fault:#}");
                }
                self.retire(Point::Stopping, process).await;
            }
            None => self.say("nothing ran"),
        }
        self.shared.supervisor.bring_companions(&self.project).await;
        Ok(())
    }

    /// Starts what is live, if it does not run.
    pub(super) async fn start(&mut self) -> Result<(), Fault> {
        if self.is_stack() {
            return self.start_stack().await;
        }
        let release = self.live("start")?;
        self.record.commit = Some(release.commit.clone());
        self.begin(Point::Starting, "start")?;
        self.want(true)?;
        let started = self.shared.supervisor.ensure_live(&self.project).await;
        self.end(started.map(|()| ((), format!("release {}", release.id))).map_err(|fault| Wrong::host(format!("{fault:#}"))))
    }

    pub(super) fn want(&self, running: bool) -> Result<(), Fault> {
        self.shared.journal.want_running(&self.project.name, running).map_err(|fault| self.fault("journal", &format!("{fault:#}")))
    }
}
