//! A page of the dashboard that is open in somebody's browser.

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::{Edge, wait};

/// Its connection to `/live`.
#[derive(Debug)]
pub struct Page {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
}

impl Page {
    /// Opens it, for the person of this `Cookie` header.
    pub async fn open(edge: &Edge, cookie: &str) -> Self {
        let mut request = edge.url("/live").replacen("http", "ws", 1).into_client_request().unwrap();
        request.headers_mut().insert("cookie", cookie.parse().unwrap());
        request.headers_mut().insert("origin", edge.url("").parse().unwrap());
        let (stream, _) = wait::soon("the page's socket to open", connect_async(request)).await.unwrap();
        Self { stream }
    }

    /// Says something.
    pub async fn say(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    /// The next thing it is told.
    pub async fn hear(&mut self) -> Value {
        serde_json::from_str(&self.hear_text().await).unwrap()
    }

    /// Everything that it was told until now.
    pub async fn heard(&mut self) -> Vec<Value> {
        self.say("ping").await;
        let mut all = Vec::new();
        loop {
            match self.hear_text().await.as_str() {
                "pong" => return all,
                text => all.push(serde_json::from_str(text).unwrap()),
            }
        }
    }

    /// Waits until an app that it watches has printed this line.
    pub async fn prints(&mut self, line: &str) {
        let is_it = |told: &Value| told["printed"]["lines"].as_array().is_some_and(|lines| lines.iter().any(|seen| seen == line));
        self.told(&format!("{line:?} to be shown"), is_it).await;
    }

    /// Waits until it is told this, and returns it.
    pub async fn told(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let told = async {
            loop {
                let told = self.hear().await;
                if is_it(&told) {
                    return told;
                }
            }
        };
        wait::soon(what, told).await
    }

    /// Waits until the edge closes it, and returns the code.
    pub async fn closes(&mut self) -> u16 {
        let closed = async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                    Some(Ok(_)) => {}
                    ended => panic!("the page's socket ended without a code: {ended:?}"),
                }
            }
        };
        wait::soon("the page's socket to close", closed).await
    }

    async fn hear_text(&mut self) -> String {
        wait::soon("a page update", self.next_text()).await.unwrap()
    }

    /// The next text, however long that takes; none when the socket has ended.
    pub(crate) async fn next_text(&mut self) -> Option<String> {
        loop {
            match self.stream.next().await? {
                Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
