//! The daemon's end of the control socket.
//!
//! A client keeps one connection and replaces it when it broke: every request
//! may be repeated without harm, so a call that fails on a kept connection is
//! made once more on a new one. What it does not do is remember routes: after
//! `ensure`, and after `Unreachable`, the daemon sets them all again, which
//! changes nothing where the old proxy is still there.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::control::socket_path;
use super::protocol::{
    ErrorKind, Line, Pong, REPLY_BYTES_MAX, Reply, Request, RouteInfo, read_line,
};

/// How long a call may take, besides what a drain waits: all are answered from
/// memory, within a millisecond.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// How long a new proxy may take to answer: 1,000 times what it takes.
const START_LIMIT: Duration = Duration::from_secs(5);

/// How long to look for the proxy of another daemon that has won the race for
/// the directory, once ours has ended.
const WINNER_LIMIT: Duration = Duration::from_secs(1);

/// How often a starting proxy is asked.
const START_PAUSE: Duration = Duration::from_millis(5);

/// A log over this size is set aside when a proxy is started; one is kept.
const LOG_BYTES_MAX: u64 = 1024 * 1024;

const LOG: &str = "proxy.log";

/// Speaks with the proxy of one state directory.
#[derive(Debug)]
pub struct ProxyClient {
    socket: PathBuf,
    kept: Mutex<Option<Connection>>,
}

/// Why a call failed.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No proxy is there: `ensure` again, then set all routes again.
    #[error("no proxy answers on {}: {source}", .socket.display())]
    Unreachable {
        /// Where it should be.
        socket: PathBuf,
        /// What happened there.
        source: io::Error,
    },
    /// It is there and does not answer.
    #[error("the proxy did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// It said no; nothing was changed.
    #[error("{message}")]
    Refused {
        /// For a caller that branches.
        kind: ErrorKind,
        /// For a person.
        message: String,
    },
    /// It speaks another language.
    #[error("the proxy gave an answer that makes no sense: {0}")]
    Garbled(String),
    /// It could not be started.
    #[error("cannot start the proxy {}: {source}", .exe.display())]
    Spawn {
        /// The program that was to be run.
        exe: PathBuf,
        /// Why it was not.
        source: io::Error,
    },
    /// It was started and is not there.
    #[error("the proxy {ended} before it was ready; see {}", .log.display())]
    NotReady {
        /// How it ended, or that it did not.
        ended: String,
        /// Where it may have said why.
        log: PathBuf,
    },
}

type Result<T> = std::result::Result<T, ClientError>;

impl ProxyClient {
    /// A client; connects with its first call.
    pub fn new(state: &Path) -> Self {
        Self {
            socket: socket_path(state),
            kept: Mutex::default(),
        }
    }

    /// A client whose proxy answers. If none does, `exe proxy --state STATE` is
    /// started in its own process group, with its output in `STATE/proxy.log`,
    /// and outlives the caller.
    pub async fn ensure(state: &Path, exe: &Path) -> Result<Self> {
        let client = Self::new(state);
        match client.ping().await {
            Ok(_) => return Ok(client),
            Err(ClientError::Unreachable { .. }) => {}
            Err(error) => return Err(error),
        }
        let spawned = spawn(state, exe);
        let mut child = spawned.map_err(|source| ClientError::Spawn {
            exe: exe.to_owned(),
            source,
        })?;
        let mut deadline = Instant::now() + START_LIMIT;
        loop {
            match client.ping().await {
                Ok(_) => return Ok(client),
                Err(_) if Instant::now() < deadline => sleep(START_PAUSE).await,
                Err(_) => return Err(not_ready(&mut child, state)),
            }
            if let Ok(Some(_)) = child.try_wait() {
                deadline = deadline.min(Instant::now() + WINNER_LIMIT);
            }
        }
    }

    /// Who is there.
    pub async fn ping(&self) -> Result<Pong> {
        match self.call(&Request::Ping {}).await? {
            Reply::Pong(pong) => Ok(pong),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a route or switches it; every request that starts afterwards goes
    /// to `upstream`, or waits without one. Gives back the address with its
    /// real port.
    pub async fn set(
        &self,
        project: &str,
        listen: SocketAddr,
        upstream: Option<SocketAddr>,
    ) -> Result<SocketAddr> {
        let request = Request::Set {
            project: project.to_owned(),
            listen,
            upstream,
        };
        match self.call(&request).await? {
            Reply::Set { listen } => Ok(listen),
            other => Err(unexpected(&other)),
        }
    }

    /// Waits until `upstream` has nothing in flight, at most `limit`, and says
    /// how many requests are left. Other calls do not wait for this one.
    pub async fn drain(&self, upstream: SocketAddr, limit: Duration) -> Result<usize> {
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Drain { upstream, limit_ms };
        let call_limit = limit.saturating_add(CALL_LIMIT);
        let asked = async { self.connect().await?.ask(&request).await };
        match self.within(call_limit, asked).await? {
            Reply::Drained { left } => Ok(left),
            other => Err(unexpected(&other)),
        }
    }

    /// Breaks off what `upstream` has in flight and says how much that was.
    pub async fn cut(&self, upstream: SocketAddr) -> Result<usize> {
        match self.call(&Request::Cut { upstream }).await? {
            Reply::Cut { count } => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// Stops listening and says whether there was such a route.
    pub async fn remove(&self, listen: SocketAddr) -> Result<bool> {
        match self.call(&Request::Remove { listen }).await? {
            Reply::Removed { existed } => Ok(existed),
            other => Err(unexpected(&other)),
        }
    }

    /// Every route with its figures, in the order of their addresses.
    pub async fn list(&self) -> Result<Vec<RouteInfo>> {
        match self.call(&Request::List {}).await? {
            Reply::Routes { routes } => Ok(routes),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the proxy to finish what is in flight and exit. Its addresses and
    /// its directory are free right away or very soon.
    pub async fn stop(&self) -> Result<()> {
        match self.call(&Request::Stop {}).await? {
            Reply::Stopping {} => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn call(&self, request: &Request) -> Result<Reply> {
        self.within(CALL_LIMIT, self.exchange(request)).await
    }

    async fn exchange(&self, request: &Request) -> io::Result<Reply> {
        let mut kept = self.kept.lock().await;
        // Taken out meanwhile: a call that is dropped half-way leaves none.
        if let Some(mut connection) = kept.take()
            && let Ok(reply) = connection.ask(request).await
        {
            *kept = Some(connection);
            return Ok(reply);
        }
        let mut connection = self.connect().await?;
        let reply = connection.ask(request).await?;
        *kept = Some(connection);
        Ok(reply)
    }

    async fn connect(&self) -> io::Result<Connection> {
        let stream = UnixStream::connect(&self.socket).await?;
        Ok(Connection {
            stream: BufReader::new(stream),
            line: Vec::new(),
        })
    }

    async fn within(
        &self,
        limit: Duration,
        asked: impl Future<Output = io::Result<Reply>>,
    ) -> Result<Reply> {
        match timeout(limit, asked).await {
            Ok(Ok(Reply::Error { kind, message })) => Err(ClientError::Refused { kind, message }),
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(ClientError::Garbled(error.to_string()))
            }
            Ok(Err(source)) => Err(ClientError::Unreachable {
                socket: self.socket.clone(),
                source,
            }),
            Err(_) => Err(ClientError::TimedOut(limit)),
        }
    }
}

#[derive(Debug)]
struct Connection {
    stream: BufReader<UnixStream>,
    line: Vec<u8>,
}

impl Connection {
    async fn ask(&mut self, request: &Request) -> io::Result<Reply> {
        let mut out = serde_json::to_vec(request)?;
        out.push(b'\n');
        self.stream.write_all(&out).await?;
        match read_line(&mut self.stream, &mut self.line, REPLY_BYTES_MAX).await? {
            Line::Whole => serde_json::from_slice(&self.line)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error)),
            Line::TooLong => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "a reply too long",
            )),
            Line::End => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn unexpected(reply: &Reply) -> ClientError {
    ClientError::Garbled(format!("{reply:?}"))
}

/// Its parent may be gone long before it: no pipe, no terminal, no signal of
/// ours reaches it. Tokio reaps it if it ends first.
fn spawn(state: &Path, exe: &Path) -> io::Result<Child> {
    let path = state.join(LOG);
    if fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX) {
        fs::rename(&path, state.join("proxy.log.1"))?;
    }
    let log = OpenOptions::new().create(true).append(true).open(path)?;
    Command::new(exe)
        .args(["proxy", "--state"])
        .arg(state)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

fn not_ready(child: &mut Child, state: &Path) -> ClientError {
    let ended = match child.try_wait() {
        Ok(Some(status)) => format!("ended with {status}"),
        Ok(None) | Err(_) => format!("did not answer for {} s", START_LIMIT.as_secs()),
    };
    ClientError::NotReady {
        ended,
        log: state.join(LOG),
    }
}
