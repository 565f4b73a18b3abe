//! Ending what outlives the daemon by design: apps and the proxy, by their
//! process ids; and a last look for whatever still works in the demo's folder.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::seen::{Seen, until};

/// How long an app or the proxy has to end; its own grace is 10 s.
const END_LIMIT: Duration = Duration::from_secs(15);
/// How long the proxy has to answer.
const PROXY_LIMIT: Duration = Duration::from_secs(5);
/// A process that is killed may have started another: so often is looked again.
const SWEEPS_MAX: usize = 5;

/// Asks a process group to end and waits for its leader's end.
pub async fn end_group(what: &str, pid: i32) -> Seen<()> {
    if let Some(group) = Pid::from_raw(pid) {
        // One that has ended already is well.
        let _ = kill_process_group(group, Signal::TERM);
    }
    gone(what, pid).await
}

/// Asks the proxy of a state folder to end, and waits for that; none is well.
pub async fn end_proxy(state: &Path) -> Seen<()> {
    let Ok(pid) = ask_proxy_to_stop(&state.join("proxy.sock")) else { return Ok(()) };
    match pid {
        Some(pid) => gone("the end of the proxy", pid).await,
        None => Ok(()),
    }
}

fn ask_proxy_to_stop(socket: &Path) -> std::io::Result<Option<i32>> {
    let stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PROXY_LIMIT))?;
    stream.set_write_timeout(Some(PROXY_LIMIT))?;
    let mut reader = BufReader::new(stream);
    let mut ask = |request: &str| -> std::io::Result<serde_json::Value> {
        reader.get_mut().write_all(format!("{request}\n").as_bytes())?;
        let mut line = String::new();
        reader.read_line(&mut line)?;
        Ok(serde_json::from_str(&line).unwrap_or_default())
    };
    let pong = ask(r#"{"ping":{}}"#)?;
    ask(r#"{"stop":{}}"#)?;
    Ok(pong["pong"]["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()))
}

async fn gone(what: &str, pid: i32) -> Seen<()> {
    until(what, END_LIMIT, async || Ok((!is_alive(pid)).then_some(()))).await
}

/// A process that ended and that nobody has waited for yet counts as gone.
fn is_alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// Kills every process that works in this folder or names it in its
/// arguments, and says what they were.
pub fn sweep(dir: &Path) -> Vec<String> {
    let mut killed = Vec::new();
    for _ in 0..SWEEPS_MAX {
        let found = processes_below(dir);
        if found.is_empty() {
            break;
        }
        for (pid, words) in found {
            if let Some(process) = Pid::from_raw(pid) {
                let _ = kill_process(process, Signal::KILL);
            }
            killed.push(format!("{pid} ({words})"));
        }
    }
    killed
}

fn processes_below(dir: &Path) -> Vec<(i32, String)> {
    let ours = i32::try_from(std::process::id()).unwrap();
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| *pid != ours && is_alive(*pid))
        .filter_map(|pid| {
            let of = PathBuf::from(format!("/proc/{pid}"));
            let works_here = std::fs::read_link(of.join("cwd")).is_ok_and(|cwd| cwd.starts_with(dir));
            let words = String::from_utf8_lossy(&std::fs::read(of.join("cmdline")).unwrap_or_default()).replace('\0', " ");
            (works_here || words.contains(&*dir.to_string_lossy())).then(|| (pid, words.trim().to_owned()))
        })
        .collect()
}
