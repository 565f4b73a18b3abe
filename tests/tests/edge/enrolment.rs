//! How hosts become known, prove who they are, and are cut.

use std::time::Duration;

use doorstep_shared::ids::Action;
use doorstep_shared::protocol::{Refusal, ToEdge, ToExecutor};
use doorstep_tests::{Edge, FakeExecutor, GitHub, Heard, Push, Socket, WEBHOOK_SECRET, project, wait};

use crate::shared_edge;

#[tokio::test]
async fn a_code_enrols_one_host_once() {
    let edge = shared_edge().await;
    let code = edge.enroll().await;
    let first = FakeExecutor::new(&edge, "once-1");
    first.join(&format!(" {} ", code.to_lowercase())).await.unwrap();
    assert_eq!(FakeExecutor::new(&edge, "once-2").join(&code).await, Err(Refusal::BadCode));
    assert!(edge.host("once-2").await.is_none());
    drop(first.connect(&[]).await);
    let host = edge.host("once-1").await.unwrap();
    assert!(host["enrolled"].as_u64().is_some_and(|at| at > 1_700_000_000_000), "{host}");
}

#[tokio::test]
async fn fifty_hosts_at_once_share_no_code() {
    let edge = shared_edge().await;
    let code = edge.enroll().await;
    let hosts: Vec<_> = (0..50).map(|number| FakeExecutor::new(&edge, &format!("rush-{number}"))).collect();
    let joined = futures_util::future::join_all(hosts.iter().map(|host| host.join(&code))).await;
    assert_eq!(joined.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

#[tokio::test]
async fn a_code_is_void_after_five_wrong_guesses() {
    let edge = shared_edge().await;
    let (code, other) = (edge.enroll().await, edge.enroll().await);
    let host = FakeExecutor::new(&edge, "guessed");
    // Another last letter, of those that codes are made of.
    let last = if code.ends_with('Z') { "Y" } else { "Z" };
    let wrong = format!("{}{last}", &code[..code.len() - 1]);
    for _ in 0..5 {
        assert_eq!(host.join(&wrong).await, Err(Refusal::BadCode));
    }
    assert_eq!(host.join(&code).await, Err(Refusal::BadCode), "now the right one is void too");
    FakeExecutor::new(&edge, "not-guessed").join(&other).await.unwrap();
    for garbage in ["", "-", "no code", &"X".repeat(1_000), "22222-22222222222", "2222-222222222222"] {
        assert_eq!(host.join(garbage).await, Err(Refusal::BadCode), "{garbage}");
    }
}

#[tokio::test]
async fn a_name_has_one_host() {
    let edge = shared_edge().await;
    let first = edge.enrolled("taken").await;
    let code = edge.enroll().await;
    assert_eq!(FakeExecutor::new(&edge, "taken").join(&code).await, Err(Refusal::NameTaken));
    // The code is still good, for another name.
    FakeExecutor::new(&edge, "not-taken").join(&code).await.unwrap();
    drop(first.connect(&[]).await);
}

#[tokio::test]
async fn a_host_proves_that_it_holds_its_key() {
    let edge = shared_edge().await;
    let code = edge.enroll().await;
    let (host, thief) = (FakeExecutor::new(&edge, "proof"), FakeExecutor::new(&edge, "proof"));
    // The public key of one, signed by another.
    let mut socket = Socket::dial(&edge).await;
    let ToEdge::Join { signature, .. } = thief.join_frame(&code, &socket.nonce) else { unreachable!() };
    let frame = ToEdge::Join { code: code.clone(), host: host.name.clone(), public_key: host.public_key(), signature };
    socket.send(&frame).await;
    assert_eq!(socket.refusal().await, Refusal::NotAuthorised);
    // A signature of another connection's challenge.
    let old = Socket::dial(&edge).await.nonce;
    let mut socket = Socket::dial(&edge).await;
    socket.send(&host.join_frame(&code, &old)).await;
    assert_eq!(socket.refusal().await, Refusal::NotAuthorised);
    host.join(&code).await.unwrap();

    let mut stolen = thief.hello(&[], &[]).await;
    assert_eq!(stolen.refusal().await, Refusal::NotAuthorised);
    let mut replayed = Socket::dial(&edge).await;
    assert_ne!(replayed.nonce, old, "every connection has a challenge of its own");
    replayed.send(&host.hello_frame(&old, &[], &[])).await;
    assert_eq!(replayed.refusal().await, Refusal::NotAuthorised);
    let mut unknown = FakeExecutor::new(&edge, "never-enrolled").hello(&[], &[]).await;
    assert_eq!(unknown.refusal().await, Refusal::Unknown, "it may be this edge that forgot");
}

#[tokio::test]
async fn a_revoked_host_is_cut_at_once_and_stays_out() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let host = edge.enrolled("revoked").await;
    let projects = [project("revoked", "revoked/shop")];
    let mut session = host.connect(&projects).await;
    edge.deliver(&github.push("revoked/shop", Push::to("main"))).await;
    let grant = session.grant().await;
    assert_eq!(edge.api("DELETE", "/api/hosts/revoked").await.status, 200);
    // It does not listen, and goes on to report.
    session.tell(1, crate::reports::started("revoked-run", "revoked", Some(&grant))).await;
    session.socket.send(&ToEdge::Projects { projects: projects.to_vec() }).await;
    let heard = session.socket.hear_out().await;
    let refused = matches!(&heard[0], Heard::Frame(ToExecutor::Refuse { refusal: Refusal::NotAuthorised, .. }));
    assert!(refused && heard[1] == Heard::Closed(4000) && heard.len() == 2, "{heard:?}");

    assert!(edge.host("revoked").await.is_none());
    let after = edge.get("/api/projects").await.to_string();
    assert!(!after.contains("revoked/shop"), "its projects are gone: {after}");
    assert_eq!(edge.api("GET", "/api/runs/revoked-run").await.status, 404, "and nothing is taken from it");
    let mut again = host.hello(&[], &projects).await;
    assert_eq!(again.refusal().await, Refusal::NotAuthorised);
    let push = github.push("revoked/shop", Push::to("main"));
    assert_eq!(edge.deliver(&push).await.json()["status"], "ignored");
    assert_eq!(edge.api("DELETE", "/api/hosts/revoked").await.status, 404);

    // The name is free; the old key does not open it.
    let heir = edge.enrolled("revoked").await;
    assert_eq!(host.hello(&[], &projects).await.refusal().await, Refusal::NotAuthorised);
    drop(heir.connect(&projects).await);
}

#[tokio::test]
async fn a_newer_connection_takes_over() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let host = edge.enrolled("replaced").await;
    let projects = [project("replaced", "replaced/shop")];
    let mut older = host.connect(&projects).await;
    let mut newer = host.connect(&projects).await;
    // The older one has not noticed, and goes on to report.
    older.tell(1, crate::reports::started("replaced-run", "replaced", None)).await;
    assert_eq!(older.socket.refusal().await, Refusal::Replaced);
    edge.deliver(&github.push("replaced/shop", Push::to("main"))).await;
    assert_eq!(newer.grant().await.attempt, 1);
    drop(older);
    assert_eq!(newer.socket.beat().await, Heard::Pong);
    edge.sees_host("replaced", true).await;
    assert_eq!(edge.api("GET", "/api/runs/replaced-run").await.status, 404, "nothing is taken from the older one");
}

#[tokio::test]
async fn a_stranger_that_says_nothing_is_cut() {
    let edge = Edge::start().await;
    let mut socket = Socket::dial(&edge).await;
    // It has ten seconds.
    let heard = async || socket.hear().await;
    let within = Duration::from_secs(16);
    wait::until_within(within, "the stranger to be cut", heard, |heard| matches!(heard, Heard::Closed(1008))).await;
}

#[tokio::test]
async fn junk_ends_the_connection_and_nothing_else() {
    let edge = shared_edge().await;
    let long = format!("\"{}\"", "x".repeat(300 * 1024));
    let host = edge.enrolled("junk").await;
    for junk in ["", "hello", "{}", "[]", "null", r#"{"type":"exec","command":"id"}"#, r#"{"type":"renew"}"#, &long] {
        let mut stranger = Socket::dial(&edge).await;
        stranger.send_text(junk).await;
        assert_eq!(stranger.refusal().await, Refusal::Protocol, "{:.40}", junk);
        let mut session = host.connect(&[]).await;
        session.socket.send_text(junk).await;
        assert_eq!(session.socket.refusal().await, Refusal::Protocol, "{:.40}", junk);
    }
    let mut binary = Socket::dial(&edge).await;
    binary.send_binary(b"\x00\xff{}").await;
    assert_eq!(binary.refusal().await, Refusal::Protocol);
    drop(host.connect(&[]).await);
}

#[tokio::test]
async fn frames_out_of_order_are_refused() {
    let edge = shared_edge().await;
    let host = edge.enrolled("disorder").await;
    let report = ToEdge::Report { seq: 1, report: crate::reports::started("disorder-run", "disorder", None) };
    for frame in [report, ToEdge::Renew { holding: Vec::new() }, ToEdge::Projects { projects: Vec::new() }] {
        let mut stranger = Socket::dial(&edge).await;
        stranger.send(&frame).await;
        assert_eq!(stranger.refusal().await, Refusal::Protocol, "{frame:?} of a stranger");
    }
    let mut session = host.connect(&[]).await;
    let again = host.hello_frame(&session.socket.nonce, &[], &[]);
    session.socket.send(&again).await;
    assert_eq!(session.socket.refusal().await, Refusal::Protocol, "a second hello");
    let mut session = host.connect(&[]).await;
    let code = edge.enroll().await;
    let join = host.join_frame(&code, &session.socket.nonce);
    session.socket.send(&join).await;
    assert_eq!(session.socket.refusal().await, Refusal::Protocol, "a join after the hello");
    assert_eq!(edge.api("GET", "/api/runs/disorder-run").await.status, 404);
}

#[tokio::test]
async fn a_version_that_nobody_speaks_is_said() {
    let edge = shared_edge().await;
    let host = edge.enrolled("versions").await;
    for version in [0, 999] {
        let mut socket = Socket::dial(&edge).await;
        let mut frame = host.hello_frame(&socket.nonce, &[], &[]);
        if let ToEdge::Hello { version: said, .. } = &mut frame {
            *said = version;
        }
        socket.send(&frame).await;
        assert_eq!(socket.refusal().await, Refusal::Version);
    }
}

#[tokio::test]
async fn what_a_host_announces_is_what_is_shown() {
    let edge = shared_edge().await;
    let host = edge.enrolled("announcer").await;
    let mut session = host.connect(&[project("one", "announced/one"), project("two", "announced/two")]).await;
    let names = async || -> Vec<String> {
        let all = edge.get("/api/projects").await;
        let ours = all["projects"].as_array().unwrap().iter().filter(|project| project["host"] == "announcer");
        ours.map(|project| project["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names().await, ["one", "two"]);
    let mut three = project("three", "announced/three");
    three.remote = vec![Action::Fetch];
    session.socket.send(&ToEdge::Projects { projects: vec![project("two", "announced/two"), three] }).await;
    let shown = wait::until("the new list", names, |names| names.iter().any(|name| name == "three")).await;
    assert_eq!(shown, ["three", "two"]);
    drop(session);
    edge.sees_host("announcer", false).await;
    assert_eq!(names().await, ["three", "two"], "the last known state outlives the connection");
}

#[tokio::test]
async fn codes_do_not_pile_up() {
    let edge = Edge::start().await;
    for _ in 0..20 {
        edge.enroll().await;
    }
    let answer = edge.api("POST", "/api/hosts/enrollments").await;
    assert_eq!((answer.status, answer.error().as_str()), (429, "too_many_codes"));
}
