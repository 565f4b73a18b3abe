//! `doorstep history P`: the releases that are or were here, and the last runs.
//! Read from the journal, so it needs no daemon.

use std::path::Path;

use doorstep_shared::ids::Name;
use doorstep_shared::text::{clean_line, cut};
use doorstep_shared::time::Timestamp;

use crate::cli::{Exit, Failure, HistoryArgs, failure};
use crate::clock;
use crate::journal::{Journal, Release, RunRecord};

/// Longest subject that is shown, in bytes.
const SUBJECT_BYTES_MAX: usize = 40;

/// Prints it.
pub fn run(args: &HistoryArgs, state: &Path) -> Result<Exit, Failure> {
    let project: Name = args.project.parse().map_err(|fault| failure(Exit::Error, format!("{fault}")))?;
    let nothing = || failure(Exit::Error, format!("{} shows no trace of a daemon; did `doorstep run` ever run with this --state?", state.display()));
    let journal = Journal::look(state)?.ok_or_else(nothing)?;
    let most = usize::from(args.lines);
    let mut releases = journal.releases(project.as_str())?;
    releases.reverse();
    releases.truncate(most);
    let runs = journal.newest_runs(project.as_str(), most)?;
    if args.json {
        println!("{:#}", serde_json::json!({"project": project, "releases": releases, "runs": runs}));
        return Ok(Exit::Ok);
    }
    if releases.is_empty() && runs.is_empty() {
        eprintln!("{project} has no release and no run here yet");
        return Ok(Exit::Ok);
    }
    let now = clock::wall();
    println!("{:>7}  {:<8}  {:<7}  {:<9}  SUBJECT", "RELEASE", "STATE", "COMMIT", "LIVE");
    for release in &releases {
        println!("{}", release_line(release, now));
    }
    println!();
    println!("{:<9}  {:<8}  {:<9}  {:<11}  {:<7}  RUN", "BEGUN", "ACTION", "CAUSE", "STATE", "COMMIT");
    for run in &runs {
        println!("{}", run_line(run, now));
        if let Some(failure) = &run.failure {
            let why = failure.message.lines().next().unwrap_or_default();
            println!("           {}: {}", failure.step, clean_line(why));
        }
    }
    Ok(Exit::Ok)
}

fn release_line(release: &Release, now: Timestamp) -> String {
    let state = serde_json::to_value(release.state).ok();
    let state = state.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default();
    let live = release.live_since.map_or_else(|| "never".to_owned(), |at| ago(at, now));
    let subject = clean_line(cut(&release.subject, SUBJECT_BYTES_MAX));
    format!("{:>7}  {state:<8}  {:<7}  {live:<9}  {subject}", release.id, cut(&release.commit, 7))
}

fn run_line(run: &RunRecord, now: Timestamp) -> String {
    let commit = run.commit.as_deref().map_or("-", |commit| cut(commit, 7));
    format!("{:<9}  {:<8}  {:<9}  {:<11}  {commit:<7}  {}", ago(run.started, now), run.action.as_str(), run.cause.as_str(), run.state.as_str(), run.id)
}

/// How long ago, in its largest unit.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.0.saturating_sub(at.0) / 1_000;
    match seconds {
        0..60 => format!("{seconds} s ago"),
        60..3_600 => format!("{} min ago", seconds / 60),
        3_600..86_400 => format!("{} h ago", seconds / 3_600),
        _ => format!("{} d ago", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::ReleaseState;

    #[test]
    fn lines_fit_a_terminal() {
        let release = Release {
            id: 123_456,
            project: "shop".into(),
            commit: "a".repeat(40),
            subject: "s\u{1b}[31m".repeat(40),
            slot: 1,
            state: ReleaseState::Previous,
            live_since: Some(Timestamp(0)),
            was_bad: false,
        };
        let line = release_line(&release, Timestamp(86_400_000 * 400));
        assert!(line.chars().count() <= 80 && !line.contains('\u{1b}'), "{line}");
        assert!(line.starts_with(" 123456  previous  aaaaaaa  400 d ago  "), "{line}");
        let run = crate::journal::test_run("01a215a7ff87e09137c8", 1);
        assert!(run_line(&run, Timestamp(59_999)).chars().count() <= 80);
        assert_eq!([59_999, 60_001, 3_600_001].map(|ms| ago(Timestamp(0), Timestamp(ms))), ["59 s ago", "1 min ago", "1 h ago"]);
    }
}
