//! What is said on the proxy's control socket: one JSON value a line, each
//! request answered by one reply, in order.
//!
//! The two ends may be of different versions, because a proxy outlives the
//! daemon that started it. So unknown fields are ignored, new fields have
//! defaults, and an error kind that is not known yet reads as `other`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// Longest request line: a project name, two addresses and 250 times their
/// size to spare.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Longest reply line: 1,024 routes of at most 1 KiB each.
pub const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Longest project name, so that a list of all routes fits in a reply.
pub const PROJECT_BYTES_MAX: usize = 256;

/// What the daemon asks of the proxy. Each may be repeated without harm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Listen on `listen` for `project`, and send every request that starts
    /// from now on to `upstream`; without one, requests wait.
    Set {
        project: String,
        listen: SocketAddr,
        #[serde(default)]
        upstream: Option<SocketAddr>,
    },
    /// Answer when `upstream` has nothing in flight, or after `limit_ms`.
    Drain { upstream: SocketAddr, limit_ms: u64 },
    /// Break off whatever `upstream` has in flight.
    Cut { upstream: SocketAddr },
    /// Stop listening; requests in flight are finished.
    Remove { listen: SocketAddr },
    /// Every route with its figures.
    List {},
    /// Who is there.
    Ping {},
    /// Stop accepting, finish what is in flight, exit.
    Stop {},
}

/// What the proxy answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The route stands; `listen` has the real port if 0 was asked for.
    Set {
        listen: SocketAddr,
    },
    /// How many requests were still in flight when the proxy stopped waiting.
    Drained {
        left: usize,
    },
    /// How many requests were broken off.
    Cut {
        count: usize,
    },
    /// Whether there was such a route.
    Removed {
        existed: bool,
    },
    /// In the order of their addresses.
    Routes {
        routes: Vec<RouteInfo>,
    },
    Pong(Pong),
    /// The proxy has begun to stop.
    Stopping {},
    /// Nothing was changed.
    Error {
        kind: ErrorKind,
        message: String,
    },
}

/// One route, as `list` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteInfo {
    /// Whose it is.
    pub project: String,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// Where their requests go; nowhere yet if none.
    pub upstream: Option<SocketAddr>,
    /// Requests since the route was made.
    #[serde(default)]
    pub requests_total: u64,
    /// Requests answered by the proxy itself with 502, 503 or 504.
    #[serde(default)]
    pub failed_total: u64,
    /// Requests and tunnels that some upstream is busy with.
    #[serde(default)]
    pub in_flight: usize,
    /// Requests that wait for an upstream that takes them.
    #[serde(default)]
    pub waiting: usize,
}

/// The proxy that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// Of the program, which may be older than the one that asks.
    pub version: String,
    /// Its process.
    pub pid: u32,
}

/// Why the proxy refused, for a caller that branches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Another program listens there.
    AddressInUse,
    /// The address belongs to no interface of this machine.
    AddressNotAvailable,
    /// A low port, and the proxy may not.
    PermissionDenied,
    /// Another project has this address.
    Taken,
    /// As many routes as the proxy can hold.
    TooManyRoutes,
    /// Not one of our requests.
    BadRequest,
    /// A line over `REQUEST_BYTES_MAX`.
    TooLong,
    /// The proxy is about to exit.
    Stopping,
    /// Anything else, and kinds of later versions.
    #[serde(other)]
    Other,
}

/// What `read_line` found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads one line into `line`, without its newline, and never keeps more than
/// `bytes_max` of it; the rest of a longer one is skipped.
pub(super) async fn read_line<R>(
    reader: &mut R,
    line: &mut Vec<u8>,
    bytes_max: usize,
) -> std::io::Result<Line>
where
    R: AsyncBufRead + Unpin,
{
    line.clear();
    let mut too_long = false;
    loop {
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            return Ok(Line::End);
        }
        let newline = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..newline.unwrap_or(available.len())];
        if line.len() + part.len() > bytes_max {
            too_long = true;
            line.clear();
        } else if !too_long {
            line.extend_from_slice(part);
        }
        let used = part.len() + usize::from(newline.is_some());
        reader.consume(used);
        if newline.is_some() {
            return Ok(if too_long { Line::TooLong } else { Line::Whole });
        }
    }
}
