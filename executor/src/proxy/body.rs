//! Bodies on their way through, frame by frame; nothing is gathered.
//!
//! `Outgoing` goes to the upstream. It can be held back until the upstream
//! says 100 Continue, and it notes when it last moved. `Answer` goes to the
//! client. It carries the proof that its request is in flight, and gives the
//! connection back to the pool only after a complete body.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::Instant;

use super::upstream::{InFlight, Line};

type Gate = Pin<Box<dyn Future<Output = ()> + Send>>;

/// When a request's body last moved.
#[derive(Clone)]
pub(super) struct Progress(Arc<Mutex<Instant>>);

impl Progress {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    pub(super) fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

/// The body of a request to an upstream.
pub(super) struct Outgoing {
    incoming: Option<(Incoming, Progress)>,
    gate: Option<Gate>,
}

impl Outgoing {
    pub(super) fn empty() -> Self {
        Self {
            incoming: None,
            gate: None,
        }
    }

    pub(super) fn new(incoming: Incoming, progress: Progress) -> Self {
        Self {
            incoming: Some((incoming, progress)),
            gate: None,
        }
    }

    /// Holds the body back until `gate` is done.
    pub(super) fn behind(mut self, gate: Gate) -> Self {
        self.gate = Some(gate);
        self
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if let Some(gate) = &mut self.gate {
            ready!(gate.as_mut().poll(cx));
            self.gate = None;
        }
        let Some((incoming, progress)) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        progress.note();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        (self.incoming.as_ref()).is_none_or(|(incoming, _)| incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match &self.incoming {
            Some((incoming, _)) => incoming.size_hint(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// The body of a response to a client.
pub(super) enum Answer {
    /// Ours.
    Text(Full<Bytes>),
    /// An upstream's.
    Passed(Passed),
}

/// A body that an upstream is sending.
pub(super) struct Passed {
    incoming: Incoming,
    ended: bool,
    line: Option<Line>,
    in_flight: InFlight,
}

impl Answer {
    pub(super) fn text(sentence: String) -> Self {
        Self::Text(Full::from(sentence))
    }

    pub(super) fn empty() -> Self {
        Self::Text(Full::default())
    }

    /// `line` goes back to its upstream's pool, and `in_flight` ends, with the
    /// body.
    pub(super) fn passed(incoming: Incoming, line: Line, in_flight: InFlight) -> Self {
        Self::Passed(Passed {
            incoming,
            ended: false,
            line: Some(line),
            in_flight,
        })
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match self.get_mut() {
            Self::Text(text) => Pin::new(text)
                .poll_frame(cx)
                .map_err(|never| match never {}),
            Self::Passed(passed) => {
                let frame = ready!(Pin::new(&mut passed.incoming).poll_frame(cx));
                passed.ended = frame.is_none();
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Text(text) => text.is_end_stream(),
            Self::Passed(passed) => passed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Text(text) => text.size_hint(),
            Self::Passed(passed) => passed.incoming.size_hint(),
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        let complete = self.ended || self.incoming.is_end_stream();
        if let Some(line) = self.line.take().filter(|_| complete) {
            self.in_flight.upstream().keep(line);
        }
    }
}
