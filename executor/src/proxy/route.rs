//! A listen address of a project and the upstream behind it.
//!
//! `open` is where a request meets its upstream. The choice and the entry in
//! the upstream's count happen in one turn without an await, so whoever
//! switches a route and then drains the old upstream misses no request. Which
//! routes there are is the `Proxy`'s concern, what is sent is `forward`'s.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};
use tracing::debug;

use super::forward::Refusal;
use super::protocol::RouteInfo;
use super::upstream::{InFlight, Line, Upstream};

/// First pause before an upstream that refused is asked again; it doubles.
const CONNECT_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Longest such pause: 1,024 waiting requests make 4,096 connects a second,
/// about a tenth of a core.
const CONNECT_PAUSE_MAX: Duration = Duration::from_millis(250);

/// How long and how many requests may wait; tests choose smaller ones.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How long a request waits for an upstream that takes it.
    pub wait: Duration,
    /// How many requests of one route may wait at a time.
    pub waiting_max: usize,
    /// How long an upstream may be silent before the head of its response,
    /// counted from the last byte of the request.
    pub head: Duration,
    /// How long an upstream that was asked may take to say 100 Continue.
    pub expect: Duration,
    /// How long a client may be idle before its next request, the head of that
    /// included. A slow head holds no more than an idle connection does.
    pub client_idle: Duration,
    /// Client connections of all routes together.
    pub connections_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Longer than a crashed app takes to come back, shorter than the
            // patience of a person.
            wait: Duration::from_secs(10),
            // About 30 KiB each, buffers and task: 30 MiB.
            waiting_max: 1_024,
            // As long as the slowest report that somebody waits for.
            head: Duration::from_secs(600),
            // What curl does with servers that know nothing of it.
            expect: Duration::from_secs(1),
            // Whoever closes an idle connection may cross a request on its way,
            // and that one gets no answer. So ours are kept for longer than
            // what sits in front keeps its own: nginx 60 s, Go's client and
            // cloudflared 90 s, Caddy 2 min.
            client_idle: Duration::from_secs(180),
            // About 20 KiB each: 320 MiB under attack.
            connections_max: 16_384,
        }
    }
}

/// One route. Connections keep theirs until they end, even when it is removed.
pub(super) struct Route {
    pub(super) project: String,
    pub(super) listen: SocketAddr,
    pub(super) limits: Limits,
    pub(super) counts: Counts,
    target: watch::Sender<Option<Arc<Upstream>>>,
    closing: watch::Sender<bool>,
    places: Semaphore,
}

/// A route's figures.
#[derive(Default)]
pub(super) struct Counts {
    pub(super) requests: AtomicU64,
    pub(super) failed: AtomicU64,
    in_flight: Arc<AtomicUsize>,
}

impl Route {
    pub(super) fn new(project: String, listen: SocketAddr, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            project,
            listen,
            limits,
            counts: Counts::default(),
            target: watch::Sender::new(None),
            closing: watch::Sender::new(false),
            places: Semaphore::new(limits.waiting_max),
        })
    }

    /// Sends every request that starts from now on to `upstream`, and hands
    /// back the one before.
    pub(super) fn switch(&self, upstream: Option<Arc<Upstream>>) -> Option<Arc<Upstream>> {
        self.target.send_replace(upstream)
    }

    pub(super) fn upstream(&self) -> Option<Arc<Upstream>> {
        self.target.borrow().clone()
    }

    /// Asks every connection to end after the request it is at.
    pub(super) fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Turns true when the route closes. Each connection and tunnel holds one
    /// for as long as it lives.
    pub(super) fn closing(&self) -> watch::Receiver<bool> {
        self.closing.subscribe()
    }

    /// Waits until no connection and no tunnel is left.
    pub(super) async fn emptied(&self) {
        self.closing.closed().await;
    }

    pub(super) fn info(&self) -> RouteInfo {
        RouteInfo {
            project: self.project.clone(),
            listen: self.listen,
            upstream: self.upstream().map(|upstream| upstream.address()),
            requests_total: self.counts.requests.load(Ordering::Relaxed),
            failed_total: self.counts.failed.load(Ordering::Relaxed),
            in_flight: self.counts.in_flight.load(Ordering::Relaxed),
            waiting: self.limits.waiting_max - self.places.available_permits(),
        }
    }

    /// A connection to the current upstream, waiting for one that takes it.
    pub(super) async fn open(&self, wanted: Wanted<'_>) -> Result<(Line, InFlight), Refusal> {
        let mut target = self.target.subscribe();
        let mut closing = self.closing.subscribe();
        let mut pause = CONNECT_PAUSE_MIN;
        let mut place = None;
        loop {
            let upstream = target.borrow_and_update().clone();
            if let Some(upstream) = &upstream
                && let Some(opened) = self.enter(upstream, &wanted).await
            {
                return Ok(opened);
            }
            let now = Instant::now();
            if now >= wanted.deadline {
                return Err(Refusal::NobodyThere {
                    waited: self.limits.wait,
                });
            }
            if place.is_none() {
                place = Some(self.place()?);
            }
            let again = match upstream {
                Some(_) => wanted.deadline.min(now + pause),
                None => wanted.deadline,
            };
            pause = CONNECT_PAUSE_MAX.min(pause * 2);
            tokio::select! {
                _ = target.changed() => pause = CONNECT_PAUSE_MIN,
                _ = closing.wait_for(|closing| *closing) => return Err(Refusal::Closed),
                () = sleep_until(again) => {}
            }
        }
    }

    async fn enter(
        &self,
        upstream: &Arc<Upstream>,
        wanted: &Wanted<'_>,
    ) -> Option<(Line, InFlight)> {
        let tally = Arc::clone(&self.counts.in_flight);
        let in_flight = upstream.enter(Arc::clone(wanted.cut), tally);
        if !wanted.unused
            && let Some(line) = upstream.take_idle()
        {
            return Some((line, in_flight));
        }
        match upstream.connect().await {
            Ok(line) => Some((line, in_flight)),
            Err(error) => {
                debug!(project = self.project, upstream = %upstream.address(), %error,
                    "an upstream takes no connection");
                None
            }
        }
    }

    fn place(&self) -> Result<SemaphorePermit<'_>, Refusal> {
        self.places
            .try_acquire()
            .map_err(|_| Refusal::TooManyWaiting)
    }
}

/// What a request wants of the connection that it gets.
pub(super) struct Wanted<'a> {
    /// Told when the request has to be broken off.
    pub(super) cut: &'a Arc<Notify>,
    /// When it stops waiting.
    pub(super) deadline: Instant,
    /// That it carried no request before.
    pub(super) unused: bool,
}
