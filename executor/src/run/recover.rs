//! A run that another daemon left open: put back or finished.

use doorstep_shared::ids::{Action, RunState};

use super::{Fault, Runner};
use crate::journal::{Point, Release};
use crate::plan::{Recovery, after_crash};
use crate::process::{Process, kill_marked};

impl Runner {
    /// True when the run is finished; false when it is to be begun again.
    pub(super) async fn recover(&mut self, left_at: Point) -> Result<bool, (Fault, RunState)> {
        let failed = |fault| (fault, RunState::Failed);
        self.say(&format!("the daemon ended while this run was {}; recovering", left_at.as_str()));
        let release = self.release_of_run().map_err(failed)?;
        match (after_crash(left_at), release) {
            (Recovery::Nothing, _) => Ok(true),
            (Recovery::Forward, Some(release)) if matches!(self.record.action, Action::Deploy) => {
                let finished = self.finish_switch(release).await;
                if let Ok(true) = finished {
                    return Ok(true);
                }
                self.undo().await.map_err(failed)?;
                finished.map_err(failed)
            }
            (Recovery::Again | Recovery::Forward, _) => {
                self.undo().await.map_err(failed)?;
                Ok(false)
            }
        }
    }

    fn release_of_run(&self) -> Result<Option<Release>, Fault> {
        let releases = self.shared.journal.releases(&self.project.name);
        let releases = releases.map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        Ok(releases.into_iter().find(|release| Some(release.id) == self.record.release))
    }

    /// Removes what the run started, and sees that the old release serves.
    async fn undo(&mut self) -> Result<(), Fault> {
        let live = self.shared.supervisor.live_process(&self.project.name);
        for row in self.shared.journal.processes().map_err(|fault| self.fault("recover", &format!("{fault:#}")))? {
            if row.project != self.project.name || live.as_ref().is_some_and(|live| live.pid() == row.pid) {
                continue;
            }
            if let Some(process) = Process::find(row.pid, row.start_ticks, row.port) {
                process.kill().await;
            }
            self.shared.journal.process_ended(row.pid).map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        }
        // What was started and not yet written down. The live process was
        // started by an earlier run and carries another mark.
        kill_marked(&format!("DOORSTEP_RUN={}", self.record.id), live.as_ref().map(Process::pid).as_slice());
        if let Some(live) = self.shared.journal.live_release(&self.project.name).ok().flatten() {
            let layout = self.shared.supervisor.layout(&self.project);
            if layout.current() != Some(live.slot) {
                layout.switch(live.slot).map_err(|fault| self.fault("recover", &fault.to_string()))?;
            }
        }
        self.shared.supervisor.ensure_live(&self.project).await.map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        self.record.point = Point::Preparing;
        Ok(())
    }

    /// The checks were good before the crash: the new release goes live.
    /// False when that cannot be, because its process is gone.
    async fn finish_switch(&mut self, release: Release) -> Result<bool, Fault> {
        self.commit = Some(release.commit.clone());
        let rows = self.shared.journal.processes().map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        let row = rows.iter().find(|row| row.project == self.project.name && row.release == release.id);
        let live = self.shared.supervisor.live_process(&self.project.name);
        let is_ours = |process: &Process| row.is_some_and(|row| row.pid == process.pid());
        self.begin_anyway("switch")?;
        let process = match (&live, row) {
            (Some(live), _) if is_ours(live) => Some(live.clone()),
            (_, Some(row)) => Process::find(row.pid, row.start_ticks, row.port),
            (_, None) => None,
        };
        if process.is_none() && self.project.process.is_some() {
            // The machine went down too: what was checked does not run any more.
            self.end(Ok(((), "the new process is gone; the run begins again".to_owned())))?;
            return Ok(false);
        }
        let outcome = self.switch_to(process.as_ref(), &release).await;
        self.end(outcome)?;
        let old = match (&process, self.shared.supervisor.live_process(&self.project.name)) {
            (Some(new), Some(live)) if live.pid() == new.pid() => None,
            _ => self.shared.supervisor.take(&self.project.name),
        };
        if let Some(process) = process
            && self.shared.supervisor.live_process(&self.project.name).is_none()
        {
            self.shared.supervisor.watch(&self.project, release.clone(), process);
        }
        match old {
            Some(old) => self.retire(old).await?,
            None => self.stop_strays(release.id).await?,
        }
        Ok(true)
    }

    /// Stops processes of other releases of this project: the one that the
    /// dead daemon was stopping.
    async fn stop_strays(&mut self, live: u64) -> Result<(), Fault> {
        let rows = self.shared.journal.processes().map_err(|fault| self.fault("recover", &format!("{fault:#}")))?;
        let name = self.project.name.clone();
        for row in rows.into_iter().filter(|row| row.project == name && row.release != live) {
            match Process::find(row.pid, row.start_ticks, row.port) {
                Some(stray) => self.retire(stray).await?,
                None => self.shared.journal.process_ended(row.pid).map_err(|fault| self.fault("recover", &format!("{fault:#}")))?,
            }
        }
        Ok(())
    }
}
