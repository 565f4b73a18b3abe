//! A host without an executor: the protocol of the drain, spoken by hand.
//!
//! [`FakeExecutor`] is a host's identity, [`Socket`] one connection before it
//! was believed (or one that lies), [`Session`] one that was.

use std::collections::VecDeque;

use doorstep_shared::ids::{Action, Name, ProjectState};
use doorstep_shared::link::WINDOW;
use doorstep_shared::protocol::{
    self, Grant, Holding, PING, PONG, ProjectView, Refusal, Report, ToEdge, ToExecutor, VERSION, hello_message, join_message,
};
use ed25519_dalek::{Signer, SigningKey};
use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::{Edge, wait};

/// A host's identity: its name, its key, its journal.
#[derive(Clone, Debug)]
pub struct FakeExecutor {
    /// Its name.
    pub name: Name,
    /// Its key.
    pub key: SigningKey,
    /// The identity of its journal.
    pub journal: String,
    url: String,
}

/// What came on a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A frame of the protocol.
    Frame(ToExecutor),
    /// The answer to a heartbeat.
    Pong,
    /// The other side closed, with this code.
    Closed(u16),
    /// The connection ended without a word.
    Cut,
}

/// One connection to `/executor`.
#[derive(Debug)]
pub struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// The challenge it got.
    pub nonce: String,
}

/// A connection whose hello was believed.
#[derive(Debug)]
pub struct Session {
    /// The connection.
    pub socket: Socket,
    /// The highest report that the hub said it has.
    pub acknowledged: u64,
    early: VecDeque<Grant>,
}

/// A project that follows `main` of `repo` and allows everything.
#[must_use]
pub fn project(name: &str, repo: &str) -> ProjectView {
    ProjectView {
        name: name.parse().unwrap(),
        repo: format!("https://github.com/{repo}"),
        branch: "main".into(),
        paths: Vec::new(),
        remote: Action::ALL.to_vec(),
        state: ProjectState::Running,
        reason: None,
        live: None,
        address: None,
        shows_logs: false,
        services: Vec::new(),
        behind: None,
        quarantined: None,
        back: None,
    }
}

impl Socket {
    /// Dials, and takes the challenge.
    pub async fn dial(edge: &Edge) -> Self {
        Self::dial_url(&edge.url("/executor")).await
    }

    async fn dial_url(url: &str) -> Self {
        let url = url.replacen("http", "ws", 1);
        let (stream, _) = wait::soon("the socket to open", connect_async(&url)).await.unwrap();
        let mut socket = Self { stream, nonce: String::new() };
        match socket.hear().await {
            Heard::Frame(ToExecutor::Challenge { nonce, .. }) => socket.nonce = nonce,
            other => panic!("a connection begins with a challenge, not with {other:?}"),
        }
        socket
    }

    /// Sends a frame of the protocol.
    pub async fn send(&mut self, frame: &ToEdge) {
        self.send_text(protocol::encode(frame).unwrap()).await;
    }

    /// Sends any text.
    pub async fn send_text(&mut self, text: impl Into<String>) {
        // Refused sockets close while they are written to; what follows is heard.
        let _ = self.stream.send(Message::text(text.into())).await;
    }

    /// Sends any bytes as a binary frame.
    pub async fn send_binary(&mut self, bytes: &[u8]) {
        let _ = self.stream.send(Message::binary(bytes.to_vec())).await;
    }

    /// The next thing that comes.
    pub async fn hear(&mut self) -> Heard {
        loop {
            match wait::soon("a frame of the hub", self.stream.next()).await {
                Some(Ok(Message::Text(text))) if text.as_str() == PONG => return Heard::Pong,
                Some(Ok(Message::Text(text))) => return Heard::Frame(protocol::decode(&text).unwrap()),
                Some(Ok(Message::Close(close))) => return Heard::Closed(close.map_or(1005, |close| close.code.into())),
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Binary(_))) => panic!("the hub sends no binary frames"),
                Some(Err(_)) | None => return Heard::Cut,
            }
        }
    }

    /// Everything until the connection ends.
    pub async fn hear_out(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        loop {
            let next = self.hear().await;
            let is_end = matches!(next, Heard::Closed(_) | Heard::Cut);
            heard.push(next);
            if is_end {
                return heard;
            }
        }
    }

    /// The refusal that must come next, and then the end.
    pub async fn refusal(&mut self) -> Refusal {
        let refusal = match self.hear().await {
            Heard::Frame(ToExecutor::Refuse { refusal, .. }) => refusal,
            other => panic!("expected a refusal, not {other:?}"),
        };
        assert_eq!(self.hear().await, Heard::Closed(4000), "a refused socket is closed");
        refusal
    }

    /// Beats once and waits for the answer.
    pub async fn beat(&mut self) -> Heard {
        self.send_text(PING).await;
        self.hear().await
    }
}

impl FakeExecutor {
    /// A host that nobody enrolled yet, with a key of its own.
    #[must_use]
    pub fn new(edge: &Edge, name: &str) -> Self {
        let mut seed = [0u8; 32];
        getrandom::fill(&mut seed).unwrap();
        let key = SigningKey::from_bytes(&seed);
        Self { name: name.parse().unwrap(), key, journal: hex::encode(&seed[..8]), url: edge.url("/executor") }
    }

    /// Its public key in hex.
    #[must_use]
    pub fn public_key(&self) -> String {
        hex::encode(self.key.verifying_key().as_bytes())
    }

    /// The frame that enrols it.
    #[must_use]
    pub fn join_frame(&self, code: &str, nonce: &str) -> ToEdge {
        let public_key = self.public_key();
        let signature = hex::encode(self.key.sign(&join_message(&self.name, nonce, &public_key)).to_bytes());
        ToEdge::Join { code: code.to_owned(), host: self.name.clone(), public_key, signature }
    }

    /// The frame that proves who it is.
    #[must_use]
    pub fn hello_frame(&self, nonce: &str, holding: &[Holding], projects: &[ProjectView]) -> ToEdge {
        ToEdge::Hello {
            version: VERSION,
            executor_version: "0.0.0-fake".into(),
            host: self.name.clone(),
            signature: hex::encode(self.key.sign(&hello_message(&self.name, nonce)).to_bytes()),
            journal: self.journal.clone(),
            holding: holding.to_vec(),
            projects: projects.to_vec(),
            parked: None,
            started: None,
            booted: None,
        }
    }

    /// Enrols it with a code.
    ///
    /// # Errors
    ///
    /// What the hub made of it instead.
    pub async fn join(&self, code: &str) -> Result<(), Refusal> {
        let mut socket = Socket::dial_url(&self.url).await;
        let frame = self.join_frame(code, &socket.nonce);
        socket.send(&frame).await;
        match socket.hear().await {
            Heard::Frame(ToExecutor::Joined { host }) => {
                assert_eq!(host, self.name);
                Ok(())
            }
            Heard::Frame(ToExecutor::Refuse { refusal, .. }) => Err(refusal),
            other => panic!("expected an answer to a join, not {other:?}"),
        }
    }

    /// Says hello; what the hub made of it is on the socket.
    pub async fn hello(&self, holding: &[Holding], projects: &[ProjectView]) -> Socket {
        let mut socket = Socket::dial_url(&self.url).await;
        let frame = self.hello_frame(&socket.nonce, holding, projects);
        socket.send(&frame).await;
        socket
    }

    /// Connects and is welcome; what it says of itself is what `change` makes of it.
    pub async fn connect_saying(&self, projects: &[ProjectView], change: impl FnOnce(&mut ToEdge)) -> Session {
        let mut socket = Socket::dial_url(&self.url).await;
        let mut frame = self.hello_frame(&socket.nonce, &[], projects);
        change(&mut frame);
        socket.send(&frame).await;
        Self::welcomed(socket).await
    }

    /// Connects and is welcome, holding nothing.
    pub async fn connect(&self, projects: &[ProjectView]) -> Session {
        self.connect_holding(&[], projects).await
    }

    /// Connects and is welcome, holding these.
    pub async fn connect_holding(&self, holding: &[Holding], projects: &[ProjectView]) -> Session {
        Self::welcomed(self.hello(holding, projects).await).await
    }

    async fn welcomed(mut socket: Socket) -> Session {
        match socket.hear().await {
            Heard::Frame(ToExecutor::Welcome { acknowledged, .. }) => Session { socket, acknowledged, early: VecDeque::new() },
            other => panic!("expected a welcome, not {other:?}"),
        }
    }
}

impl Session {
    /// The next grant. Nothing but grants may come before it.
    pub async fn grant(&mut self) -> Grant {
        if let Some(grant) = self.early.pop_front() {
            return grant;
        }
        match self.socket.hear().await {
            Heard::Frame(ToExecutor::Grant { grant }) => grant,
            other => panic!("expected a grant, not {other:?}"),
        }
    }

    /// Sends one report under a number, without waiting.
    pub async fn tell(&mut self, seq: u64, report: Report) {
        self.socket.send(&ToEdge::Report { seq, report }).await;
    }

    /// The next acknowledgement; grants that come before it are kept.
    pub async fn acknowledgement(&mut self) -> u64 {
        loop {
            match self.socket.hear().await {
                Heard::Frame(ToExecutor::Acknowledge { seq }) => {
                    self.acknowledged = seq;
                    return seq;
                }
                Heard::Frame(ToExecutor::Grant { grant }) => self.early.push_back(grant),
                // Somebody looks at a page that shows what is used.
                Heard::Frame(ToExecutor::Measure) => {}
                other => panic!("expected an acknowledgement, not {other:?}"),
            }
        }
    }

    /// Sends reports, as many under way as an executor has, and waits until the
    /// hub has the last.
    pub async fn report_all(&mut self, reports: impl IntoIterator<Item = Report>) {
        let mut seq = self.acknowledged;
        for report in reports {
            seq += 1;
            self.tell(seq, report).await;
            if seq.is_multiple_of(WINDOW as u64) {
                while self.acknowledgement().await < seq {}
            }
        }
        while self.acknowledged < seq {
            self.acknowledgement().await;
        }
    }

    /// Sends the next report and waits until the hub has it.
    pub async fn report(&mut self, report: Report) {
        let seq = self.acknowledged + 1;
        self.tell(seq, report).await;
        assert_eq!(self.acknowledgement().await, seq);
    }
}
