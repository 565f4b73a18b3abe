//! What a new daemon finds: the apps that run, those that should, and strays.
//!
//! Invariant: a process that a run started is not the live one before the
//! journal says that the run has switched. What an open run left half done is
//! ended here, since the run may not be taken up for a while; only a switch is
//! left for the run to finish, unless what it would switch to is gone.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tracing::{info, warn};

use super::Supervisor;
use crate::config::{Project, Signal, Stop};
use crate::journal::{ProcessRow, Release, RunRecord};
use crate::plan::{self, Recovery};
use crate::process::{self, Process};

/// How a process that should not run is ended.
pub(super) const STRAY_STOP: Stop = Stop { signal: Signal::Term, grace: Duration::from_secs(10) };

impl Supervisor {
    /// Brings up every project that should run: found again, or started.
    pub async fn start_all(self: &Rc<Self>) -> Result<()> {
        if let Err(fault) = self.prune_routes().await {
            warn!("old addresses are still served: {fault:#}");
        }
        let open = self.journal.open_runs()?;
        for project in self.projects.values().filter(|project| project.runs()) {
            let Some(release) = self.journal.live_release(&project.name)? else { continue };
            let run = open.iter().find(|run| run.project == project.name);
            self.find_live(project, &release, run)?;
            match run.map(|run| (run, plan::after_crash(run.point))) {
                Some((run, Recovery::Forward)) if self.is_ready(run)? => continue,
                Some((run, Recovery::Again | Recovery::Forward | Recovery::PutBack)) => self.end_others(&project.name, &run.id).await?,
                // The old process has requests to end; the run gives it the time.
                Some((_, Recovery::Settle | Recovery::Finish | Recovery::Nothing)) | None => {
                    if self.live_process(&project.name).is_none() {
                        self.find_unit(project, &release).await;
                    }
                }
            }
            if self.live_process(&project.name).is_none() && self.journal.wants_running(&project.name)? {
                self.revive(project, release).await;
            }
            if let Err(fault) = self.route_live(project).await {
                warn!(project = project.name, "the proxy does not serve: {fault:#}");
            }
            // Those of an older release may take their time to end.
            let (this, project) = (Rc::clone(self), project.clone());
            tokio::task::spawn_local(async move { this.bring_companions(&project).await });
        }
        self.end_strays(&open).await
    }

    /// Does what this run started and checked still run?
    fn is_ready(&self, run: &RunRecord) -> Result<bool> {
        let is_ready = |row: &ProcessRow| row.run.as_ref() == Some(&run.id) && Process::again(row).is_some();
        Ok(self.journal.processes()?.iter().any(is_ready))
    }

    /// Ends every process of a project but the live one, and whatever else this
    /// run started, written down or not.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub async fn end_others(&self, project: &str, run: &str) -> Result<()> {
        let live = self.live_process(project).map(|live| live.pid());
        for row in self.journal.processes()?.into_iter().filter(|row| row.project == project && Some(row.pid) != live) {
            if let Some(process) = Process::again(&row) {
                process.kill().await;
            }
            self.forget(row.pid);
        }
        self.stop_unknown_unit(project).await;
        // The live process was started by an earlier run and carries another
        // mark, or this run has switched to it.
        process::kill_marked(&format!("DOORSTEP_RUN={run}"), live.as_slice());
        Ok(())
    }

    /// A process has ended. A row that stays is found to be nobody's next time.
    fn forget(&self, pid: i32) {
        if let Err(fault) = self.journal.process_ended(pid) {
            warn!("{fault:#}");
        }
    }

    /// Watches the live release's process again, if it still runs.
    fn find_live(self: &Rc<Self>, project: &Project, release: &Release, run: Option<&RunRecord>) -> Result<()> {
        let rows: Vec<ProcessRow> = self.journal.processes()?.into_iter().filter(|row| row.project == project.name).collect();
        for row in plan::live_rows(&rows, release.id, run) {
            if let Some(process) = Process::again(row) {
                info!(project = project.name, process.pid = process.pid(), "an app that runs was found again");
                self.watch(project, release.clone(), process);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Ends what runs of projects that left the host's file, what is not the
    /// live process of a project without a run, and what a daemon that was
    /// killed had started and not written down.
    async fn end_strays(&self, open: &[RunRecord]) -> Result<()> {
        for row in self.journal.processes()? {
            let is_known = self.projects.contains_key(&row.project);
            let has_run = open.iter().any(|run| run.project == row.project);
            let is_live = self.live_process(&row.project).is_some_and(|live| live.pid() == row.pid);
            if is_known && (has_run || is_live) {
                continue;
            }
            if let Some(stray) = Process::again(&row) {
                info!(project = row.project, process.pid = row.pid, "an app that should not run is stopped");
                stray.stop(&STRAY_STOP).await;
            }
            self.forget(row.pid);
        }
        for row in self.journal.companions()?.into_iter().filter(|row| !self.projects.contains_key(&row.project)) {
            if let Some(stray) = Process::again(&row) {
                stray.stop(&STRAY_STOP).await;
            }
            self.forget(row.pid);
        }
        let rows = self.journal.processes()?.into_iter().chain(self.journal.companions()?);
        let known: Vec<i32> = rows.map(|row| row.pid).collect();
        let killed = process::kill_marked(&self.mark(), &known);
        if killed > 0 {
            info!("{killed} processes that were never written down are ended");
        }
        Ok(())
    }
}
