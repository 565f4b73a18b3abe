//! One request and its response: what passes, what is changed, what is not.

use http_body_util::BodyExt;
use hyper::Request;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use super::app::{App, Many, full, sum};
use super::harness::{Raw, Stage, connect, local, soon, until};

const MIB: u64 = 1024 * 1024;

#[tokio::test]
async fn bodies_of_any_size_pass_both_ways() {
    let stage = Stage::new().await;
    let mut client = connect(stage.listen).await;
    for (count, length_known) in [
        (0, true),
        (0, false),
        (1, true),
        (MIB, true),
        (MIB, false),
        (50 * MIB, true),
        (50 * MIB, false),
    ] {
        let request = Request::post("/sum")
            .body(Many::new(count, length_known).boxed())
            .unwrap();
        let response = soon(client.send_request(request)).await.unwrap();
        let counted = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(
            counted,
            count.to_string(),
            "up, length known: {length_known}"
        );

        let path = if length_known { "bytes" } else { "chunks" };
        let request = Request::get(format!("/{path}/{count}"))
            .body(full(""))
            .unwrap();
        let response = soon(client.send_request(request)).await.unwrap();
        let length = response.headers().contains_key("content-length");
        assert_eq!(length, length_known);
        assert_eq!(
            soon(sum(response.into_body())).await.unwrap(),
            count,
            "down"
        );

        let request = Request::post("/echo")
            .body(Many::new(count, length_known).boxed())
            .unwrap();
        let response = soon(client.send_request(request)).await.unwrap();
        assert_eq!(
            soon(sum(response.into_body())).await.unwrap(),
            count,
            "both ways"
        );
    }
}

#[tokio::test]
async fn answers_without_a_body_keep_their_heads() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.ask("HEAD", "/head").await;
    assert_eq!(
        client.head().await,
        "http/1.1 200 ok\ncontent-length: 12345\n"
    );
    client.ask("HEAD", "/chunks/5").await;
    assert_eq!(client.head().await, "http/1.1 200 ok\n");
    client.ask("GET", "/code/204").await;
    assert_eq!(client.head().await, "http/1.1 204 no content\n");
    client.ask("GET", "/code/304").await;
    assert_eq!(client.head().await, "http/1.1 304 not modified\n");
    assert_eq!(
        client.get("/name").await,
        ("http/1.1 200 ok".into(), "one".into())
    );
    assert_eq!(stage.app.connections(), 1, "all on one connection");
}

#[tokio::test]
async fn fields_of_one_connection_do_not_pass() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client
        .send(
            "GET /seen?x=1 HTTP/1.1\r\nHost: shop.test\r\nConnection: keep-alive, X-Mine\r\n\
             X-Mine: 1\r\nX-Kept: 2\r\nTE: gzip\r\nKeep-Alive: 5\r\nX-Forwarded-For: 9.9.9.9\r\n\r\n",
        )
        .await;
    let (_, seen) = client.answer().await;
    assert_eq!(
        seen,
        r#"GET /seen?x=1
{
    "host": "shop.test",
    "x-kept": "2",
    "x-forwarded-for": "9.9.9.9, 127.0.0.1",
    "x-forwarded-proto": "http",
    "x-forwarded-host": "shop.test",
}"#
    );
    client.ask("GET", "/fields").await;
    assert_eq!(
        client.head().await,
        "http/1.1 200 ok\ncontent-length: 2\nx-outer: 2\n"
    );
}

#[tokio::test]
async fn an_old_client_gets_an_old_answer() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.send("GET /chunks/5 HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.head().await, "http/1.0 200 ok\n");
    let mut body = Vec::new();
    soon(client.stream.read_to_end(&mut body)).await.unwrap();
    assert_eq!(body, [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_does_not_pass() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client
        .send(
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\
             transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        )
        .await;
    assert!(client.head().await.contains("transfer-encoding: chunked\n"));
    assert_eq!(client.chunk().await, "abc");
    assert!(
        client.is_closed().await,
        "nothing may follow on such a connection"
    );
}

#[tokio::test]
async fn a_body_comes_only_when_the_app_asks_for_it() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    let post = "HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n";
    client.send(&format!("POST /sum {post}")).await;
    assert_eq!(client.head().await, "http/1.1 100 continue\n");
    client.send("\0\x01\x02").await;
    assert_eq!(
        client.answer().await,
        ("http/1.1 200 ok".into(), "3".into())
    );

    client.send(&format!("POST /early {post}")).await;
    assert_eq!(
        client.answer().await,
        ("http/1.1 413 payload too large".into(), "too much".into())
    );
    assert!(client.is_closed().await, "and no 100 came");
}

#[tokio::test]
async fn an_upgrade_becomes_a_tunnel() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client
        .send(
            "GET /socket HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\nearly",
        )
        .await;
    let head = client.head().await;
    assert_eq!(
        head,
        "http/1.1 101 switching protocols\nx-accept: yes\nconnection: upgrade\nupgrade: echo\n"
    );
    assert_eq!(client.take(5).await, "early");
    for _ in 0..100 {
        client.send("ping").await;
        assert_eq!(client.take(4).await, "ping");
    }
    assert_eq!(stage.proxy.list()[0].in_flight, 1);
    drop(client);
    until("the tunnel has ended", || {
        stage.proxy.list()[0].in_flight == 0
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.ask("GET", "/hang").await;
    until("the app has it", || stage.app.hanging() == 1).await;
    drop(client);
    until("the app has lost it", || stage.app.hanging() == 0).await;
    until("nothing is in flight", || {
        stage.proxy.list()[0].in_flight == 0
    })
    .await;

    let mut client = stage.client().await;
    client.ask("GET", "/stream").await;
    client.head().await;
    drop(client);
    let gone = || {
        stage
            .app
            .state
            .streams
            .lock()
            .unwrap()
            .iter()
            .all(|stream| stream.is_closed())
    };
    until("the app has lost its reader", gone).await;
}

#[tokio::test]
async fn a_used_connection_that_the_app_has_closed_costs_nothing() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    let address = stage.app.address;
    assert_eq!(client.get("/name").await.1, "one");
    stage.app.kill().await;
    let again = App::at(address, "again").await;
    client
        .send("POST /name HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.1, "again");
    assert_eq!(again.requests(), 1);
}

/// An app that answers its first request and then closes the connection on
/// the next, after `reply` to it.
async fn fickle(reply: &'static str) -> (std::net::SocketAddr, tokio::task::JoinHandle<usize>) {
    let listener = TcpListener::bind(local()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        let mut requests = 0;
        for second in [reply, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nnew"] {
            let mut app = Raw {
                stream: tokio::io::BufReader::new(listener.accept().await.unwrap().0),
            };
            if requests == 0 {
                app.head().await;
                requests += 1;
                app.send("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nold")
                    .await;
            }
            app.head().await;
            requests += 1;
            app.send(second).await;
        }
        requests
    });
    (address, served)
}

#[tokio::test]
async fn only_what_is_safe_to_repeat_is_repeated() {
    for (method, reply, answered) in [
        ("GET", "", "http/1.1 200 ok"),
        ("DELETE", "", "http/1.1 200 ok"),
        ("POST", "", "http/1.1 502 bad gateway"),
        ("GET", "HTTP/1.1 20", "http/1.1 502 bad gateway"),
        ("GET", "nonsense\r\n\r\n", "http/1.1 502 bad gateway"),
    ] {
        let (app, served) = fickle(reply).await;
        let stage = Stage::new().await;
        stage.proxy.set("shop", stage.listen, Some(app)).unwrap();
        let mut client = stage.client().await;
        assert_eq!(client.get("/").await.1, "old");
        client.ask(method, "/").await;
        assert_eq!(
            client.answer().await.0,
            answered,
            "{method} after {reply:?}"
        );
        if answered.contains("200") {
            assert_eq!(soon(served).await.unwrap(), 3, "sent twice");
        }
    }
}

#[tokio::test]
async fn a_connect_and_a_protocol_nobody_asked_for_are_refused() {
    let stage = Stage::new().await;
    let mut client = stage.client().await;
    client.ask("GET", "/socket").await;
    assert_eq!(client.answer().await.0, "http/1.1 502 bad gateway");
    let mut client = stage.client().await;
    client.ask("CONNECT", "example.org:443").await;
    assert_eq!(
        client.head().await.lines().next().unwrap(),
        "http/1.1 405 method not allowed"
    );
}
