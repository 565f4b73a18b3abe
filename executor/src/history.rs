//! `doorstep history P`: the releases that are or were here, and the last runs.
//! Read from the journal, so it needs no daemon.

use std::path::Path;

use doorstep_shared::ids::{Action, Name, RunState};
use doorstep_shared::text::{clean_line, cut};
use doorstep_shared::time::Timestamp;

use crate::cli::{Exit, Failure, HistoryArgs, failure};
use crate::clock;
use crate::journal::{Journal, KEPT_MAX, Release, RunRecord};
use crate::run::first_line;

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
    // What became of a release that never was live is known of the run that made it.
    let made = journal.newest_runs(project.as_str(), KEPT_MAX as usize)?;
    if args.json {
        let releases: Vec<serde_json::Value> = releases.iter().map(|release| told(release, &made)).collect();
        say!("{:#}", serde_json::json!({"project": project, "releases": releases, "runs": runs}));
        return Ok(Exit::Ok);
    }
    if releases.is_empty() && runs.is_empty() {
        eprintln!("{project} has no release and no run here yet");
        return Ok(Exit::Ok);
    }
    let now = clock::wall();
    say!("{:>7}  {:<8}  {:<7}  {:<9}  SUBJECT", "RELEASE", "STATE", "COMMIT", "LIVE");
    for release in &releases {
        say!("{}", release_line(release, outcome(release, &made), now));
    }
    say!();
    say!("{:<9}  {:<8}  {:<9}  {:<11}  {:<7}  RUN", "BEGUN", "ACTION", "CAUSE", "STATE", "COMMIT");
    for run in &runs {
        say!("{}", run_line(run, now));
        if let Some(failure) = &run.failure {
            let why = first_line(&failure.message);
            say!("           {}: {}", failure.step, clean_line(why));
        }
    }
    Ok(Exit::Ok)
}

/// How the attempt ended that made a release which never was live and is in its
/// slot; none of one that was live.
fn outcome(release: &Release, runs: &[RunRecord]) -> Option<&'static str> {
    let is_its = |run: &&RunRecord| run.release == Some(release.id) && matches!(run.action, Action::Deploy | Action::Rebuild);
    let made = runs.iter().find(is_its).filter(|_| release.is_fresh());
    match made.map(|run| run.state) {
        Some(RunState::Running) => Some("building"),
        Some(RunState::Refused) => Some("refused"),
        Some(RunState::Failed | RunState::RolledBack) => Some("failed"),
        Some(RunState::Succeeded) => None,
        // A crash cut it short, and its run went on with another.
        None => release.is_fresh().then_some("unused"),
    }
}

/// A release as JSON, with its outcome where it never was live.
fn told(release: &Release, runs: &[RunRecord]) -> serde_json::Value {
    let mut told = serde_json::json!(release);
    if let (Some(outcome), Some(object)) = (outcome(release, runs), told.as_object_mut()) {
        object.insert("outcome".to_owned(), outcome.into());
    }
    told
}

fn release_line(release: &Release, outcome: Option<&str>, now: Timestamp) -> String {
    let state = serde_json::to_value(release.state).ok();
    let state = outcome.or_else(|| state.as_ref().and_then(serde_json::Value::as_str)).unwrap_or_default();
    let live = release.live_since.map_or_else(|| "never".to_owned(), |at| ago(at, now));
    let subject = clean_line(cut(&release.subject, SUBJECT_BYTES_MAX));
    format!("{:>7}  {state:<8}  {:<7}  {live:<9}  {subject}", release.id, cut(&release.commit, 7))
}

fn run_line(run: &RunRecord, now: Timestamp) -> String {
    let commit = run.commit.as_deref().map_or("-", |commit| cut(commit, 7));
    let what = run.service.as_ref().map_or_else(|| run.action.as_str().to_owned(), |service| format!("{} {service}", run.action.as_str()));
    format!("{:<9}  {what:<8}  {:<9}  {:<11}  {commit:<7}  {}", ago(run.started, now), run.cause.as_str(), run.word(), run.id)
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
        let line = release_line(&release, None, Timestamp(86_400_000 * 400));
        assert!(line.chars().count() <= 80 && !line.contains('\u{1b}'), "{line}");
        assert!(line.starts_with(" 123456  previous  aaaaaaa  400 d ago  "), "{line}");
        let run = crate::journal::test_run("01a215a7ff87e09137c8", 1);
        assert!(run_line(&run, Timestamp(59_999)).chars().count() <= 80);
        let one = RunRecord { service: "worker".parse().ok(), ..run };
        assert!(run_line(&one, Timestamp(59_999)).contains("  deploy worker  push "), "{}", run_line(&one, Timestamp(59_999)));
        assert_eq!([59_999, 60_001, 3_600_001].map(|ms| ago(Timestamp(0), Timestamp(ms))), ["59 s ago", "1 min ago", "1 h ago"]);
    }

    #[test]
    fn what_failed_is_not_called_built() {
        let built = Release { id: 7, project: "shop".into(), commit: "c".into(), subject: String::new(), slot: 1, state: ReleaseState::Built, live_since: None, was_bad: false };
        let made = |state| [RunRecord { release: Some(7), state, ..crate::journal::test_run("r", 1) }];
        for (state, word) in [(RunState::Failed, "failed"), (RunState::RolledBack, "failed"), (RunState::Refused, "refused"), (RunState::Running, "building")] {
            assert_eq!(outcome(&built, &made(state)), Some(word));
            assert_eq!(told(&built, &made(state))["outcome"], word);
        }
        assert_eq!(outcome(&built, &[]), Some("unused"));
        let line = release_line(&built, outcome(&built, &made(RunState::Refused)), Timestamp(0));
        assert!(line.starts_with("      7  refused   c        never"), "{line}");
        let was_live = Release { live_since: Some(Timestamp(1)), ..built };
        assert_eq!(outcome(&was_live, &made(RunState::Failed)), None);
    }
}
