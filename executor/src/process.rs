//! One process of an app: started in its own group, watched, stopped gracefully.
//!
//! Its output goes to a file, not to a pipe of ours, so it outlives this
//! daemon; a new daemon finds it again by its id and start time. Invariant: a
//! signal is only sent while both still fit. The main process of a systemd unit
//! is watched the same way, and stopped by way of its manager alone.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::child::kill_group;
use crate::config;
use crate::crash;
use crate::journal::ProcessRow;
use crate::systemd::Unit;

/// What to start.
pub struct Launch {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its folder.
    pub dir: PathBuf,
    /// Its environment, complete.
    pub env: Vec<(OsString, OsString)>,
    /// The file its output is added to.
    pub log: PathBuf,
}

/// A process that was started here or found again.
#[derive(Clone, Debug)]
pub struct Process {
    pid: i32,
    start_ticks: u64,
    /// The port it was given.
    pub port: Option<u16>,
    /// The unit whose main process it is.
    unit: Option<Unit>,
    ended: watch::Receiver<Option<String>>,
}

impl Process {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// When the program does not start or its log cannot be opened.
    pub fn start(launch: &Launch, port: Option<u16>) -> Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(&launch.log).with_context(|| format!("{} cannot be opened", launch.log.display()))?;
        let mut command = tokio::process::Command::new(&launch.program);
        command.args(&launch.args).current_dir(&launch.dir).env_clear().envs(launch.env.iter().map(|(k, v)| (k, v)));
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        crash::before(format_args!("effect process_start"));
        let mut child = command.spawn().with_context(|| format!("{} does not start", launch.program.display()))?;
        crash::after(format_args!("effect process_start"));
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).context("it ended at once")?;
        let start_ticks = start_ticks(pid).unwrap_or_default();
        let (tell, ended) = watch::channel(None);
        tokio::task::spawn_local(async move {
            let how = match child.wait().await {
                Ok(status) => match (status.code(), status.signal()) {
                    (Some(code), _) => format!("exited with {code}"),
                    (None, signal) => format!("was ended by signal {}", signal.unwrap_or_default()),
                },
                Err(fault) => format!("ended unseen: {fault}"),
            };
            let _ = tell.send(Some(how));
        });
        Ok(Self { pid, start_ticks, port, unit: None, ended })
    }

    /// Finds one again that an earlier daemon started; `None` when it is gone.
    #[must_use]
    pub fn again(row: &ProcessRow) -> Option<Self> {
        Self::find(row.pid, row.start_ticks, row.port, row.unit.clone())
    }

    /// The main process of a unit; `None` when it is gone by now.
    #[must_use]
    pub fn of_unit(pid: i32, unit: Unit) -> Option<Self> {
        Self::find(pid, start_ticks(pid)?, None, Some(unit))
    }

    fn find(pid: i32, ticks: u64, port: Option<u16>, unit: Option<Unit>) -> Option<Self> {
        let raw = Pid::from_raw(pid)?;
        let handle = pidfd_open(raw, PidfdFlags::NONBLOCK).ok()?;
        // Checked after the handle exists: from here on the id cannot be reused unseen.
        if start_ticks(pid) != Some(ticks) || is_zombie(pid) {
            return None;
        }
        let (tell, ended) = watch::channel(None);
        #[expect(deprecated, reason = "its heir is unsafe; an owned descriptor is what it asks for")]
        let handle = AsyncFd::new(handle).ok()?;
        let of = unit.clone();
        tokio::task::spawn_local(async move {
            let _ = handle.readable().await;
            let how = match &of {
                Some(unit) => unit.how_it_ended().await,
                None => "ended".to_owned(),
            };
            let _ = tell.send(Some(how));
        });
        Some(Self { pid, start_ticks: ticks, port, unit, ended })
    }

    /// The unit whose main process it is.
    #[must_use]
    pub fn unit(&self) -> Option<&Unit> {
        self.unit.as_ref()
    }

    /// Its process id, which is its group's too.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// When it started, in clock ticks since the machine did.
    #[must_use]
    pub fn start_ticks(&self) -> u64 {
        self.start_ticks
    }

    /// How it ended, if it did.
    #[must_use]
    pub fn has_ended(&self) -> Option<String> {
        self.ended.borrow().clone()
    }

    /// Waits until it ends and says how.
    pub async fn wait(&self) -> String {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(how) => how.clone().unwrap_or_default(),
            Err(_) => "ended unseen".to_owned(),
        }
    }

    /// Stops its group: the signal, the grace, KILL. True when KILL was needed.
    /// A unit is stopped as its file says.
    pub async fn stop(&self, stop: &config::Stop) -> bool {
        if let Some(unit) = &self.unit {
            unit.stop_or_warn().await;
            return false;
        }
        crash::before(format_args!("effect process_stop"));
        if self.has_ended().is_none()
            && let Some(group) = Pid::from_raw(self.pid)
        {
            let _ = kill_process_group(group, signal(stop.signal));
        }
        let killed = tokio::time::timeout(stop.grace, self.wait()).await.is_err();
        // Also what the leader left behind in its group.
        kill_group(Some(self.pid));
        if killed {
            let _ = tokio::time::timeout(Duration::from_secs(5), self.wait()).await;
        }
        crash::after(format_args!("effect process_stop"));
        killed
    }

    /// Kills its group at once.
    pub async fn kill(&self) {
        if let Some(unit) = &self.unit {
            return unit.stop_or_warn().await;
        }
        kill_group(Some(self.pid));
        let _ = tokio::time::timeout(Duration::from_secs(5), self.wait()).await;
    }
}

fn signal(signal: config::Signal) -> Signal {
    match signal {
        config::Signal::Term => Signal::TERM,
        config::Signal::Int => Signal::INT,
        config::Signal::Quit => Signal::QUIT,
        config::Signal::Hup => Signal::HUP,
        config::Signal::Usr1 => Signal::USR1,
        config::Signal::Usr2 => Signal::USR2,
    }
}

/// Field 22 of `/proc/<pid>/stat` (proc(5)); the name before it may hold anything.
fn start_ticks(pid: i32) -> Option<u64> {
    stat_field(pid, 19)?.parse().ok()
}

fn is_zombie(pid: i32) -> bool {
    stat_field(pid, 0).is_some_and(|state| state == "Z")
}

/// A field of `stat` counted from the state, which is the first after the name.
fn stat_field(pid: i32, at: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(')')?;
    rest.split_whitespace().nth(at).map(str::to_owned)
}

/// Kills every process that carries this marker in its environment, but those
/// of these groups: what a run started and a crash kept from being written down.
pub fn kill_marked(marker: &str, except_groups: &[i32]) -> usize {
    let Ok(entries) = std::fs::read_dir("/proc") else { return 0 };
    let ours = std::process::id().to_string();
    let marked = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit()) && name != ours) && has_marker(&entry.path(), marker)
    });
    let pids = marked.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let spared = |pid: &Pid| rustix::process::getpgid(Some(*pid)).is_ok_and(|group| except_groups.contains(&group.as_raw_nonzero().get()));
    pids.filter_map(Pid::from_raw).filter(|pid| !spared(pid)).filter(|pid| rustix::process::kill_process(*pid, Signal::KILL).is_ok()).count()
}

fn has_marker(process: &Path, marker: &str) -> bool {
    std::fs::read(process.join("environ")).is_ok_and(|environ| environ.split(|b| *b == 0).any(|pair| pair == marker.as_bytes()))
}

/// A port that nobody listens on now.
///
/// # Errors
///
/// When the system has none.
pub fn free_port() -> std::io::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(dir: &Path, script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            dir: dir.to_path_buf(),
            env: vec![("DOORSTEP_RUN".into(), "marked-for-a-test".into()), ("PATH".into(), crate::child::PATH_DEFAULT.into())],
            log: dir.join("log"),
        }
    }

    fn local<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test)
    }

    fn stop_within(ms: u64) -> config::Stop {
        config::Stop { signal: config::Signal::Term, grace: Duration::from_millis(ms) }
    }

    #[test]
    fn a_graceful_one_ends_by_itself_and_a_deaf_one_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        local(async {
            let good = Process::start(&launch(dir.path(), "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done"), None).unwrap();
            while !std::fs::read_to_string(dir.path().join("log")).unwrap().contains("up") {
                tokio::task::yield_now().await;
            }
            assert!(!good.stop(&stop_within(5_000)).await);
            assert!(std::fs::read_to_string(dir.path().join("log")).unwrap().contains("bye"));
            let deaf = Process::start(&launch(dir.path(), "trap '' TERM; echo deaf; while :; do sleep 0.01; done"), None).unwrap();
            while !std::fs::read_to_string(dir.path().join("log")).unwrap().contains("deaf") {
                tokio::task::yield_now().await;
            }
            assert!(deaf.stop(&stop_within(50)).await);
            assert!(deaf.has_ended().is_some());
        });
    }

    #[test]
    fn one_is_found_again_only_while_it_is_the_same() {
        let dir = tempfile::tempdir().unwrap();
        local(async {
            let one = Process::start(&launch(dir.path(), "sleep 60"), Some(7)).unwrap();
            assert!(Process::find(one.pid(), one.start_ticks() + 1, None, None).is_none());
            let found = Process::find(one.pid(), one.start_ticks(), Some(7), None).unwrap();
            one.kill().await;
            found.wait().await;
            assert!(Process::find(one.pid(), one.start_ticks(), None, None).is_none());
        });
    }

    #[test]
    fn what_was_never_written_down_is_found_by_its_marker() {
        let dir = tempfile::tempdir().unwrap();
        local(async {
            let mut lost = launch(dir.path(), "sleep 60 & sleep 60; true");
            lost.env[0].1 = format!("lost-{}", std::process::id()).into();
            let lost_one = Process::start(&lost, None).unwrap();
            let marker = format!("DOORSTEP_RUN=lost-{}", std::process::id());
            let mut killed = 0;
            // The shell may not have started its children yet.
            while killed == 0 {
                killed = kill_marked(&marker, &[]);
            }
            lost_one.wait().await;
        });
    }
}
