//! What a container uses, from the control group of its first process.
//!
//! Both versions of control groups are read (cgroups(7)): the second at
//! `0::/path`, the first by controller. Pages that the kernel can take back are
//! no use, as `docker stats` counts. `None` where the engine runs elsewhere, or
//! its groups are not to be seen from here.

use std::path::{Path, PathBuf};

use super::Usage;

/// Where control groups are mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// What the container with this first process uses, which was started so long ago.
#[must_use]
pub fn of_container(pid: i64, up_ms: u64) -> Option<Usage> {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    of(&groups, Path::new(ROOT), up_ms)
}

fn of(groups: &str, root: &Path, up_ms: u64) -> Option<Usage> {
    let (memory_bytes, cpu_ms, processes) = match whole(groups, root) {
        Some(dir) => (
            number(&dir.join("memory.current"))?.saturating_sub(field(&dir.join("memory.stat"), "inactive_file")),
            field(&dir.join("cpu.stat"), "usage_usec") / 1_000,
            number(&dir.join("pids.current")),
        ),
        None => {
            let memory = of_controller(groups, root, "memory")?;
            let cpu = of_controller(groups, root, "cpuacct")?;
            (
                number(&memory.join("memory.usage_in_bytes"))?.saturating_sub(field(&memory.join("memory.stat"), "total_inactive_file")),
                number(&cpu.join("cpuacct.usage"))? / 1_000_000,
                of_controller(groups, root, "pids").and_then(|pids| number(&pids.join("pids.current"))),
            )
        }
    };
    let processes = processes.and_then(|count| u32::try_from(count).ok()).unwrap_or(1);
    Some(Usage { processes, memory_bytes, cpu_ms, up_ms })
}

/// The one group of version 2, if that is in use.
fn whole(groups: &str, root: &Path) -> Option<PathBuf> {
    let path = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(root.join(path)).filter(|dir| dir.join("memory.current").is_file())
}

/// The group of a controller of version 1: `4:cpu,cpuacct:/path`.
fn of_controller(groups: &str, root: &Path, controller: &str) -> Option<PathBuf> {
    let mut fields = groups.lines().map(|line| line.splitn(3, ':').skip(1));
    let path = fields.find_map(|mut fields| {
        let (names, path) = (fields.next()?, fields.next()?);
        names.split(',').any(|name| name == controller).then(|| path.trim_start_matches('/').to_owned())
    })?;
    Some(root.join(controller).join(path))
}

fn number(path: &Path) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind a name in a file of such lines; 0 when it is not there.
fn field(path: &Path, name: &str) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok());
    found.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    #[test]
    fn either_version_is_read() {
        let expected = Some(Usage { processes: 3, memory_bytes: 700, cpu_ms: 1_500, up_ms: 9 });
        let second = tempfile::tempdir().unwrap();
        write(second.path(), &[("docker/ab/memory.current", "1000\n"), ("docker/ab/memory.stat", "anon 1\ninactive_file 300\n"), ("docker/ab/cpu.stat", "usage_usec 1500000\nuser_usec 1\n"), ("docker/ab/pids.current", "3\n")]);
        assert_eq!(of("0::/docker/ab\n", second.path(), 9), expected);
        let first = tempfile::tempdir().unwrap();
        write(first.path(), &[("memory/docker/ab/memory.usage_in_bytes", "1000\n"), ("memory/docker/ab/memory.stat", "total_inactive_file 300\n"), ("cpuacct/docker/ab/cpuacct.usage", "1500000000\n"), ("pids/docker/ab/pids.current", "3\n")]);
        assert_eq!(of("9:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n2:pids:/docker/ab\n0::/\n", first.path(), 9), expected);
        assert_eq!(of("", first.path(), 9), None);
        assert_eq!(of("0::/elsewhere\n", first.path(), 9), None);
    }
}
