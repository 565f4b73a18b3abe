//! One release's address: the idle connections to it, and every request that
//! it is answering.
//!
//! The invariant: a request is in `in_flight` from the moment an upstream is
//! chosen for it until its response body (or its tunnel) has ended, so an
//! upstream that is no longer chosen and has nothing in flight can be stopped.
//! Nothing here decides which upstream a request gets; that is the route's.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::body::Outgoing;
use super::transport::{Socket, Transport};

/// How long an idle connection is kept. Servers close theirs after 2 s
/// (gunicorn) to 5 s (uvicorn, Node); half of the shortest leaves the race
/// between their close and our next request to nobody.
const IDLE_LIMIT: Duration = Duration::from_secs(1);

/// Idle connections kept for one upstream: about 20 KiB each, 1.3 MiB in all.
const IDLE_MAX: usize = 64;

/// How long one connect may take. Upstreams are on this machine: what does not
/// answer within the first retransmission of a SYN (1 s) and one more is gone.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Read buffer of one connection, and so the longest head: 8 times nginx's
/// default for one header line.
pub(super) const BUFFER_BYTES_MAX: usize = 64 * 1024;

/// A release's address.
pub(super) struct Upstream {
    address: SocketAddr,
    state: Mutex<State>,
    quiet: Notify,
}

#[derive(Default)]
struct State {
    retired: bool,
    pruning: bool,
    idle: Vec<Line>,
    in_flight: HashMap<u64, Arc<Notify>>,
    next_id: u64,
}

impl Upstream {
    pub(super) fn new(address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            address,
            state: Mutex::default(),
            quiet: Notify::new(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Counts a request in. `cut` is told when it has to be broken off.
    pub(super) fn enter(self: &Arc<Self>, cut: Arc<Notify>, tally: Arc<AtomicUsize>) -> InFlight {
        tally.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        let id = state.next_id;
        state.next_id += 1;
        state.in_flight.insert(id, cut);
        drop(state);
        InFlight {
            upstream: Arc::clone(self),
            id,
            tally,
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.state().in_flight.len()
    }

    /// Waits until nothing is in flight, at most `limit`, and says how much is
    /// left.
    pub(super) async fn drain(&self, limit: Duration) -> usize {
        let emptied = async {
            loop {
                let quiet = self.quiet.notified();
                tokio::pin!(quiet);
                quiet.as_mut().enable();
                if self.in_flight() == 0 {
                    return;
                }
                quiet.await;
            }
        };
        // Past the limit or not, the count that is left is the answer.
        let _ = timeout(limit, emptied).await;
        self.in_flight()
    }

    /// Breaks off everything in flight and says how much that was.
    pub(super) fn cut(&self) -> usize {
        let cuts: Vec<_> = self.state().in_flight.values().cloned().collect();
        for cut in &cuts {
            cut.notify_waiters();
        }
        cuts.len()
    }

    /// Closes the idle connections and keeps no more: no route leads here.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        state.retired = true;
        state.idle.clear();
    }

    /// A route leads here (again).
    pub(super) fn revive(&self) {
        self.state().retired = false;
    }

    /// An idle connection that is fit for use.
    pub(super) fn take_idle(&self) -> Option<Line> {
        let mut state = self.state();
        while let Some(at) = state.idle.iter().rposition(|line| line.sender.is_ready()) {
            let mut line = state.idle.swap_remove(at);
            if line.is_fresh() && line.socket.is_quiet() {
                line.reused = true;
                return Some(line);
            }
        }
        None
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> io::Result<Line> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect(self.address)).await??;
        stream.set_nodelay(true)?;
        let socket = Socket::new(stream);
        let transport = TokioIo::new(Transport(Arc::clone(&socket)));
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES_MAX)
            .handshake(transport)
            .await
            .map_err(io::Error::other)?;
        let upstream = self.address;
        tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                debug!(%upstream, %error, "a connection to an upstream ended badly");
            }
        });
        Ok(Line {
            sender,
            socket,
            reused: false,
            idle_since: Instant::now(),
        })
    }

    /// Takes a connection back after a complete response.
    pub(super) fn keep(self: &Arc<Self>, mut line: Line) {
        let mut state = self.state();
        if state.retired || state.idle.len() >= IDLE_MAX || line.sender.is_closed() {
            return;
        }
        line.idle_since = Instant::now();
        state.idle.push(line);
        if !state.pruning {
            state.pruning = true;
            tokio::spawn(prune(Arc::clone(self)));
        }
    }

    fn leave(&self, id: u64) {
        let mut state = self.state();
        state.in_flight.remove(&id);
        if state.in_flight.is_empty() {
            self.quiet.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes connections that were idle for too long, until none is left; an idle
/// proxy then has no timer at all.
async fn prune(upstream: Arc<Upstream>) {
    loop {
        sleep(IDLE_LIMIT).await;
        let mut state = upstream.state();
        state
            .idle
            .retain(|line| line.is_fresh() && !line.sender.is_closed());
        if state.idle.is_empty() {
            state.pruning = false;
            return;
        }
    }
}

/// Proof that a request is in flight; ends when dropped.
pub(super) struct InFlight {
    upstream: Arc<Upstream>,
    id: u64,
    tally: Arc<AtomicUsize>,
}

impl InFlight {
    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// From now on it is `cut` that is told when this has to be broken off.
    pub(super) fn hand_over(&self, cut: Arc<Notify>) {
        self.upstream.state().in_flight.insert(self.id, cut);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.tally.fetch_sub(1, Ordering::Relaxed);
        self.upstream.leave(self.id);
    }
}

/// A connection to an upstream, for one request at a time.
pub(super) struct Line {
    sender: SendRequest<Outgoing>,
    socket: Arc<Socket>,
    reused: bool,
    idle_since: Instant,
}

/// A request that got no response.
pub(super) struct Failure {
    pub(super) error: hyper::Error,
    /// The request, if no byte of it was written.
    pub(super) unsent: Option<Request<Outgoing>>,
    /// Whether not one byte of a response came.
    pub(super) unanswered: bool,
}

impl Line {
    /// Whether it has carried a request before.
    pub(super) fn is_reused(&self) -> bool {
        self.reused
    }

    /// Sends a request; done when the head of the response is there.
    pub(super) async fn send(
        &mut self,
        request: Request<Outgoing>,
    ) -> Result<Response<Incoming>, Failure> {
        let before = self.socket.received();
        let sent = self.sender.try_send_request(request).await;
        sent.map_err(|mut failed| Failure {
            unsent: failed.take_message(),
            error: failed.into_error(),
            unanswered: self.socket.received() == before,
        })
    }

    fn is_fresh(&self) -> bool {
        self.idle_since.elapsed() < IDLE_LIMIT
    }
}
