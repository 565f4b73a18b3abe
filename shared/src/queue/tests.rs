//! Rules of the queue, one story each.

mod leases;

use super::*;
use crate::ids::{Cause, FailureKind};

const T0: Timestamp = Timestamp(1_000_000);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn push(id: u64) -> Input {
    Input::Enqueue(NewJob {
        id: JobId(id),
        host: name("attic"),
        project: name("shop"),
        action: Action::Deploy,
        cause: Cause::Push,
        hint_commit: None,
        service: None,
    })
}

fn connect(queue: &mut Queue, holding: &[(u64, Attempt)], now: Timestamp) -> Vec<Output> {
    queue.handle(Input::Connected { host: name("attic"), holding: held(holding) }, now)
}

fn held(holding: &[(u64, Attempt)]) -> Vec<Holding> {
    holding.iter().map(|&(job, attempt)| Holding { job: JobId(job), attempt }).collect()
}

fn settle(queue: &mut Queue, job: u64, attempt: Attempt, verdict: Verdict, now: Timestamp) -> Vec<Output> {
    queue.handle(Input::Settle { host: name("attic"), holding: held(&[(job, attempt)])[0], verdict }, now)
}

fn failed(kind: FailureKind) -> Verdict {
    Verdict::Failed { kind, reason: "because".into() }
}

fn granted(outputs: &[Output]) -> Vec<(u64, Attempt)> {
    outputs
        .iter()
        .filter_map(|o| match o {
            Output::Grant { grant, .. } => Some((grant.job.0, grant.attempt)),
            Output::Save(_) | Output::Cancel { .. } => None,
        })
        .collect()
}

fn saved(outputs: &[Output], id: u64) -> JobState {
    let last = outputs.iter().rev().find_map(|o| match o {
        Output::Save(job) if job.id.0 == id => Some(job.state),
        Output::Save(_) | Output::Grant { .. } | Output::Cancel { .. } => None,
    });
    last.expect("the job was saved")
}

#[test]
fn a_push_for_a_host_that_is_off_waits_for_it() {
    let mut q = Queue::default();
    assert!(granted(&q.handle(push(1), T0)).is_empty());
    assert_eq!(granted(&connect(&mut q, &[], T0.plus_ms(5))), [(1, 1)]);
}

#[test]
fn one_runs_one_waits_and_the_newest_wins() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    assert_eq!(granted(&q.handle(push(1), T0)), [(1, 1)]);
    assert!(granted(&q.handle(push(2), T0)).is_empty());
    let out = q.handle(push(3), T0);
    assert_eq!(saved(&out, 2), JobState::Superseded);
    assert_eq!(granted(&settle(&mut q, 1, 1, Verdict::Done, T0)), [(3, 1)]);
}

#[test]
fn a_stale_attempt_changes_nothing() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    let again = q.handle(Input::Tick, T0.plus_ms(LEASE_MS));
    assert_eq!(granted(&again), [(1, 2)]);
    assert!(settle(&mut q, 1, 1, Verdict::Done, T0.plus_ms(LEASE_MS + 1)).is_empty());
    let out = settle(&mut q, 1, 2, Verdict::Done, T0.plus_ms(LEASE_MS + 2));
    assert_eq!(saved(&out, 1), JobState::Done);
}

#[test]
fn a_holder_that_comes_back_goes_on_with_its_attempt() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    q.handle(Input::Disconnected { host: name("attic") }, T0);
    let later = T0.plus_ms(LEASE_MS * 5);
    assert!(granted(&q.handle(Input::Tick, later)).is_empty());
    assert!(granted(&connect(&mut q, &[(1, 1)], later)).is_empty());
    assert_eq!(saved(&settle(&mut q, 1, 1, Verdict::Done, later), 1), JobState::Done);
}

#[test]
fn a_grant_that_was_lost_on_the_wire_is_granted_again() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    assert_eq!(granted(&connect(&mut q, &[], T0.plus_ms(10))), [(1, 2)]);
}

#[test]
fn what_a_host_holds_for_nothing_is_cancelled() {
    let mut q = Queue::default();
    let out = connect(&mut q, &[(9, 1)], T0);
    assert!(matches!(&out[..], [Output::Cancel { holding, .. }] if holding.job == JobId(9)));
}

#[test]
fn networks_are_tried_again_and_health_is_not() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    let mut now = T0;
    for attempt in 1..=retries(FailureKind::Network) {
        assert_eq!(saved(&settle(&mut q, 1, attempt, failed(FailureKind::Network), now), 1), saved_waiting_or_leased(&q));
        now = q.deadline().unwrap().max(now);
        q.handle(Input::Tick, now);
    }
    let out = settle(&mut q, 1, retries(FailureKind::Network) + 1, failed(FailureKind::Network), now);
    assert_eq!(saved(&out, 1), JobState::Dead);

    q.handle(push(2), now);
    assert_eq!(saved(&settle(&mut q, 2, 1, failed(FailureKind::Health), now), 2), JobState::Dead);
}

/// Fails the attempt that is leased with each of these, and says how it ended.
fn fail_with(q: &mut Queue, kinds: &[FailureKind]) -> Job {
    let mut now = T0;
    let mut last = Vec::new();
    for &kind in kinds {
        let attempt = q.jobs().next().unwrap().attempt;
        last = settle(q, 1, attempt, failed(kind), now);
        let Some(due) = q.deadline() else { break };
        now = due.max(now);
        last.extend(q.handle(Input::Tick, now));
    }
    stored(&last, 1)
}

#[test]
fn each_kind_of_failure_has_tries_of_its_own() {
    use FailureKind::{Build, Disk, Host, Network};
    let lives = [vec![Network, Build], vec![Build, Network, Network], vec![Disk, Disk, Disk, Host, Build], [vec![Build], vec![Network; 8]].concat()];
    let ends = [vec![Network, Build, Network, Build], vec![Build, Build], [vec![Network; 5], vec![Build], vec![Network; 4]].concat()];
    for kinds in &lives {
        let mut q = Queue::default();
        connect(&mut q, &[], T0);
        q.handle(push(1), T0);
        assert_eq!(fail_with(&mut q, kinds).state, JobState::Leased, "{kinds:?}");
    }
    for kinds in &ends {
        let mut q = Queue::default();
        connect(&mut q, &[], T0);
        q.handle(push(1), T0);
        let dead = fail_with(&mut q, kinds);
        assert_eq!((dead.state, dead.failures as usize), (JobState::Dead, kinds.len()), "{kinds:?}");
        assert_eq!(dead.reason.as_deref(), Some("because"), "{kinds:?}");
    }
}

#[test]
fn what_is_given_up_after_twelve_grants_says_how_they_went() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    let kinds = [vec![FailureKind::Network; 8], vec![FailureKind::Disk; 3], vec![FailureKind::Build]].concat();
    let dead = fail_with(&mut q, &kinds);
    assert_eq!(dead.reason.as_deref(), Some("granted 12 times, of which 12 failed, the last with: because"));

    let mut q = Queue::default();
    q.handle(push(1), T0);
    let mut now = T0;
    let dead = loop {
        let out = connect(&mut q, &[], now);
        if q.jobs().count() == 0 {
            break stored(&out, 1);
        }
        now = now.plus_ms(RELEASE_CAP_MS);
    };
    assert_eq!(dead.reason.as_deref(), Some("granted 12 times and never settled"));
    // A revived one has twelve more, and says nothing of those before.
    q.handle(Input::Revive(dead), now);
    let dead = fail_with(&mut q, &[FailureKind::Build, FailureKind::Build]);
    assert_eq!((dead.state, dead.reason.as_deref()), (JobState::Dead, Some("because")));
}

/// A retry of 0 ms is granted in the same turn.
fn saved_waiting_or_leased(q: &Queue) -> JobState {
    q.jobs().next().unwrap().state
}

#[test]
fn an_attempt_that_failed_is_not_taken_up_again_by_a_late_renewal() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    settle(&mut q, 1, 1, failed(FailureKind::Network), T0);
    if saved_waiting_or_leased(&q) == JobState::Leased {
        return; // The jitter was 0 ms, and the next attempt is under way.
    }
    q.handle(Input::Renew { host: name("attic"), holding: held(&[(1, 1)]) }, T0);
    assert_eq!(saved_waiting_or_leased(&q), JobState::Waiting);
    assert!(settle(&mut q, 1, 1, Verdict::Done, T0).is_empty(), "told twice");
    let due = q.deadline().unwrap();
    assert_eq!(granted(&q.handle(Input::Tick, due)), [(1, 2)]);
}

#[test]
fn a_host_that_slept_is_told_to_stop_what_was_superseded_meanwhile() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    q.handle(push(2), T0);
    let woke = T0.plus_ms(LEASE_MS);
    assert_eq!(granted(&q.handle(Input::Tick, woke)), [(2, 1)]);
    // Its socket outlived the sleep, so there is no hello.
    let out = q.handle(Input::Renew { host: name("attic"), holding: held(&[(1, 1), (2, 1)]) }, woke);
    let stopped = Output::Cancel { host: name("attic"), holding: held(&[(1, 1)])[0] };
    assert!(out.contains(&stopped), "{out:?}");
    assert_eq!(out.iter().filter(|o| matches!(o, Output::Cancel { .. })).count(), 1);
}

#[test]
fn a_retry_gives_way_to_a_newer_push() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    q.handle(push(2), T0);
    let out = settle(&mut q, 1, 1, failed(FailureKind::Network), T0);
    assert_eq!(saved(&out, 1), JobState::Superseded);
    assert_eq!(granted(&out), [(2, 1)]);
}

#[test]
fn jobs_of_a_host_that_never_comes_are_buried_with_a_reason() {
    let mut q = Queue::default();
    q.handle(push(1), T0);
    assert_eq!(q.deadline(), Some(T0.plus_ms(WAIT_MS_MAX)));
    let out = q.handle(Input::Tick, T0.plus_ms(WAIT_MS_MAX));
    assert_eq!(saved(&out, 1), JobState::Dead);
    assert_eq!(q.deadline(), None);
}

#[test]
fn cancel_advances_the_queue() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    q.handle(push(2), T0);
    let out = q.handle(Input::Cancel { job: JobId(1) }, T0);
    assert_eq!(granted(&out), [(2, 1)]);
    assert!(out.iter().any(|o| matches!(o, Output::Cancel { .. })));
}

#[test]
fn a_revoked_host_leaves_no_live_job() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    q.handle(push(2), T0);
    q.handle(Input::Revoke { host: name("attic") }, T0);
    assert_eq!(q.jobs().count(), 0);
}

#[test]
fn the_same_number_twice_is_one_job() {
    let mut q = Queue::default();
    q.handle(push(1), T0);
    assert!(q.handle(push(1), T0).is_empty());
}

#[test]
fn clicks_in_bad_faith_are_bounded() {
    let mut q = Queue::default();
    for id in 1..=100 {
        q.handle(
            Input::Enqueue(NewJob {
                id: JobId(id),
                host: name("attic"),
                project: name("shop"),
                action: Action::Restart,
                cause: Cause::Dashboard,
                hint_commit: None,
                service: None,
            }),
            T0,
        );
    }
    assert_eq!(q.jobs().count(), LIVE_JOBS_PER_PROJECT_MAX);
}

fn renew(queue: &mut Queue, job: u64, attempt: Attempt, now: Timestamp) -> Vec<Output> {
    queue.handle(Input::Renew { host: name("attic"), holding: held(&[(job, attempt)]) }, now)
}

fn stored(outputs: &[Output], id: u64) -> Job {
    let last = outputs.iter().rev().find_map(|o| match o {
        Output::Save(job) if job.id.0 == id => Some(job.clone()),
        Output::Save(_) | Output::Grant { .. } | Output::Cancel { .. } => None,
    });
    last.expect("the job was saved")
}

#[test]
fn a_dead_job_is_revived_with_all_its_tries_and_a_new_fence() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    let dead = stored(&settle(&mut q, 1, 1, failed(FailureKind::Health), T0), 1);
    let later = T0.plus_ms(WAIT_MS_MAX + 1);
    let revived = q.handle(Input::Revive(dead.clone()), later);
    assert_eq!(granted(&revived), [(1, 3)]);
    assert!(settle(&mut q, 1, 1, Verdict::Done, later).is_empty(), "an outcome of its former life");
    assert!(q.handle(Input::Revive(dead), later).is_empty(), "it lives already");
    let mut now = later;
    for attempt in 3..3 + retries(FailureKind::Network) {
        assert_ne!(saved(&settle(&mut q, 1, attempt, failed(FailureKind::Network), now), 1), JobState::Dead);
        now = q.deadline().unwrap().max(now);
        q.handle(Input::Tick, now);
    }
}

#[test]
fn a_revived_deploy_takes_the_place_of_older_ones_and_gives_way_to_newer_ones() {
    let mut q = Queue::default();
    let dead = Job { state: JobState::Dead, ..stored(&q.handle(push(2), T0), 2) };
    q.handle(Input::Cancel { job: JobId(2) }, T0);
    q.handle(push(1), T0);
    let out = q.handle(Input::Revive(dead.clone()), T0);
    assert_eq!((saved(&out, 1), saved(&out, 2)), (JobState::Superseded, JobState::Waiting));
    q.handle(Input::Cancel { job: JobId(2) }, T0);
    q.handle(push(3), T0);
    assert_eq!(saved(&q.handle(Input::Revive(dead), T0), 2), JobState::Superseded);
}

#[test]
fn a_revived_deploy_gives_way_when_the_newer_one_that_runs_waits_again() {
    let ways: [fn(&mut Queue) -> Vec<Output>; 3] = [
        |q| settle(q, 2, 1, failed(FailureKind::Network), T0),
        |q| connect(q, &[], T0),
        |q| q.handle(Input::Tick, T0.plus_ms(LEASE_MS)),
    ];
    for waits_again in ways {
        let mut q = Queue::default();
        q.handle(push(1), T0);
        let dead = stored(&q.handle(Input::Cancel { job: JobId(1) }, T0), 1);
        q.handle(push(2), T0);
        connect(&mut q, &[], T0);
        q.handle(Input::Revive(dead), T0);
        let out = waits_again(&mut q);
        assert_eq!(saved(&out, 1), JobState::Superseded);
        assert_eq!(q.jobs().map(|job| job.id).collect::<Vec<_>>(), [JobId(2)]);
    }
}

#[test]
fn only_the_dead_are_revived() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    let done = stored(&settle(&mut q, 1, 1, Verdict::Done, T0), 1);
    assert!(q.handle(Input::Revive(done), T0).is_empty());
}

#[test]
fn a_parked_host_is_granted_nothing_and_loses_nothing() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    q.handle(Input::Parked { host: name("attic"), parked: true }, T0);
    let out = settle(&mut q, 1, 1, failed(FailureKind::Disk), T0);
    assert_eq!(saved(&out, 1), JobState::Waiting);
    q.handle(push(2), T0);
    let days = T0.plus_ms(WAIT_MS_MAX - 1);
    assert!(granted(&q.handle(Input::Tick, days)).is_empty());
    assert_eq!(granted(&q.handle(Input::Parked { host: name("attic"), parked: false }, days)), [(2, 1)]);
}

#[test]
fn what_runs_without_end_is_stopped_and_buried() {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    q.handle(push(2), T0);
    let mut now = T0;
    let out = loop {
        now = now.plus_ms(RENEW_MS);
        let out = renew(&mut q, 1, 1, now);
        if !q.jobs().any(|job| job.id == JobId(1)) {
            break out;
        }
    };
    assert_eq!(now.ms_since(T0), RUN_MS_MAX);
    assert_eq!(saved(&out, 1), JobState::Dead);
    assert!(out.iter().any(|o| matches!(o, Output::Cancel { holding, .. } if holding.job == JobId(1))));
    assert_eq!(granted(&out), [(2, 1)]);
}

#[test]
fn a_row_of_an_older_build_is_read_and_not_given_up_for_what_it_lacks() {
    let row = format!(
        r#"{{"id":1,"host":"attic","project":"shop","action":"deploy","cause":"push","hint_commit":null,"state":"leased","attempt":1,"failures":0,"created":{0},"not_before":{0},"lease_until":{1},"reason":null}}"#,
        T0.0,
        T0.0 + LEASE_MS
    );
    let mut q = Queue::load([serde_json::from_str(&row).unwrap()], [name("attic")]);
    assert!(q.handle(Input::Tick, T0).is_empty());
    assert_eq!(q.deadline(), Some(T0.plus_ms(LEASE_MS)));
    assert_eq!(saved(&settle(&mut q, 1, 1, Verdict::Done, T0), 1), JobState::Done);
}

#[test]
fn grants_that_are_let_go_again_and_again_come_slower() {
    let mut q = Queue::default();
    q.handle(push(1), T0);
    let mut now = T0;
    let mut grants = 0;
    while grants < ATTEMPTS_MAX {
        let out = connect(&mut q, &[], now);
        grants += u32::try_from(granted(&out).len()).unwrap();
        now = now.plus_ms(50);
    }
    // The first two come at once; the ceilings of the others add up to five
    // minutes, and full jitter takes about half.
    assert!(now.ms_since(T0) > 60_000, "{} ms", now.ms_since(T0));
}

/// Found by fuzzing: the next one waited for a deadline that had passed.
#[test]
fn a_job_that_is_buried_makes_way_in_the_same_turn() {
    let mut q = Queue::default();
    q.handle(push(1), T0);
    let restart = NewJob {
        id: JobId(2),
        host: name("attic"),
        project: name("shop"),
        action: Action::Restart,
        cause: Cause::Dashboard,
        hint_commit: None,
        service: None,
    };
    q.handle(Input::Enqueue(restart), T0);
    connect(&mut q, &[], T0);
    let mut now = T0;
    let mut outputs = Vec::new();
    while q.jobs().any(|job| job.id == JobId(1)) {
        now = q.deadline().unwrap();
        outputs = q.handle(Input::Tick, now);
    }
    assert_eq!(saved(&outputs, 1), JobState::Dead);
    assert_eq!(granted(&outputs), [(2, 1)]);
    assert!(q.deadline().unwrap() > now);
}

/// Found by fuzzing: it was buried a turn later, at a deadline that had passed.
#[test]
fn a_lease_that_ran_out_after_14_days_is_buried_in_the_same_turn() {
    let mut q = Queue::default();
    q.handle(push(1), T0);
    let now = T0.plus_ms(WAIT_MS_MAX - 1);
    assert_eq!(granted(&connect(&mut q, &[], now)), [(1, 1)]);
    q.handle(Input::Disconnected { host: name("attic") }, now);
    let outputs = q.handle(Input::Tick, now.plus_ms(LEASE_MS));
    assert_eq!(saved(&outputs, 1), JobState::Dead);
    assert_eq!(q.deadline(), None);
}
