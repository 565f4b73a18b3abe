//! A route's listening socket and the connections that come in.
//!
//! When the proxy serves as many connections as it may, each listener takes
//! one more and the rest wait in the kernel's queue. When the process has no
//! file descriptor left all the same, accepting pauses for up to a second
//! instead of spinning, and goes on by itself.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::forward::{Session, forward};
use super::route::Route;
use super::upstream::BUFFER_BYTES_MAX;

/// Connections that the kernel may hold for one listener; it caps this at
/// `net.core.somaxconn` (4,096).
const BACKLOG: u32 = 1_024;

/// First and longest pause of a listener that could not accept; it doubles.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// A silent client is asked for a sign of life after this, then 4 times every
/// 15 s: one that vanished holds a release for 2 minutes at most.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(60);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

/// Listens on an address. There is no await in it: a route is made in one turn.
pub(super) fn bind(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = match listen {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Else the address is taken for a minute after its connections.
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// Takes connections for ever.
pub(super) async fn accept(route: Arc<Route>, listener: TcpListener, places: Arc<Semaphore>) {
    let mut pause = ACCEPT_PAUSE_MIN;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                pause = ACCEPT_PAUSE_MIN;
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                let session = Session {
                    closing: route.closing(),
                    route: Arc::clone(&route),
                    peer,
                    cut_request: Arc::default(),
                    cut_connection: Arc::default(),
                    _place: place,
                };
                tokio::spawn(serve(Arc::new(session), stream));
            }
            Err(error) if concerns_one_connection(&error) => {
                debug!(listen = %route.listen, %error, "a connection was gone before it was taken");
            }
            Err(error) => {
                warn!(listen = %route.listen, %error, pause_ms = pause.as_millis(),
                    "no connection can be taken for a while");
                sleep(pause).await;
                pause = ACCEPT_PAUSE_MAX.min(pause * 2);
            }
        }
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

async fn serve(session: Arc<Session>, stream: TcpStream) {
    if let Err(error) = tune(&stream) {
        debug!(%error, "a connection cannot be tuned");
    }
    let serving = Arc::clone(&session);
    let service = service_fn(move |request| forward(Arc::clone(&serving), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(session.route.limits.client_idle)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let cut = session.cut_connection.notified();
    tokio::pin!(cut);
    let mut closing = session.closing.clone();
    let mut told = false;
    loop {
        tokio::select! {
            biased;
            () = &mut cut => return,
            _ = closing.wait_for(|closing| *closing), if !told => {
                told = true;
                connection.as_mut().graceful_shutdown();
            }
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    debug!(listen = %session.route.listen, %error, "a connection ended badly");
                }
                return;
            }
        }
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, KEEPALIVE_IDLE)?;
    sockopt::set_tcp_keepintvl(stream, KEEPALIVE_INTERVAL)?;
    sockopt::set_tcp_keepcnt(stream, KEEPALIVE_PROBES)?;
    Ok(())
}
