//! A run: one attempt of a job on this host, step by step.
//!
//! The runner carries out what [`plan`](crate::plan) decided and decides
//! nothing itself. Every effect has a journal row before it and one after, the
//! latter in one transaction with its report. Invariant: until the checks were
//! good nothing of the live release is touched, except where both want the
//! same port; then it is started again when they were not.

mod back;
mod deploy;
mod hooks;
mod live;
mod log;
mod other;
mod recover;
mod roll_back;
mod settle;
mod stack;
mod steps;
mod sync;
mod tail;

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use doorstep_shared::ids::{Action, Attempt, Cause, FailureKind, JobId, RunState, ServiceName};
use doorstep_shared::protocol::{Failure, MESSAGE_BYTES_MAX, Report};
use doorstep_shared::text::cut;
use tokio::sync::{Notify, broadcast, mpsc};
use tracing::{error, info, warn};

use crate::clock;
use crate::config::{Config, Project};
use crate::daemon::Wake;
use crate::disk;
use crate::git::Web;
use crate::journal::{Goal, Journal, Point, RunRecord, Told};
use crate::redact::Redactor;
use crate::standing::Standings;
use crate::supervisor::Supervisor;
use live::Untold;
use log::RunLog;

/// Daemons that may die over one run before it is given up; one that was told
/// to end has not died.
const DEATHS_MAX: u32 = 3;

/// Lines of the app's output that a failed check shows.
const LAST_LINES: usize = 20;
/// What stands between a reason and the lines that follow it.
const LAST_LINES_FOLLOW: &str = "; its last lines:";

/// A reason where there is room for one line.
pub fn first_line(message: &str) -> &str {
    let first = message.lines().next().unwrap_or_default();
    first.strip_suffix(LAST_LINES_FOLLOW).unwrap_or(first)
}

/// The step that puts the old release back; that it failed needs a person.
pub const ROLL_BACK: &str = "roll back";
/// What is said of a run that is given up.
pub const GIVEN_UP: &str = "the daemon died three times over this run; it is given up";

/// How often the end of a run is tried to be written.
pub const RETRY_WRITE: Duration = Duration::from_secs(2);

/// What every run of this host shares.
pub struct Shared {
    /// The state directory.
    pub state: PathBuf,
    /// The journal.
    pub journal: Rc<Journal>,
    /// What keeps apps up.
    pub supervisor: Rc<Supervisor>,
    /// What the host's file says.
    pub config: Config,
    /// Carries git over https.
    pub web: Web,
    /// Fetches at once: origins that hang must not take every thread.
    pub fetches: tokio::sync::Semaphore,
    /// How live releases stand to their branches.
    pub standings: Standings,
    /// Wakes the daemon's loop.
    pub wake: mpsc::UnboundedSender<Wake>,
    /// What runs report, for those who watch here.
    pub watchers: broadcast::Sender<Report>,
}

impl Shared {
    /// Tells of what was written: those who watch here in words alone, and the edge.
    fn tell(&self, numbered: Vec<(u64, Report)>) {
        for (seq, report) in numbered {
            // Nobody may be watching, and the daemon may be stopping.
            let _ = self.watchers.send(log::without_colours(report.clone()));
            let _ = self.wake.send(Wake::Posted { seq, report });
        }
    }
}

/// A way to stop a run from outside.
#[derive(Clone, Default)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    told: Rc<Notify>,
}

impl Cancel {
    /// Stops the run at its next chance.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
        self.told.notify_waiters();
    }

    /// The flag, for threads.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.flag)
    }

    /// Was it stopped?
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Waits until it is stopped.
    pub async fn cancelled(&self) {
        let told = self.told.notified();
        if !self.is_cancelled() {
            told.await;
        }
    }
}

/// What is asked of a run.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its project.
    pub project: String,
    /// What is done.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// Its job, unless a person asked here.
    pub job: Option<(JobId, Attempt)>,
    /// What to go back to; `None`: the release before.
    pub to: Option<Goal>,
    /// The one service that is meant, of a compose project.
    pub service: Option<ServiceName>,
}

impl Request {
    /// The row of a run of this request that has not begun.
    #[must_use]
    pub fn record(&self, id: String) -> RunRecord {
        RunRecord {
            id,
            project: self.project.clone(),
            action: self.action,
            cause: self.cause,
            job: self.job.map(|(job, _)| job),
            attempt: self.job.map_or(0, |(_, attempt)| attempt),
            started: clock::wall(),
            ended: None,
            state: RunState::Running,
            point: Point::Begun,
            release: None,
            begun: 0,
            forgiven: 0,
            to: self.to.clone(),
            service: self.service.clone(),
            told: Told::default(),
            steps: 0,
            commit: None,
            failure: None,
        }
    }
}

/// Why a run stops: the failure, and whether the new release was started.
#[derive(Debug)]
pub(crate) struct Fault {
    kind: FailureKind,
    step: String,
    message: String,
}

/// One run under way.
pub struct Runner {
    shared: Rc<Shared>,
    project: Project,
    record: RunRecord,
    cancel: Cancel,
    /// What is in no row yet.
    untold: Rc<Untold>,
    step: Option<steps::Open>,
    /// The stamp of the environment, until it is written.
    stamp: Option<String>,
    /// What is put back is not cut short by a cancel.
    restoring: bool,
    /// The engine of a compose project did not answer while it was checked.
    engine_missed: Rc<std::cell::Cell<bool>>,
}

impl Runner {
    /// A run, fresh or left open by another daemon.
    ///
    /// # Errors
    ///
    /// When the project is not in the host's file, or the log cannot be made.
    pub fn of(shared: Rc<Shared>, record: RunRecord, cancel: Cancel) -> Result<Self> {
        let project = shared.config.projects.get(&record.project).cloned();
        let project = project.ok_or_else(|| anyhow::anyhow!("{} is not in the host's file", record.project))?;
        let log = RunLog::open(&shared.state, &project.name, &record.id, redactor(&shared, &project), record.told)?;
        let untold = Rc::new(Untold::new(log));
        Ok(Self { shared, project, record, cancel, untold, step: None, stamp: None, restoring: false, engine_missed: Rc::default() })
    }

    /// Carries the run out; when this returns, its outcome is in the journal.
    pub async fn run(mut self) -> RunState {
        let (shared, untold, id) = (Rc::clone(&self.shared), Rc::clone(&self.untold), self.record.id.clone());
        let write = |lines: &[Report]| {
            let written = shared.journal.tell_lines(&id, untold.told(), lines);
            written.map(|numbered| shared.tell(numbered)).is_ok()
        };
        let outcome = tokio::select! {
            outcome = self.begin_and_carry_out() => outcome,
            never = untold.tell_lines(write) => match never {},
        };
        let state = self.conclude(outcome).await;
        self.record.state = state;
        state
    }

    async fn begin_and_carry_out(&mut self) -> Result<(), (Fault, RunState)> {
        let recovering = self.record.begun > 0;
        let left_at = self.record.point;
        self.record.begun += 1;
        let failed = |fault| (fault, RunState::Failed);
        let started = Report::Started {
            run: self.record.id.clone(),
            job: self.record.job,
            attempt: self.record.attempt,
            project: self.project.name.parse().map_err(|_| failed(self.fault("start", "the project's name is not a name")))?,
            action: self.record.action,
            cause: self.record.cause,
            service: self.record.service.clone(),
            at: self.record.started,
        };
        info!(project = self.project.name, run.id = self.record.id, action = %self.record.action, cause = %self.record.cause, "a run begins");
        if let Err(fault) = self.advance(vec![started]) {
            if !recovering {
                return Err(failed(fault));
            }
            // What was left half done is put right all the same.
            warn!("{}", fault.message);
        }
        if recovering && self.recover(left_at).await? {
            return Ok(());
        }
        if self.record.deaths() >= DEATHS_MAX {
            return Err(failed(Fault { kind: FailureKind::Crash, ..self.fault("start", GIVEN_UP) }));
        }
        if self.record.service.is_some() && !self.is_stack() {
            let why = format!("{} has no services: it is no compose project", self.project.name);
            return Err((Fault { kind: FailureKind::Policy, ..self.fault("start", &why) }, RunState::Refused));
        }
        match self.record.action {
            Action::Deploy | Action::Rebuild => self.deploy().await,
            Action::Fetch => self.fetch_only().await.map_err(failed),
            Action::Restart => self.restart().await,
            Action::Stop => self.stop().await.map_err(failed),
            Action::Start => self.start().await.map_err(failed),
            Action::Rollback => self.go_back().await,
        }
    }

    async fn conclude(&mut self, outcome: Result<(), (Fault, RunState)>) -> RunState {
        let (state, failure) = match outcome {
            Ok(()) => (RunState::Succeeded, None),
            Err((fault, state)) => {
                (state, Some(self.failure(&fault)))
            }
        };
        let live = self.shared.journal.live_release(&self.project.name).ok().flatten();
        let mut written = self.shared.supervisor.companion_logs(Some(&self.project.name));
        written.extend(live.map(|live| self.shared.supervisor.app_log(&self.project.name, live.id)));
        if let Err(fault) = crate::logs::prune(&self.shared.state, &self.project.name, &written) {
            warn!(project = self.project.name, "old logs cannot be removed: {fault}");
        }
        if failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Disk) {
            self.make_room().await;
        }
        self.record.point = Point::Ended;
        self.record.state = state;
        self.record.ended = Some(clock::wall());
        self.record.failure.clone_from(&failure);
        match &failure {
            None => info!(project = self.project.name, run.id = self.record.id, "a run {state}"),
            Some(failure) => {
                // The rest is what the app or uv printed: the run's log has it.
                let why = first_line(&failure.message);
                warn!(project = self.project.name, run.id = self.record.id, step = failure.step, "a run {state}: {why}");
            }
        }
        let mut reports = self.untold.finish();
        reports.push(Report::Outcome {
            run: self.record.id.clone(),
            job: self.record.job,
            attempt: self.record.attempt,
            state,
            failure,
            commit: self.record.commit.clone(),
            at: clock::wall(),
        });
        // A run whose end is not written has not ended: its grant would be held
        // for ever, and its outcome never told.
        loop {
            match self.shared.journal.end(&self.record, reports.clone()) {
                Ok(numbered) => {
                    self.shared.tell(numbered);
                    return state;
                }
                Err(fault) => error!(run.id = self.record.id, "a run's end cannot be written yet: {fault:#}"),
            }
            tokio::time::sleep(RETRY_WRITE).await;
        }
    }

    /// Removes what this run built when there was no room for it: it must not be
    /// what keeps the disk full.
    async fn make_room(&self) {
        let releases = self.shared.journal.releases(&self.project.name).unwrap_or_default();
        let layout = self.shared.supervisor.layout(&self.project);
        let ours = releases.iter().find(|release| Some(release.id) == self.record.release && release.is_fresh());
        let Some(slot) = ours.map(|release| release.slot).filter(|slot| layout.current() != Some(*slot)) else { return };
        let removed = tokio::task::spawn_blocking(move || layout.clear(slot)).await;
        if let Ok(Err(fault)) = removed {
            warn!(project = self.project.name, "what was built cannot be removed: {fault}");
        }
    }

    /// A fault as it is stored and told.
    fn failure(&self, fault: &Fault) -> Failure {
        let message = self.untold.clean(&fault.message);
        let kind = if disk::is_full(&fault.message) { FailureKind::Disk } else { fault.kind };
        Failure { kind, step: fault.step.clone(), message: cut(&message, MESSAGE_BYTES_MAX).to_owned() }
    }

    /// Writes how far the run has come, with reports.
    fn advance(&mut self, mut reports: Vec<Report>) -> Result<(), Fault> {
        let before = self.untold.take();
        self.record.told = self.untold.told();
        let mut all = before.clone();
        all.append(&mut reports);
        match self.shared.journal.advance(&self.record, all) {
            Ok(numbered) => {
                self.shared.tell(numbered);
                Ok(())
            }
            Err(fault) => {
                self.untold.put_back(before);
                Err(self.fault("journal", &format!("{fault:#}")))
            }
        }
    }

    /// A fault of this host; callers change the kind where they know better.
    fn fault(&self, step: &str, message: &str) -> Fault {
        Fault { kind: FailureKind::Host, step: step.to_owned(), message: message.to_owned() }
    }

    fn cancelled(&self, step: &str) -> Fault {
        Fault { kind: FailureKind::Cancelled, ..self.fault(step, "it was cancelled") }
    }
}

/// Everything that is secret to a project on this host.
pub(crate) fn redactor(shared: &Shared, project: &Project) -> Redactor {
    let mut redactor = Redactor::default();
    let vars = shared.supervisor.vars();
    for name in vars.names() {
        redactor.add_variable(name, vars.get(name).unwrap_or_default());
    }
    for (name, value) in shared.supervisor.project_variables(project).unwrap_or_default() {
        redactor.add_variable(&name, &value);
    }
    if let Ok(Some(token)) = crate::config::git_token(project, vars) {
        redactor.add(token.expose());
    }
    redactor
}
