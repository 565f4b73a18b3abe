//! What apps and runs printed: files on the host, and the verb that shows them.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use doorstep_shared::ids::{Name, ServiceName};
use doorstep_shared::text::clean_line;

use crate::cli::{Exit, Failure, LogsArgs, failure};
use crate::compose::Engine;
use crate::compose::follow::follow as follow_services;
use crate::compose::printed::{self, Shown};
use crate::disk::Room;
use crate::journal::Journal;
use crate::systemd::Unit;

/// An app's log longer than this is cut; the part before is kept once, as `.1`.
pub const APP_LOG_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Log files of one project that are kept: those of its last runs and releases.
/// The live release's is kept in any case: its app may have been quiet for long.
const LOGS_KEPT: usize = 100;
/// Lines that are shown of a log's end; a run's log is shown whole.
const LINES: usize = 200;
/// What is kept of a log that is cut.
const CUT_KEPT_BYTES: u64 = 4 * 1024 * 1024;
/// Most that is read from the end of a log to find its last lines.
const TAIL_BYTES_MAX: u64 = 1024 * 1024;
/// How often a followed file is looked at.
const FOLLOW_MS: u64 = 200;

/// The log of a run.
#[must_use]
pub fn run_log(state: &Path, project: &str, run: &str) -> PathBuf {
    state.join("logs").join(project).join(format!("run-{run}.log"))
}

/// The log of a release's process.
#[must_use]
pub fn app_log(state: &Path, project: &str, release: u64) -> PathBuf {
    state.join("logs").join(project).join(format!("r{release}.log"))
}

/// The log of a process beside the main one.
#[must_use]
pub fn companion_log(state: &Path, project: &str, release: u64, name: &str) -> PathBuf {
    state.join("logs").join(project).join(format!("r{release}.{name}.log"))
}

/// The last lines of a file, cleaned; empty when there is none.
#[must_use]
pub fn tail(path: &Path, lines_max: usize) -> Vec<String> {
    tail_to(path, lines_max, u64::MAX)
}

/// The same of what comes before this many bytes.
fn tail_to(path: &Path, lines_max: usize, end: u64) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let end = file.metadata()?.len().min(end);
        let begin = end.saturating_sub(TAIL_BYTES_MAX);
        file.seek(SeekFrom::Start(begin))?;
        let mut bytes = Vec::new();
        file.take(end - begin).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&read().unwrap_or_default()).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(lines_max)).map(|line| clean_line(line)).collect()
}

/// Cuts a log that is too long: its end is kept beside it. The app writes on
/// in append mode, so it goes on at the new end.
///
/// # Errors
///
/// When the system says so.
pub fn trim(path: &Path) -> io::Result<()> {
    let file = match OpenOptions::new().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(fault) => return Err(fault),
    };
    if file.metadata()?.len() <= APP_LOG_BYTES_MAX {
        return Ok(());
    }
    let kept = path.with_extension("log.1");
    if let Err(fault) = keep_end(&file, &kept) {
        let _ = std::fs::remove_file(&kept);
        tracing::warn!("the end of {} is not kept: {fault}", path.display());
    }
    // In any case: on a full disk it may be what fills it.
    file.set_len(0)
}

/// Copies the end of a log, if the copy leaves room for others.
fn keep_end(mut log: &File, kept: &Path) -> io::Result<()> {
    if !Room::at(kept)?.has(2 * CUT_KEPT_BYTES) {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    log.seek(SeekFrom::Start(log.metadata()?.len().saturating_sub(CUT_KEPT_BYTES)))?;
    io::copy(&mut log.take(CUT_KEPT_BYTES), &mut File::create(kept)?).map(drop)
}

/// Removes the logs of a project's old runs and releases, all but the newest
/// and those that are written to.
///
/// # Errors
///
/// When the system says so.
pub fn prune(state: &Path, project: &str, live: &[PathBuf]) -> io::Result<()> {
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in std::fs::read_dir(state.join("logs").join(project))? {
        let entry = entry?;
        if !live.contains(&entry.path()) {
            files.push((entry.metadata()?.modified()?, entry.path()));
        }
    }
    files.sort();
    let surplus = files.len().saturating_sub(LOGS_KEPT);
    for (_, path) in files.into_iter().take(surplus) {
        std::fs::remove_file(path)?;
    }
    Ok(())
}

/// `doorstep logs P`.
pub async fn run(args: &LogsArgs, state: &Path) -> Result<Exit, Failure> {
    let project: Name = args.project.parse().map_err(|fault| failure(Exit::Error, format!("{fault}")))?;
    let journal = Journal::look(state)?;
    let path = match &args.run {
        Some(run) if run.bytes().all(|b| b.is_ascii_alphanumeric()) => run_log(state, project.as_str(), run),
        Some(run) => return Err(failure(Exit::Error, format!("`{run}` is not a run's id"))),
        None => {
            let journal = journal.as_ref().ok_or_else(|| failure(Exit::Error, format!("{} shows no trace of a daemon; did `doorstep run` ever run with this --state?", state.display())))?;
            let release = journal.live_release(project.as_str())?;
            let release = release.ok_or_else(|| failure(Exit::Error, format!("{project} has no live release yet")))?;
            if args.process.is_none()
                && let Some(unit) = unit_of(journal, project.as_str())?
            {
                return journal_of(&unit, args);
            }
            // What we start ourselves has a log, however quiet it is.
            let own = app_log(state, project.as_str(), release.id);
            if args.process.is_none() && !own.is_file() {
                return services_of(project.as_str(), args).await;
            }
            if args.service.is_some() || args.since.is_some() {
                return Err(failure(Exit::Error, format!("{project} is no compose project, and has neither services nor times in its log")));
            }
            match &args.process {
                Some(name) if name.contains('/') => return Err(failure(Exit::Error, format!("`{name}` is not a process' name"))),
                Some(_) => live_log(state, journal, args).unwrap_or(own),
                None => own,
            }
        }
    };
    if !path.is_file() {
        return Err(failure(Exit::Error, format!("there is no log at {}", path.display())));
    }
    let mut out = io::stdout();
    // What is printed meanwhile is for those who follow.
    let end = std::fs::metadata(&path).map_or(u64::MAX, |found| found.len());
    let printed = match args.lines {
        None if args.run.is_some() => print_all(&mut out, &path, end),
        lines => tail_to(&path, lines.unwrap_or(LINES), end).iter().try_for_each(|line| print(&mut out, line)),
    };
    if printed.is_err() {
        return Ok(Exit::Ok);
    }
    if args.follow {
        // A run has one log; what is live may be another release soon.
        let next = || journal.as_ref().filter(|_| args.run.is_none()).and_then(|journal| live_log(state, journal, args));
        follow(path.clone(), end, next).await.with_context(|| format!("{} cannot be followed", path.display()))?;
    }
    Ok(Exit::Ok)
}

/// The log of what is live now, of the main process or of the one that is named.
fn live_log(state: &Path, journal: &Journal, args: &LogsArgs) -> Option<PathBuf> {
    let release = journal.live_release(&args.project).ok().flatten()?;
    Some(match &args.process {
        Some(name) => companion_log(state, &args.project, release.id, name),
        None => app_log(state, &args.project, release.id),
    })
}

/// The unit that runs a project, if one does.
fn unit_of(journal: &Journal, project: &str) -> anyhow::Result<Option<Unit>> {
    Ok(journal.processes()?.into_iter().find(|row| row.project == project).and_then(|row| row.unit))
}

/// Becomes what shows the host's journal of a unit.
fn journal_of(unit: &Unit, args: &LogsArgs) -> Result<Exit, Failure> {
    use std::os::unix::process::CommandExt;
    let (program, words) = unit.journal(args.lines.unwrap_or(LINES), args.follow);
    let fault = std::process::Command::new(program).args(words).exec();
    Err(failure(Exit::Error, format!("`{program}` does not start: {fault}")))
}

/// Shows what the services of a compose project print.
async fn services_of(project: &str, args: &LogsArgs) -> Result<Exit, Failure> {
    let shown = Shown { service: args.service.as_ref().map(ServiceName::as_str), lines: args.lines.unwrap_or(LINES), since: args.since, follow: args.follow };
    let (engine, print) = (Engine::of_environment(), |line: &str| print(&mut io::stdout(), line));
    let read = if args.follow { follow_services(&engine, project, &shown, print).await } else { printed::show(&engine, project, &shown, print).await };
    let found = read.context("the logs cannot be read")?;
    match (&args.service, found) {
        (_, true) => Ok(Exit::Ok),
        (Some(service), false) => Err(failure(Exit::Error, format!("{project} has no container of a service {service}"))),
        (None, false) => Err(failure(Exit::Error, format!("{project} has no container"))),
    }
}

/// A reader that went away (`| head`) ends us without a fuss.
/// Prints the first bytes of a log, as long as it is.
fn print_all(out: &mut impl Write, path: &Path, end: u64) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    for line in io::BufReader::new(File::open(path)?.take(end)).split(b'\n') {
        writeln!(out, "{}", clean_line(&String::from_utf8_lossy(&line?)))?;
    }
    out.flush()
}

fn print(out: &mut impl Write, line: &str) -> io::Result<()> {
    writeln!(out, "{line}")?;
    out.flush()
}

/// Goes on with what a log gets after so many bytes, and then with the `next`
/// one, from its beginning.
async fn follow(mut path: PathBuf, mut at: u64, next: impl Fn() -> Option<PathBuf>) -> io::Result<()> {
    let mut rest = Vec::new();
    loop {
        tokio::time::sleep(Duration::from_millis(FOLLOW_MS)).await;
        // First the question: what the old one got before its answer is shown yet.
        let next = next().filter(|next| *next != path && next.is_file());
        let mut file = File::open(&path)?;
        let length = file.metadata()?.len();
        if length < at {
            at = 0;
        }
        file.seek(SeekFrom::Start(at))?;
        let read = file.take(TAIL_BYTES_MAX).read_to_end(&mut rest)?;
        at += read as u64;
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if print(&mut io::stdout(), &clean_line(&String::from_utf8_lossy(&line))).is_err() {
                return Ok(());
            }
        }
        if let Some(next) = next.filter(|_| read == 0) {
            (path, at) = (next, 0);
            rest.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_come_clean() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, b"one\n\x1b[31mtwo\x1b[0m\nthree\xff\n").unwrap();
        assert_eq!(tail(&path, 2), ["two", "three\u{fffd}"]);
        assert!(tail(&dir.path().join("none"), 2).is_empty());
    }

    #[test]
    fn a_log_that_is_too_long_is_cut_and_its_end_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r1.log");
        std::fs::write(&path, vec![b'x'; usize::try_from(APP_LOG_BYTES_MAX + 1).unwrap()]).unwrap();
        let mut app = OpenOptions::new().append(true).open(&path).unwrap();
        trim(&path).unwrap();
        app.write_all(b"more").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"more");
        assert_eq!(std::fs::metadata(dir.path().join("r1.log.1")).unwrap().len(), CUT_KEPT_BYTES);
    }

    #[test]
    fn a_log_is_cut_also_when_its_end_cannot_be_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("r1.log");
        std::fs::write(&path, vec![b'x'; usize::try_from(APP_LOG_BYTES_MAX + 1).unwrap()]).unwrap();
        std::fs::create_dir(dir.path().join("r1.log.1")).unwrap();
        trim(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }

    #[test]
    fn the_log_of_a_quiet_app_is_not_pruned() {
        let dir = tempfile::tempdir().unwrap();
        let logs = dir.path().join("logs/shop");
        std::fs::create_dir_all(&logs).unwrap();
        let live = logs.join("r1.log");
        std::fs::write(&live, "quiet").unwrap();
        for run in 0..=LOGS_KEPT {
            std::fs::write(logs.join(format!("run-{run:03}.log")), "").unwrap();
        }
        prune(dir.path(), "shop", std::slice::from_ref(&live)).unwrap();
        assert!(live.is_file());
        assert_eq!(std::fs::read_dir(&logs).unwrap().count(), LOGS_KEPT + 1);
    }
}
