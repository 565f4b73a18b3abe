//! An app that does what the paths of its requests say.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::harness::local;

/// How long `/busy` takes before it answers.
const WORK: Duration = Duration::from_millis(5);

pub type Body = BoxBody<Bytes, hyper::Error>;

pub struct App {
    pub address: SocketAddr,
    pub state: Arc<AppState>,
    serving: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
pub struct AppState {
    name: &'static str,
    /// Requests that came in.
    pub requests: AtomicUsize,
    /// Connections that came in.
    pub connections: AtomicUsize,
    /// Requests to `/hang` that are being handled.
    pub hanging: AtomicUsize,
    /// Lets one `/hang` go.
    pub go: Notify,
    /// Streams that `/stream` has open.
    pub streams: Mutex<Vec<mpsc::UnboundedSender<&'static str>>>,
}

impl App {
    pub async fn start(name: &'static str) -> Self {
        Self::at(local(), name).await
    }

    pub async fn at(address: SocketAddr, name: &'static str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(1024).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(AppState {
            name,
            ..AppState::default()
        });
        let serving = tokio::spawn(serve(listener, Arc::clone(&state)));
        Self {
            address,
            state,
            serving,
        }
    }

    /// Gone at once, with every connection: a process that was killed.
    pub async fn kill(mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }

    /// Sends a piece on every open stream.
    pub fn push(&self, piece: &'static str) {
        for stream in self.state.streams.lock().unwrap().iter() {
            let _ = stream.send(piece);
        }
    }

    /// Ends every open stream.
    pub fn end_streams(&self) {
        self.state.streams.lock().unwrap().clear();
    }

    pub fn requests(&self) -> usize {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    pub fn hanging(&self) -> usize {
        self.state.hanging.load(Ordering::SeqCst)
    }
}

async fn serve(listener: TcpListener, state: Arc<AppState>) {
    // Dropped with this task, and every connection with it.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        state.connections.fetch_add(1, Ordering::SeqCst);
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let service = service_fn(move |request| handle(Arc::clone(&state), request));
            let _ = http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await;
        });
    }
}

async fn handle(
    state: Arc<AppState>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, hyper::Error> {
    state.requests.fetch_add(1, Ordering::SeqCst);
    let path = request.uri().path().to_owned();
    let (verb, rest) = path[1..].split_once('/').unwrap_or((&path[1..], ""));
    Ok(match verb {
        "echo" => {
            let length = request.headers().get("content-length").cloned();
            let mut response = Response::new(request.into_body().boxed());
            if let Some(length) = length {
                response.headers_mut().insert("content-length", length);
            }
            response
        }
        "sum" => text(sum(request.into_body()).await?.to_string()),
        "bytes" => Response::new(Many::new(rest.parse().unwrap(), true).boxed()),
        "chunks" => Response::new(Many::new(rest.parse().unwrap(), false).boxed()),
        "code" => {
            let code: StatusCode = rest.parse().unwrap();
            Response::builder().status(code).body(full("")).unwrap()
        }
        "early" => Response::builder()
            .status(413)
            .body(full("too much"))
            .unwrap(),
        "head" => Response::builder()
            .header("content-length", "12345")
            .body(full(""))
            .unwrap(),
        "seen" => text(format!(
            "{} {}\n{:#?}",
            request.method(),
            request.uri(),
            request.headers()
        )),
        "fields" => Response::builder()
            .header("connection", "x-inner")
            .header("x-inner", "1")
            .header("keep-alive", "timeout=5")
            .header("x-outer", "2")
            .body(full("ok"))
            .unwrap(),
        "busy" => {
            let _ = timeout(WORK, std::future::pending::<()>()).await;
            text(state.name.to_owned())
        }
        "hang" => {
            let _here = Here::new(&state);
            state.go.notified().await;
            text(state.name.to_owned())
        }
        "stream" => {
            let (sender, receiver) = mpsc::unbounded_channel();
            state.streams.lock().unwrap().push(sender);
            Response::builder()
                .header("content-type", "text/event-stream")
                .body(Pieces(receiver).boxed())
                .unwrap()
        }
        "socket" => {
            let upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let mut io = TokioIo::new(upgrade.await.unwrap());
                let mut buffer = [0; 1024];
                while let Ok(count @ 1..) = io.read(&mut buffer).await {
                    io.write_all(&buffer[..count]).await.unwrap();
                }
            });
            Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "echo")
                .header("x-accept", "yes")
                .body(full(""))
                .unwrap()
        }
        _ => text(state.name.to_owned()),
    })
}

struct Here(Arc<AppState>);

impl Here {
    fn new(state: &Arc<AppState>) -> Self {
        state.hanging.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        self.0.hanging.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a test pushes, piece by piece.
struct Pieces(mpsc::UnboundedReceiver<&'static str>);

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let piece = std::task::ready!(self.0.poll_recv(cx));
        Poll::Ready(piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))))
    }
}

/// So many bytes of which each tells its place, of known length or not.
pub struct Many {
    at: u64,
    count: u64,
    pub length_known: bool,
}

impl Many {
    pub fn new(count: u64, length_known: bool) -> Self {
        Self {
            at: 0,
            count,
            length_known,
        }
    }
}

impl hyper::body::Body for Many {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let end = self.count.min(self.at + PIECE);
        if end == self.at {
            return Poll::Ready(None);
        }
        let piece = PATTERN[place(self.at)..][..(end - self.at) as usize].to_vec();
        self.at = end;
        Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece)))))
    }

    fn size_hint(&self) -> SizeHint {
        match self.length_known {
            true => SizeHint::with_exact(self.count - self.at),
            false => SizeHint::default(),
        }
    }
}

/// Bytes of a piece.
const PIECE: u64 = 16 * 1024;

/// A piece from any place on.
static PATTERN: LazyLock<Vec<u8>> =
    LazyLock::new(|| (0..=250).cycle().take(PIECE as usize + 251).collect());

fn place(at: u64) -> usize {
    (at % 251) as usize
}

/// Counts the bytes of a body, each of which must tell its place.
pub async fn sum(mut body: Incoming) -> Result<u64, hyper::Error> {
    let mut count = 0;
    while let Some(frame) = body.frame().await {
        for piece in frame?
            .into_data()
            .unwrap_or_default()
            .chunks(PIECE as usize)
        {
            assert!(
                *piece == PATTERN[place(count)..][..piece.len()],
                "after byte {count}"
            );
            count += piece.len() as u64;
        }
    }
    Ok(count)
}

pub fn full(text: impl Into<Bytes>) -> Body {
    Full::new(text.into())
        .map_err(|never| match never {})
        .boxed()
}

fn text(text: String) -> Response<Body> {
    Response::new(full(text))
}
