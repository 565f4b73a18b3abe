//! What the apps use of this machine: memory and processor time of whole
//! process groups, read from `/proc` when somebody asks.
//!
//! Nothing is sampled in between, so it costs nothing while nobody looks.

mod containers;

use std::collections::BTreeMap;

pub use containers::of_container;
use serde::Serialize;

/// What the processes of one group use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// Processes in the group.
    pub processes: u32,
    /// Resident memory in bytes; pages that they share count for each.
    pub memory_bytes: u64,
    /// Processor time of those that run, in milliseconds.
    pub cpu_ms: u64,
    /// How long ago the leader was started, in milliseconds.
    pub up_ms: u64,
}

/// The machine's units.
#[derive(Clone, Copy)]
struct Units {
    page_bytes: u64,
    ticks_per_second: u64,
    /// Time since the machine started, in ticks.
    now_ticks: u64,
}

impl Units {
    fn now() -> Option<Self> {
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let seconds: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an uptime is positive and far below 2^53 ticks")]
        let now_ticks = (seconds * ticks_per_second as f64) as u64;
        Some(Self { page_bytes: rustix::param::page_size() as u64, ticks_per_second, now_ticks })
    }

    fn ms(self, ticks: u64) -> u64 {
        ticks.saturating_mul(1_000) / self.ticks_per_second.max(1)
    }
}

/// What these groups use, each named by its leader's process id. One that has
/// no process is left out.
#[must_use]
pub fn of_groups(groups: &[i32]) -> BTreeMap<i32, Usage> {
    let mut used = BTreeMap::new();
    let (Some(units), Ok(entries)) = (Units::now(), std::fs::read_dir("/proc")) else { return used };
    let is_process = |name: &str| name.bytes().all(|byte| byte.is_ascii_digit());
    for entry in entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(is_process)) {
        let Ok(stat) = std::fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((group, usage)) = of_process(&stat, units)
            && groups.contains(&group)
        {
            let sum: &mut Usage = used.entry(group).or_default();
            sum.processes += usage.processes;
            sum.memory_bytes += usage.memory_bytes;
            sum.cpu_ms += usage.cpu_ms;
            // The leader is the oldest of them.
            sum.up_ms = sum.up_ms.max(usage.up_ms);
        }
    }
    used
}

/// A line of `/proc/<pid>/stat`, see proc(5): fields 5 (group), 14 and 15
/// (processor time), 22 (start), 24 (resident pages), counted from 3 after the
/// name, which may hold anything. `None` of a zombie too.
fn of_process(stat: &str, units: Units) -> Option<(i32, Usage)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    if *fields.first()? == "Z" {
        return None;
    }
    let group = fields.get(2)?.parse().ok()?;
    let usage = Usage {
        processes: 1,
        memory_bytes: number(24)?.saturating_mul(units.page_bytes),
        cpu_ms: units.ms(number(14)?.saturating_add(number(15)?)),
        up_ms: units.ms(units.now_ticks.saturating_sub(number(22)?)),
    };
    Some((group, usage))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: Units = Units { page_bytes: 4_096, ticks_per_second: 100, now_ticks: 5_000 };

    #[test]
    fn a_line_of_the_system_is_read_whatever_the_name() {
        let stat = "42 (a) b (c) S 1 42 42 0 -1 4194304 1 2 3 4 150 50 0 0 20 0 3 0 4000 100000000 256 18446744073709551615";
        let usage = Usage { processes: 1, memory_bytes: 256 * 4_096, cpu_ms: 2_000, up_ms: 10_000 };
        assert_eq!(of_process(stat, UNITS), Some((42, usage)));
        assert_eq!(of_process(&stat.replace(" S ", " Z "), UNITS), None);
        for cut in ["", "42", "42 (x)", "42 (x) S 1", "42 (x) S 1 y 1"] {
            assert_eq!(of_process(cut, UNITS), None, "{cut}");
        }
    }

    #[test]
    fn a_group_is_counted_whole() {
        use std::os::unix::process::CommandExt;
        let mut child = std::process::Command::new("/bin/sh").args(["-c", "sleep 60 & sleep 60 & wait"]).process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut seen = of_groups(&[pid]);
        while seen.get(&pid).is_none_or(|usage| usage.processes < 3) && std::time::Instant::now() < deadline {
            std::thread::yield_now();
            seen = of_groups(&[pid]);
        }
        crate::child::kill_group(Some(pid));
        child.wait().unwrap();
        assert_eq!((seen[&pid].processes, seen.len()), (3, 1));
        assert!(seen[&pid].memory_bytes > 100_000 && seen[&pid].up_ms < 30_000, "{seen:?}");
        // Those that it left end a moment later.
        while !of_groups(&[pid]).is_empty() {
            assert!(std::time::Instant::now() < deadline, "{:?}", of_groups(&[pid]));
            std::thread::yield_now();
        }
    }
}
