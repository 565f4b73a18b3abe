//! This machine: what it is, what else it does, and what a process takes of it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::Pid;

/// Load below which it is said to have nothing else to do.
const IDLE_LOAD: f64 = 1.0;
/// Share of all its processors that others may use meanwhile.
const IDLE_SHARE: f64 = 0.15;
/// The load of the last minute holds what this program did itself, so later
/// parts wait for quiet processors instead, this long at most.
const LATER_MAX: Duration = Duration::from_secs(20);

/// Waits for an idle machine, but not for ever.
#[derive(Debug)]
pub struct Patience {
    first: Option<Duration>,
}

impl Patience {
    /// Waits this long at most before the first part.
    pub fn new(first: Duration) -> Self {
        Self { first: Some(first) }
    }

    /// Waits, and says what else the machine does now.
    pub fn wait(&mut self, part: &str) -> String {
        let begun = Instant::now();
        let (is_first, most) = (self.first.is_some(), self.first.take().unwrap_or(LATER_MAX));
        loop {
            let (load, share) = (load(), busy_share(Duration::from_secs(1)));
            let is_idle = share < IDLE_SHARE && (load < IDLE_LOAD || !is_first);
            if is_idle || begun.elapsed() >= most {
                let said = format!("{load:.2} ({:.0} % busy{})", share * 100.0, if is_idle { "" } else { ", not idle" });
                eprintln!("{part}: load {said}");
                return said;
            }
        }
    }
}

fn load() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

fn busy_share(over: Duration) -> f64 {
    let ticks = || -> (f64, f64) {
        let text = fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<f64> = text.lines().next().unwrap_or_default().split_whitespace().skip(1).filter_map(|word| word.parse().ok()).collect();
        let idle = fields.get(3).unwrap_or(&0.0) + fields.get(4).unwrap_or(&0.0);
        (fields.iter().take(8).sum(), idle)
    };
    let before = ticks();
    std::thread::sleep(over);
    let after = ticks();
    1.0 - (after.1 - before.1) / (after.0 - before.0).max(1.0)
}

/// A line that says what kind of machine this is.
pub fn class() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = field(&meminfo, "MemTotal:").unwrap_or(0.0);
    let day = std::process::Command::new("date").arg("+%F").output().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!("{}: {cores} cores, {:.0} GiB of memory.", day.unwrap_or_default(), kib / 1024.0 / 1024.0)
}

/// What is resident of a process, and the most that ever was, in MiB.
pub fn resident(pid: Pid) -> Result<(f64, f64)> {
    let text = fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).context("no such process")?;
    let mib = |name: &str| field(&text, name).unwrap_or(0.0) / 1024.0;
    Ok((mib("VmRSS:"), mib("VmHWM:")))
}

/// Processor time that each thread of a process used so far, in milliseconds,
/// to the microsecond. (The figure of the whole process counts in 10 ms.)
pub struct Cpu {
    pid: Pid,
    threads: BTreeMap<OsString, f64>,
}

impl Cpu {
    /// As of now.
    pub fn of(pid: Pid) -> Result<Self> {
        let mut threads = BTreeMap::new();
        for thread in fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).context("no such process")? {
            let thread = thread?;
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let ns: f64 = text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0);
            threads.insert(thread.file_name(), ns / 1e6);
        }
        Ok(Self { pid, threads })
    }

    /// Milliseconds used since then, by the threads that there are now.
    pub fn used_since(&self) -> Result<f64> {
        let now = Self::of(self.pid)?;
        Ok(now.threads.iter().map(|(thread, ms)| ms - self.threads.get(thread).unwrap_or(&0.0)).sum())
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }
}

fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
