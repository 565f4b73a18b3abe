//! Keeps what should run running: finds it again after a restart of the
//! daemon, starts it after a restart of the machine, restarts it when it ends.
//!
//! Invariants: at most one process of a project is *the* live one; one that a
//! run is stopping was taken out before and is never restarted. What is
//! absent: deciding what is live (the journal) and switching (the run).

mod companions;
mod routes;
mod stacks;
mod take_up;
mod units;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use doorstep_shared::ids::ProjectState;
use tracing::warn;

use crate::child::{self, PATH_DEFAULT};
use crate::compose::Stacks;
use crate::config::{self, PORT_PLACEHOLDER, Project, Vars};
use crate::journal::{Journal, ProcessRow, Release};
use crate::process::{self, Launch, Process};
use crate::proxy::ProxyClient;
use crate::release::Layout;
use crate::run::RETRY_WRITE;
use crate::systemd::Unit;

/// Variable that says which journal started a process.
const MARK: &str = "DOORSTEP_JOURNAL";
/// First wait before a process that ended is started again; doubles each time.
const RESTART_MS: u64 = 500;
/// Longest wait.
const RESTART_MS_MAX: u64 = 60_000;
/// One that stayed up this long counts as well again.
const SETTLED: Duration = Duration::from_secs(60);
/// Restarts in a row after which the project is called failing.
const FAILING_AFTER: u32 = 3;

/// The live process of a project.
struct Live {
    release: Release,
    process: Process,
}

/// How a program of a release is started.
struct Start<'a> {
    port: Option<u16>,
    run: Option<&'a str>,
    /// Which of those beside the main one it is.
    companion: Option<&'a str>,
    log: PathBuf,
}

/// How a project's process fares.
#[derive(Default)]
struct Fate {
    live: Option<Live>,
    /// In a row: since it last stayed up.
    restarts: u32,
    /// Since the daemon started.
    restarts_in_all: u32,
    reason: Option<String>,
    /// How often a run took the place; a restart that was due before is off.
    taken: u32,
}

/// The command of a project is nowhere: what the repository or the host's file
/// says is wrong, and another try would not help.
#[derive(Debug, thiserror::Error)]
#[error("the command `{0}` was not found in the release's environment nor in PATH")]
pub struct CommandMissing(pub String);

/// The supervisor of one host.
pub struct Supervisor {
    state: PathBuf,
    journal: Rc<Journal>,
    projects: BTreeMap<String, Project>,
    vars: Vars,
    fates: RefCell<BTreeMap<String, Fate>>,
    companions: companions::Companions,
    stacks: Rc<Stacks>,
    /// Projects whose address the proxy cannot serve, and why.
    unrouted: RefCell<BTreeMap<String, String>>,
    /// Where each compose project's address leads.
    routed: RefCell<BTreeMap<String, Option<SocketAddr>>>,
    proxy: tokio::sync::OnceCell<ProxyClient>,
    /// Told whenever a page would show something else.
    changed: Rc<tokio::sync::Notify>,
}

impl Supervisor {
    /// A supervisor of these projects.
    #[must_use]
    pub fn new(state: PathBuf, journal: Rc<Journal>, projects: BTreeMap<String, Project>, vars: Vars, changed: Rc<tokio::sync::Notify>) -> Self {
        let stacks = Rc::new(Stacks::new(projects.values(), Rc::clone(&changed)));
        Self { state, journal, projects, vars, fates: RefCell::default(), companions: companions::Companions::default(), stacks, unrouted: RefCell::default(), routed: RefCell::default(), proxy: tokio::sync::OnceCell::new(), changed }
    }

    /// The folders of a project.
    #[must_use]
    pub fn layout(&self, project: &Project) -> Layout {
        let dir = project.dir.clone().unwrap_or_else(|| self.state.join("projects").join(&project.name));
        Layout::new(dir)
    }

    /// The log of a release's process.
    #[must_use]
    pub fn app_log(&self, project: &str, release: u64) -> PathBuf {
        crate::logs::app_log(&self.state, project, release)
    }

    /// What every process that this journal started carries in its environment.
    fn mark(&self) -> String {
        format!("{MARK}={}", self.journal.identity())
    }

    /// Starts what should run and does not; what failed before it was tried
    /// here is tried again anyway, later.
    async fn revive_if_down(self: &Rc<Self>, project: &Project) {
        let is_tended = self.fates.borrow().get(&project.name).is_some_and(|fate| fate.live.is_some() || fate.restarts > 0);
        if !project.runs() || is_tended || !self.journal.wants_running(&project.name).unwrap_or(false) {
            return;
        }
        if let Ok(Some(release)) = self.journal.live_release(&project.name) {
            self.revive(project, release).await;
        }
    }

    /// Starts a release's process; a fault is noted and tried again.
    async fn revive(self: &Rc<Self>, project: &Project, release: Release) {
        match self.launch(project, &release, None).await {
            Ok(process) => self.keep(project, release, process),
            Err(fault) => {
                warn!(project = project.name, "an app does not start: {fault:#}");
                self.note(&project.name, Some(format!("{fault:#}")));
                self.revive_later(project, release);
            }
        }
    }

    fn revive_later(self: &Rc<Self>, project: &Project, release: Release) {
        let (wait_ms, taken) = {
            let mut fates = self.fates.borrow_mut();
            let fate = fates.entry(project.name.clone()).or_default();
            fate.restarts = fate.restarts.saturating_add(1);
            fate.restarts_in_all = fate.restarts_in_all.saturating_add(1);
            (restart_wait_ms(fate.restarts), fate.taken)
        };
        let (this, project) = (Rc::clone(self), project.clone());
        tokio::task::spawn_local(async move {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            let still_live = this.journal.live_release(&project.name).ok().flatten().is_some_and(|live| live.id == release.id);
            let wanted = this.journal.wants_running(&project.name).unwrap_or(true);
            let is_due = this.fates.borrow().get(&project.name).is_none_or(|fate| fate.taken == taken);
            if still_live && wanted && is_due && this.live_process(&project.name).is_none() {
                this.revive(&project, release).await;
                if let Err(fault) = this.route_live(&project).await {
                    warn!(project = project.name, "the proxy does not serve: {fault:#}");
                }
            }
        });
    }

    /// Starts a process of a release; the journal knows it before this returns.
    ///
    /// # Errors
    ///
    /// When the command is not there or does not start.
    pub async fn launch(&self, project: &Project, release: &Release, run: Option<&str>) -> Result<Process> {
        let (process, port) = match &project.systemd {
            Some(settings) => (self.start_unit(project, release, &Unit::of(settings)).await?, None),
            None => self.start_process(project, release, run)?,
        };
        let row = ProcessRow {
            project: project.name.clone(),
            pid: process.pid(),
            start_ticks: process.start_ticks(),
            port,
            release: release.id,
            run: run.map(str::to_owned),
            companion: None,
            unit: process.unit().cloned(),
        };
        match self.journal.process_started(&row) {
            Ok(()) => {}
            // A run that cannot write is not carried out.
            Err(fault) if run.is_some() => {
                process.kill().await;
                return Err(fault);
            }
            // The live release serves all the same. Should this daemon die before
            // the row is written, the next one finds the process by its mark.
            Err(fault) => {
                warn!(project = project.name, "an app was started and cannot be written down yet: {fault:#}");
                self.write_down_later(row);
            }
        }
        Ok(process)
    }

    fn start_process(&self, project: &Project, release: &Release, run: Option<&str>) -> Result<(Process, Option<u16>)> {
        let settings = project.process.as_ref().context("the project has no [process]")?;
        let port = if owns_port(project) { Some(process::free_port().context("no free port")?) } else { None };
        let with_port = |word: &String| word.replace(PORT_PLACEHOLDER, &port.unwrap_or_default().to_string());
        let words: Vec<String> = settings.command.iter().map(with_port).collect();
        let process = self.start(project, release, &words, Start { port, run, companion: None, log: self.app_log(&project.name, release.id) })?;
        Ok((process, port))
    }

    /// Starts a program of a release; the caller writes it down.
    fn start(&self, project: &Project, release: &Release, words: &[String], how: Start<'_>) -> Result<Process> {
        let layout = self.layout(project);
        let dir = layout.slot(release.slot);
        let env_bin = layout.env(release.slot).join("bin");
        let (program, args) = words.split_first().context("the command is empty")?;
        let found = child::find(program, std::slice::from_ref(&env_bin), &dir).ok_or_else(|| CommandMissing(program.clone()))?;
        std::fs::create_dir_all(how.log.parent().unwrap_or(&self.state))?;
        let mut env = self.environment(project, release, how.port, how.run)?;
        env.extend(how.companion.map(|name| ("DOORSTEP_PROCESS".into(), name.into())));
        Process::start(&Launch { program: found, args: args.to_vec(), dir, env, log: how.log }, how.port)
    }

    fn write_down_later(&self, row: ProcessRow) {
        let journal = Rc::clone(&self.journal);
        tokio::task::spawn_local(async move {
            while Process::again(&row).is_some() && journal.process_started(&row).is_err() {
                tokio::time::sleep(RETRY_WRITE).await;
            }
        });
    }

    /// The environment of an app: a clean one, plus what the host's file says.
    ///
    /// # Errors
    ///
    /// When the `env_file` cannot be read or is wrong.
    pub fn environment(&self, project: &Project, release: &Release, port: Option<u16>, run: Option<&str>) -> Result<Vec<(OsString, OsString)>> {
        let env_dir = self.layout(project).env(release.slot);
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
        let mut path_with = env_dir.join("bin").into_os_string();
        path_with.push(":");
        path_with.push(path);
        let mut env: Vec<(OsString, OsString)> = vec![("PATH".into(), path_with), ("PYTHONUNBUFFERED".into(), "1".into())];
        for name in ["HOME", "LANG", "LC_ALL", "TZ", "USER", "LOGNAME", "TMPDIR"] {
            if let Some(value) = std::env::var_os(name) {
                env.push((name.into(), value));
            }
        }
        if env_dir.is_dir() {
            env.push(("VIRTUAL_ENV".into(), env_dir.into()));
        }
        for (name, value) in self.project_variables(project)? {
            env.push((name.into(), value.into()));
        }
        if let Some(port) = port {
            env.push(("PORT".into(), port.to_string().into()));
        }
        env.push((MARK.into(), self.journal.identity().into()));
        env.push(("DOORSTEP_PROJECT".into(), project.name.clone().into()));
        env.push(("DOORSTEP_DATA".into(), self.layout(project).data().into()));
        env.push(("DOORSTEP_RELEASE".into(), release.id.to_string().into()));
        env.push(("DOORSTEP_COMMIT".into(), release.commit.clone().into()));
        if let Some(run) = run {
            env.push(("DOORSTEP_RUN".into(), run.into()));
        }
        Ok(env)
    }

    /// What the host's file and its `env_file` set for a project's app.
    ///
    /// # Errors
    ///
    /// When the `env_file` cannot be read or is wrong.
    pub fn project_variables(&self, project: &Project) -> Result<Vec<(String, String)>> {
        let mut variables = Vec::new();
        if let Some(path) = &project.env_file {
            let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let (pairs, faults) = config::dotenv(&text);
            if let Some(fault) = faults.first() {
                return Err(anyhow!("{}: {fault}", path.display()));
            }
            variables.extend(pairs);
        }
        variables.extend(project.process.iter().flat_map(|process| process.env.clone()));
        Ok(variables)
    }

    /// The variables the daemon was given.
    #[must_use]
    pub fn vars(&self) -> &Vars {
        &self.vars
    }

    /// From now on this is the project's live process, as well as any.
    pub fn watch(self: &Rc<Self>, project: &Project, release: Release, process: Process) {
        {
            let mut fates = self.fates.borrow_mut();
            let fate = fates.entry(project.name.clone()).or_default();
            (fate.restarts, fate.reason) = (0, None);
        }
        self.keep(project, release, process);
    }

    /// The same of one that was started again: what befell those before it
    /// counts until this one has settled.
    fn keep(self: &Rc<Self>, project: &Project, release: Release, process: Process) {
        self.fates.borrow_mut().entry(project.name.clone()).or_default().live = Some(Live { release, process: process.clone() });
        self.changed.notify_one();
        let (this, project) = (Rc::clone(self), project.clone());
        tokio::task::spawn_local(async move {
            let how = match tokio::time::timeout(SETTLED, process.wait()).await {
                Ok(how) => how,
                Err(_) => {
                    this.settled(&project.name, &process);
                    process.wait().await
                }
            };
            this.ended(&project, &process, &how);
        });
    }

    fn settled(&self, project: &str, process: &Process) {
        if let Some(fate) = self.fates.borrow_mut().get_mut(project)
            && fate.live.as_ref().is_some_and(|live| live.process.pid() == process.pid())
        {
            (fate.restarts, fate.reason) = (0, None);
        }
        self.changed.notify_one();
    }

    fn ended(self: &Rc<Self>, project: &Project, process: &Process, how: &str) {
        if let Err(fault) = self.journal.process_ended(process.pid()) {
            warn!("{fault:#}");
        }
        if process.unit().is_none() {
            // Its workers may hold its port.
            child::kill_group(Some(process.pid()));
        }
        let release = {
            let mut fates = self.fates.borrow_mut();
            let fate = fates.entry(project.name.clone()).or_default();
            if fate.live.as_ref().is_none_or(|live| live.process.pid() != process.pid()) {
                return; // A run took it out and stopped it.
            }
            fate.reason = Some(format!("it {how}"));
            fate.live.take().map(|live| live.release)
        };
        match (process.unit(), release) {
            (Some(unit), Some(release)) => {
                warn!(project = project.name, "an app {how}; {} says what comes next", unit.name());
                self.follow_unit(project, release, unit.clone());
            }
            (_, release) => {
                warn!(project = project.name, "an app {how} and is started again");
                release.into_iter().for_each(|release| self.revive_later(project, release));
            }
        }
        self.changed.notify_one();
    }

    /// Takes the live process out, to be stopped by the caller; nothing is
    /// started in its place until a run says so.
    pub fn take(&self, project: &str) -> Option<Process> {
        let mut fates = self.fates.borrow_mut();
        let fate = fates.get_mut(project)?;
        fate.taken = fate.taken.wrapping_add(1);
        fate.live.take().map(|live| live.process)
    }

    /// The live process.
    #[must_use]
    pub fn live_process(&self, project: &str) -> Option<Process> {
        self.fates.borrow().get(project)?.live.as_ref().map(|live| live.process.clone())
    }

    /// Starts the live release again if nothing of it runs: after a run that
    /// had stopped it failed.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub async fn ensure_live(self: &Rc<Self>, project: &Project) -> Result<()> {
        if !project.runs() {
            return Ok(());
        }
        if self.live_process(&project.name).is_some() || !self.journal.wants_running(&project.name)? {
            self.bring_companions(project).await;
            return self.route_live(project).await;
        }
        if let Some(release) = self.journal.live_release(&project.name)? {
            match self.launch(project, &release, None).await {
                Ok(process) => self.watch(project, release, process),
                Err(fault) => {
                    // Whoever asked is told, and it is tried again all the same.
                    self.note(&project.name, Some(format!("{fault:#}")));
                    self.revive_later(project, release);
                    return Err(fault);
                }
            }
        }
        self.bring_companions(project).await;
        self.route_live(project).await
    }

    /// How often a project's process was started again because it had ended,
    /// since the daemon started.
    #[must_use]
    pub fn restarts(&self, project: &str) -> u32 {
        self.fates.borrow().get(project).map_or(0, |fate| fate.restarts_in_all)
    }

    /// Notes why a project needs a person.
    pub fn note(&self, project: &str, reason: Option<String>) {
        self.fates.borrow_mut().entry(project.to_owned()).or_default().reason = reason;
        self.changed.notify_one();
    }

    /// How a project is, and why.
    #[must_use]
    pub fn project_state(&self, project: &Project) -> (ProjectState, Option<String>) {
        if project.compose.is_some() {
            return self.stack_state(project);
        }
        let fates = self.fates.borrow();
        let fate = fates.get(&project.name);
        let unrouted = self.unrouted.borrow().get(&project.name).cloned();
        let ailing = self.ailing_companion(&project.name);
        let reason = unrouted.or_else(|| fate.and_then(|fate| fate.reason.clone())).or(ailing);
        let has_release = self.journal.live_release(&project.name).ok().flatten().is_some();
        let wanted = self.journal.wants_running(&project.name).unwrap_or(true);
        let state = match (fate.is_some_and(|fate| fate.live.is_some()), fate.map_or(0, |fate| fate.restarts)) {
            _ if !project.runs() && has_release => ProjectState::Running,
            (true, restarts) if restarts >= FAILING_AFTER => ProjectState::Failing,
            (true, _) if reason.is_some() => ProjectState::Degraded,
            (true, _) => ProjectState::Running,
            (false, _) if has_release && wanted && project.runs() => ProjectState::Failing,
            (false, _) => ProjectState::Stopped,
        };
        (state, reason)
    }

    /// Cuts the logs of apps that print without end; called now and then. That
    /// copies some MiB, so the daemon's loop does not wait for it.
    pub fn trim_logs(&self) {
        let fates = self.fates.borrow();
        let mut logs: Vec<PathBuf> = fates.iter().filter_map(|(project, fate)| Some(self.app_log(project, fate.live.as_ref()?.release.id))).collect();
        logs.extend(self.companion_logs(None));
        tokio::task::spawn_blocking(move || {
            for log in logs {
                if let Err(fault) = crate::logs::trim(&log) {
                    warn!("{} cannot be cut: {fault}", log.display());
                }
            }
        });
    }
}

/// How long a process that ended so many times in a row waits to be started again.
fn restart_wait_ms(restarts: u32) -> u64 {
    RESTART_MS.saturating_mul(1 << restarts.saturating_sub(1).min(10)).min(RESTART_MS_MAX)
}

/// The address that the proxy owns for a project.
#[must_use]
pub fn listen_of(project: &Project) -> Option<SocketAddr> {
    let of_stack = || project.compose.as_ref()?.listen;
    project.process.as_ref().and_then(|process| process.listen).or_else(of_stack)
}

/// A port of this machine.
#[must_use]
pub fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Is the app told a port of its own?
#[must_use]
pub fn owns_port(project: &Project) -> bool {
    project.process.as_ref().is_some_and(|process| process.listen.is_some() || process.command.iter().any(|word| word.contains(PORT_PLACEHOLDER)))
}
