//! One request: from the client's connection to the upstream and back.
//!
//! The invariant: a request whose bytes may have reached an upstream is not
//! sent again, with one exception. A request without a body and with an
//! idempotent method that got not one byte of an answer on a *used* connection
//! goes once to a new one, because the upstream had most likely closed the old
//! one while idle. Whatever fails otherwise becomes a 502, 503 or 504 with a
//! sentence. Bodies are never gathered, and responses have no time limit once
//! their head is there.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::body::{Body, Incoming};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::upgrade::OnUpgrade;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version};
use thiserror::Error;
use tokio::sync::{Notify, OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep, timeout_at};
use tracing::debug;

use super::body::{Answer, Outgoing, Progress};
use super::headers;
use super::route::{Limits, Route, Wanted};
use super::tunnel;
use super::upstream::{Failure, InFlight, Line};

/// When a refused client should come again: half of the default wait, so a
/// client that obeys is at most once refused by an app that starts in 15 s.
const RETRY_AFTER_SECONDS: &str = "5";

/// A client's connection, and whatever it became.
pub(super) struct Session {
    pub(super) route: Arc<Route>,
    pub(super) peer: SocketAddr,
    /// Breaks off a request that has no response yet.
    pub(super) cut_request: Arc<Notify>,
    /// Breaks off the connection, in the middle of a response.
    pub(super) cut_connection: Arc<Notify>,
    pub(super) closing: watch::Receiver<bool>,
    pub(super) _place: OwnedSemaphorePermit,
}

/// Why the proxy answers by itself.
#[derive(Debug, Error)]
pub(super) enum Refusal {
    #[error("no release took this request within {} s", .waited.as_secs_f32())]
    NobodyThere { waited: Duration },
    #[error("too many requests are already waiting for a release that takes them")]
    TooManyWaiting,
    #[error("this address is no longer served")]
    Closed,
    #[error("the release broke the connection off before it answered: {0}")]
    Broken(hyper::Error),
    #[error("the release was stopped before it answered")]
    Cut,
    #[error("the release changed to a protocol that nobody had asked for")]
    Unasked,
    #[error("the release did not begin to answer within {} s", .0.as_secs_f32())]
    Silent(Duration),
    #[error("this is not a proxy that opens tunnels")]
    Connect,
}

/// Answers one request of a client.
pub(super) async fn forward(
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Infallible> {
    let counts = &session.route.counts;
    counts.requests.fetch_add(1, Ordering::Relaxed);
    let cut = session.cut_request.notified();
    tokio::pin!(cut);
    let answered = tokio::select! {
        biased;
        () = cut => Err(Refusal::Cut),
        answered = carry(&session, request) => answered,
    };
    Ok(answered.unwrap_or_else(|refusal| {
        let project = &session.route.project;
        debug!(project, upstream = ?session.route.upstream().map(|u| u.address()), %refusal,
            "a request was refused");
        counts.failed.fetch_add(1, Ordering::Relaxed);
        refusal.into_response()
    }))
}

async fn carry(
    session: &Arc<Session>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Refusal> {
    let limits = session.route.limits;
    let deadline = Instant::now() + limits.wait;
    let mut call = Call::new(session, request, limits)?;
    let mut unused = false;
    loop {
        let wanted = Wanted {
            cut: &session.cut_request,
            deadline,
            unused,
        };
        let (mut line, in_flight) = session.route.open(wanted).await?;
        let spare = if line.is_reused() { call.spare() } else { None };
        let failure = match call.exchange(&mut line).await? {
            Ok(response) => return deliver(session, call, response, line, in_flight),
            Err(failure) => failure,
        };
        call.request = Some(again(&line, spare, failure).map_err(Refusal::Broken)?);
        unused = true;
    }
}

/// The request to send on a new connection, or the error to answer with.
fn again(
    line: &Line,
    spare: Option<Spare>,
    failure: Failure,
) -> Result<Request<Outgoing>, hyper::Error> {
    let Failure {
        error,
        unsent,
        unanswered,
    } = failure;
    if !line.is_reused() {
        return Err(error);
    }
    match (unsent, spare) {
        (Some(request), _) => Ok(request),
        (None, Some(spare)) if unanswered => Ok(spare.into_request()),
        (None, _) => Err(error),
    }
}

/// A request on its way to an upstream.
struct Call {
    request: Option<Request<Outgoing>>,
    replayable: bool,
    progress: Progress,
    head_limit: Duration,
    client: Option<OnUpgrade>,
}

/// What it takes to send a request without a body once more.
struct Spare(Method, Uri, HeaderMap);

impl Call {
    fn new(
        session: &Session,
        mut request: Request<Incoming>,
        limits: Limits,
    ) -> Result<Self, Refusal> {
        if request.method() == Method::CONNECT {
            return Err(Refusal::Connect);
        }
        let upgrade = hyper::upgrade::on(&mut request);
        let (mut head, incoming) = request.into_parts();
        let wishes = headers::to_upstream(&mut head, session.peer.ip());
        let bodyless = incoming.is_end_stream();
        let replayable = bodyless && head.method.is_idempotent();
        let progress = Progress::new();
        let body = if bodyless {
            Outgoing::empty()
        } else {
            Outgoing::new(incoming, progress.clone())
        };
        let request = if wishes.expects_continue && !bodyless {
            held_back(head, body, limits.expect)
        } else {
            Request::from_parts(head, body)
        };
        Ok(Self {
            request: Some(request),
            replayable,
            progress,
            head_limit: limits.head,
            client: wishes.upgrade.map(|_| upgrade),
        })
    }

    fn spare(&self) -> Option<Spare> {
        let request = self.request.as_ref().filter(|_| self.replayable)?;
        Some(Spare(
            request.method().clone(),
            request.uri().clone(),
            request.headers().clone(),
        ))
    }

    /// Sends the request and waits for the head of its response. The limit
    /// counts from when the body last moved, so long uploads are not its
    /// concern.
    async fn exchange(
        &mut self,
        line: &mut Line,
    ) -> Result<Result<Response<Incoming>, Failure>, Refusal> {
        let Some(request) = self.request.take() else {
            return Err(Refusal::Cut);
        };
        let mut deadline = Instant::now() + self.head_limit;
        let sending = line.send(request);
        tokio::pin!(sending);
        loop {
            if let Ok(sent) = timeout_at(deadline, sending.as_mut()).await {
                return Ok(sent);
            }
            let later = self.progress.last() + self.head_limit;
            if later <= deadline {
                return Err(Refusal::Silent(self.head_limit));
            }
            deadline = later;
        }
    }
}

impl Spare {
    fn into_request(self) -> Request<Outgoing> {
        let Self(method, uri, headers) = self;
        let mut request = Request::new(Outgoing::empty());
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }
}

/// A request whose body waits for the upstream's 100 Continue. The client gets
/// its own from hyper when the body is first asked for, so not before.
fn held_back(head: Parts, body: Outgoing, limit: Duration) -> Request<Outgoing> {
    let asked_for = Arc::new(Notify::new());
    let told = Arc::clone(&asked_for);
    let body = body.behind(Box::pin(async move {
        tokio::select! {
            () = asked_for.notified() => {}
            () = sleep(limit) => {}
        }
    }));
    let mut request = Request::from_parts(head, body);
    hyper::ext::on_informational(&mut request, move |response| {
        if response.status() == StatusCode::CONTINUE {
            told.notify_one();
        }
    });
    request
}

fn deliver(
    session: &Arc<Session>,
    call: Call,
    response: Response<Incoming>,
    line: Line,
    in_flight: InFlight,
) -> Result<Response<Answer>, Refusal> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = call.client.ok_or(Refusal::Unasked)?;
        return Ok(tunnel::open(session, client, response, in_flight));
    }
    in_flight.hand_over(Arc::clone(&session.cut_connection));
    let (mut head, incoming) = response.into_parts();
    headers::to_client(&mut head.headers);
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(
        head,
        Answer::passed(incoming, line, in_flight),
    ))
}

impl Refusal {
    fn code(&self) -> StatusCode {
        match self {
            Self::NobodyThere { .. } | Self::TooManyWaiting | Self::Closed => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Broken(_) | Self::Cut | Self::Unasked => StatusCode::BAD_GATEWAY,
            Self::Silent(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    fn into_response(self) -> Response<Answer> {
        let code = self.code();
        let mut response = Response::new(Answer::text(format!("{self}\n")));
        *response.status_mut() = code;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if code == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        response
    }
}
