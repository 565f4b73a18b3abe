//! Responses that take their time.

use std::time::Duration;

use super::harness::{Stage, soon, until};

#[tokio::test]
async fn each_piece_of_a_stream_arrives_by_itself() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.ask("GET", "/stream").await;
    let head = client.head().await;
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    for piece in ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"] {
        stage.app.push(piece);
        assert_eq!(client.chunk().await, piece);
    }
    stage.app.end_streams();
    assert_eq!(client.chunk().await, "");
    assert_eq!(
        client.get("/name").await.1,
        "one",
        "the connection is still good"
    );
}

#[tokio::test]
async fn a_drain_waits_for_a_long_response() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.ask("GET", "/stream").await;
    client.head().await;
    stage.proxy.set("shop", stage.listen, None).unwrap();

    let left = stage
        .proxy
        .drain(stage.app.address, Duration::from_millis(20))
        .await;
    assert_eq!(left, 1, "the limit has passed");

    let (proxy, address) = (stage.proxy.clone(), stage.app.address);
    let drained = tokio::spawn(async move { proxy.drain(address, Duration::from_secs(60)).await });
    stage.app.push("last words");
    assert_eq!(client.chunk().await, "last words");
    assert!(!drained.is_finished());
    stage.app.end_streams();
    assert_eq!(soon(drained).await.unwrap(), 0);
    assert_eq!(client.chunk().await, "");
}

#[tokio::test]
async fn a_cut_ends_whatever_is_left() {
    let stage = Stage::new().await;
    let (mut stream, mut tunnel, mut hanging) = (
        stage.client().await,
        stage.client().await,
        stage.client().await,
    );
    stream.ask("GET", "/stream").await;
    stream.head().await;
    let upgrade = "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
    tunnel.send(upgrade).await;
    tunnel.head().await;
    hanging.ask("GET", "/hang").await;
    until("the app has it", || stage.app.hanging() == 1).await;

    assert_eq!(
        stage.proxy.drain(stage.app.address, Duration::ZERO).await,
        3
    );
    assert_eq!(stage.proxy.cut(stage.app.address), 3);
    let sentence = "the release was stopped before it answered\n";
    assert_eq!(
        hanging.answer().await,
        ("http/1.1 502 bad gateway".into(), sentence.into())
    );
    assert!(stream.is_closed().await);
    assert!(tunnel.is_closed().await);
    assert_eq!(
        soon(
            stage
                .proxy
                .drain(stage.app.address, Duration::from_secs(60))
        )
        .await,
        0
    );
    assert_eq!(
        hanging.get("/name").await.1,
        "one",
        "the connection is still good"
    );
}

#[tokio::test]
async fn a_cut_frees_a_client_that_does_not_read() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.ask("GET", "/bytes/100000000").await;
    client.head().await;
    assert_eq!(stage.proxy.cut(stage.app.address), 1);
    assert_eq!(
        soon(
            stage
                .proxy
                .drain(stage.app.address, Duration::from_secs(60))
        )
        .await,
        0
    );
}

#[tokio::test]
async fn a_closed_proxy_finishes_what_it_has() {
    let stage = Stage::new().await;
    let (mut idle, mut busy) = (stage.client().await, stage.client().await);
    idle.get("/name").await;
    busy.ask("GET", "/hang").await;
    until("the app has it", || stage.app.hanging() == 1).await;
    let closed = stage.proxy.close().await;
    assert!(idle.is_closed().await);
    assert!(tokio::net::TcpStream::connect(stage.listen).await.is_err());
    let finished = tokio::spawn(closed.finish(Duration::from_secs(60)));
    stage.app.state.go.notify_one();
    assert_eq!(busy.answer().await.1, "one");
    assert!(soon(finished).await.unwrap());
}
