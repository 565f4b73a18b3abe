//! The proxy: a small HTTP/1.1 reverse proxy that owns a project's listen
//! address and switches releases behind it without dropping a request.
//!
//! It is a process of its own (`doorstep proxy --state DIR`), started by the
//! daemon through `ProxyClient` and told what to do over a Unix socket, so
//! that it outlives the daemon's restarts, updates and crashes. To deploy is
//! `set` (requests that start now go to the new release), `drain` (the old one
//! answers what it has), `cut` if it does not, then stop the old one.
//!
//! The invariant: a request is counted at exactly one upstream from the moment
//! that one is chosen until its response has ended; `drain` says 0 only when
//! nobody is left who could miss the old release.
//!
//! Absent on purpose: TLS, HTTP/2, caching, load balancing, access logs, and
//! anything on disk but the socket, its lock and the log.

mod body;
mod client;
mod control;
mod forward;
mod headers;
mod listener;
mod protocol;
mod route;
mod server;
mod transport;
mod tunnel;
mod upstream;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

pub use client::{ClientError, ProxyClient};
#[cfg(test)]
pub use protocol::ErrorKind;

use control::Control;
use route::Limits;
use server::Proxy;

/// How long a proxy that was told to stop finishes what is in flight.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// File descriptors that connections leave alone: runtime and log (8), control
/// connections (32), listeners and idle upstream connections.
const FILES_RESERVED: u64 = 256;

/// Connections that are served however few file descriptors there are.
const CONNECTIONS_MIN: usize = 16;

/// Runs the proxy of a state directory until SIGTERM or `stop`. Wants a
/// current-thread runtime with IO and time. Fails if the directory has a proxy
/// already, or cannot be used.
pub async fn run(state: &Path) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    // Taken so that they do not kill; nobody waits for them.
    let _hangup = signal(SignalKind::hangup())?;
    let _interrupt = signal(SignalKind::interrupt())?;
    let limits = limits(raise_file_limit());
    let control = Control::bind(state)?;
    let proxy = Proxy::new(limits);
    info!(state = %state.display(), connections_max = limits.connections_max, "the proxy is ready");
    tokio::select! {
        _ = terminate.recv() => {}
        () = control.serve(&proxy) => {}
    }
    // Addresses first, then the directory: the next proxy can bind both while
    // this one finishes.
    let closed = proxy.close().await;
    control.release();
    if !closed.finish(STOP_LIMIT).await {
        warn!(
            limit_ms = STOP_LIMIT.as_millis(),
            "connections were broken off to stop"
        );
    }
    info!("the proxy has stopped");
    Ok(())
}

/// A connection takes two file descriptors: the client's and the upstream's.
fn limits(files: u64) -> Limits {
    let limits = Limits::default();
    let room = usize::try_from(files.saturating_sub(FILES_RESERVED) / 2).unwrap_or(usize::MAX);
    let connections_max = room.clamp(CONNECTIONS_MIN, limits.connections_max);
    Limits {
        connections_max,
        ..limits
    }
}

/// Raises the soft limit of open files to the hard one, and says what it is.
fn raise_file_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return current.unwrap_or(u64::MAX);
    }
    match setrlimit(
        Resource::Nofile,
        Rlimit {
            current: maximum,
            maximum,
        },
    ) {
        Ok(()) => maximum.unwrap_or(u64::MAX),
        Err(error) => {
            warn!(%error, "the limit of open files stays low");
            current.unwrap_or(u64::MAX)
        }
    }
}
