//! The proxy's control socket: a Unix socket in the state directory that only
//! its owner can open, and a lock so that a directory has one proxy.
//!
//! A line that is no request gets an error and the connection goes on; a
//! connection's requests are answered in order, so a long `drain` is best
//! asked for on a connection of its own. There is no authentication besides
//! the socket's mode.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::sleep;
use tracing::{debug, warn};

use super::protocol::{ErrorKind, Line, Pong, REQUEST_BYTES_MAX, Reply, Request, read_line};
use super::server::{Proxy, SetError};

/// The socket's name in the state directory.
const SOCKET: &str = "proxy.sock";
/// The lock's.
const LOCK: &str = "proxy.lock";

/// Control connections at a time: a daemon's two, and people's. Each holds at
/// most one line: 2 MiB.
const CONNECTIONS_MAX: usize = 32;

/// Longest drain: what keeps a release busy for longer is cut or left alone.
const DRAIN_LIMIT_MAX: Duration = Duration::from_secs(3_600);

/// Pause after a failed accept, so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the proxy of a state directory is spoken to.
pub(super) fn socket_path(state: &Path) -> PathBuf {
    state.join(SOCKET)
}

/// A state directory that is ours, and its socket.
pub(super) struct Control {
    listener: UnixListener,
    socket: PathBuf,
    _lock: File,
}

impl Control {
    /// Takes the lock and listens; a socket that a dead proxy left is replaced.
    pub(super) fn bind(state: &Path) -> anyhow::Result<Self> {
        let lock = take_lock(&state.join(LOCK))?;
        let socket = socket_path(state);
        let listener =
            listen(&socket).with_context(|| format!("cannot listen on {}", socket.display()))?;
        Ok(Self {
            listener,
            socket,
            _lock: lock,
        })
    }

    /// Answers requests until one asks to stop; no conversation outlives this.
    pub(super) async fn serve(&self, proxy: &Arc<Proxy>) {
        let stop = Arc::new(Notify::new());
        let (_serving, served) = watch::channel(());
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let accepting = async {
            while let Ok(place) = Arc::clone(&places).acquire_owned().await {
                let stream = self.accept().await;
                let (proxy, stop) = (Arc::clone(proxy), Arc::clone(&stop));
                let mut served = served.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        ended = converse(stream, &proxy, &stop) => if let Err(error) = ended {
                            debug!(%error, "a control connection ended badly");
                        },
                        _ = served.changed() => {}
                    }
                    drop(place);
                });
            }
        };
        tokio::select! {
            () = accepting => {}
            () = stop.notified() => {}
        }
    }

    /// Gives the directory to the next proxy. The socket goes before the lock,
    /// else it could be the next one's.
    pub(super) fn release(self) {
        if let Err(error) = fs::remove_file(&self.socket) {
            warn!(socket = %self.socket.display(), %error, "the socket stays behind");
        }
    }

    async fn accept(&self) -> UnixStream {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => return stream,
                Err(error) => {
                    warn!(%error, "no control connection can be taken for a while");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

fn take_lock(path: &Path) -> anyhow::Result<File> {
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => {
            bail!(
                "another proxy serves this directory: {} is locked",
                path.display()
            )
        }
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

/// The socket appears under its name only when its mode is right, and replaces
/// a stale one in the same step.
fn listen(socket: &Path) -> io::Result<UnixListener> {
    let fresh = socket.with_extension("new");
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&fresh)?;
    fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
    fs::rename(&fresh, socket)?;
    Ok(listener)
}

async fn converse(stream: UnixStream, proxy: &Proxy, stop: &Notify) -> io::Result<()> {
    let (reading, mut writing) = stream.into_split();
    let mut reader = BufReader::new(reading);
    let mut line = Vec::new();
    loop {
        let request = match read_line(&mut reader, &mut line, REQUEST_BYTES_MAX).await? {
            Line::End => return Ok(()),
            Line::TooLong => Err(too_long()),
            Line::Whole => serde_json::from_slice(&line).map_err(bad_request),
        };
        let stopping = matches!(request, Ok(Request::Stop {}));
        let reply = match request {
            Ok(request) => answer(proxy, request).await,
            Err(reply) => reply,
        };
        let mut out = serde_json::to_vec(&reply)?;
        out.push(b'\n');
        writing.write_all(&out).await?;
        if stopping {
            stop.notify_one();
        }
    }
}

async fn answer(proxy: &Proxy, request: Request) -> Reply {
    match request {
        Request::Set {
            project,
            listen,
            upstream,
        } => match proxy.set(&project, listen, upstream) {
            Ok(listen) => Reply::Set { listen },
            Err(error) => refused(&error),
        },
        Request::Drain { upstream, limit_ms } => {
            let limit = DRAIN_LIMIT_MAX.min(Duration::from_millis(limit_ms));
            Reply::Drained {
                left: proxy.drain(upstream, limit).await,
            }
        }
        Request::Cut { upstream } => Reply::Cut {
            count: proxy.cut(upstream),
        },
        Request::Remove { listen } => Reply::Removed {
            existed: proxy.remove(listen).await,
        },
        Request::List {} => Reply::Routes {
            routes: proxy.list(),
        },
        Request::Ping {} => Reply::Pong(Pong {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        }),
        Request::Stop {} => Reply::Stopping {},
    }
}

fn refused(error: &SetError) -> Reply {
    Reply::Error {
        kind: error.kind(),
        message: error.to_string(),
    }
}

fn too_long() -> Reply {
    let message = format!("a request line has at most {REQUEST_BYTES_MAX} bytes");
    Reply::Error {
        kind: ErrorKind::TooLong,
        message,
    }
}

fn bad_request(error: serde_json::Error) -> Reply {
    Reply::Error {
        kind: ErrorKind::BadRequest,
        message: format!("not a request: {error}"),
    }
}
