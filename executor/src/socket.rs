//! One WebSocket to the edge: frames in, frames out, nothing decided.
//!
//! The daemon's link engine says when to dial and what to send. Each socket
//! has a number, so that what a dying one still says is not taken for its
//! successor's.

use std::time::Duration;

use doorstep_shared::protocol::{FRAME_BYTES_MAX, PING, PONG};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// How long a dial may take, and how long a frame may take to leave.
const DIAL_MS_MAX: u64 = 14_000;
const SEND_MS_MAX: u64 = 20_000;

/// What a socket says.
#[derive(Debug)]
pub enum Said {
    /// It is open.
    Opened,
    /// A text frame came.
    Text(String),
    /// A heartbeat was answered.
    Pong,
    /// It ended, and why.
    Closed(String),
}

/// A socket that is being dialled or is open; dropping it cuts it.
pub struct Socket {
    /// Its number.
    pub number: u64,
    frames: mpsc::UnboundedSender<String>,
    task: tokio::task::JoinHandle<()>,
}

impl Socket {
    /// Dials; what the socket says goes to `said` with its number.
    pub fn dial(url: String, number: u64, said: impl Fn(u64, Said) + 'static) -> Self {
        let (frames, outgoing) = mpsc::unbounded_channel();
        let task = tokio::task::spawn_local(async move {
            let reason = serve(&url, outgoing, |what| said(number, what)).await;
            said(number, Said::Closed(reason));
        });
        Self { number, frames, task }
    }

    /// Sends a text frame; one that cannot be sent ends the socket.
    pub fn send(&self, text: String) {
        let _ = self.frames.send(text);
    }

    /// Sends a heartbeat.
    pub fn ping(&self) {
        self.send(PING.to_owned());
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The address of the executor's socket at an edge.
#[must_use]
pub fn url_of(edge: &str) -> String {
    let edge = edge.trim_end_matches('/');
    let ws = edge.strip_prefix("http").map_or_else(|| edge.to_owned(), |rest| format!("ws{rest}"));
    format!("{ws}/executor")
}

async fn serve(url: &str, mut outgoing: mpsc::UnboundedReceiver<String>, said: impl Fn(Said)) -> String {
    let mut limits = WebSocketConfig::default();
    limits.max_message_size = Some(FRAME_BYTES_MAX);
    limits.max_frame_size = Some(FRAME_BYTES_MAX);
    let dial = tokio_tungstenite::connect_async_with_config(url, Some(limits), true);
    let socket = match tokio::time::timeout(Duration::from_millis(DIAL_MS_MAX), dial).await {
        Ok(Ok((socket, _))) => socket,
        Ok(Err(fault)) => return why(&fault),
        Err(_) => return "the edge did not answer in time".to_owned(),
    };
    said(Said::Opened);
    let (mut sink, mut stream) = socket.split();
    loop {
        tokio::select! {
            incoming = stream.next() => match incoming {
                Some(Ok(Message::Text(text))) if text.as_str() == PONG => said(Said::Pong),
                Some(Ok(Message::Text(text))) => said(Said::Text(text.to_string())),
                Some(Ok(Message::Close(frame))) => return frame.map_or_else(|| "the edge closed the socket".to_owned(), |frame| format!("the edge closed the socket: {} {}", frame.code, frame.reason)),
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Err(fault)) => return why(&fault),
                None => return "the socket ended".to_owned(),
            },
            Some(text) = outgoing.recv() => {
                match tokio::time::timeout(Duration::from_millis(SEND_MS_MAX), sink.send(Message::text(text))).await {
                    Ok(Ok(())) => {}
                    Ok(Err(fault)) => return why(&fault),
                    Err(_) => return "a frame did not leave within 20 s".to_owned(),
                }
            }
        }
    }
}

fn why(fault: &Error) -> String {
    match fault {
        Error::Http(answer) => format!("the edge answered {} instead of a socket", answer.status()),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_sockets() {
        assert_eq!(url_of("https://e.example/"), "wss://e.example/executor");
        assert_eq!(url_of("http://127.0.0.1:8787"), "ws://127.0.0.1:8787/executor");
    }
}
