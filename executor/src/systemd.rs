//! systemd as what runs an app: a unit of its own instead of a process of ours.
//!
//! The unit is written by whoever owns the host; it finds the live release
//! behind `current` and its environment behind `env`. We start, stop and look
//! at it with `systemctl`, argv only. Invariant: the links are moved only while
//! the unit does not run, so that it never sees half of two releases. What is
//! absent: writing units, restarting a unit that ended (its own `Restart=`
//! says whether and when), and its environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::child::{self, End, PATH_DEFAULT, Tool};
use crate::config;
use crate::crash;
use crate::process::Process;

/// A unit starts and stops within times of its own (90 s where it says
/// nothing); this is only for a manager that does not answer.
const ORDER_LIMIT: Duration = Duration::from_mins(30);
/// Looking takes milliseconds.
const LOOK_LIMIT: Duration = Duration::from_secs(10);
/// How long lines of the journal are waited for.
const LINES_LIMIT: Duration = Duration::from_secs(5);
/// What is asked of a unit (org.freedesktop.systemd1(5) says what each means).
const PROPERTIES: &str = "LoadState,ActiveState,SubState,MainPID,Result,ExecMainCode,ExecMainStatus";

/// A service of this host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    name: String,
    user: bool,
}

/// How a unit is.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    load: String,
    active: String,
    sub: String,
    result: String,
    /// 1: it exited; else a signal ended it (`CLD_EXITED` of sigaction(2)).
    code: i32,
    status: i32,
    main_pid: i32,
}

/// A unit was started, and its main process is gone by now.
#[derive(Debug, thiserror::Error)]
#[error("{unit} was started and {how} at once; it needs a main process that stays")]
pub struct UnitEnded {
    unit: String,
    how: String,
}

impl Unit {
    /// The unit of a project's `[systemd]`.
    #[must_use]
    pub fn of(settings: &config::Systemd) -> Self {
        Self { name: settings.unit.clone(), user: settings.user }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it, also when it runs already, and finds its main process.
    ///
    /// # Errors
    ///
    /// When it does not start, or has no main process to watch.
    pub async fn restart(&self) -> Result<Process> {
        // Else a few deploys in a row, or an app that ended too often, meet the
        // unit's `StartLimitBurst=`. One that never ran has nothing to reset.
        let _ = self.systemctl(&["reset-failed", &self.name], LOOK_LIMIT).await?;
        crash::before(format_args!("effect unit_start"));
        self.order("restart").await?;
        crash::after(format_args!("effect unit_start"));
        match self.running().await? {
            Some(process) => Ok(process),
            None => Err(UnitEnded { unit: self.name.clone(), how: self.how_it_ended().await }.into()),
        }
    }

    /// Stops it; one that does not run is well.
    ///
    /// # Errors
    ///
    /// When its manager says so.
    pub async fn stop(&self) -> Result<()> {
        crash::before(format_args!("effect unit_stop"));
        let stopped = self.order("stop").await;
        crash::after(format_args!("effect unit_stop"));
        stopped
    }

    /// The same where nobody could do anything about it.
    pub async fn stop_or_warn(&self) {
        if let Err(fault) = self.stop().await {
            tracing::warn!("{fault:#}");
        }
    }

    /// Its main process, if it runs.
    ///
    /// # Errors
    ///
    /// When its manager cannot be asked.
    pub async fn running(&self) -> Result<Option<Process>> {
        let look = self.look().await?;
        Ok(Process::of_unit(look.main_pid, self.clone()))
    }

    /// How its main process ended, as the end of a sentence about it.
    pub async fn how_it_ended(&self) -> String {
        match self.look().await {
            Ok(look) => look.how_it_ended(),
            Err(fault) => format!("ended, and {fault:#}"),
        }
    }

    /// Its last lines in the host's journal; none where there is no journal or
    /// the unit writes elsewhere.
    pub async fn last_lines(&self, most: usize) -> Vec<String> {
        let Some(program) = program("journalctl") else { return Vec::new() };
        let which = if self.user { "--user-unit" } else { "--unit" };
        let most_word = most.to_string();
        let args = [which, &self.name, "--output", "cat", "--no-pager", "--quiet", "--lines", &most_word];
        match run(program, &args, LINES_LIMIT).await {
            Ok((End::Good, lines)) => lines.iter().map(|line| doorstep_shared::text::clean_line(line)).collect(),
            Ok(_) | Err(_) => Vec::new(),
        }
    }

    /// What shows its journal: a program and its arguments.
    #[must_use]
    pub fn journal(&self, lines: usize, follow: bool) -> (&'static str, Vec<String>) {
        let which = if self.user { "--user-unit" } else { "--unit" };
        let mut args: Vec<String> = [which, &self.name, "--output", "cat", "--no-pager", "--lines"].map(str::to_owned).to_vec();
        args.push(lines.to_string());
        args.extend(follow.then(|| "--follow".to_owned()));
        ("journalctl", args)
    }

    async fn look(&self) -> Result<Look> {
        let (end, lines) = self.systemctl(&["show", "--property", PROPERTIES, &self.name], LOOK_LIMIT).await?;
        if end != End::Good {
            bail!("{} cannot be looked at: {}", self.name, lines.join("; "));
        }
        Ok(Look::of(&lines))
    }

    async fn order(&self, verb: &str) -> Result<()> {
        let (end, lines) = self.systemctl(&[verb, &self.name], ORDER_LIMIT).await?;
        match end {
            End::Good => Ok(()),
            End::TimedOut => bail!("`systemctl {verb} {}` did not end within {ORDER_LIMIT:?}", self.name),
            End::Bad(_) | End::Cancelled => {
                let look = self.look().await.map(|look| look.in_words()).unwrap_or_default();
                bail!("`systemctl {verb} {}` failed; it {look}: {}", self.name, lines.join("; "))
            }
        }
    }

    async fn systemctl(&self, words: &[&str], limit: Duration) -> Result<(End, Vec<String>)> {
        let program = program("systemctl").context("there is no `systemctl` in PATH, and a unit is to run the app")?;
        let manager = if self.user { "--user" } else { "--system" };
        let mut args = vec![manager, "--no-pager", "--no-ask-password"];
        args.extend(words);
        Ok(run(program, &args, limit).await?)
    }
}

impl Look {
    fn of(lines: &[String]) -> Self {
        let get = |key: &str| lines.iter().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default();
        let number = |key| get(key).parse().unwrap_or_default();
        Self {
            load: get("LoadState").to_owned(),
            active: get("ActiveState").to_owned(),
            sub: get("SubState").to_owned(),
            result: get("Result").to_owned(),
            code: number("ExecMainCode"),
            status: number("ExecMainStatus"),
            main_pid: number("MainPID"),
        }
    }

    /// As the end of a sentence about the unit.
    fn in_words(&self) -> String {
        match self.load.as_str() {
            "not-found" => return "is not known to systemd".to_owned(),
            "masked" => return "is masked".to_owned(),
            "bad-setting" | "error" => return "has a unit file that systemd cannot read".to_owned(),
            _ => {}
        }
        let why = if self.result.is_empty() || self.result == "success" { String::new() } else { format!(" ({}, {})", self.result, self.last_status()) };
        format!("is {} ({}){why}", self.active, self.sub)
    }

    fn how_it_ended(&self) -> String {
        match self.result.as_str() {
            "" | "success" => "ended".to_owned(),
            "exit-code" | "signal" | "core-dump" => self.last_status(),
            other => format!("was ended ({other})"),
        }
    }

    fn last_status(&self) -> String {
        if self.code <= 1 { format!("exited with {}", self.status) } else { format!("was ended by signal {}", self.status) }
    }
}

fn program(name: &str) -> Option<PathBuf> {
    child::find(name, &[], Path::new("/"))
}

/// Runs a program of systemd to its end, with what it printed.
async fn run(program: PathBuf, args: &[&str], limit: Duration) -> std::io::Result<(End, Vec<String>)> {
    let mut env: Vec<(OsString, OsString)> = vec![("LC_ALL".into(), "C".into()), ("PATH".into(), std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into()))];
    for name in ["HOME", "XDG_RUNTIME_DIR", "DBUS_SESSION_BUS_ADDRESS"] {
        env.extend(std::env::var_os(name).map(|value| (name.into(), value)));
    }
    let tool = Tool { program, args: args.iter().map(Into::into).collect(), dir: "/".into(), env, limit };
    let mut lines = Vec::new();
    let end = child::run(&tool, std::future::pending(), |line| lines.push(line.to_owned())).await?;
    Ok((end, lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(text: &str) -> Look {
        Look::of(&text.lines().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn what_systemd_says_is_put_in_words() {
        let failed = look("LoadState=loaded\nActiveState=failed\nSubState=failed\nMainPID=0\nResult=exit-code\nExecMainCode=1\nExecMainStatus=3");
        assert_eq!(failed.in_words(), "is failed (failed) (exit-code, exited with 3)");
        assert_eq!(failed.how_it_ended(), "exited with 3");
        let killed = look("LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nMainPID=0\nResult=signal\nExecMainCode=2\nExecMainStatus=9");
        assert_eq!(killed.how_it_ended(), "was ended by signal 9");
        let unknown = look("LoadState=not-found\nActiveState=inactive\nSubState=dead\nMainPID=0");
        assert_eq!(unknown.in_words(), "is not known to systemd");
        let good = look("MainPID=42\nActiveState=active\nSubState=running\nLoadState=loaded\nResult=success");
        assert_eq!((good.main_pid, good.in_words().as_str()), (42, "is active (running)"));
        assert_eq!(look("").main_pid, 0, "an old systemd leaves out what it does not know");
        assert_eq!(look("Result=oom-kill\nExecMainCode=2\nExecMainStatus=9").how_it_ended(), "was ended (oom-kill)");
    }
}
