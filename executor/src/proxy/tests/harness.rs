//! A proxy with one route, an app behind it, and clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::app::{App, Body};
use crate::proxy::{Limits, Proxy};

/// Nothing in these tests takes longer, however busy the machine.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until `condition` holds.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let mut turns = tokio::time::interval(Duration::from_millis(1));
    let polled = async {
        while !condition() {
            turns.tick().await;
        }
    };
    timeout(PATIENCE, polled)
        .await
        .unwrap_or_else(|_| panic!("never: {what}"));
}

/// Runs a step of a story, which must end.
pub async fn soon<T>(step: impl Future<Output = T>) -> T {
    timeout(PATIENCE, step).await.expect("took too long")
}

pub fn local() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// An address of this machine where nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind(local())
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A proxy with one route to one app.
pub struct Stage {
    pub proxy: Arc<Proxy>,
    pub listen: SocketAddr,
    pub app: App,
}

impl Stage {
    pub async fn new() -> Self {
        Self::with(Limits::default()).await
    }

    pub async fn with(limits: Limits) -> Self {
        let app = App::start("one").await;
        let proxy = Proxy::new(limits);
        let listen = proxy.set("shop", local(), Some(app.address)).unwrap();
        Self { proxy, listen, app }
    }

    pub async fn client(&self) -> Raw {
        Raw::connect(self.listen).await
    }
}

/// A client that speaks hyper.
pub async fn connect(address: SocketAddr) -> SendRequest<Body> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

/// A client that speaks bytes.
pub struct Raw {
    pub stream: BufReader<TcpStream>,
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream: BufReader::new(stream),
        }
    }

    pub async fn send(&mut self, bytes: &str) {
        self.stream.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Sends a request without a body.
    pub async fn ask(&mut self, method: &str, path: &str) {
        self.send(&format!(
            "{method} {path} HTTP/1.1\r\nhost: shop.test\r\n\r\n"
        ))
        .await;
    }

    /// The head of a response, in lower case, without the date.
    pub async fn head(&mut self) -> String {
        let mut head = String::new();
        loop {
            let mut line = String::new();
            let count = soon(self.stream.read_line(&mut line)).await.unwrap();
            assert!(count > 0, "the connection ended in a head: {head}");
            if line == "\r\n" {
                return head;
            }
            if !line.starts_with("date:") {
                head.push_str(&line.to_lowercase().replace('\r', ""));
            }
        }
    }

    /// So many bytes of a body.
    pub async fn take(&mut self, count: usize) -> String {
        let mut bytes = vec![0; count];
        soon(self.stream.read_exact(&mut bytes)).await.unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// A chunk of a body.
    pub async fn chunk(&mut self) -> String {
        let mut size = String::new();
        soon(self.stream.read_line(&mut size)).await.unwrap();
        let size = usize::from_str_radix(size.trim(), 16).unwrap();
        let chunk = self.take(size + 2).await;
        chunk.trim_end_matches("\r\n").to_owned()
    }

    /// A whole response of known length: its first line and its body.
    pub async fn answer(&mut self) -> (String, String) {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let body = self.take(length.expect(&head).parse().unwrap()).await;
        (head.lines().next().unwrap().to_owned(), body)
    }

    /// A whole round.
    pub async fn get(&mut self, path: &str) -> (String, String) {
        self.ask("GET", path).await;
        self.answer().await
    }

    /// Whether the other side has closed, after all that it sent.
    pub async fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        match soon(self.stream.read_to_end(&mut rest)).await {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}
