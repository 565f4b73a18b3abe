//! The Unix socket between the daemon and the command line.
//!
//! One request a connection, as a line of JSON; the answer is one or more
//! lines of JSON, the last of them with `"end"`. Only the owner of the state
//! directory can connect (mode 0600). What is absent: anything over TCP.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use doorstep_shared::ids::{Action, RunState, ServiceName, StepState};
use doorstep_shared::protocol::Report;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, oneshot};

use crate::cli::{DeployArgs, Exit, Failure, RollbackArgs, ServiceArgs, failure};
use crate::daemon::{Ask, Wake};
use crate::run::{ROLL_BACK, Shared};

/// Longest request, in bytes.
const REQUEST_BYTES_MAX: u64 = 64 * 1024;
/// How often a socket that the disk does not take is tried again.
const RETRY: Duration = Duration::from_secs(5);
/// Pause after a connection that was not accepted.
const PAUSE: Duration = Duration::from_millis(500);

/// A request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Ordered {
    /// How everything is.
    Status,
    /// The projects' names.
    Projects,
    /// Do this to a project and tell how it goes.
    Act {
        /// The project.
        project: String,
        /// What to do.
        action: Action,
        /// The release to go back to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<u64>,
        /// The one service that is meant, of a compose project.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<ServiceName>,
    },
}

/// A line of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// What a run reports.
    Report(Report),
    /// The last line: what was asked for.
    End(serde_json::Value),
    /// The last line: why not.
    Error(String),
}

/// The open socket; dropping it closes it and removes the file.
pub struct Server {
    path: PathBuf,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
        // A file left behind is replaced by the next daemon.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn socket_path(state: &Path) -> PathBuf {
    state.join("doorstep.sock")
}

/// Opens the socket. The caller holds the daemon's lock, so a file that is
/// there is stale. On a disk that takes no file now it is tried again until it
/// does: what runs here must not wait for that.
///
/// # Errors
///
/// When the path can never be a socket.
pub fn serve(shared: &Rc<Shared>) -> Result<Server> {
    let path = socket_path(&shared.state);
    let first = match open(&path) {
        Err(fault) if !may_pass(&fault) => {
            let say = || format!("{} (a state directory's path may be at most about 90 bytes long)", path.display());
            return Err(fault).with_context(say);
        }
        first => first,
    };
    let (shared, at) = (Rc::clone(shared), path.clone());
    let task = tokio::task::spawn_local(async move {
        let mut opened = first;
        let listener = loop {
            match opened {
                Ok(listener) => break listener,
                Err(fault) => tracing::warn!("{} cannot be made yet, so `doorstep status` shows no daemon: {fault}", at.display()),
            }
            tokio::time::sleep(RETRY).await;
            opened = open(&at);
        };
        accept(&listener, &shared).await;
    });
    Ok(Server { path, task })
}

fn open(path: &Path) -> std::io::Result<UnixListener> {
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// May what kept the socket from being made be gone later?
fn may_pass(fault: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(fault.kind(), StorageFull | QuotaExceeded | ReadOnlyFilesystem)
}

async fn accept(listener: &UnixListener, shared: &Rc<Shared>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(fault) => {
                // Out of descriptors, most likely; it passes.
                tracing::warn!("a control connection was not accepted: {fault}");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let shared = Rc::clone(shared);
        tokio::task::spawn_local(async move {
            if let Err(fault) = converse(stream, &shared).await {
                tracing::debug!("a control connection ended: {fault:#}");
            }
        });
    }
}

async fn converse(stream: UnixStream, shared: &Shared) -> Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read.take(REQUEST_BYTES_MAX)).read_line(&mut line).await?;
    let ordered = match serde_json::from_str(&line) {
        Ok(ordered) => ordered,
        Err(fault) => return say(&mut write, &Answer::Error(format!("not a request: {fault}"))).await,
    };
    match ordered {
        Ordered::Status => {
            let (reply, answer) = oneshot::channel();
            ask(shared, Ask::Status(reply))?;
            say(&mut write, &Answer::End(answer.await?)).await
        }
        Ordered::Projects => {
            let (reply, answer) = oneshot::channel();
            ask(shared, Ask::Projects(reply))?;
            say(&mut write, &Answer::End(answer.await?.into())).await
        }
        Ordered::Act { project, action, to, service } => {
            // Watched before it begins, so that no report is missed.
            let reports = shared.watchers.subscribe();
            let (reply, answer) = oneshot::channel();
            ask(shared, Ask::Act { project, action, to, service, reply })?;
            match answer.await? {
                Ok(run) => follow(&mut write, shared, reports, &run).await,
                Err(why) => say(&mut write, &Answer::Error(why)).await,
            }
        }
    }
}

fn ask(shared: &Shared, ask: Ask) -> Result<()> {
    shared.wake.send(Wake::Asked(ask)).ok().context("the daemon is stopping")
}

async fn follow(write: &mut (impl AsyncWriteExt + Unpin), shared: &Shared, mut reports: broadcast::Receiver<Report>, run: &str) -> Result<()> {
    loop {
        let report = match reports.recv().await {
            Ok(report) => report,
            // Some were missed, the last perhaps among them.
            Err(broadcast::error::RecvError::Lagged(_)) => match shared.journal.run(run)?.filter(|run| run.ended.is_some()) {
                Some(ended) => return say(write, &Answer::End(serde_json::json!({"run": run, "state": ended.state}))).await,
                None => continue,
            },
            Err(broadcast::error::RecvError::Closed) => anyhow::bail!("the daemon is stopping"),
        };
        let of = match &report {
            Report::Started { run, .. } | Report::Step { run, .. } | Report::Log { run, .. } | Report::Outcome { run, .. } => run,
        };
        if of != run {
            continue;
        }
        let end = match &report {
            Report::Outcome { state, .. } => Some(*state),
            Report::Started { .. } | Report::Step { .. } | Report::Log { .. } => None,
        };
        say(write, &Answer::Report(report)).await?;
        if let Some(state) = end {
            return say(write, &Answer::End(serde_json::json!({"run": run, "state": state}))).await;
        }
    }
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> Result<()> {
    let mut line = serde_json::to_string(answer)?;
    line.push('\n');
    write.write_all(line.as_bytes()).await?;
    Ok(())
}

/// Asks the daemon; `None` when none runs. Each line goes to `on_report`.
///
/// # Errors
///
/// When the daemon says no, or ends in the middle.
pub async fn request(state: &Path, ordered: &Ordered, mut on_report: impl FnMut(&Report)) -> Result<Option<serde_json::Value>, Failure> {
    let stream = match UnixStream::connect(socket_path(state)).await {
        Ok(stream) => stream,
        Err(fault) if matches!(fault.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused) => return Ok(None),
        Err(fault) => return Err(fault.into()),
    };
    let (read, mut write) = stream.into_split();
    let mut line = serde_json::to_string(ordered).context("the request")?;
    line.push('\n');
    write.write_all(line.as_bytes()).await?;
    let mut lines = BufReader::new(read).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line).context("the daemon's answer")? {
            Answer::Report(report) => on_report(&report),
            Answer::End(value) => return Ok(Some(value)),
            Answer::Error(why) => return Err(failure(Exit::Error, why)),
        }
    }
    Err(failure(Exit::Error, "the daemon ended before it answered; `doorstep status` says what became of it"))
}

/// `doorstep deploy [P…]`.
pub async fn deploy(args: &DeployArgs, state: &Path) -> Result<Exit, Failure> {
    let projects = if args.projects.is_empty() {
        let all = request(state, &Ordered::Projects, |_| {}).await?.ok_or_else(|| no_daemon(state))?;
        serde_json::from_value(all).context("the daemon's answer")?
    } else {
        args.projects.clone()
    };
    let mut exit = Exit::Ok;
    for project in projects {
        if !args.json {
            eprintln!("{project}:");
        }
        let ended = carried_out(state, project, Asked { action: Action::Deploy, to: None, service: None }, args.json).await?;
        exit = worse(exit, ended.exit(Action::Deploy));
    }
    Ok(exit)
}

/// `doorstep rollback P`.
///
/// # Errors
///
/// When no daemon runs, or it says no.
pub async fn roll_back(args: &RollbackArgs, state: &Path) -> Result<Exit, Failure> {
    let asked = Asked { action: Action::Rollback, to: args.to, service: None };
    Ok(carried_out(state, args.act.project.clone(), asked, args.act.json).await?.exit(Action::Rollback))
}

/// `doorstep restart|stop|start|rebuild P [SERVICE]`.
///
/// # Errors
///
/// When no daemon runs, or it says no.
pub async fn act(args: &ServiceArgs, action: Action, state: &Path) -> Result<Exit, Failure> {
    let asked = Asked { action, to: None, service: args.service.clone() };
    Ok(carried_out(state, args.act.project.clone(), asked, args.act.json).await?.exit(action))
}

/// What is asked of a project.
struct Asked {
    action: Action,
    to: Option<u64>,
    service: Option<ServiceName>,
}

/// How what was asked for ended.
#[derive(Clone, Copy, Debug, Default)]
struct RunEnd {
    state: Option<RunState>,
    /// The way back to the old release failed.
    is_stuck: bool,
}

impl RunEnd {
    fn note(&mut self, report: &Report) {
        if let Report::Step { name, state: StepState::Failed, .. } = report {
            self.is_stuck |= name == ROLL_BACK;
        }
    }

    fn exit(self, action: Action) -> Exit {
        match self.state {
            Some(RunState::Succeeded) => Exit::Ok,
            _ if self.is_stuck => Exit::RollbackFailed,
            Some(RunState::Failed) if action == Action::Rollback => Exit::RollbackFailed,
            Some(RunState::Refused) if action != Action::Deploy => Exit::Error,
            _ => Exit::RolledBack,
        }
    }
}

/// Of several projects: the one that needs a person most.
fn worse(one: Exit, other: Exit) -> Exit {
    if one.code() >= other.code() { one } else { other }
}

fn no_daemon(state: &Path) -> Failure {
    failure(Exit::Error, format!("no daemon runs on {}; start it with `doorstep run`", state.display()))
}

/// Has the daemon do it, shows how it goes, and says how it ended.
async fn carried_out(state: &Path, project: String, asked: Asked, json: bool) -> Result<RunEnd, Failure> {
    let Asked { action, to, service } = asked;
    let ordered = Ordered::Act { project, action, to, service };
    let mut ended = RunEnd::default();
    let on_report = |report: &Report| {
        ended.note(report);
        print(report, json);
    };
    let end = request(state, &ordered, on_report).await?.ok_or_else(|| no_daemon(state))?;
    Ok(RunEnd { state: serde_json::from_value(end["state"].clone()).ok(), ..ended })
}

fn print(report: &Report, json: bool) {
    if json {
        say!("{}", serde_json::to_string(report).unwrap_or_default());
        return;
    }
    match report {
        Report::Started { run, .. } => eprintln!("  run {run}"),
        Report::Step { state: StepState::Started | StepState::Pending, .. } => {}
        Report::Step { name, state, duration_ms, detail, .. } => {
            let sign = if *state == StepState::Succeeded { "ok    " } else { "FAILED" };
            say!("  {sign} {name:<10} {:>7} ms  {detail}", duration_ms.unwrap_or_default());
        }
        Report::Log { lines, .. } => {
            for line in lines {
                eprintln!("         {line}");
            }
        }
        Report::Outcome { state, failure, .. } => {
            say!("  {}", state.as_str().replace('_', " "));
            if let Some(failure) = failure {
                say!("  {} failed: {}", failure.step, failure.message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(state: RunState, failed_step: Option<&str>) -> RunEnd {
        let mut ended = RunEnd { state: Some(state), is_stuck: false };
        if let Some(name) = failed_step {
            let at = doorstep_shared::time::Timestamp(0);
            ended.note(&Report::Step { run: "r".into(), index: 0, name: name.to_string(), state: StepState::Failed, at, duration_ms: None, detail: String::new(), commit: None });
        }
        ended
    }

    #[test]
    fn a_script_sees_whether_the_old_release_serves() {
        let exit = |state, step, action| ended(state, step).exit(action);
        assert_eq!(exit(RunState::Succeeded, None, Action::Deploy), Exit::Ok);
        assert_eq!(exit(RunState::RolledBack, Some("check"), Action::Deploy), Exit::RolledBack);
        assert_eq!(exit(RunState::Failed, Some("fetch"), Action::Deploy), Exit::RolledBack);
        assert_eq!(exit(RunState::Failed, Some(ROLL_BACK), Action::Deploy), Exit::RollbackFailed);
        assert_eq!(exit(RunState::Failed, Some("check"), Action::Rollback), Exit::RollbackFailed);
        assert_eq!(exit(RunState::Refused, None, Action::Rollback), Exit::Error);
        assert_eq!(RunEnd::default().exit(Action::Deploy), Exit::RolledBack, "how it ended was not told");
        assert_eq!(worse(Exit::RolledBack, Exit::Ok), Exit::RolledBack);
    }
}
