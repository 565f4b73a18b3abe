//! What runs of a release beside its main process: workers, schedulers.
//!
//! Invariant: what runs follows from what the journal calls live and wanted.
//! [`Supervisor::bring_companions`] makes it so, however far somebody else had
//! come; it is called at the start, after each switch and after each way back,
//! and may be called twice. At most one process of a name runs at a time. What
//! is absent: ports, health checks, and a say in whether a release is good.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tracing::{info, warn};

use super::take_up::STRAY_STOP;
use super::{FAILING_AFTER, SETTLED, Start, Supervisor, restart_wait_ms};
use crate::child;
use crate::config::{Companion, Project};
use crate::journal::{ProcessRow, Release};
use crate::process::Process;

/// Project and name.
type Key = (String, String);

/// All of them.
#[derive(Default)]
pub(super) struct Companions {
    fates: RefCell<BTreeMap<Key, Fate>>,
    /// One at a time brings those of a project where they should be.
    turns: RefCell<BTreeMap<String, Rc<tokio::sync::Mutex<()>>>>,
}

#[derive(Default)]
struct Fate {
    process: Option<(u64, Process)>,
    restarts: u32,
    reason: Option<String>,
    /// Starts that were put off; only the last one is still wanted.
    put_off: u32,
}

impl Supervisor {
    /// Stops those of other releases and starts those of the live one, unless
    /// the project is stopped. What does not start is tried again later, and
    /// shows in the project's state.
    pub async fn bring_companions(self: &Rc<Self>, project: &Project) {
        let turn = Rc::clone(self.companions.turns.borrow_mut().entry(project.name.clone()).or_default());
        let _turn = turn.lock().await;
        let (live, wanted) = match (self.journal.live_release(&project.name), self.journal.wants_running(&project.name)) {
            (Ok(live), Ok(wanted)) => (live, wanted),
            (Err(fault), _) | (_, Err(fault)) => {
                warn!(project = project.name, "what runs beside the app is left as it is: {fault:#}");
                return;
            }
        };
        let release = live.filter(|_| wanted && project.process.is_some());
        if let Err(fault) = self.stop_companions(project, release.as_ref().map(|release| release.id)).await {
            warn!(project = project.name, "what runs beside the app is left as it is: {fault:#}");
            return;
        }
        let Some(release) = release else { return };
        for (name, companion) in &project.processes {
            if self.runs(project, name) != Some(release.id) {
                self.start_companion(project, name, companion, &release);
            }
        }
    }

    /// Stops and starts all of them: a restart was asked for.
    pub async fn restart_companions(self: &Rc<Self>, project: &Project) {
        let stopped = {
            let turn = Rc::clone(self.companions.turns.borrow_mut().entry(project.name.clone()).or_default());
            let _turn = turn.lock().await;
            self.stop_companions(project, None).await
        };
        if let Err(fault) = stopped {
            warn!(project = project.name, "{fault:#}");
        }
        self.bring_companions(project).await;
    }

    /// Ends all but those of this release, at the same time; first those that
    /// another daemon left are found again.
    async fn stop_companions(self: &Rc<Self>, project: &Project, keep: Option<u64>) -> Result<()> {
        let mut stopping = tokio::task::JoinSet::new();
        for row in self.journal.companions()?.into_iter().filter(|row| row.project == project.name) {
            let Some(name) = row.companion.clone() else { continue };
            let Some(process) = Process::again(&row) else {
                self.journal.process_ended(row.pid)?;
                continue;
            };
            let settings = project.processes.get(&name);
            if settings.is_some() && keep == Some(row.release) {
                self.adopt(project, &name, row.release, process);
                continue;
            }
            let stop = settings.map_or(STRAY_STOP, |companion| companion.stop.clone());
            self.let_go(project, &name);
            stopping.spawn_local(async move {
                process.stop(&stop).await;
                row.pid
            });
        }
        while let Some(ended) = stopping.join_next().await {
            self.journal.process_ended(ended?)?;
        }
        Ok(())
    }

    /// Watches one that an earlier daemon started, unless it is watched already.
    fn adopt(self: &Rc<Self>, project: &Project, name: &str, release: u64, process: Process) {
        if self.runs(project, name).is_none() {
            info!(project = project.name, process.pid = process.pid(), "`{name}` was found again");
            self.watch_companion(project, name, release, process);
        }
    }

    fn start_companion(self: &Rc<Self>, project: &Project, name: &str, companion: &Companion, release: &Release) {
        let log = self.companion_log(&project.name, release.id, name);
        let started = self.start(project, release, &companion.command, Start { port: None, run: None, companion: Some(name), log }).and_then(|process| {
            let row = ProcessRow {
                project: project.name.clone(),
                pid: process.pid(),
                start_ticks: process.start_ticks(),
                port: None,
                release: release.id,
                run: None,
                companion: Some(name.to_owned()),
                unit: None,
            };
            // One that is not written down would be started twice.
            self.journal.process_started(&row).inspect_err(|_| child::kill_group(Some(process.pid())))?;
            Ok(process)
        });
        match started {
            Ok(process) => self.watch_companion(project, name, release.id, process),
            Err(fault) => {
                warn!(project = project.name, "`{name}` does not start: {fault:#}");
                self.again_later(project, name, format!("{fault:#}"));
            }
        }
    }

    fn watch_companion(self: &Rc<Self>, project: &Project, name: &str, release: u64, process: Process) {
        let key = (project.name.clone(), name.to_owned());
        self.companions.fates.borrow_mut().entry(key).or_default().process = Some((release, process.clone()));
        self.changed.notify_one();
        let (this, project, name) = (Rc::clone(self), project.clone(), name.to_owned());
        tokio::task::spawn_local(async move {
            let how = match tokio::time::timeout(SETTLED, process.wait()).await {
                Ok(how) => how,
                Err(_) => {
                    this.companion_settled(&project, &name, process.pid());
                    process.wait().await
                }
            };
            this.companion_ended(&project, &name, process.pid(), &how);
        });
    }

    fn companion_settled(&self, project: &Project, name: &str, pid: i32) {
        self.with_fate(project, name, pid, |fate| (fate.restarts, fate.reason) = (0, None));
        self.changed.notify_one();
    }

    fn companion_ended(self: &Rc<Self>, project: &Project, name: &str, pid: i32, how: &str) {
        // One that was let go is stopped by somebody else.
        if self.with_fate(project, name, pid, |fate| fate.process = None).is_none() {
            return;
        }
        child::kill_group(Some(pid));
        if let Err(fault) = self.journal.process_ended(pid) {
            warn!("{fault:#}");
        }
        warn!(project = project.name, "`{name}` {how} and is started again");
        self.again_later(project, name, how.to_owned());
    }

    fn again_later(self: &Rc<Self>, project: &Project, name: &str, reason: String) {
        let key = (project.name.clone(), name.to_owned());
        let (wait_ms, put_off) = {
            let mut fates = self.companions.fates.borrow_mut();
            let fate = fates.entry(key.clone()).or_default();
            fate.restarts = fate.restarts.saturating_add(1);
            fate.reason = Some(reason);
            fate.put_off = fate.put_off.wrapping_add(1);
            (restart_wait_ms(fate.restarts), fate.put_off)
        };
        self.changed.notify_one();
        let (this, project) = (Rc::clone(self), project.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            let is_due = this.companions.fates.borrow().get(&key).is_some_and(|fate| fate.process.is_none() && fate.put_off == put_off);
            if is_due {
                this.bring_companions(&project).await;
            }
        });
    }

    /// From now on its end is expected.
    fn let_go(&self, project: &Project, name: &str) {
        self.companions.fates.borrow_mut().remove(&(project.name.clone(), name.to_owned()));
    }

    fn with_fate<T>(&self, project: &Project, name: &str, pid: i32, change: impl FnOnce(&mut Fate) -> T) -> Option<T> {
        let mut fates = self.companions.fates.borrow_mut();
        let fate = fates.get_mut(&(project.name.clone(), name.to_owned()))?;
        fate.process.as_ref().is_some_and(|(_, process)| process.pid() == pid).then(|| change(fate))
    }

    /// Of which release it runs, if it does.
    fn runs(&self, project: &Project, name: &str) -> Option<u64> {
        let fates = self.companions.fates.borrow();
        let (release, _) = fates.get(&(project.name.clone(), name.to_owned()))?.process.as_ref()?;
        Some(*release)
    }

    /// What is wrong with one of them, if something is.
    pub(super) fn ailing_companion(&self, project: &str) -> Option<String> {
        let fates = self.companions.fates.borrow();
        let mut ailing = fates.iter().filter(|((of, _), fate)| of == project && fate.reason.is_some());
        let ((_, name), fate) = ailing.next()?;
        let often = if fate.restarts >= FAILING_AFTER { format!(" ({} times in a row)", fate.restarts) } else { String::new() };
        Some(format!("`{name}` {}{often}", fate.reason.as_deref().unwrap_or_default()))
    }

    /// The process ids of those that run, by name.
    #[must_use]
    pub fn live_companions(&self, project: &str) -> BTreeMap<String, i32> {
        let fates = self.companions.fates.borrow();
        let pid = |((of, name), fate): (&Key, &Fate)| (of == project).then(|| Some((name.clone(), fate.process.as_ref()?.1.pid()))).flatten();
        fates.iter().filter_map(pid).collect()
    }

    /// The logs that are written to, of one project or of all.
    pub fn companion_logs(&self, project: Option<&str>) -> Vec<PathBuf> {
        let fates = self.companions.fates.borrow();
        let of = |((of, name), fate): (&Key, &Fate)| {
            let (release, _) = fate.process.as_ref()?;
            project.is_none_or(|project| of == project).then(|| self.companion_log(of, *release, name))
        };
        fates.iter().filter_map(of).collect()
    }

    fn companion_log(&self, project: &str, release: u64, name: &str) -> PathBuf {
        crate::logs::companion_log(&self.state, project, release, name)
    }
}
