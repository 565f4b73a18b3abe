//! What is written is there again, whole.

use super::*;
use doorstep_shared::ids::{Action, Cause, FailureKind, JobId, RunState};
use doorstep_shared::protocol::{Failure, Grant, Holding, Report};
use doorstep_shared::time::Timestamp;

fn grant(job: u64, attempt: u32) -> Grant {
    Grant { job: JobId(job), attempt, project: "shop".parse().unwrap(), action: Action::Deploy, cause: Cause::Push, hint_commit: None, service: None }
}

/// A deploy that was just begun.
pub(crate) fn run(id: &str, job: u64) -> RunRecord {
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
        point: Point::Begun,
        release: None,
        begun: 1,
        forgiven: 0,
        to: None,
        service: None,
        told: Told::default(),
        steps: 0,
        commit: None,
        failure: None,
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
fn lines_that_were_told_while_a_step_went_on_outlive_a_kill_and_come_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = |text: &str| Report::Log { run: "r".into(), lines: vec![text.into()] };
    let (open, told) = (run("r", 7), |lines| Told { bytes: lines * 128, lines });
    {
        let journal = Journal::open(dir.path()).unwrap();
        journal.advance(&open, vec![log("a")]).unwrap();
        assert_eq!(journal.tell_lines("r", told(2), &[log("b")]).unwrap(), [(2, log("b"))]);
        journal.tell_lines("r", told(3), &[log("c")]).unwrap();
    }
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(journal.unacknowledged().unwrap(), [(1, log("a")), (2, log("b")), (3, log("c"))]);
    assert_eq!(journal.open_runs().unwrap(), [RunRecord { told: told(3), ..open }], "lines bring a run no further");
    journal.forget(2).unwrap();
    journal.tell_lines("r", told(4), &[log("d")]).unwrap();
    assert_eq!(journal.unacknowledged().unwrap(), [(3, log("c")), (4, log("d"))]);
    journal.keep_reports(false);
    assert_eq!(journal.tell_lines("r", told(5), &[log("e")]).unwrap(), [(0, log("e"))], "a host without an edge shows them all the same");
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

#[test]
fn rows_of_schema_one_are_read_and_its_tables_grow() {
    let dir = tempfile::tempdir().unwrap();
    {
        let db = Connection::open(dir.path().join("journal.db")).unwrap();
        db.execute_batch(&format!("{} PRAGMA user_version = 1;", MIGRATIONS[0])).unwrap();
        for (at, point) in ["preparing", "starting", "replacing", "switching", "retiring"].into_iter().enumerate() {
            let body = format!(
                r#"{{"id":"{at}","project":"shop","action":"deploy","cause":"push","job":1,"attempt":1,"started":1,"ended":null,"state":"running","point":"{point}","release":4,"begun":1}}"#
            );
            db.execute("INSERT INTO runs (id, project, point, begun, body) VALUES (?1, 'shop', ?2, 1, ?3)", (at.to_string(), point, body)).unwrap();
        }
        let row = r#"{"project":"shop","pid":5,"start_ticks":6,"port":null,"release":4}"#;
        db.execute("INSERT INTO processes (pid, project, body) VALUES (5, 'shop', ?1)", [row]).unwrap();
    }
    let journal = Journal::open(dir.path()).unwrap();
    let points: Vec<_> = journal.open_runs().unwrap().into_iter().map(|run| run.point).collect();
    assert_eq!(points, [Point::Begun, Point::Starting, Point::Replacing, Point::Switching, Point::Retiring]);
    assert_eq!(journal.processes().unwrap()[0].run, None);
    assert_eq!(journal.concluded_head("shop").unwrap(), None);
}

#[test]
fn every_point_is_its_word_in_the_row() {
    for point in Point::ALL {
        assert_eq!(serde_json::to_value(point).unwrap(), point.as_str());
    }
}

#[test]
fn a_head_is_concluded_unless_the_network_failed() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let ended = |id: &str, state, kind: Option<FailureKind>| RunRecord {
        state,
        ended: Some(Timestamp(2)),
        point: Point::Ended,
        commit: Some(id.into()),
        failure: kind.map(|kind| Failure { kind, step: "s".into(), message: "m".into() }),
        ..run(id, 1)
    };
    let head = || journal.concluded_head("shop").unwrap();
    let mut before = None;
    for (id, state, kind, is_concluded) in [
        ("a", RunState::Failed, Some(FailureKind::Network), false),
        ("b", RunState::Succeeded, None, true),
        ("c", RunState::Failed, Some(FailureKind::Network), false),
        ("d", RunState::RolledBack, Some(FailureKind::Health), true),
        ("e", RunState::Failed, Some(FailureKind::Build), true),
        ("f", RunState::Refused, Some(FailureKind::Policy), true),
        ("g", RunState::Failed, Some(FailureKind::Host), true),
    ] {
        journal.end(&ended(id, state, kind), vec![]).unwrap();
        let expected = if is_concluded { Some(id.to_owned()) } else { before };
        assert_eq!(head(), expected, "{id}");
        before = expected;
    }
    journal.end(&RunRecord { action: Action::Restart, ..ended("h", RunState::Succeeded, None) }, vec![]).unwrap();
    journal.end(&RunRecord { commit: None, ..ended("i", RunState::Succeeded, None) }, vec![]).unwrap();
    assert_eq!(head(), before, "only a deploy whose commit is known settles one");
}

#[test]
fn a_daemon_that_is_told_to_end_counts_against_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let mut record = run("a", 1);
    journal.advance(&record, vec![]).unwrap();
    assert_eq!(record.deaths(), 0);
    for daemon in 2..6 {
        journal.forgive_open_runs().unwrap();
        journal.forgive_open_runs().unwrap();
        record = journal.open_runs().unwrap().remove(0);
        assert_eq!(record.forgiven, daemon - 1, "each daemon is forgiven once");
        record.begun += 1;
        journal.advance(&record, vec![]).unwrap();
        assert_eq!((record.begun, record.deaths()), (daemon, 0));
    }
    record.begun += 3;
    assert_eq!(record.deaths(), 3);
}

/// A quota: SQLite is allowed no page more than it has.
fn allow_pages(journal: &Journal, pages: u64) {
    journal.db.borrow().pragma_update(None, "max_page_count", pages).unwrap();
}

#[test]
fn a_write_that_the_disk_refuses_gives_up_the_reserve_and_is_tried_once_more() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let long = || vec![Report::Log { run: "r".into(), lines: vec!["x".repeat(100_000)] }];
    allow_pages(&journal, 1);
    journal.ballast().lay().unwrap();
    assert!(journal.post(long()).is_err());
    assert!(journal.is_failing(), "whoever wrote, the host is to park");
    assert!(!journal.ballast().give_up(), "it was given up, although the disk shows room");
    assert!(journal.unacknowledged().unwrap().is_empty());

    journal.ballast().lay().unwrap();
    let tries = Cell::new(0);
    let second = journal.transaction(format_args!("test"), |db| {
        tries.set(tries.get() + 1);
        if tries.get() == 2 {
            db.pragma_update(None, "max_page_count", 100_000)?;
        }
        outbox::post(db, true, long())
    });
    assert_eq!((second.unwrap().len(), tries.get()), (1, 2));
    assert!(!journal.is_failing());
}

#[test]
fn a_write_that_is_wrong_in_itself_is_no_fault_of_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    journal.ballast().lay().unwrap();
    assert!(journal.transaction(format_args!("test"), |db| Ok(db.execute("INSERT INTO none VALUES (1)", [])?)).is_err());
    assert!(journal.is_failing());
    journal.probe().unwrap();
    assert!(!journal.is_failing(), "the next write shows that the disk is well");
    assert!(journal.ballast().give_up(), "the reserve was kept");
}

#[test]
fn only_what_may_pass_is_waited_for() {
    let coded = |code| anyhow::Error::new(rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)).context("opened");
    // Full, an I/O error, that of a shared memory file without room, read-only, cannot open.
    for code in [13, 10, 4874, 8, 14] {
        assert!(may_pass(&coded(code)), "{code}");
    }
    // Damaged, no database; and a newer schema is no fault of SQLite.
    for code in [11, 26] {
        assert!(!may_pass(&coded(code)), "{code}");
    }
    assert!(!may_pass(&anyhow::anyhow!("it was written by a newer doorstep")));
}

#[test]
fn an_attempt_is_held_from_its_grant_until_the_edge_has_its_outcome() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let held = || {
        let grants = journal.held_grants().unwrap().into_iter().map(|grant| Holding { job: grant.job, attempt: grant.attempt });
        grants.chain(journal.outcomes().unwrap()).collect::<Vec<_>>()
    };
    let it = Holding { job: JobId(7), attempt: 1 };
    journal.store_grant(&grant(7, 1)).unwrap();
    assert_eq!(held(), [it]);
    let outcome = |job: Option<u64>| Report::Outcome {
        run: "r".into(),
        job: job.map(JobId),
        attempt: 1,
        state: RunState::Succeeded,
        failure: None,
        commit: None,
        at: Timestamp(2),
    };
    let ended = RunRecord { ended: Some(Timestamp(2)), state: RunState::Succeeded, point: Point::Ended, ..run("r", 7) };
    let log = Report::Log { run: "r".into(), lines: vec!["kind outcome".into()] };
    // Nobody was told yet, not even the link.
    let numbered = journal.end(&ended, vec![log, outcome(Some(7)), outcome(None)]).unwrap();
    assert_eq!(held(), [it]);
    journal.forget(numbered[1].0).unwrap();
    assert_eq!(held(), []);
}

fn outcome(job: Option<u64>) -> Report {
    Report::Outcome { run: "r".into(), job: job.map(JobId), attempt: 1, state: RunState::Succeeded, failure: None, commit: None, at: Timestamp(1) }
}

#[test]
fn no_more_is_held_than_a_hello_can_name() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    // An edge that takes no report, and grants on.
    for job in 0..HELD_MAX as u64 {
        assert!(journal.store_grant(&grant(job, 1)).unwrap());
        if job % 2 == 0 {
            journal.refuse(&run("r", job), vec![outcome(Some(job))]).unwrap();
        }
    }
    assert!(!journal.store_grant(&grant(10_000, 1)).unwrap());
    assert_eq!(journal.held_grants().unwrap().len() + journal.outcomes().unwrap().len(), HELD_MAX);
    journal.forget(journal.last_report().unwrap()).unwrap();
    assert!(journal.store_grant(&grant(10_000, 1)).unwrap());
}

#[test]
fn what_waits_for_a_lost_edge_is_bounded_and_no_outcome_of_a_job_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let log = |bytes: usize| Report::Log { run: "r".into(), lines: vec!["x".repeat(bytes)] };
    for _ in 0..16 {
        journal.post(vec![log(32 * 1024); 33]).unwrap();
    }
    assert_eq!(journal.post(vec![log(1)]).unwrap()[0].0, 0, "too many bytes");
    let waiting = journal.unacknowledged().unwrap().len();
    assert!((500..520).contains(&waiting), "{waiting}");
    // 300 runs here a report: far beyond any limit.
    let local = Report::Started { run: "r".into(), job: None, attempt: 1, project: "shop".parse().unwrap(), action: Action::Deploy, cause: Cause::Manual, service: None, at: Timestamp(1) };
    for _ in 0..150 {
        journal.post(vec![local.clone(); 300]).unwrap();
    }
    let waiting = journal.unacknowledged().unwrap().len();
    assert_eq!(waiting, 40_000);
    let kept = |report: Report| journal.post(vec![report]).unwrap()[0].0 > 0;
    assert!(!kept(log(1)) && !kept(local) && kept(outcome(None)) && kept(outcome(Some(1))));
    for _ in 0..300 {
        journal.post(vec![outcome(Some(1))]).unwrap();
    }
    assert!(!kept(outcome(None)) && kept(outcome(Some(1))));
}

#[test]
fn a_project_that_is_not_here_leaves_no_run() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    journal.store_grant(&grant(1, 1)).unwrap();
    journal.refuse(&run("a", 1), vec![outcome(Some(1))]).unwrap();
    assert_eq!((journal.run("a").unwrap(), journal.held_grants().unwrap()), (None, vec![]));
    assert_eq!(journal.outcomes().unwrap().len(), 1);
}

#[test]
fn a_process_row_that_cannot_be_read_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let row = ProcessRow { project: "shop".into(), pid: 2, start_ticks: 1, port: None, release: 1, run: None, companion: None, unit: None };
    journal.process_started(&row).unwrap();
    journal.db.borrow().execute("INSERT INTO processes (pid, project, body) VALUES (1, 'shop', '{')", []).unwrap();
    assert_eq!(journal.processes().unwrap(), [row]);
}

#[test]
fn what_became_of_a_commit_last_says_whether_it_is_bad() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let bad = || journal.bad_release_of("shop", "c").unwrap().map(|release| release.id);
    let first = journal.create_release("shop", "c", "words", 0).unwrap();
    assert!(first.is_fresh());
    assert_eq!(bad(), None);
    journal.mark_bad(&first).unwrap();
    journal.create_release("shop", "c", "words", 1).unwrap();
    assert_eq!(bad(), Some(first.id), "a try that came to nothing does not clear it");
    journal.create_release("shop", "e", "words", 0).unwrap();
    assert_eq!(bad(), Some(first.id), "nor does another release in its slot");
    let good = journal.create_release("shop", "c", "words", 2).unwrap();
    journal.switch(&run("r", 1), &good, Timestamp(5)).unwrap();
    assert_eq!(bad(), None);
    let next = journal.create_release("shop", "d", "words", 3).unwrap();
    journal.switch(&run("s", 2), &next, Timestamp(6)).unwrap();
    let all = journal.releases("shop").unwrap();
    assert_eq!(all.iter().filter(|release| release.is_fresh()).map(|release| release.id).collect::<Vec<_>>(), [2, 3], "what was live is nobody's to remove");
}

#[test]
fn the_commit_that_is_live_is_not_bad() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let bad = || journal.bad_release_of("shop", "c").unwrap().map(|release| release.id);
    let first = journal.create_release("shop", "c", "words", 0).unwrap();
    journal.switch(&run("r", 1), &first, Timestamp(1)).unwrap();
    let again = journal.create_release("shop", "c", "words", 1).unwrap();
    journal.mark_bad(&again).unwrap();
    assert_eq!(bad(), None, "a rebuild that failed its checks");
    let again = journal.create_release("shop", "c", "words", 1).unwrap();
    journal.switch(&run("s", 2), &again, Timestamp(2)).unwrap();
    let back = RunRecord { action: Action::Rollback, ..run("t", 3) };
    journal.switch(&back, &first, Timestamp(3)).unwrap();
    assert_eq!(bad(), None, "somebody named the release before the rebuild");
    let other = journal.create_release("shop", "d", "words", 2).unwrap();
    journal.switch(&run("u", 4), &other, Timestamp(4)).unwrap();
    assert_eq!(bad(), None, "it was live and good after that");
}

#[test]
fn what_was_put_back_because_of_the_network_was_never_live() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let old = journal.create_release("shop", "c", "words", 0).unwrap();
    journal.switch(&run("r", 1), &old, Timestamp(1)).unwrap();
    let new = journal.create_release("shop", "d", "words", 1).unwrap();
    journal.switch(&run("s", 2), &new, Timestamp(2)).unwrap();
    let new = journal.live_release("shop").unwrap().unwrap();
    journal.turn_back(&run("s", 2), &new, ReleaseState::Built, Timestamp(3)).unwrap();
    assert!(journal.releases("shop").unwrap()[1].is_fresh());
    assert_eq!(journal.live_release("shop").unwrap().unwrap().id, old.id);
}
