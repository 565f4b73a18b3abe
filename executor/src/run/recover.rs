//! A run that another daemon left open: begun again, finished or put back, as
//! [`after_crash`] says.

use doorstep_shared::ids::RunState;

use super::steps::Wrong;
use super::{Fault, Runner};
use crate::journal::{Point, ProcessRow, Release};
use crate::plan::{Recovery, after_crash};
use crate::process::Process;

impl Runner {
    /// True when the run is finished; false when it is to be begun again.
    pub(super) async fn recover(&mut self, left_at: Point) -> Result<bool, (Fault, RunState)> {
        self.say(&format!("the daemon ended while this run was {}; recovering", left_at.as_str()));
        let release = self.release_of_run().map_err(|fault| (fault, RunState::Failed))?;
        match (after_crash(left_at), release) {
            (Recovery::Nothing, _) => Ok(true),
            (Recovery::Again, _) | (Recovery::Forward | Recovery::Settle | Recovery::Finish, None) => Ok(self.undo().await),
            (Recovery::Forward, Some(release)) => match self.finish_switch(&release).await {
                Ok(true) => Ok(true),
                Ok(false) => Ok(self.undo().await),
                Err(failed) => Err(failed),
            },
            (Recovery::Settle, Some(release)) => self.settle_again(&release).await.map(|()| true),
            (Recovery::Finish, Some(release)) => {
                self.finish(release).await.map_err(|fault| (fault, RunState::Failed))?;
                Ok(true)
            }
            (Recovery::PutBack, release) => {
                let fault = match self.record.failure.clone() {
                    Some(why) => Fault { kind: why.kind, step: why.step, message: why.message },
                    // It is written with the point; without it nothing better can be said.
                    None => self.fault(super::ROLL_BACK, "the run had failed, and the daemon ended while it was put back"),
                };
                Err(self.put_back(None, release.as_ref(), fault).await)
            }
        }
    }

    fn release_of_run(&self) -> Result<Option<Release>, Fault> {
        let releases = self.shared.journal.releases(&self.project.name);
        let releases = releases.map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        Ok(releases.into_iter().find(|release| Some(release.id) == self.record.release))
    }

    /// Puts everything back so that the run can be begun again. What could not
    /// be put back is said; it does not keep the new release from coming.
    async fn undo(&mut self) -> bool {
        let touched = !self.is_stack() || self.touched_containers();
        if touched && let Err(fault) = self.restore().await {
            self.say(&format!("not everything was put back: {}", fault.message));
        }
        self.record.release = None;
        self.record.point = Point::Begun;
        false
    }

    /// The checks were good before the crash: the new release goes live.
    /// False when that cannot be, because its process is gone.
    async fn finish_switch(&mut self, release: &Release) -> Result<bool, (Fault, RunState)> {
        let process = match self.switch_again(release).await {
            Ok(Some(process)) => process,
            Ok(None) => return Ok(false),
            Err(fault) => return Err(self.put_back(None, Some(release), fault).await),
        };
        self.hand_over(process, release).await?;
        self.tidy_stack(release).await;
        self.stop_others().await.map_err(|fault| (fault, RunState::Failed))?;
        Ok(true)
    }

    /// The switch once more, to the process that this run started; `None` when
    /// that is gone.
    async fn switch_again(&mut self, release: &Release) -> Result<Option<Option<Process>>, Fault> {
        let process = self.process_of_run(release)?;
        self.begin_anyway(Point::Switching, "switch")?;
        if process.is_none() && self.project.runs() {
            // The machine went down too: what was checked does not run any more.
            self.end(Ok(((), "the new process is gone; the run begins again".to_owned())))?;
            return Ok(None);
        }
        let outcome = match self.stack_to_switch_to(release).await {
            Ok(Some(stack)) => self.switch_stack(release, &stack).await,
            Ok(None) => self.switch_to(process.as_ref(), release).await,
            Err(changed) => {
                self.end(Ok(((), changed)))?;
                return Ok(None);
            }
        };
        self.end(outcome)?;
        Ok(Some(process))
    }

    /// The stack whose containers were found well before the crash, if it is one
    /// of compose; or why they are not what they were.
    async fn stack_to_switch_to(&self, release: &Release) -> Result<Option<crate::compose::Stack>, String> {
        if !self.is_stack() {
            return Ok(None);
        }
        let stack = self.stack_of(release).map_err(|fault| fault.message)?;
        let containers = self.containers_now().await.map_err(|wrong| wrong.message)?;
        let serves = stack.parts.iter().all(|(service, part)| containers.iter().any(|container| container.service == *service && part.is_of(container) && container.is_well()));
        if serves { Ok(Some(stack)) } else { Err("the new containers are not what they were; the run begins again".to_owned()) }
    }

    /// The process that this run started, if it still runs.
    fn process_of_run(&self, release: &Release) -> Result<Option<Process>, Fault> {
        // A row of schema 1 does not name its run; a deploy's release does.
        let is_ours = |row: &ProcessRow| match &row.run {
            Some(run) => *run == self.record.id,
            None => row.release == release.id && release.live_since.is_none(),
        };
        let row = self.rows()?.into_iter().find(is_ours);
        Ok(row.and_then(|row| Process::again(&row)))
    }

    /// The new release is live; the daemon was killed while it stopped the old one.
    async fn finish(&mut self, release: Release) -> Result<(), Fault> {
        self.serve_live(&release).await?;
        self.stop_others().await
    }

    /// Sees that `current` names this release, if it is the live one, and that
    /// the live one runs.
    pub(super) async fn serve_live(&mut self, release: &Release) -> Result<(), Fault> {
        let layout = self.shared.supervisor.layout(&self.project);
        let live = self.shared.journal.live_release(&self.project.name).map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        // Its slot may be another release's by now, should it not be the live one.
        if live.is_some_and(|live| live.id == release.id) && layout.current() != Some(release.slot) {
            layout.switch(release.slot).map_err(|fault| self.fault("recover", &fault.to_string()))?;
        }
        let point = if self.record.point == Point::Settling { Point::Settling } else { Point::Retiring };
        self.begin_anyway(point, "switch")?;
        let runs = self.live_serves().await;
        let runs = runs.map(|()| ((), format!("release {} is live", release.id)));
        self.end(runs.map_err(Wrong::host))
    }

    /// Stops every process of this project but the live one, with all the time
    /// that its requests need: the dead daemon was stopping it.
    pub(super) async fn stop_others(&mut self) -> Result<(), Fault> {
        let live = self.shared.supervisor.live_process(&self.project.name).map(|live| live.pid());
        for row in self.rows()?.into_iter().filter(|row| Some(row.pid) != live) {
            match Process::again(&row) {
                Some(other) => self.retire(Point::Retiring, other).await,
                None => self.forget_process(row.pid)?,
            }
        }
        Ok(())
    }

    /// The processes of this project that were not seen to end.
    pub(super) fn rows(&self) -> Result<Vec<ProcessRow>, Fault> {
        let rows = self.shared.journal.processes().map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        Ok(rows.into_iter().filter(|row| row.project == self.project.name).collect())
    }

    fn forget_process(&self, pid: i32) -> Result<(), Fault> {
        self.shared.journal.process_ended(pid).map_err(|fault| self.fault("recover", &format!("{fault:#}")))
    }
}
