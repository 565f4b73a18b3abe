//! What the kernel says about processes of a story: who they are, where they
//! listen, how much memory they hold (Linux, proc(5)).

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// A process's memory, in KiB; see `smaps_rollup` in proc(5).
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident.
    pub rss: u64,
    /// Resident, with shared pages counted by share.
    pub pss: u64,
    /// Resident and backed by no file.
    pub anonymous: u64,
}

/// Processes whose environment names this folder: all that a host of a story
/// started. One that is dead and not yet reaped has no environment any more.
#[must_use]
pub fn processes_of(dir: &Path) -> Vec<u32> {
    let dir = dir.to_string_lossy();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    all.filter(|id| environment(*id).contains(&*dir)).collect()
}

/// Those of them whose environment holds this pair.
#[must_use]
pub fn processes_marked(pair: &str, dir: &Path) -> Vec<u32> {
    processes_of(dir).into_iter().filter(|id| environment(*id).split('\0').any(|known| known == pair)).collect()
}

/// Those of them that run this program.
#[must_use]
pub fn processes_running(program: &str, dir: &Path) -> Vec<u32> {
    let runs_it = |id: &u32| std::fs::read_to_string(of(*id).join("comm")).is_ok_and(|name| name.trim_end() == program);
    processes_of(dir).into_iter().filter(runs_it).collect()
}

fn environment(id: u32) -> String {
    String::from_utf8_lossy(&std::fs::read(of(id).join("environ")).unwrap_or_default()).into_owned()
}

/// The words of a process's command line.
#[must_use]
pub fn command_line(id: u32) -> String {
    String::from_utf8_lossy(&std::fs::read(of(id).join("cmdline")).unwrap_or_default()).replace('\0', " ")
}

/// Every address where a process listens for TCP.
#[must_use]
pub fn listens_at(id: u32) -> Vec<SocketAddr> {
    let links = std::fs::read_dir(of(id).join("fd")).unwrap().filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok());
    let inode = |link: PathBuf| link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    let inodes: BTreeSet<u64> = links.filter_map(inode).collect();
    assert!(!inodes.is_empty(), "process {id} has no socket at all; is it the right one?");
    let tables = ["tcp", "tcp6"].map(|table| std::fs::read_to_string(of(id).join("net").join(table)).unwrap());
    tables.iter().flat_map(|table| table.lines().skip(1)).filter_map(|line| listener(line, &inodes)).collect()
}

/// A line of `/proc/net/tcp`, if it is a listener with one of these inodes.
fn listener(line: &str, inodes: &BTreeSet<u64>) -> Option<SocketAddr> {
    const LISTEN: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let is_it = fields.get(3) == Some(&LISTEN) && inodes.contains(&fields.get(9)?.parse().ok()?);
    let (address, port) = fields.get(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // Words of 32 bits in the machine's order, each in hex.
    let bytes: Vec<u8> = (0..address.len() / 8)
        .filter_map(|word| u32::from_str_radix(address.get(word * 8..word * 8 + 8)?, 16).ok())
        .flat_map(u32::to_ne_bytes)
        .collect();
    let ip = match <[u8; 4]>::try_from(bytes.as_slice()) {
        Ok(four) => IpAddr::V4(Ipv4Addr::from(four)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
    };
    is_it.then_some(SocketAddr::new(ip, port))
}

/// A process's memory now.
#[must_use]
pub fn memory(id: u32) -> Memory {
    let text = std::fs::read_to_string(of(id).join("smaps_rollup")).unwrap();
    let field = |name| kib(&text, name).unwrap_or_else(|| panic!("no {name} in {text}"));
    Memory { rss: field("Rss"), pss: field("Pss"), anonymous: field("Anonymous") }
}

/// Watches the memory of a process that is its own: `RssAnon` in proc(5). Pages
/// of mapped files, which the kernel takes back when it wants, do not count.
#[derive(Debug)]
pub struct MemoryWatch {
    peak_kib: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl MemoryWatch {
    /// From now on, every few milliseconds, while this value lives.
    #[must_use]
    pub fn of(id: u32) -> Self {
        let watch = Self { peak_kib: Arc::default(), is_over: Arc::default() };
        let (peak, is_over) = (Arc::clone(&watch.peak_kib), Arc::clone(&watch.is_over));
        std::thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let Ok(text) = std::fs::read_to_string(of(id).join("status")) else { return };
                peak.fetch_max(kib(&text, "RssAnon").unwrap_or_default(), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        watch
    }

    /// The most so far, in MiB.
    #[must_use]
    pub fn peak_mib(&self) -> u64 {
        self.peak_kib.load(Ordering::Relaxed) >> 10
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

/// A field of so many KiB.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line?.split_whitespace().next()?.parse().ok()
}

fn of(id: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{id}"))
}
