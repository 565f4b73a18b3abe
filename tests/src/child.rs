//! A program under test: its own process group, its words in files, and an end.
//!
//! The group is killed when the value is dropped. A watcher (`sh`, waiting on a
//! pipe that only this process holds) does the same when this process is gone
//! before it could, so a test run that is interrupted leaves nothing behind.

use std::fs::File;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::wait;

/// Lines of each stream that a failing test prints.
const TAIL_LINES: usize = 40;

/// A running program.
#[derive(Debug)]
pub struct Child {
    name: String,
    child: std::process::Child,
    watcher: std::process::Child,
    out: PathBuf,
    err: PathBuf,
    is_let_go: bool,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What it printed on stdout.
    pub stdout: String,
    /// What it printed on stderr.
    pub stderr: String,
}

impl Child {
    /// Starts it with only the given environment and `PATH`, its output in
    /// `NAME.out` and `NAME.err` of `logs`, and a home of its own.
    #[must_use]
    pub fn start(name: &str, logs: &Path, command: &mut Command, environment: &[(&str, String)]) -> Self {
        let (out, err) = (logs.join(format!("{name}.out")), logs.join(format!("{name}.err")));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default()).env("HOME", logs);
        command.envs(environment.iter().map(|(key, value)| (*key, value)));
        command.stdin(Stdio::null()).stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let child = command.process_group(0).spawn().unwrap_or_else(|fault| panic!("{name} does not start: {fault}"));
        let watcher = Command::new("sh")
            .args(["-c", "read -r _; kill -s KILL -- \"-$1\"", "watcher", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        Self { name: name.to_owned(), child, watcher, out, err, is_let_go: false }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        pid(self.child.id())
    }

    /// The same as a number, as `/proc` names it.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it printed on stdout so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        text(&self.out)
    }

    /// What it printed on stderr so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        text(&self.err)
    }

    /// Sends it a signal; one that has ended gets none.
    pub fn signal(&self, signal: Signal) {
        let _ = kill_process(self.pid(), signal);
    }

    /// Sends a signal to the whole group, its children included.
    pub fn signal_group(&self, signal: Signal) {
        let _ = kill_process_group(self.pid(), signal);
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<Ended> {
        let status = self.child.try_wait().unwrap()?;
        Some(Ended { code: status.code(), signal: status.signal(), stdout: self.stdout(), stderr: self.stderr() })
    }

    /// Waits for its end where nothing can be awaited, so long at most.
    pub fn ends_within(&self, limit: Duration) {
        let (ended, heard) = std::sync::mpsc::channel();
        let id = WaitId::Pid(self.pid());
        std::thread::spawn(move || {
            // It stays to be waited for by its owner.
            let _ = waitid(id, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            let _ = ended.send(());
        });
        let _ = heard.recv_timeout(limit);
    }

    /// Waits for its end.
    pub async fn end(&mut self) -> Ended {
        let what = format!("the end of {}", self.name);
        wait::until(&what, async || self.ended(), Option::is_some).await.unwrap()
    }

    /// Process ids of its descendants that run `program`, by the kernel's list
    /// of processes (Linux).
    #[must_use]
    pub fn descendants(&self, program: &str) -> Vec<Pid> {
        let all = processes();
        let mut family = vec![self.child.id()];
        // A parent may be listed after its child, so this goes on while it grows.
        loop {
            let before = family.len();
            for process in &all {
                if family.contains(&process.parent) && !family.contains(&process.id) {
                    family.push(process.id);
                }
            }
            if family.len() == before {
                break;
            }
        }
        all.iter()
            .filter(|process| process.id != self.child.id() && family.contains(&process.id) && process.program == program)
            .map(|process| pid(process.id))
            .collect()
    }

    /// The last words of both streams, for a failing test.
    #[must_use]
    pub fn last_words(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
        };
        format!("--- {0}, stdout\n{1}\n--- {0}, stderr\n{2}", self.name, tail(self.stdout()), tail(self.stderr()))
    }

    /// Lets go of one that has ended: what it started lives on. Returns what it
    /// printed on stderr.
    #[must_use]
    pub fn let_go(mut self) -> String {
        self.is_let_go = true;
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        self.stderr()
    }

    fn kill(&mut self) -> Option<ExitStatus> {
        self.signal_group(Signal::KILL);
        let status = self.child.wait().ok();
        // The group may outlive its leader.
        self.signal_group(Signal::KILL);
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        status
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.is_let_go {
            return;
        }
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}

struct Process {
    id: u32,
    parent: u32,
    program: String,
}

fn processes() -> Vec<Process> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let read = |entry: std::fs::DirEntry| {
        let id = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // `PID (NAME) STATE PARENT …`, where NAME may hold anything.
        let (_, rest) = stat.split_once('(')?;
        let (program, rest) = rest.rsplit_once(") ")?;
        let parent = rest.split(' ').nth(1)?.parse().ok()?;
        Some(Process { id, parent, program: program.to_owned() })
    };
    entries.filter_map(|entry| read(entry.ok()?)).collect()
}

/// Kills every process that works in this folder or below it, or names it in
/// its arguments: what a host's daemon started in groups of their own.
pub(crate) fn kill_below(dir: &Path) {
    let is_below = |id: u32| {
        let of = PathBuf::from(format!("/proc/{id}"));
        let works_here = std::fs::read_link(of.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
        works_here || text(&of.join("cmdline")).contains(&*dir.to_string_lossy())
    };
    let ours = std::process::id();
    for process in processes().into_iter().filter(|process| process.id != ours && is_below(process.id)) {
        let _ = kill_process(pid(process.id), Signal::KILL);
    }
}

fn pid(id: u32) -> Pid {
    i32::try_from(id).ok().and_then(Pid::from_raw).unwrap()
}

fn text(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
}
