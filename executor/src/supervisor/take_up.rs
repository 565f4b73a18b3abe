//! What a new daemon finds: the apps that run, those that should, and strays.
//!
//! Invariant: a process that a run started is not the live one before the
//! journal says that the run has switched. A project with an open run is left
//! to that run's recovery: here its live process is only found again.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tracing::{info, warn};

use super::Supervisor;
use crate::config::{self, Project};
use crate::journal::{ProcessRow, Release, RunRecord};
use crate::plan;
use crate::process::{self, Process};

/// How long a process that should not run has to end.
const STRAY_GRACE: Duration = Duration::from_secs(10);

impl Supervisor {
    /// Brings up every project that should run: found again, or started.
    pub async fn start_all(self: &Rc<Self>) -> Result<()> {
        if let Err(fault) = self.prune_routes().await {
            warn!("old addresses are still served: {fault:#}");
        }
        let open = self.journal.open_runs()?;
        for project in self.projects.values().filter(|project| project.process.is_some()) {
            let Some(release) = self.journal.live_release(&project.name)? else { continue };
            let run = open.iter().find(|run| run.project == project.name);
            self.find_live(project, &release, run)?;
            if run.is_some() {
                continue;
            }
            if self.live_process(&project.name).is_none() && self.journal.wants_running(&project.name)? {
                self.revive(project, release);
            }
            if let Err(fault) = self.route_live(project).await {
                warn!(project = project.name, "the proxy does not serve: {fault:#}");
            }
        }
        self.end_strays(&open).await
    }

    /// Watches the live release's process again, if it still runs.
    fn find_live(self: &Rc<Self>, project: &Project, release: &Release, run: Option<&RunRecord>) -> Result<()> {
        let rows: Vec<ProcessRow> = self.journal.processes()?.into_iter().filter(|row| row.project == project.name).collect();
        for row in plan::live_rows(&rows, release.id, run) {
            if let Some(process) = Process::find(row.pid, row.start_ticks, row.port) {
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
            if let Some(stray) = Process::find(row.pid, row.start_ticks, row.port) {
                info!(project = row.project, process.pid = row.pid, "an app that should not run is stopped");
                stray.stop(&config::Stop { signal: config::Signal::Term, grace: STRAY_GRACE }).await;
            }
            self.journal.process_ended(row.pid)?;
        }
        let known: Vec<i32> = self.journal.processes()?.iter().map(|row| row.pid).collect();
        let killed = process::kill_marked(&self.mark(), &known);
        if killed > 0 {
            info!("{killed} processes that were never written down are ended");
        }
        Ok(())
    }
}
