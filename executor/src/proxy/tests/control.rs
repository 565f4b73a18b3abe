//! The control socket, spoken to in bytes and by the client.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::app::App;
use super::harness::{Raw, local, soon, until};
use crate::proxy::control::{Control, socket_path};
use crate::proxy::{ClientError, ErrorKind, Limits, Proxy, ProxyClient};

/// Serves a directory until the test ends or somebody says stop.
fn serve(state: &Path) -> tokio::task::JoinHandle<()> {
    let control = Control::bind(state).unwrap();
    let proxy = Proxy::new(Limits::default());
    tokio::spawn(async move {
        control.serve(&proxy).await;
        proxy.close().await;
        control.release();
    })
}

struct Line(BufReader<UnixStream>);

impl Line {
    async fn open(state: &Path) -> Self {
        Self(BufReader::new(
            UnixStream::connect(socket_path(state)).await.unwrap(),
        ))
    }

    async fn say(&mut self, bytes: &[u8]) -> String {
        self.0.write_all(bytes).await.unwrap();
        self.0.write_all(b"\n").await.unwrap();
        let mut reply = String::new();
        soon(self.0.read_line(&mut reply)).await.unwrap();
        reply.trim_end().to_owned()
    }
}

#[tokio::test]
async fn every_request_and_its_reply_on_the_wire() {
    let state = TempDir::new().unwrap();
    let _serving = serve(state.path());
    let mut line = Line::open(state.path()).await;
    let listen = super::harness::nobody().await;
    let set = format!(r#"{{"set":{{"project":"shop","listen":"{listen}","upstream":null}}}}"#);
    assert_eq!(
        line.say(set.as_bytes()).await,
        format!(r#"{{"set":{{"listen":"{listen}"}}}}"#)
    );
    assert_eq!(
        line.say(br#"{"list":{}}"#).await,
        format!(
            r#"{{"routes":{{"routes":[{{"project":"shop","listen":"{listen}","upstream":null,"requests_total":0,"failed_total":0,"in_flight":0,"waiting":0}}]}}}}"#
        )
    );
    let upstream = r#""upstream":"127.0.0.1:9""#;
    let drain = format!(r#"{{"drain":{{{upstream},"limit_ms":1000,"new_field":1}}}}"#);
    assert_eq!(
        line.say(drain.as_bytes()).await,
        r#"{"drained":{"left":0}}"#
    );
    let cut = format!(r#"{{"cut":{{{upstream}}}}}"#);
    assert_eq!(line.say(cut.as_bytes()).await, r#"{"cut":{"count":0}}"#);
    let remove = format!(r#"{{"remove":{{"listen":"{listen}"}}}}"#);
    assert_eq!(
        line.say(remove.as_bytes()).await,
        r#"{"removed":{"existed":true}}"#
    );
    assert_eq!(
        line.say(remove.as_bytes()).await,
        r#"{"removed":{"existed":false}}"#
    );
    let pong = format!(
        r#"{{"pong":{{"version":"{}","pid":{}}}}}"#,
        env!("CARGO_PKG_VERSION"),
        std::process::id()
    );
    assert_eq!(line.say(br#"{"ping":{}}"#).await, pong);
    assert_eq!(line.say(br#"{"stop":{}}"#).await, r#"{"stopping":{}}"#);
    until("the socket is gone", || !socket_path(state.path()).exists()).await;
}

#[tokio::test]
async fn garbage_gets_an_error_and_the_connection_stays() {
    let state = TempDir::new().unwrap();
    let _serving = serve(state.path());
    let mut line = Line::open(state.path()).await;
    let long = [b'x'; 64 * 1024 + 1];
    for (garbage, kind) in [
        (&b"nonsense"[..], "bad_request"),
        (b"", "bad_request"),
        (b"\xff\xfe\x00", "bad_request"),
        (br#"{"fly":{}}"#, "bad_request"),
        (br#"{"cut":{"upstream":"not an address"}}"#, "bad_request"),
        (&[b'['; 60_000], "bad_request"),
        (&long, "too_long"),
    ] {
        let reply = line.say(garbage).await;
        let wanted = format!(r#"{{"error":{{"kind":"{kind}","message":""#);
        assert!(reply.starts_with(&wanted), "{reply}");
    }
    assert!(line.say(br#"{"ping":{}}"#).await.starts_with(r#"{"pong""#));
}

#[tokio::test]
async fn a_client_says_all_this_too() {
    let state = TempDir::new().unwrap();
    let _serving = serve(state.path());
    let client = ProxyClient::new(state.path());
    let (one, two) = (App::start("one").await, App::start("two").await);
    let listen = client
        .set("shop", local(), Some(one.address))
        .await
        .unwrap();
    let mut busy = Raw::connect(listen).await;
    busy.ask("GET", "/stream").await;
    busy.head().await;
    assert_eq!(
        client.set("shop", listen, Some(two.address)).await.unwrap(),
        listen
    );
    let client = Arc::new(client);
    let draining = tokio::spawn({
        let (client, one) = (Arc::clone(&client), one.address);
        async move { client.drain(one, Duration::from_secs(60)).await.unwrap() }
    });
    let route = &client.list().await.unwrap()[0];
    assert_eq!((route.in_flight, route.upstream), (1, Some(two.address)));
    assert_eq!(client.drain(one.address, Duration::ZERO).await.unwrap(), 1);
    assert!(!draining.is_finished());
    assert_eq!(client.cut(one.address).await.unwrap(), 1);
    assert_eq!(soon(draining).await.unwrap(), 0);
    assert!(client.remove(listen).await.unwrap());
    assert_eq!(client.ping().await.unwrap().pid, std::process::id());
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_named() {
    let state = TempDir::new().unwrap();
    let _serving = serve(state.path());
    let client = ProxyClient::new(state.path());
    let taken = TcpListener::bind(local()).await.unwrap().local_addr();
    let holder = TcpListener::bind(taken.unwrap()).await.unwrap();
    let address = holder.local_addr().unwrap();
    let refused = |error| match error {
        ClientError::Refused { kind, message } => (kind, message),
        other => panic!("{other}"),
    };
    let (kind, message) = refused(client.set("shop", address, None).await.unwrap_err());
    assert_eq!(kind, ErrorKind::AddressInUse);
    assert_eq!(
        message,
        format!("another program listens on {address} already")
    );
    let foreign = "192.0.2.1:80".parse().unwrap();
    let (kind, _) = refused(client.set("shop", foreign, None).await.unwrap_err());
    assert_eq!(kind, ErrorKind::AddressNotAvailable);
    drop(holder);
    client.set("shop", address, None).await.unwrap();
    let (kind, message) = refused(client.set("other", address, None).await.unwrap_err());
    assert_eq!(kind, ErrorKind::Taken);
    assert_eq!(
        message,
        format!("{address} already serves the project shop")
    );
    let (kind, _) = refused(
        client
            .set(&"x".repeat(257), local(), None)
            .await
            .unwrap_err(),
    );
    assert_eq!(kind, ErrorKind::BadRequest);
    assert_eq!(
        client.list().await.unwrap().len(),
        1,
        "nothing else was changed"
    );
}

#[tokio::test]
async fn a_directory_has_one_proxy_and_a_socket_for_its_owner() {
    let state = TempDir::new().unwrap();
    let stale = UnixListener::bind(socket_path(state.path())).unwrap();
    drop(stale);
    let serving = serve(state.path());
    let mode = std::fs::metadata(socket_path(state.path()))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = Control::bind(state.path()).err().unwrap().to_string();
    assert!(
        error.starts_with("another proxy serves this directory"),
        "{error}"
    );
    let client = ProxyClient::new(state.path());
    client.ping().await.unwrap();
    client.stop().await.unwrap();
    soon(serving).await.unwrap();
    assert!(matches!(
        client.ping().await,
        Err(ClientError::Unreachable { .. })
    ));
    let _serving = serve(state.path());
    client.ping().await.unwrap();
}

#[tokio::test]
async fn a_kind_of_a_later_version_is_still_an_error() {
    let reply = r#"{"error":{"kind":"moon_in_the_way","message":"wait"}}"#;
    let reply: crate::proxy::protocol::Reply = serde_json::from_str(reply).unwrap();
    let message = "wait".to_owned();
    assert_eq!(
        reply,
        crate::proxy::protocol::Reply::Error {
            kind: ErrorKind::Other,
            message
        }
    );
}
