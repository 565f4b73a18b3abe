//! What is written is there again, whole.

use super::*;
use doorstep_shared::ids::{Action, Cause, JobId, RunState};
use doorstep_shared::protocol::{Grant, Holding, Report};
use doorstep_shared::time::Timestamp;

fn grant(job: u64, attempt: u32) -> Grant {
    Grant { job: JobId(job), attempt, project: "shop".parse().unwrap(), action: Action::Deploy, cause: Cause::Push, hint_commit: None }
}

fn run(id: &str, job: u64) -> RunRecord {
    RunRecord {
        id: id.into(),
        project: "shop".into(),
        action: Action::Deploy,
        cause: Cause::Push,
        job: Some(JobId(job)),
        attempt: 1,
        started: Timestamp(1),
        ended: None,
        state: RunState::Running,
        point: Point::Preparing,
        release: None,
        begun: 1,
    }
}

#[test]
fn a_grant_is_stored_once_and_held_until_settled() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert!(journal.store_grant(&grant(1, 1)).unwrap());
    assert!(!journal.store_grant(&grant(1, 1)).unwrap());
    assert!(journal.store_grant(&grant(1, 2)).unwrap());
    journal.drop_grant(Holding { job: JobId(1), attempt: 1 }).unwrap();
    assert_eq!(journal.held_grants().unwrap(), [grant(1, 2)]);
    assert!(!journal.store_grant(&grant(1, 1)).unwrap(), "a settled attempt never starts again");
}

#[test]
fn report_numbers_have_no_gap_and_are_never_used_twice() {
    let dir = tempfile::tempdir().unwrap();
    let log = |text: &str| Report::Log { run: "r".into(), lines: vec![text.into()] };
    let identity = {
        let journal = Journal::open(dir.path()).unwrap();
        let posted = journal.post(vec![log("a"), log("b")]).unwrap();
        assert_eq!(posted.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [1, 2]);
        journal.forget(2).unwrap();
        journal.identity()
    };
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.identity(), identity);
    assert_eq!(journal.post(vec![log("c")]).unwrap()[0].0, 3);
    assert_eq!(journal.unacknowledged().unwrap().len(), 1);
}

#[test]
fn an_open_run_is_found_again_and_an_ended_one_settles_its_grant() {
    let dir = tempfile::tempdir().unwrap();
    let mut record = run("a", 7);
    {
        let journal = Journal::open(dir.path()).unwrap();
        journal.store_grant(&grant(7, 1)).unwrap();
        record.point = Point::Switching;
        journal.advance(&record, vec![]).unwrap();
    }
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.open_runs().unwrap(), [record.clone()]);
    record.point = Point::Ended;
    record.ended = Some(Timestamp(2));
    journal.end(&record, vec![]).unwrap();
    assert!(journal.open_runs().unwrap().is_empty());
    assert!(journal.held_grants().unwrap().is_empty());
    assert_eq!(journal.last_run("shop").unwrap(), Some(record));
}

#[test]
fn one_release_is_live_and_the_one_before_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let one = journal.create_release("shop", "c1", "one", 0).unwrap();
    let two = journal.create_release("shop", "c2", "two", 1).unwrap();
    let three = journal.create_release("shop", "c3", "three", 2).unwrap();
    for release in [&one, &two, &three] {
        journal.switch(&run("r", 1), release, Timestamp(5)).unwrap();
    }
    let states: Vec<_> = journal.releases("shop").unwrap().into_iter().map(|r| r.state).collect();
    assert_eq!(states, [ReleaseState::Built, ReleaseState::Previous, ReleaseState::Live]);
    assert_eq!(journal.live_release("shop").unwrap().unwrap().commit, "c3");
    journal.create_release("shop", "c4", "four", 0).unwrap();
    assert_eq!(journal.releases("shop").unwrap()[0].state, ReleaseState::Pruned);
}

#[test]
fn a_journal_of_a_newer_build_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Journal::open(dir.path()).unwrap());
    Connection::open(dir.path().join("journal.db")).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let fault = Journal::open(dir.path()).err().unwrap();
    assert!(format!("{fault:#}").contains("newer doorstep"), "{fault:#}");
}

#[test]
fn a_file_that_is_no_database_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("journal.db"), "not a database, but long enough to be looked at as one").unwrap();
    assert!(Journal::open(dir.path()).is_err());
}

#[test]
fn a_journal_that_a_first_daemon_is_just_making_is_none_yet() {
    let dir = tempfile::tempdir().unwrap();
    Connection::open(dir.path().join("journal.db")).unwrap().pragma_update(None, "journal_mode", "WAL").unwrap();
    assert!(Journal::look(dir.path()).unwrap().is_none());
    drop(Journal::open(dir.path()).unwrap());
    assert!(Journal::look(dir.path()).unwrap().is_some());
}
