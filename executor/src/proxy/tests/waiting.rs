//! Requests that come when no upstream is there, or a silent one.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::TcpListener;

use super::app::App;
use super::harness::{Raw, Stage, local, nobody, soon, until};
use crate::proxy::Limits;

const SHORT: Duration = Duration::from_millis(30);

#[tokio::test]
async fn a_request_waits_for_an_upstream() {
    let stage = Stage::new().await;
    stage.proxy.set("shop", stage.listen, None).unwrap();
    let mut client = stage.client().await;
    client.ask("GET", "/name").await;
    until("it waits", || stage.proxy.list()[0].waiting == 1).await;
    assert_eq!(stage.proxy.list()[0].in_flight, 0);
    stage
        .proxy
        .set("shop", stage.listen, Some(stage.app.address))
        .unwrap();
    assert_eq!(client.answer().await.1, "one");
}

#[tokio::test]
async fn a_request_waits_for_an_upstream_that_refuses() {
    let stage = Stage::new().await;
    let late = nobody().await;
    stage.proxy.set("shop", stage.listen, Some(late)).unwrap();
    let mut client = stage.client().await;
    client
        .send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody")
        .await;
    until("it waits", || stage.proxy.list()[0].waiting == 1).await;
    let _app = App::at(late, "late").await;
    assert_eq!(client.answer().await.1, "body");
}

#[tokio::test]
async fn a_wait_ends_with_503() {
    let stage = Stage::with(Limits {
        wait: SHORT,
        ..Limits::default()
    })
    .await;
    for upstream in [None, Some(nobody().await)] {
        stage.proxy.set("shop", stage.listen, upstream).unwrap();
        let mut client = stage.client().await;
        client.ask("GET", "/name").await;
        let head = client.head().await;
        assert_eq!(
            head,
            "http/1.1 503 service unavailable\ncontent-type: text/plain; charset=utf-8\n\
             cache-control: no-store\nretry-after: 5\ncontent-length: 43\n"
        );
        assert_eq!(
            client.take(43).await,
            "no release took this request within 0.03 s\n"
        );
    }
    assert_eq!(stage.proxy.list()[0].failed_total, 2);
}

#[tokio::test]
async fn only_so_many_wait() {
    let stage = Stage::with(Limits {
        waiting_max: 2,
        ..Limits::default()
    })
    .await;
    stage.proxy.set("shop", stage.listen, None).unwrap();
    let (mut first, mut second) = (stage.client().await, stage.client().await);
    first.ask("GET", "/name").await;
    second.ask("GET", "/name").await;
    until("both wait", || stage.proxy.list()[0].waiting == 2).await;
    let (line, sentence) = stage.client().await.get("/name").await;
    assert_eq!(line, "http/1.1 503 service unavailable");
    assert_eq!(
        sentence,
        "too many requests are already waiting for a release that takes them\n"
    );

    drop(second);
    until("a place is free", || stage.proxy.list()[0].waiting == 1).await;
    let mut third = stage.client().await;
    third.ask("GET", "/name").await;
    until("it is taken", || stage.proxy.list()[0].waiting == 2).await;
    stage.proxy.remove(stage.listen).await;
    let sentence = "this address is no longer served\n";
    assert_eq!(first.answer().await.1, sentence);
    assert_eq!(third.answer().await.1, sentence);
}

#[tokio::test]
async fn a_silent_upstream_ends_with_504() {
    let stage = Stage::with(Limits {
        head: SHORT,
        ..Limits::default()
    })
    .await;
    let (line, sentence) = stage.client().await.get("/hang").await;
    assert_eq!(line, "http/1.1 504 gateway timeout");
    assert_eq!(
        sentence,
        "the release did not begin to answer within 0.03 s\n"
    );
    until("the app has lost it", || stage.app.hanging() == 0).await;
}

#[tokio::test]
async fn a_long_upload_is_not_silence() {
    let stage = Stage::with(Limits {
        head: Duration::from_millis(200),
        ..Limits::default()
    })
    .await;
    let mut client = stage.client().await;
    client
        .send("POST /sum HTTP/1.1\r\nhost: a\r\ncontent-length: 40\r\n\r\n")
        .await;
    // 40 pieces, one every 10 ms: twice the limit in all.
    let mut piece = tokio::time::interval(Duration::from_millis(10));
    for at in 0..40_u8 {
        piece.tick().await;
        client.send(char::from(at).to_string().as_str()).await;
    }
    assert_eq!(
        client.answer().await,
        ("http/1.1 200 ok".into(), "40".into())
    );
}

#[tokio::test]
async fn an_upstream_that_knows_no_100_gets_the_body_anyway() {
    let app = TcpListener::bind(local()).await.unwrap();
    let address: SocketAddr = app.local_addr().unwrap();
    let stage = Stage::with(Limits {
        expect: SHORT,
        ..Limits::default()
    })
    .await;
    stage
        .proxy
        .set("shop", stage.listen, Some(address))
        .unwrap();
    let mut client = stage.client().await;
    client
        .send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n")
        .await;
    let mut app = Raw {
        stream: tokio::io::BufReader::new(soon(app.accept()).await.unwrap().0),
    };
    assert!(app.head().await.contains("expect: 100-continue"));
    assert_eq!(client.head().await, "http/1.1 100 continue\n");
    client.send("abc").await;
    assert_eq!(app.take(3).await, "abc");
    app.send("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert_eq!(client.head().await, "http/1.1 204 no content\n");
}

#[tokio::test]
async fn the_rest_of_the_connections_wait_in_the_queue() {
    let stage = Stage::with(Limits {
        connections_max: 2,
        ..Limits::default()
    })
    .await;
    let mut first = stage.client().await;
    let mut second = stage.client().await;
    assert_eq!(first.get("/name").await.1, "one");
    assert_eq!(second.get("/name").await.1, "one");
    let mut third = stage.client().await;
    third.ask("GET", "/name").await;
    assert_eq!(first.get("/name").await.1, "one");
    assert_eq!(stage.app.requests(), 3, "the third is not served yet");
    drop(first);
    assert_eq!(third.answer().await.1, "one");
}

#[tokio::test]
async fn an_idle_client_is_closed_but_not_before_a_proxy_in_front_would() {
    // Go's client and cloudflared, nginx, Caddy: they must be the first.
    for in_front in [90, 60, 120] {
        assert!(Limits::default().client_idle > Duration::from_secs(in_front));
    }
    let stage = Stage::with(Limits {
        client_idle: SHORT,
        ..Limits::default()
    })
    .await;
    stage
        .proxy
        .set("shop", stage.listen, Some(stage.app.address))
        .unwrap();
    let mut client = stage.client().await;
    assert_eq!(client.get("/name").await.1, "one");
    assert!(client.is_closed().await);
}
