//! Tools that a step runs (uv, checks): contained, timed, and heard to the end.
//!
//! A tool is argv, never a shell string; it has its own process group, which is
//! killed as a whole when time is up or the run is cancelled; its output is
//! read line by line with a cap on each.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::mpsc;

/// How long a tool's group may hold the pipes open after the tool itself ended.
const DRAIN_MS: u64 = 500;
/// Longest line that is kept whole, in bytes; a longer one comes in pieces.
const LINE_BYTES_MAX: u64 = 16 * 1024;

/// A tool to run.
pub struct Tool {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its folder.
    pub dir: PathBuf,
    /// Its environment, complete.
    pub env: Vec<(OsString, OsString)>,
    /// Its time.
    pub limit: Duration,
}

/// How a tool ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    /// With 0.
    Good,
    /// With another number or a signal; a sentence's end, such as "exited with 2".
    Bad(String),
    /// It ran out of time and was killed.
    TimedOut,
    /// The run was cancelled and it was killed.
    Cancelled,
}

/// Runs a tool; each line of its output goes to `on_line` as it comes.
///
/// # Errors
///
/// When it does not start.
pub async fn run(tool: &Tool, cancelled: impl Future<Output = ()>, mut on_line: impl FnMut(&str)) -> std::io::Result<End> {
    let mut command = Command::new(&tool.program);
    command.args(&tool.args).current_dir(&tool.dir).env_clear().envs(tool.env.iter().map(|(k, v)| (k, v)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).kill_on_drop(true);
    let mut child = command.spawn()?;
    let group = child.id().and_then(|pid| i32::try_from(pid).ok());
    let (lines_in, mut lines) = mpsc::channel::<String>(256);
    if let Some(out) = child.stdout.take() {
        tokio::task::spawn_local(read_lines(out, lines_in.clone()));
    }
    if let Some(err) = child.stderr.take() {
        tokio::task::spawn_local(read_lines(err, lines_in.clone()));
    }
    drop(lines_in);
    let deadline = tokio::time::sleep(tool.limit);
    tokio::pin!(deadline, cancelled);
    let end = loop {
        tokio::select! {
            Some(line) = lines.recv() => on_line(&line),
            status = child.wait() => break how(status?),
            () = &mut deadline => break End::TimedOut,
            () = &mut cancelled => break End::Cancelled,
        }
    };
    kill_group(group);
    // The group is gone, so the pipes close; a process that left the group may hold them.
    let drain = async { while let Some(line) = lines.recv().await { on_line(&line) } };
    let _ = tokio::time::timeout(Duration::from_millis(DRAIN_MS), drain).await;
    let _ = child.wait().await;
    Ok(end)
}

async fn read_lines(pipe: impl AsyncRead + Unpin, lines: mpsc::Sender<String>) {
    use tokio::io::AsyncReadExt;
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    loop {
        line.clear();
        match (&mut pipe).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&line);
        if lines.send(text.trim_end_matches(['\n', '\r']).to_owned()).await.is_err() {
            return;
        }
    }
}

fn how(status: std::process::ExitStatus) -> End {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(0), _) => End::Good,
        (Some(code), _) => End::Bad(format!("exited with {code}")),
        (None, signal) => End::Bad(format!("was ended by signal {}", signal.unwrap_or_default())),
    }
}

/// Kills every process of a group; one that is gone already is well.
pub fn kill_group(group: Option<i32>) {
    if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// A program as the child's shell would find it: a path, or a name looked up in
/// these folders and then in `PATH`.
#[must_use]
pub fn find(program: &str, first: &[PathBuf], dir: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        let path = dir.join(program);
        return path.is_file().then_some(path);
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    first.iter().cloned().chain(std::env::split_paths(&path)).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// `PATH` where none is set.
pub const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit_ms: u64) -> Tool {
        Tool {
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            dir: "/".into(),
            env: vec![("PATH".into(), PATH_DEFAULT.into())],
            limit: Duration::from_millis(limit_ms),
        }
    }

    async fn lines_of(tool: Tool) -> (End, Vec<String>) {
        let mut lines = Vec::new();
        let end = run(&tool, std::future::pending(), |line| lines.push(line.to_owned())).await.unwrap();
        (end, lines)
    }

    fn local<T>(test: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio::task::LocalSet::new().block_on(&runtime, test)
    }

    #[test]
    fn output_is_heard_to_the_end() {
        let (end, lines) = local(lines_of(shell("echo a; echo b >&2; printf c; exit 3", 5_000)));
        assert_eq!(end, End::Bad("exited with 3".into()));
        let mut sorted = lines;
        sorted.sort();
        assert_eq!(sorted, ["a", "b", "c"]);
    }

    #[test]
    fn time_is_up_for_the_whole_group() {
        let begun = std::time::Instant::now();
        let (end, _) = local(lines_of(shell("sleep 60 & sleep 60", 100)));
        assert_eq!(end, End::TimedOut);
        assert!(begun.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_line_without_end_comes_in_pieces() {
        let (end, lines) = local(lines_of(shell("head -c 100000 /dev/zero | tr '\\0' x", 5_000)));
        assert_eq!(end, End::Good);
        assert_eq!(lines.concat().len(), 100_000);
    }
}
