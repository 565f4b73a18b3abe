//! Rules of the link, one story each.

use super::*;
use crate::protocol::Grant;

const T0: Timestamp = Timestamp(1_000_000);

fn log(seq: u64) -> Input {
    Input::Post { seq, report: Report::Log { run: "r".into(), lines: vec![seq.to_string()] } }
}

fn up(link: &mut Link, now: Timestamp, acknowledged: u64) -> Vec<Output> {
    link.handle(Input::Start, now);
    link.handle(Input::Opened, now);
    link.handle(Input::Frame(ToExecutor::Challenge { nonce: "n".into(), version: 1, version_min: 1 }), now);
    link.handle(Input::Frame(ToExecutor::Welcome { acknowledged, lease_ms: 60_000 }), now)
}

fn sent(outputs: &[Output]) -> Vec<u64> {
    let seq = |o: &Output| match o {
        Output::Send(ToEdge::Report { seq, .. }) => Some(*seq),
        _ => None,
    };
    outputs.iter().filter_map(seq).collect()
}

#[test]
fn reports_wait_for_the_link_and_are_sent_again_until_acknowledged() {
    let mut link = Link::new(1, []);
    for seq in 1..=3 {
        assert!(link.handle(log(seq), T0).is_empty());
    }
    assert_eq!(sent(&up(&mut link, T0, 1)), [2, 3]);
    link.handle(Input::Closed { reason: "cut".into() }, T0);
    let dial_at = link.deadline().unwrap();
    assert_eq!(link.handle(Input::Tick, dial_at), [Output::Dial]);
    link.handle(Input::Opened, dial_at);
    assert_eq!(sent(&link.handle(Input::Frame(ToExecutor::Welcome { acknowledged: 2, lease_ms: 1 }), dial_at)), [3]);
    let out = link.handle(Input::Frame(ToExecutor::Acknowledge { seq: 3 }), dial_at);
    assert_eq!(out, [Output::Forget { seq: 3 }]);
    assert_eq!(link.unacknowledged(), 0);
}

#[test]
fn a_window_bounds_what_is_in_flight() {
    let mut link = Link::new(1, []);
    for seq in 1..=200 {
        link.handle(log(seq), T0);
    }
    assert_eq!(sent(&up(&mut link, T0, 0)).len(), WINDOW);
    let out = link.handle(Input::Frame(ToExecutor::Acknowledge { seq: 10 }), T0);
    assert_eq!(sent(&out), (65..=74).collect::<Vec<_>>());
}

#[test]
fn silence_is_found_within_forty_seconds() {
    let mut link = Link::new(1, []);
    up(&mut link, T0, 0);
    let found = loop {
        let now = link.deadline().unwrap();
        if matches!(link.handle(Input::Tick, now)[..], [Output::Hangup { .. }]) {
            break now;
        }
    };
    assert!(found.ms_since(T0) <= 40_000);
}

#[test]
fn grants_that_come_while_nothing_gets_through_do_not_hide_the_silence() {
    let mut link = Link::new(1, []);
    up(&mut link, T0, 0);
    let grant = Grant { job: crate::ids::JobId(1), attempt: 1, project: "shop".parse().unwrap(), action: crate::ids::Action::Deploy, cause: crate::ids::Cause::Push, hint_commit: None, service: None };
    for now in (0..=SILENCE_MS_MAX).step_by(1_000).map(|ms| T0.plus_ms(ms)) {
        link.handle(Input::Frame(ToExecutor::Grant { grant: grant.clone() }), now);
        link.handle(Input::Tick, now);
    }
    assert!(!link.is_up());
}

#[test]
fn a_pong_keeps_it_up() {
    let mut link = Link::new(1, []);
    up(&mut link, T0, 0);
    for _ in 0..100 {
        let now = link.deadline().unwrap();
        assert_eq!(link.handle(Input::Tick, now), [Output::Ping]);
        link.handle(Input::Pong, now);
    }
    assert!(link.is_up());
}

#[test]
fn revoked_means_stop() {
    let mut link = Link::new(1, []);
    up(&mut link, T0, 0);
    let refuse = ToExecutor::Refuse { refusal: Refusal::NotAuthorised, message: "revoked".into() };
    let out = link.handle(Input::Frame(refuse), T0);
    assert!(out.iter().any(|o| matches!(o, Output::Refused { .. })));
    assert_eq!(link.deadline(), None);
    assert!(link.handle(Input::Start, T0).is_empty());
}

#[test]
fn dials_back_off_and_stay_under_a_minute() {
    let mut link = Link::new(7, []);
    link.handle(Input::Start, T0);
    let mut now = T0;
    for _ in 0..50 {
        link.handle(Input::Closed { reason: "refused".into() }, now);
        let at = link.deadline().unwrap();
        assert!(at.ms_since(now) <= DIAL_CAP_MS);
        now = at;
        assert_eq!(link.handle(Input::Tick, now), [Output::Dial]);
    }
}

/// The longest wait for the next dial in many tries of this.
fn longest_wait(mut ends: impl FnMut(&mut Link, Timestamp)) -> u64 {
    let mut link = Link::new(7, []);
    link.handle(Input::Start, T0);
    let (mut now, mut longest) = (T0, 0);
    for _ in 0..500 {
        ends(&mut link, now);
        let at = link.deadline().unwrap();
        longest = longest.max(at.ms_since(now));
        now = at;
        assert_eq!(link.handle(Input::Tick, now), [Output::Dial]);
    }
    longest
}

#[test]
fn where_nobody_answers_the_wait_stays_short_and_differs() {
    let unreachable = || Input::Unreachable { reason: "no route".into() };
    let longest = longest_wait(|link, now| {
        link.handle(unreachable(), now);
    });
    assert!((UNREACHABLE_CAP_MS * 9 / 10..=UNREACHABLE_CAP_MS).contains(&longest), "{longest}");
    // An edge that answers again and lets nobody in is spared from the start.
    let mut link = Link::new(7, []);
    link.handle(Input::Start, T0);
    for _ in 0..20 {
        link.handle(Input::Closed { reason: "503".into() }, T0);
        link.handle(Input::Tick, link.deadline().unwrap());
    }
    link.handle(unreachable(), T0);
    link.handle(Input::Tick, link.deadline().unwrap());
    link.handle(Input::Closed { reason: "503".into() }, T0);
    assert!(link.deadline().unwrap().ms_since(T0) <= DIAL_BASE_MS);
}

#[test]
fn links_that_come_up_and_are_lost_at_once_are_dialled_ever_more_seldom() {
    let challenge = || Input::Frame(ToExecutor::Challenge { nonce: "n".into(), version: 1, version_min: 1 });
    let comes_up = |link: &mut Link, now| {
        link.handle(Input::Opened, now);
        link.handle(challenge(), now);
        link.handle(Input::Frame(ToExecutor::Welcome { acknowledged: 0, lease_ms: 1 }), now);
        link.handle(Input::Closed { reason: "reset".into() }, now);
    };
    let mut lost = 0;
    let first_ten = longest_wait(|link, now| {
        lost += 1;
        if lost <= 10 { comes_up(link, now) } else { drop(link.handle(Input::Unreachable { reason: String::new() }, now)) }
    });
    assert!(first_ten <= 4 * DIAL_BASE_MS, "a network that comes and goes: {first_ten}");
    assert!(longest_wait(comes_up) > DIAL_CAP_MS / 2, "an edge that lets hosts in and fails over them");
}

#[test]
fn a_dial_that_never_answers_is_given_up() {
    let mut link = Link::new(7, []);
    link.handle(Input::Start, T0);
    let out = link.handle(Input::Tick, T0.plus_ms(HANDSHAKE_MS_MAX));
    assert!(matches!(out[..], [Output::Hangup { .. }]));
    assert_eq!(link.handle(Input::Opened, T0.plus_ms(HANDSHAKE_MS_MAX)), [hangup("nobody waits for this socket")]);
}

fn challenge(link: &mut Link, version: u16, version_min: u16) -> Vec<Output> {
    link.handle(Input::Start, T0);
    link.handle(Input::Opened, T0);
    link.handle(Input::Frame(ToExecutor::Challenge { nonce: "n".into(), version, version_min }), T0)
}

#[test]
fn the_newest_version_that_both_know_is_spoken() {
    for (version, version_min, spoken) in [(VERSION - 1, 1, VERSION - 1), (VERSION, VERSION - 1, VERSION), (VERSION + 1, VERSION, VERSION)] {
        let mut link = Link::new(1, []);
        assert_eq!(challenge(&mut link, version, version_min), [Output::Authenticate { nonce: "n".into() }]);
        assert_eq!(link.version(), spoken);
    }
}

#[test]
fn without_a_version_in_common_it_says_so_and_dials_again_later() {
    for (version, version_min) in [(VERSION_MIN - 1, 0), (VERSION + 2, VERSION + 1)] {
        let mut link = Link::new(1, []);
        let out = challenge(&mut link, version, version_min);
        assert!(matches!(&out[..], [Output::Hangup { .. }, Output::Refused { refusal: Refusal::Version, .. }]), "{out:?}");
        let dial_at = link.deadline().expect("somebody may update the edge");
        assert!(dial_at.ms_since(T0) <= UPDATE_MS);
        assert_eq!(link.handle(Input::Tick, dial_at), [Output::Dial]);
    }
}

#[test]
fn a_refusal_for_the_version_is_dialled_again_seldom_and_at_different_times() {
    let wait = |seed| {
        let mut link = Link::new(seed, []);
        up(&mut link, T0, 0);
        let refuse = ToExecutor::Refuse { refusal: Refusal::Version, message: "too old".into() };
        let out = link.handle(Input::Frame(refuse), T0);
        assert!(matches!(&out[..], [Output::Hangup { .. }, Output::Refused { refusal: Refusal::Version, .. }]), "{out:?}");
        let dial_at = link.deadline().expect("somebody may update the edge");
        assert_eq!(link.handle(Input::Tick, dial_at), [Output::Dial]);
        // The edge was updated meanwhile.
        assert!(matches!(up(&mut link, dial_at, 0)[..], [Output::Up { .. }]));
        dial_at.ms_since(T0)
    };
    let waits: Vec<u64> = (0..50).map(wait).collect();
    assert!(waits.iter().all(|ms| *ms <= UPDATE_MS));
    assert!(waits.iter().sum::<u64>() / 50 > UPDATE_MS / 4, "seldom: {waits:?}");
}

#[test]
fn a_journal_that_was_put_back_is_noticed_and_named_anew() {
    let mut link = Link::new(1, []).with_last_report(4);
    link.handle(log(5), T0);
    let out = up(&mut link, T0, 6);
    assert!(matches!(&out[..], [Output::Outrun { acknowledged: 6 }, Output::Hangup { .. }]), "{out:?}");
    assert_eq!(link.unacknowledged(), 1, "nothing is taken for acknowledged");
    let dial_at = link.deadline().unwrap();
    link.handle(Input::Tick, dial_at);
    assert_eq!(sent(&up(&mut link, dial_at, 0)), [5]);
    // What was made since and never sent is not what the hub knows.
    let mut busy = Link::new(1, []).with_last_report(4);
    for seq in 5..=8 {
        busy.handle(log(seq), T0);
    }
    assert!(matches!(up(&mut busy, T0, 6)[..], [Output::Outrun { acknowledged: 6 }, Output::Hangup { .. }]));
    // What was sent once may be known after the next dial.
    let mut sent_before = Link::new(1, []).with_last_report(0);
    up(&mut sent_before, T0, 0);
    sent_before.handle(log(1), T0);
    sent_before.handle(Input::Closed { reason: "cut".into() }, T0);
    assert!(matches!(up(&mut sent_before, T0, 1)[..], [Output::Up { .. }, Output::Forget { seq: 1 }]));
    let mut whole = Link::new(1, []).with_last_report(6);
    assert!(matches!(up(&mut whole, T0, 6)[..], [Output::Up { .. }]));
}
