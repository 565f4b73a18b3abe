//! One WebSocket to the edge: frames in, frames out, nothing decided.
//!
//! The daemon's link engine says when to dial and what to send. Each socket
//! has a number, so that what a dying one still says is not taken for its
//! successor's.

use std::time::Duration;

use doorstep_shared::protocol::{FRAME_BYTES_MAX, PING, PONG};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::reach::Target;

/// How long TLS and the answer to the upgrade may take together, and how long
/// a frame may take to leave.
const UPGRADE_MS_MAX: u64 = 10_000;
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
    /// Nobody answered the dial, and why.
    Unreachable(String),
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
    pub fn dial(target: Target, number: u64, said: impl Fn(u64, Said) + 'static) -> Self {
        let (frames, outgoing) = mpsc::unbounded_channel();
        let task = tokio::task::spawn_local(async move {
            let end = match target.connect().await {
                Ok(stream) => Said::Closed(serve(target.url(), stream, outgoing, |what| said(number, what)).await),
                Err(fault) => Said::Unreachable(fault.to_string()),
            };
            said(number, end);
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

async fn serve(url: &str, stream: TcpStream, mut outgoing: mpsc::UnboundedReceiver<String>, said: impl Fn(Said)) -> String {
    let mut limits = WebSocketConfig::default();
    limits.max_message_size = Some(FRAME_BYTES_MAX);
    limits.max_frame_size = Some(FRAME_BYTES_MAX);
    let upgrade = tokio_tungstenite::client_async_tls_with_config(url, stream, Some(limits), None);
    let socket = match tokio::time::timeout(Duration::from_millis(UPGRADE_MS_MAX), upgrade).await {
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
