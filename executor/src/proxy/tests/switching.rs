//! Releases come and go; nobody notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Method, Request};
use tokio::task::JoinSet;

use super::app::{App, full};
use super::harness::{PATIENCE, Stage, connect, soon, until};
use crate::proxy::Proxy;
use crate::proxy::body::Outgoing;
use crate::proxy::upstream::Upstream;

const SWITCHES: u64 = 20;
const CLIENTS: u64 = 16;
const REQUESTS_MIN: u64 = 5_000;

#[tokio::test]
async fn a_kept_connection_moves_over_with_its_next_request() {
    let stage = Stage::new().await;
    let two = App::start("two").await;
    let mut client = stage.client().await;
    assert_eq!(client.get("/name").await.1, "one");
    stage
        .proxy
        .set("shop", stage.listen, Some(two.address))
        .unwrap();
    assert_eq!(client.get("/name").await.1, "two");
    let route = &stage.proxy.list()[0];
    assert_eq!(
        (route.requests_total, route.upstream),
        (2, Some(two.address))
    );
}

#[tokio::test]
async fn a_request_stays_with_the_release_that_has_it() {
    let stage = Stage::new().await;
    let two = App::start("two").await;
    let mut client = stage.client().await;
    client.ask("GET", "/hang").await;
    until("the app has it", || stage.app.hanging() == 1).await;
    stage
        .proxy
        .set("shop", stage.listen, Some(two.address))
        .unwrap();
    assert_eq!(stage.client().await.get("/name").await.1, "two");
    stage.app.state.go.notify_one();
    assert_eq!(client.answer().await.1, "one");
}

#[tokio::test]
async fn a_release_comes_back() {
    let stage = Stage::new().await;
    let two = App::start("two").await;
    let mut client = stage.client().await;
    let mut waiting = stage.client().await;
    waiting.ask("GET", "/stream").await;
    waiting.head().await;
    for upstream in [
        two.address,
        stage.app.address,
        two.address,
        stage.app.address,
    ] {
        stage
            .proxy
            .set("shop", stage.listen, Some(upstream))
            .unwrap();
        client.get("/name").await;
    }
    let before = stage.app.connections();
    assert_eq!(client.get("/name").await.1, "one");
    assert_eq!(client.get("/name").await.1, "one");
    assert_eq!(
        stage.app.connections(),
        before,
        "its connections are kept again"
    );
    assert_eq!(
        stage.proxy.drain(stage.app.address, Duration::ZERO).await,
        1
    );
}

#[tokio::test]
async fn a_retired_release_keeps_no_idle_connection() {
    let app = App::start("one").await;
    let upstream = Upstream::new(app.address);
    for (retired, kept) in [(false, true), (true, false)] {
        let mut line = upstream.connect().await.unwrap();
        let request = Request::get("/name")
            .header("host", "a")
            .body(Outgoing::empty())
            .unwrap();
        let Ok(response) = line.send(request).await else {
            panic!("no response")
        };
        response.into_body().collect().await.unwrap();
        upstream.keep(line);
        if retired {
            upstream.retire();
            upstream.revive();
        }
        assert_eq!(upstream.take_idle().is_some(), kept);
    }
}

#[tokio::test]
async fn a_route_that_goes_disturbs_no_other() {
    let stage = Stage::new().await;
    let other = stage
        .proxy
        .set("other", super::harness::local(), Some(stage.app.address))
        .unwrap();
    let mut client = stage.client().await;
    let mut leaving = super::harness::Raw::connect(other).await;
    leaving.ask("GET", "/stream").await;
    leaving.head().await;
    let mut stream = stage.client().await;
    stream.ask("GET", "/stream").await;
    stream.head().await;
    assert!(stage.proxy.remove(other).await);
    assert!(!stage.proxy.remove(other).await);
    assert!(tokio::net::TcpStream::connect(other).await.is_err());
    stage.app.push("still here");
    assert_eq!(stream.chunk().await, "still here");
    assert_eq!(
        leaving.chunk().await,
        "still here",
        "what is in flight is finished"
    );
    assert_eq!(client.get("/name").await.1, "one");
    let again = stage.proxy.set("other", other, None).unwrap();
    assert_eq!(again, other, "the address is free at once");
}

#[tokio::test]
async fn twenty_switches_under_load_fail_no_request() {
    let stage = Stage::new().await;
    let (proxy, listen) = (Arc::clone(&stage.proxy), stage.listen);
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let load = Load {
            listen,
            done: Arc::clone(&done),
            answered: Arc::clone(&answered),
        };
        clients.spawn(load.run(number));
    }
    let mut app = stage.app;
    for switch in 1..=SWITCHES {
        let enough = switch * (REQUESTS_MIN / SWITCHES);
        until("enough load", || answered.load(Ordering::SeqCst) >= enough).await;
        app = deploy(&proxy, listen, app).await;
    }
    until("enough requests", || {
        answered.load(Ordering::SeqCst) >= REQUESTS_MIN
    })
    .await;
    done.store(true, Ordering::SeqCst);
    soon(clients.join_all()).await;
    let route = &proxy.list()[0];
    assert_eq!(route.failed_total, 0);
    assert_eq!(route.requests_total, answered.load(Ordering::SeqCst));
}

/// A release beside the old one, which is gone as soon as it is drained.
async fn deploy(proxy: &Proxy, listen: SocketAddr, old: App) -> App {
    let new = App::start("new").await;
    proxy.set("shop", listen, Some(new.address)).unwrap();
    assert_eq!(proxy.drain(old.address, PATIENCE).await, 0);
    assert_eq!(proxy.cut(old.address), 0);
    old.kill().await;
    new
}

struct Load {
    listen: SocketAddr,
    done: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
}

impl Load {
    /// Half of the clients keep their connection, half never do.
    async fn run(self, number: u64) {
        let mut client = connect(self.listen).await;
        let mut round = number;
        while !self.done.load(Ordering::SeqCst) {
            if number.is_multiple_of(2) {
                client = connect(self.listen).await;
            }
            let (method, path, body) = match round % 4 {
                0 => (Method::POST, "/echo", "x".repeat(10_000)),
                1 => (Method::POST, "/busy", String::new()),
                2 => (Method::GET, "/chunks/30000", String::new()),
                _ => (Method::GET, "/name", String::new()),
            };
            let request = Request::builder()
                .method(method)
                .uri(path)
                .body(full(body))
                .unwrap();
            let response = client.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            let body = response.into_body().collect().await.unwrap().to_bytes();
            match round % 4 {
                0 => assert_eq!(body.len(), 10_000),
                2 => assert_eq!(body.len(), 30_000),
                _ => assert!(!body.is_empty()),
            }
            client.ready().await.unwrap();
            self.answered.fetch_add(1, Ordering::SeqCst);
            round += 1;
        }
    }
}
