//! How long a lease lasts, what a renewal writes, and what a late edge forgives.

use super::*;

#[test]
fn a_running_job_costs_one_row_a_minute_and_two_renewals_may_be_lost() {
    for parked in [false, true] {
        let mut q = Queue::default();
        connect(&mut q, &[], T0);
        q.handle(push(1), T0);
        q.handle(Input::Parked { host: name("attic"), parked }, T0);
        let minutes = 30;
        let mut now = T0;
        let mut rows = 0;
        for _ in 0..minutes * 60_000 / RENEW_MS {
            now = now.plus_ms(RENEW_MS);
            let before = q.clone();
            let out = renew(&mut q, 1, 1, now);
            assert!(!out.is_empty() || format!("{before:?}") == format!("{q:?}"), "what is not written does not change");
            rows += out.len();
            let left_ms = q.jobs().next().unwrap().lease_until.ms_since(now);
            assert!(left_ms > 2 * RENEW_MS || !out.is_empty(), "{left_ms} ms are left");
        }
        assert_eq!(rows as u64, minutes, "parked: {parked}");
        // Two are lost after the worst moment, and the third comes a little late.
        let lost = now.plus_ms(2 * RENEW_MS).plus_ms(3 * RENEW_MS - 1);
        q.handle(Input::Tick, lost);
        assert_eq!(q.jobs().next().unwrap().attempt, 1);
    }
}

/// An edge that comes back after so long, with a host that holds what it held.
fn paused(ms: u64) -> (Queue, Timestamp) {
    let mut q = Queue::default();
    connect(&mut q, &[], T0);
    q.handle(push(1), T0);
    q.handle(push(2), T0);
    (q, T0.plus_ms(ms))
}

#[test]
fn a_late_edge_lets_leases_go_on_until_their_hosts_can_renew() {
    for first in [Input::Tick, push(3), Input::Disconnected { host: name("attic") }] {
        let (mut q, woke) = paused(5 * LEASE_MS);
        let out = q.handle(first, woke);
        assert!(granted(&out).is_empty());
        assert_eq!(saved(&out, 1), JobState::Leased, "and that is a row");
        assert_eq!(q.deadline(), Some(woke.plus_ms(GRACE_MS)));
        // The host renews on the socket that it has, or says hello on a new one.
        let out = renew(&mut q, 1, 1, woke.plus_ms(RENEW_MS));
        assert_eq!(stored(&out, 1).lease_until, woke.plus_ms(RENEW_MS + LEASE_MS));
        assert!(connect(&mut q, &[(1, 1)], woke.plus_ms(RENEW_MS)).is_empty());
    }
}

#[test]
fn a_lease_is_let_go_on_once_and_never_on_time() {
    let (mut q, on_time) = paused(LEASE_MS);
    assert_eq!(granted(&q.handle(Input::Tick, on_time)), [(2, 1)]);
    let (mut q, woke) = paused(5 * LEASE_MS);
    q.handle(Input::Tick, woke);
    // The edge sleeps again, and nobody renewed.
    assert_eq!(granted(&q.handle(Input::Tick, woke.plus_ms(5 * LEASE_MS))), [(2, 1)]);
    // A renewal makes it a lease like any other.
    let (mut q, woke) = paused(5 * LEASE_MS);
    q.handle(Input::Tick, woke);
    renew(&mut q, 1, 1, woke);
    let out = q.handle(Input::Tick, woke.plus_ms(5 * LEASE_MS));
    assert_eq!((saved(&out, 1), granted(&out).len()), (JobState::Leased, 0));
}

#[test]
fn a_run_that_is_too_long_is_not_let_go_on() {
    let (mut q, woke) = paused(RUN_MS_MAX);
    assert_eq!(granted(&q.handle(Input::Tick, woke)), [(2, 1)]);
}
