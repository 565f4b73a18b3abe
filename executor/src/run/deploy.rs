//! A deploy: fetch, verify, build and sync beside what is live; start, check,
//! switch, stop the old one. Or put everything back.

use std::time::{Duration, Instant};

use doorstep_shared::ids::{Action, Cause, FailureKind, RunState};

use super::steps::Wrong;
use super::{Fault, Runner};
use crate::clock;
use crate::child;
use crate::git::{self, Bounds, CommitInfo, FetchError, Origin};
use crate::health::{self, Asked};
use crate::journal::{Point, Release, ReleaseState, RunRecord};
use crate::plan::{Facts, Plan, Takeover, plan};
use crate::process::Process;
use crate::python::{self, Found};
use crate::release::choose_slot;
use crate::supervisor::{CommandMissing, local, owns_port};
use crate::systemd::UnitEnded;

/// A fetch that takes longer than this is given up: 1 GB at 1 MB/s.
const FETCH_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long requests in flight may go on at the old release.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// The system's number for a file that is no program.
const EXEC_FORMAT: i32 = 8;
/// Changed files that are listed.
const CHANGED_MAX: usize = 200;
type Failed = (Fault, RunState);

fn failed(fault: Fault) -> Failed {
    (fault, RunState::Failed)
}

/// Why a process does not start: what was pushed is wrong, or this host cannot
/// do it now (no more files or processes, no room, no free port).
fn kind_of(fault: &anyhow::Error) -> FailureKind {
    use std::io::ErrorKind::{NotFound, PermissionDenied};
    let is_command = |fault: &std::io::Error| matches!(fault.kind(), NotFound | PermissionDenied) || fault.raw_os_error() == Some(EXEC_FORMAT);
    let by_system = fault.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>()).any(is_command);
    if fault.is::<UnitEnded>() {
        return FailureKind::Health;
    }
    if by_system || fault.is::<CommandMissing>() { FailureKind::Source } else { FailureKind::Host }
}

impl Runner {
    /// The whole deploy.
    pub(super) async fn deploy(&mut self) -> Result<(), Failed> {
        if self.project.command.is_some() {
            let message = "this version deploys Python, plain processes and compose projects; [command] projects come with a later one";
            return Err(failed(Fault { kind: FailureKind::Policy, ..self.fault("plan", message) }));
        }
        let target = match self.same_commit().map_err(failed)? {
            Some(target) => target,
            None => self.fetch().await.map_err(failed)?,
        };
        if self.is_live_already(&target.id) {
            self.say(&format!("{} is live already", short(&target.id)));
            return Ok(());
        }
        self.is_quarantined(&target.id).map_err(|fault| (fault, RunState::Refused))?;
        self.verify(&target).await.map_err(failed)?;
        let release = self.build(&target).await.map_err(failed)?;
        if self.is_stack() {
            return self.deploy_stack(release).await;
        }
        let (plan, found) = self.plan(&release).map_err(failed)?;
        self.sync(&plan, &found, &release).await.map_err(failed)?;
        self.has_its_command(&release).map_err(failed)?;
        self.before_switch(&release).await.map_err(failed)?;
        self.take_over(plan.takeover, release).await
    }

    /// A rebuild of one service is one of the live commit: nothing is fetched.
    fn same_commit(&mut self) -> Result<Option<CommitInfo>, Fault> {
        if self.record.service.is_none() {
            return Ok(None);
        }
        let live = self.shared.journal.live_release(&self.project.name).map_err(|fault| self.fault("rebuild", &format!("{fault:#}")))?;
        let refused = |why: String| Fault { kind: FailureKind::Policy, ..self.fault("rebuild", &why) };
        let live = live.ok_or_else(|| refused("nothing is live yet; deploy first".to_owned()))?;
        let service = self.record.service.clone();
        if let (Some(service), Ok(stack)) = (service, self.stack_of(&live))
            && !stack.parts.contains_key(service.as_str())
        {
            return Err(refused(format!("the live release has no service {service}")));
        }
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        let info = git::open_store(&dir).and_then(|store| store.commit_info(&live.commit)).map_err(|fault| self.fault("rebuild", &fault.to_string()))?;
        self.record.commit = Some(info.id.clone());
        Ok(Some(info))
    }

    /// Fetch and say what is there.
    pub(super) async fn fetch_only(&mut self) -> Result<(), Fault> {
        self.fetch().await.map(|_| ())
    }

    fn is_live_already(&self, commit: &str) -> bool {
        if self.record.action == Action::Rebuild {
            return false;
        }
        // A person who asks for a deploy wants one; an event wants the commit live.
        let by_event = matches!(self.record.cause, Cause::Push | Cause::Reconcile | Cause::Replay);
        let live = self.shared.journal.live_release(&self.project.name).ok().flatten();
        let runs = if self.is_stack() { self.shared.supervisor.stack_is_up(&self.project) } else { !self.project.runs() || self.shared.supervisor.live_process(&self.project.name).is_some() };
        by_event && runs && live.is_some_and(|live| live.commit == commit)
    }

    async fn fetch(&mut self) -> Result<CommitInfo, Fault> {
        // What an earlier daemon fetched for this run may not be the head any more.
        self.record.commit = None;
        self.begin(Point::Fetching, "fetch")?;
        let outcome = self.fetch_branch().await;
        self.record.commit = outcome.as_ref().ok().map(|(info, _)| info.id.clone());
        self.end(outcome)
    }

    async fn fetch_branch(&mut self) -> Result<(CommitInfo, String), Wrong> {
        let layout = self.shared.supervisor.layout(&self.project);
        layout.create().map_err(|fault| Wrong::host(format!("{} cannot be made: {fault}", layout.dir().display())))?;
        let origin = self.origin()?;
        let (web, branch, dir) = (self.shared.web.clone(), self.project.branch.clone(), layout.dir().to_path_buf());
        let _place = self.shared.fetches.acquire().await.map_err(Wrong::host)?;
        let bounds = Bounds { deadline: Instant::now() + FETCH_LIMIT, cancel: self.cancel.flag() };
        let fetched = tokio::task::spawn_blocking(move || {
            let store = git::open_store(&dir).map_err(Wrong::host)?;
            let fetched = store.fetch(&web, &origin, &branch, &bounds, &mut |_| {}).map_err(fetch_wrong)?;
            let info = store.commit_info(&fetched.commit).map_err(Wrong::host)?;
            Ok((fetched, info))
        });
        let (fetched, info) = fetched.await.map_err(Wrong::host)??;
        let forced = if fetched.forced { ", history was rewritten" } else { "" };
        let detail = format!("{} {} ({} objects, {} bytes{forced})", short(&info.id), info.subject, fetched.received_objects, fetched.received_bytes);
        Ok((info, detail))
    }

    fn origin(&self) -> Result<Origin, Wrong> {
        Origin::of(&self.project, self.shared.supervisor.vars()).map_err(Wrong::host)
    }

    async fn verify(&mut self, target: &CommitInfo) -> Result<(), Fault> {
        self.begin(Point::Verifying, "verify")?;
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        let live = self.shared.journal.live_release(&self.project.name).ok().flatten().map(|live| live.commit);
        let commit = target.id.clone();
        let looked = tokio::task::spawn_blocking(move || {
            let store = git::open_store(&dir)?;
            let check = store.check_tree(&commit)?;
            // The live commit may be gone from the store after a rewrite.
            let changes = live.and_then(|live| store.changed_files(&live, &commit, CHANGED_MAX).ok());
            Ok::<_, git::StoreError>((check, changes))
        });
        let (check, changes) = match looked.await {
            Ok(Ok(looked)) => looked,
            Ok(Err(fault)) => return self.end(Err(Wrong::host(fault))),
            Err(fault) => return self.end(Err(Wrong::host(fault))),
        };
        for warning in check.warnings.iter().take(10) {
            self.say(&format!("note: {warning}"));
        }
        if let Some(first) = check.refusals.first() {
            let more = check.refusals.len() - 1;
            let more = if more > 0 { format!(" (and {more} more)") } else { String::new() };
            return self.end(Err(Wrong { kind: FailureKind::Source, message: format!("{first}{more}") }));
        }
        let detail = match changes {
            Some(changes) => {
                for (sign, paths) in [("+", &changes.added), ("~", &changes.modified), ("-", &changes.removed)] {
                    for path in paths {
                        self.say(&format!("{sign} {path}"));
                    }
                }
                let more = if changes.truncated { " or more" } else { "" };
                format!("{} added, {} modified, {} removed{more}", changes.added.len(), changes.modified.len(), changes.removed.len())
            }
            None => format!("{} {}", check.entries, if check.entries == 1 { "entry" } else { "entries" }),
        };
        self.end(Ok(((), detail)))
    }

    async fn build(&mut self, target: &CommitInfo) -> Result<Release, Fault> {
        self.begin(Point::Building, "build")?;
        let outcome = self.check_out(target).await;
        self.end(outcome)
    }

    async fn check_out(&mut self, target: &CommitInfo) -> Result<(Release, String), Wrong> {
        let journal = &self.shared.journal;
        let layout = self.shared.supervisor.layout(&self.project);
        let releases = journal.releases(&self.project.name).map_err(Wrong::host)?;
        let slot = choose_slot(&releases, layout.current());
        let release = journal.create_release(&self.project.name, &target.id, &target.subject, slot).map_err(Wrong::host)?;
        self.record.release = Some(release.id);
        if self.record.action == Action::Rebuild {
            let layout = layout.clone();
            tokio::task::spawn_blocking(move || layout.clear(slot)).await.map_err(Wrong::host)?.map_err(Wrong::host)?;
        }
        let (dir, path, commit) = (layout.dir().to_path_buf(), layout.slot(slot), target.id.clone());
        let (data, kept) = (layout.data(), self.project.data.clone());
        let done = tokio::task::spawn_blocking(move || {
            let done = git::open_store(&dir).and_then(|store| store.checkout(&commit, &path)).map_err(Wrong::host)?;
            crate::data::link(&path, &data, &kept).map_err(|fault| match fault.kind() {
                std::io::ErrorKind::NotADirectory => Wrong { kind: FailureKind::Source, message: fault.to_string() },
                _ => Wrong::host(format!("what outlives a release cannot be linked: {fault}")),
            })?;
            Ok::<_, Wrong>(done)
        });
        let done = done.await.map_err(Wrong::host)??;
        let detail = format!("release {} in slot {slot}: {} file{}, {} written, {} removed", release.id, done.files, if done.files == 1 { "" } else { "s" }, done.written, done.removed);
        Ok((release, detail))
    }

    pub(super) fn plan(&self, release: &Release) -> Result<(Plan, Found), Fault> {
        let slot = self.shared.supervisor.layout(&self.project).slot(release.slot);
        let settings = self.project.python.clone().unwrap_or_default();
        let found = python::look(&slot, &settings.requirements);
        let found = found.map_err(|why| Fault { kind: FailureKind::Source, ..self.fault("plan", &why) })?;
        let plan = plan(&Facts {
            has_lock: slot.join("uv.lock").is_file(),
            has_pyproject: found.is_project,
            has_requirements: !found.requirements.is_empty(),
            sync: settings.sync,
            has_process: self.project.runs(),
            owns_port: owns_port(&self.project),
        });
        Ok((plan, found))
    }

    /// The programs that will run are there, before anything is stopped for them.
    fn has_its_command(&self, release: &Release) -> Result<(), Fault> {
        let layout = self.shared.supervisor.layout(&self.project);
        let (dir, bin) = (layout.slot(release.slot), layout.env(release.slot).join("bin"));
        let commands = self.project.process.iter().map(|process| &process.command).chain(self.project.processes.values().map(|companion| &companion.command));
        let mut programs = commands.filter_map(|command| command.first());
        match programs.find(|program| child::find(program, std::slice::from_ref(&bin), &dir).is_none()) {
            Some(missing) => Err(Fault { kind: FailureKind::Source, ..self.fault("start", &CommandMissing(missing.clone()).to_string()) }),
            None => Ok(()),
        }
    }

    /// Starts the new release, checks it, switches, stops the old one.
    pub(super) async fn take_over(&mut self, takeover: Takeover, release: Release) -> Result<(), Failed> {
        let process = match takeover {
            Takeover::None => None,
            Takeover::Beside => Some(self.start_beside(&release).await.map_err(failed)?),
            Takeover::InPlace => Some(self.start_in_place(&release).await?),
        };
        // While the app starts, what was built goes to the disk for good.
        let durable = self.make_durable();
        if let Err(fault) = self.check(process.as_ref(), &release).await {
            return Err(self.put_back(process, Some(&release), fault).await);
        }
        if let Err(fault) = self.is_durable(durable, &release).await {
            return Err(self.put_back(process, Some(&release), fault).await);
        }
        if let Err(fault) = self.switch(process.as_ref(), &release).await {
            return Err(self.put_back(process, Some(&release), fault).await);
        }
        self.hand_over(process, &release).await
    }

    /// The new release is live: its process is watched, it settles, and the old
    /// process goes.
    pub(super) async fn hand_over(&mut self, process: Option<Process>, release: &Release) -> Result<(), Failed> {
        let mut old = self.shared.supervisor.take(&self.project.name);
        if let Some(process) = &process {
            self.shared.supervisor.watch(&self.project, release.clone(), process.clone());
        }
        if self.settles(release) {
            old = self.settle(process.as_ref(), release, old).await?;
        }
        if let Some(old) = old {
            self.retire(Point::Retiring, old).await;
        }
        self.move_companions(release).await;
        Ok(())
    }

    /// What runs beside the main process moves to the release that has settled.
    /// The supervisor does that at each start too, so no row is needed for it
    /// to be finished; it cannot fail a run that serves.
    pub(super) async fn move_companions(&mut self, release: &Release) {
        let count = self.project.processes.len();
        if count > 0
            && let Err(fault) = self.begin_anyway(Point::Retiring, "processes")
        {
            tracing::warn!("{}", fault.message);
        }
        match release.state {
            ReleaseState::Live => self.shared.supervisor.restart_companions(&self.project).await,
            _ => self.shared.supervisor.bring_companions(&self.project).await,
        }
        if count > 0 {
            let run = self.shared.supervisor.live_companions(&self.project.name).len();
            if let Err(fault) = self.end(Ok(((), format!("{run} of {count} run")))) {
                tracing::warn!("{}", fault.message);
            }
        }
    }

    async fn start_beside(&mut self, release: &Release) -> Result<Process, Fault> {
        self.begin(Point::Starting, "start")?;
        // The address is claimed first: a port that somebody else has is found
        // before anything was started.
        let live = self.shared.supervisor.live_process(&self.project.name).and_then(|process| process.port);
        if let Err(fault) = self.shared.supervisor.route(&self.project, live.map(local)).await {
            return self.end(Err(Wrong::host(format!("{fault:#}"))));
        }
        let started = self.launch(release).await;
        self.end(started)
    }

    async fn launch(&self, release: &Release) -> Result<(Process, String), Wrong> {
        let process = self.shared.supervisor.launch(&self.project, release, Some(&self.record.id)).await;
        let process = process.map_err(|fault| Wrong { kind: kind_of(&fault), message: format!("{fault:#}") })?;
        let port = process.port.map_or_else(String::new, |port| format!(" on port {port}"));
        let detail = format!("process {}{port}", process.pid());
        Ok((process, detail))
    }

    async fn start_in_place(&mut self, release: &Release) -> Result<Process, Failed> {
        // Made while the old one still serves.
        let client = health::client();
        self.begin(Point::Replacing, "stop").map_err(failed)?;
        let detail = match self.shared.supervisor.take(&self.project.name) {
            Some(old) => self.stop_process(&old).await,
            None => "nothing ran".to_owned(),
        };
        if let Err(fault) = self.end(Ok(((), detail))) {
            return Err(self.put_back(None, Some(release), fault).await);
        }
        let started = match self.begin(Point::Starting, "start") {
            Ok(()) => {
                let launched = match self.heard_before(&client).await {
                    Some(other) => Err(Wrong::host(other)),
                    None => self.launch(release).await,
                };
                self.end(launched)
            }
            Err(fault) => Err(fault),
        };
        match started {
            Ok(process) => Ok(process),
            Err(fault) => Err(self.put_back(None, Some(release), fault).await),
        }
    }

    /// Who answers where the check will ask, before the release starts. The
    /// manager of a unit may hold its socket.
    async fn heard_before(&self, client: &reqwest::Client) -> Option<String> {
        match (&self.project.health, &self.project.systemd) {
            (Some(health), None) => health::answered_by_another(health, client).await,
            _ => None,
        }
    }

    async fn check(&mut self, process: Option<&Process>, release: &Release) -> Result<(), Fault> {
        if process.is_none() && self.project.health.is_none() {
            return Ok(());
        }
        self.begin(Point::Checking, "check")?;
        let (client, cancel) = (health::client(), self.cancel.clone());
        let (health, place) = (self.project.health.clone(), self.place(release, process.and_then(|process| process.port)));
        let asked = Asked { health: health.as_ref(), process, place: &place, client: &client };
        let verdict = health::check(asked, cancel.cancelled()).await;
        let outcome = self.judged(verdict, release, |good| format!("{good} good answers in a row")).await;
        self.end(outcome)
    }

    /// Writes everything of the project's file system to the disk: after a power
    /// cut `current` must not name a release of empty files.
    pub(super) fn make_durable(&self) -> tokio::task::JoinHandle<std::io::Result<()>> {
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        tokio::task::spawn_blocking(move || Ok(rustix::fs::syncfs(std::fs::File::open(dir)?)?))
    }

    pub(super) async fn is_durable(&mut self, durable: tokio::task::JoinHandle<std::io::Result<()>>, release: &Release) -> Result<(), Fault> {
        let done = durable.await.unwrap_or_else(|fault| Err(std::io::Error::other(fault)));
        done.map_err(|fault| self.fault("switch", &format!("the release cannot be written to the disk for good: {fault}")))?;
        if let Some(stamp) = self.stamp.take() {
            let env = self.shared.supervisor.layout(&self.project).env(release.slot);
            std::fs::write(env.with_extension("stamp"), stamp).map_err(|fault| self.fault("switch", &fault.to_string()))?;
        }
        Ok(())
    }

    async fn switch(&mut self, process: Option<&Process>, release: &Release) -> Result<(), Fault> {
        self.begin(Point::Switching, "switch")?;
        let outcome = self.switch_to(process, release).await;
        self.end(outcome)
    }

    /// Points `current`, the proxy and the journal at a release whose checks
    /// were good. When one of them fails the caller puts all of them back.
    pub(super) async fn switch_to(&mut self, process: Option<&Process>, release: &Release) -> Result<((), String), Wrong> {
        self.shared.supervisor.layout(&self.project).switch(release.slot).map_err(Wrong::host)?;
        let port = process.and_then(|process| process.port);
        self.shared.supervisor.route(&self.project, port.map(local)).await.map_err(Wrong::host)?;
        self.written_as_live(release)
    }

    /// The journal says that a release is live.
    pub(super) fn written_as_live(&mut self, release: &Release) -> Result<((), String), Wrong> {
        let point = if self.settles(release) { Point::Settling } else { Point::Retiring };
        let switched = RunRecord { point, told: self.untold.told(), ..self.record.clone() };
        self.shared.journal.switch(&switched, release, clock::wall()).map_err(Wrong::host)?;
        self.record = switched;
        Ok(((), format!("release {} is live", release.id)))
    }

    /// Stops the old process once what it has in flight has ended. That must
    /// not depend on a row about it: nobody else would.
    pub(super) async fn retire(&mut self, point: Point, old: Process) {
        if let Err(fault) = self.begin_anyway(point, "stop") {
            tracing::warn!("{}", fault.message);
        }
        let left = self.drain_process(&old, DRAIN_LIMIT).await;
        let mut detail = self.stop_process(&old).await;
        if left > 0 {
            detail.push_str(&format!("; {left} requests were cut after {} s", DRAIN_LIMIT.as_secs()));
        }
        if let Err(fault) = self.end(Ok(((), detail))) {
            tracing::warn!("{}", fault.message);
        }
    }

    /// Waits until the proxy has nothing in flight at a process any more, and cuts
    /// what is left after the limit; says how many that were.
    pub(super) async fn drain_process(&self, process: &Process, limit: Duration) -> usize {
        let Some(port) = process.port.filter(|_| crate::supervisor::listen_of(&self.project).is_some()) else { return 0 };
        let Ok(proxy) = self.shared.supervisor.proxy().await else { return 0 };
        let left = proxy.drain(local(port), limit).await.unwrap_or(0);
        if left > 0 {
            let _ = proxy.cut(local(port)).await;
        }
        left
    }

    /// Stops a process and says how it went.
    pub(super) async fn stop_process(&self, process: &Process) -> String {
        let Some(stop) = self.project.stop() else { return String::new() };
        let killed = process.stop(&stop).await;
        if let Err(fault) = self.shared.journal.process_ended(process.pid()) {
            tracing::warn!("{fault:#}");
        }
        if killed {
            format!("process {} did not end within {:?} and was killed", process.pid(), stop.grace)
        } else {
            format!("process {} ended", process.pid())
        }
    }
}

fn fetch_wrong(fault: FetchError) -> Wrong {
    let kind = match &fault {
        again if again.retryable() => FailureKind::Network,
        FetchError::Network { .. } | FetchError::TimedOut { .. } => FailureKind::Network,
        FetchError::Cancelled => FailureKind::Cancelled,
        FetchError::Disk { .. } | FetchError::Corrupt { .. } | FetchError::Other { .. } => FailureKind::Host,
        FetchError::Denied { .. }
        | FetchError::NotFound { .. }
        | FetchError::NoSuchBranch { .. }
        | FetchError::EmptyRepository { .. }
        | FetchError::BadUrl { .. }
        | FetchError::SshUnsupported { .. } => FailureKind::Source,
    };
    Wrong { kind, message: fault.to_string() }
}

/// The first seven digits of a commit.
pub(super) fn short(commit: &str) -> &str {
    doorstep_shared::text::cut(commit, 7)
}
