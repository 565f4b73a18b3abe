//! Apps that a unit of systemd runs: started from the links that a unit's file
//! names, and followed when their main process changes.
//!
//! Invariant: a unit that ended by itself is started again by its own
//! `Restart=` or by a person, never from here; what is started here is what a
//! run or a start of this daemon wants.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use tracing::{info, warn};

use super::{RESTART_MS, Supervisor};
use crate::config::Project;
use crate::journal::{ProcessRow, Release};
use crate::process::Process;
use crate::systemd::Unit;

/// Longest pause between two looks at a unit that does not run.
const LOOK_MS_MAX: u64 = 5_000;

impl Supervisor {
    /// Points the links at a release and starts the unit. It is stopped first:
    /// it must not see one link moved and the other not.
    pub(super) async fn start_unit(&self, project: &Project, release: &Release, unit: &Unit) -> Result<Process> {
        let layout = self.layout(project);
        if unit.running().await?.is_some() {
            unit.stop().await?;
        }
        layout.switch(release.slot).context("`current` cannot be moved")?;
        layout.switch_env(release.slot).context("`env` cannot be moved")?;
        let log = self.app_log(&project.name, release.id);
        std::fs::create_dir_all(log.parent().unwrap_or(&self.state))?;
        std::fs::write(&log, format!("{} runs this release; what it prints goes where its file says\n", unit.name()))?;
        unit.restart().await
    }

    /// The last lines that an app printed.
    pub async fn last_lines(&self, project: &Project, release: &Release, most: usize) -> Vec<String> {
        match &project.systemd {
            Some(settings) => Unit::of(settings).last_lines(most).await,
            None => crate::logs::tail(&self.app_log(&project.name, release.id), most),
        }
    }

    /// The main process of a live unit ended: waits for the one that its
    /// manager, or a person, starts in its place.
    pub(super) fn follow_unit(self: &Rc<Self>, project: &Project, release: Release, unit: Unit) {
        let taken = {
            let mut fates = self.fates.borrow_mut();
            let fate = fates.entry(project.name.clone()).or_default();
            fate.restarts = fate.restarts.saturating_add(1);
            fate.restarts_in_all = fate.restarts_in_all.saturating_add(1);
            fate.taken
        };
        let (this, project) = (Rc::clone(self), project.clone());
        tokio::task::spawn_local(async move {
            let mut wait_ms = RESTART_MS / 2;
            loop {
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(LOOK_MS_MAX);
                if this.fates.borrow().get(&project.name).is_some_and(|fate| fate.taken != taken || fate.live.is_some()) {
                    return;
                }
                match unit.running().await {
                    Ok(Some(process)) => return this.adopt_unit(&project, release, process),
                    Ok(None) => {}
                    Err(fault) => warn!(project = project.name, "{fault:#}"),
                }
            }
        });
    }

    /// Watches a unit's main process that was not started from here.
    fn adopt_unit(self: &Rc<Self>, project: &Project, release: Release, process: Process) {
        info!(project = project.name, process.pid = process.pid(), "a unit runs");
        let row = ProcessRow {
            project: project.name.clone(),
            pid: process.pid(),
            start_ticks: process.start_ticks(),
            port: None,
            release: release.id,
            run: None,
            companion: None,
            unit: process.unit().cloned(),
        };
        if let Err(fault) = self.journal.process_started(&row) {
            warn!(project = project.name, "{fault:#}");
        }
        self.keep(project, release, process);
    }

    /// A new daemon: the unit may have been restarted while none ran. What it
    /// runs is the live release, since only a run moves the links.
    pub(super) async fn find_unit(self: &Rc<Self>, project: &Project, release: &Release) {
        let Some(settings) = &project.systemd else { return };
        match Unit::of(settings).running().await {
            Ok(Some(process)) => self.adopt_unit(project, release.clone(), process),
            Ok(None) => {}
            Err(fault) => warn!(project = project.name, "{fault:#}"),
        }
    }

    /// Stops a project's unit unless it is known to run the live release: a run
    /// that did not end may have started it with another.
    pub(super) async fn stop_unknown_unit(&self, project: &str) {
        let Some(settings) = self.projects.get(project).and_then(|project| project.systemd.as_ref()) else { return };
        if self.live_process(project).is_none() {
            Unit::of(settings).stop_or_warn().await;
        }
    }
}
