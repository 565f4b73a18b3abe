//! What one that is wrong, hostile or many does to the others: nothing.

use doorstep_shared::ids::RunState;
use doorstep_shared::protocol::{Report, ToEdge};
use doorstep_tests::{Edge, GitHub, Heard, Push, Raw, Socket, WEBHOOK_SECRET, project, wait};
use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::reports::{outcome, started};

/// Nothing that names this repository can be stored from now on.
fn refuse_to_store(edge: &Edge, repo: &str) {
    edge.meddle(&format!("CREATE TRIGGER no BEFORE INSERT ON events WHEN NEW.repo = '{repo}' BEGIN SELECT RAISE(ABORT, 'it cannot be stored'); END"));
}

#[tokio::test]
async fn what_cannot_be_stored_fails_alone() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    refuse_to_store(&edge, "bad/shop");
    for round in 0..5 {
        let of = |place| if place == 7 { "bad/shop" } else { "me/shop" };
        let pushes: Vec<_> = (0..40).map(|place| github.push(of(place), Push::to("main"))).collect();
        let answers = join_all(pushes.iter().map(|push| edge.deliver(push))).await;
        let failed: Vec<_> = answers.iter().enumerate().filter(|(_, answer)| answer.status != 202).map(|(place, answer)| (place, answer.status)).collect();
        assert_eq!(failed, [(7, 500)], "round {round}");
    }
    assert_eq!(edge.events().await.len(), 1 + 5 * 39);
}

#[tokio::test]
async fn a_store_that_could_not_be_opened_is_opened_when_it_can_be() {
    let mut edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    edge.kill_workerd().await;
    // It looks like a fresh one, and its tables are there already.
    edge.meddle("ALTER TABLE schema RENAME TO hidden");
    edge.restart().await;
    let push = github.push("me/shop", Push::to("main"));
    assert_eq!(edge.deliver(&push).await.status, 500);
    assert_eq!(edge.api("GET", "/api/projects").await.status, 500);
    edge.meddle("DROP TABLE schema");
    edge.meddle("ALTER TABLE hidden RENAME TO schema");
    assert_eq!(edge.deliver(&push).await.json()["status"], "ignored", "nobody follows it, and it is stored");
    assert_eq!(edge.events().await.len(), 2);
}

#[tokio::test]
async fn a_host_keeps_so_many_runs_and_takes_nothing_from_others() {
    const RUNS_MAX: u64 = 2_000;
    let edge = Edge::start().await;
    // Older than any that the liar tells of.
    let mut victim = edge.enrolled("victim").await.connect(&[project("shop", "me/shop")]).await;
    victim.report_all((0..3).map(|run| started(&format!("000000000000-victim-{run}"), "shop", None))).await;
    let mut liar = edge.enrolled("liar").await.connect(&[project("shop", "me/shop")]).await;
    let id = |run: u64| format!("ffffffffffff-{run:06}");
    let log = |run| Report::Log { run, lines: vec!["lies".into()] };
    let lies = (0..RUNS_MAX + 300).flat_map(|run| [started(&id(run), "shop", None), log(id(run))]);
    liar.report_all(lies).await;
    let count = |what: &str| edge.hub(&format!("SELECT count(*) FROM {what}"))[0].parse::<u64>().unwrap();
    let kept = count("runs WHERE host = 'liar'");
    assert!((RUNS_MAX - 100..=RUNS_MAX).contains(&kept), "{kept} runs are kept");
    assert_eq!(count("logs"), kept, "the logs of those that went went with them");
    assert_eq!(count("runs WHERE host = 'victim'"), 3);
    // The newest are those that are kept, and they go on.
    let newest = id(RUNS_MAX + 299);
    liar.report(outcome(&newest, None, RunState::Succeeded, None)).await;
    assert_eq!(edge.get(&format!("/api/runs/{newest}")).await["run"]["state"], "succeeded");
    assert_eq!(edge.api("GET", &format!("/api/runs/{}", id(0))).await.status, 404);
}

#[tokio::test]
async fn a_host_that_is_behind_again_and_again_gets_so_many_jobs() {
    const ASKED_MAX: u64 = 200;
    let edge = Edge::start().await;
    let mut session = edge.enrolled("liar").await.connect(&[project("shop", "me/shop")]).await;
    for turn in 0..ASKED_MAX {
        session.socket.send(&ToEdge::Behind { project: "shop".parse().unwrap(), head: format!("{turn:040x}"), first: false }).await;
        let grant = session.grant().await;
        session.report(outcome(&format!("r-{turn}"), Some(&grant), RunState::Succeeded, None)).await;
    }
    session.socket.send(&ToEdge::Behind { project: "shop".parse().unwrap(), head: "e".repeat(40), first: false }).await;
    session.report(started("last", "shop", None)).await;
    assert_eq!(edge.hub("SELECT count(*) FROM jobs"), [ASKED_MAX.to_string()]);
    // A push is nobody's word but GitHub's.
    edge.deliver(&GitHub::new(WEBHOOK_SECRET).push("me/shop", Push::to("main"))).await;
    session.grant().await;
}

/// A connection that says nothing, also not that it ends.
async fn mute(edge: &Edge) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(edge.address()).await.unwrap();
    let ask = "GET /executor HTTP/1.1\r\nHost: edge\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    let mut head = [0u8; 12];
    wait::soon("an answer", stream.read_exact(&mut head)).await.unwrap();
    (stream, String::from_utf8_lossy(&head).into_owned())
}

#[tokio::test]
async fn so_many_that_say_nothing_are_let_in_and_the_rest_goes_on() {
    const SOCKETS_MAX: usize = 512;
    let edge = Edge::start().await;
    let host = edge.enrolled("attic").await;
    let mut session = host.connect(&[project("shop", "me/shop")]).await;
    let mut mutes = Vec::new();
    let refused = loop {
        let (stream, head) = mute(&edge).await;
        if head != "HTTP/1.1 101" {
            break head;
        }
        mutes.push(stream);
        assert!(mutes.len() <= SOCKETS_MAX, "{} were let in", mutes.len());
    };
    assert_eq!(refused, "HTTP/1.1 503");
    assert!(mutes.len() + 2 >= SOCKETS_MAX, "{} were let in", mutes.len());
    let answer = edge.raw(&Raw::new("GET", "/executor").with("Connection", "Upgrade").header("Upgrade", "websocket").header("Sec-WebSocket-Version", "13").header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")).await;
    assert_eq!((answer.status, answer.error().as_str()), (503, "busy"));
    // Who is in stays in, and works.
    assert_eq!(session.socket.beat().await, Heard::Pong);
    edge.deliver(&GitHub::new(WEBHOOK_SECRET).push("me/shop", Push::to("main"))).await;
    session.grant().await;
    drop(mutes);
    let dial = async || mute(&edge).await.1;
    wait::until("somebody to be let in again", dial, |head| head == "HTTP/1.1 101").await;
    Socket::dial(&edge).await;
}

#[tokio::test]
async fn health_costs_no_more_for_being_asked_often() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    for _ in 0..20 {
        edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    }
    let health = async || edge.request("GET", "/webhooks/github/health", &[], "").await.json();
    let read = async || edge.get("/api/usage").await["rows_read"].as_u64().unwrap();
    assert_eq!(health().await["total_events_last_hour"], 20);
    let before = read().await;
    for _ in 0..50 {
        health().await;
    }
    assert_eq!(read().await, before, "an answer of a moment ago is given again");
    // And soon it says what came since.
    edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    wait::until("the new delivery to count", health, |health| health["total_events_last_hour"] == json!(21)).await;
}
