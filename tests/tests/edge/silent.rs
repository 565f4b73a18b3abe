//! A host that falls silent without closing its socket: a power cut, a laptop
//! that sleeps.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use doorstep_tests::{Edge, FakeExecutor, Heard, Socket, project, wait};

/// A host is offline after 45 s of silence.
const SILENT_WITHIN: Duration = Duration::from_secs(70);
/// What the clocks of a beat's two ends may differ by on one machine, with a
/// machine that is slow in between.
const CLOSE_MS: u64 = 4_000;

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test]
async fn it_was_last_seen_when_it_was_last_heard() {
    let edge = Edge::start().await;
    let host = FakeExecutor::new(&edge, "attic");
    host.join(&edge.enroll().await).await.unwrap();
    let mut session = host.connect(&[project("shop", "me/shop")]).await;
    // It beats for a while, so that its greeting is no longer when it was last heard.
    let begun = Instant::now();
    let mut beaten_at = now_ms();
    while begun.elapsed() < Duration::from_secs(5) {
        session.socket.beat().await;
        beaten_at = now_ms();
    }
    let look = async || edge.host("attic").await.unwrap();
    wait::until_within(SILENT_WITHIN, "it to be offline", look, |host| host["online"] == false).await;
    // A stranger that says nothing has the hub look at its sockets.
    let _stranger = Socket::dial(&edge).await;
    let ends = session.socket.hear_out().await;
    assert_eq!(ends.last(), Some(&Heard::Closed(1001)), "{ends:?}");
    drop(session);
    // That its socket ended is told, and changes nothing of that.
    let gone = FakeExecutor::new(&edge, "other");
    gone.join(&edge.enroll().await).await.unwrap();
    let seen = look().await;
    let last_seen = seen["last_seen"].as_u64().unwrap();
    assert!(last_seen.abs_diff(beaten_at) < CLOSE_MS, "last heard at {beaten_at}: {seen}");
}
