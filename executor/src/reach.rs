//! A TCP connection to the edge, or soon the news that nobody answers.
//!
//! While a network is gone this is what tells that it is back, so no step of it
//! may take long: the name is looked up for a second, or what it stood for
//! last is taken (the look-up goes on for the next try); each of its addresses is tried for two seconds, side by side
//! (RFC 8305), so that one family that leads nowhere stops nobody. Two seconds
//! are the first packet and its repetition after one; who answers later than
//! that answers the next try. Nothing is sent but the handshake of TCP. What is
//! absent: TLS, and when to try again.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// How long the name's addresses may be waited for, when older ones are known.
const LOOKUP_MAX: Duration = Duration::from_secs(1);
/// The same when none are: a resolver that is gone costs five seconds each time.
const FIRST_LOOKUP_MAX: Duration = Duration::from_secs(11);
/// How long an address is tried.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// An address is tried this long after the one before it.
const STAGGER: Duration = Duration::from_millis(150);
/// Addresses that are tried, in the resolver's order.
const ADDRESSES_MAX: usize = 6;

/// Where the edge is.
#[derive(Clone, Debug)]
pub struct Target {
    url: String,
    /// `host:port`; nothing when the URL has none.
    authority: Option<String>,
    known: Arc<Mutex<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    /// What the name stood for when it was looked up last.
    addresses: Vec<SocketAddr>,
    /// Which of them answered last.
    answered: Option<SocketAddr>,
}

impl Target {
    /// The executor's socket at an edge.
    #[must_use]
    pub fn of(edge: &str) -> Self {
        let edge = edge.trim_end_matches('/');
        let ws = edge.strip_prefix("http").map_or_else(|| edge.to_owned(), |rest| format!("ws{rest}"));
        let parsed = url::Url::parse(edge).ok();
        let authority = parsed.and_then(|url| Some(format!("{}:{}", url.host_str()?, url.port_or_known_default()?)));
        Self { url: format!("{ws}/executor"), authority, known: Arc::default() }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its address as a WebSocket.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Connects to the first of its addresses that answers.
    ///
    /// # Errors
    ///
    /// When none does: there is no way to it, or nothing listens there.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let addresses = self.look_up().await?;
        let mut tries = JoinSet::new();
        for (place, address) in (0u32..).zip(addresses.into_iter().take(ADDRESSES_MAX)) {
            tries.spawn(async move {
                sleep(STAGGER * place).await;
                let connected = timeout(CONNECT_MAX, TcpStream::connect(address)).await;
                connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map(|stream| (address, stream))
            });
        }
        let mut fault = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        while let Some(tried) = tries.join_next().await {
            match tried.map_err(io::Error::other).and_then(|connected| connected) {
                Ok((address, stream)) => {
                    stream.set_nodelay(true)?;
                    self.known().answered = Some(address);
                    return Ok(stream);
                }
                Err(why) => fault = why,
            }
        }
        Err(fault)
    }

    async fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let authority = self.authority.clone().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "its URL names no host"))?;
        let known = self.known().addresses.clone();
        let target = self.clone();
        let look_up = tokio::spawn(async move {
            let found: Vec<SocketAddr> = lookup_host(authority).await?.collect();
            target.known().addresses.clone_from(&found);
            Ok(found)
        });
        let within = if known.is_empty() { FIRST_LOOKUP_MAX } else { LOOKUP_MAX };
        match timeout(within, look_up).await {
            Ok(Ok(Ok(found))) => Ok(found),
            Ok(_) | Err(_) if !known.is_empty() => Ok(known),
            Ok(looked_up) => looked_up.map_err(io::Error::other)?,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "its name was not found in time")),
        }
    }

    /// The address of this host that packets to the edge would leave from, by
    /// the routes of this moment; nothing is sent. `None`: there is no way, or
    /// it was never reached.
    #[must_use]
    pub fn way_out(&self) -> Option<IpAddr> {
        let to = self.known().answered?;
        let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_sockets() {
        assert_eq!(Target::of("https://e.example/").url(), "wss://e.example/executor");
        assert_eq!(Target::of("http://127.0.0.1:8787").url(), "ws://127.0.0.1:8787/executor");
        assert_eq!(Target::of("https://e.example/").authority.as_deref(), Some("e.example:443"));
        assert_eq!(Target::of("http://[::1]:8787").authority.as_deref(), Some("[::1]:8787"));
    }

    #[tokio::test]
    async fn an_address_that_leads_nowhere_stops_nobody() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        // Too long for a label: no resolver is asked.
        let name = format!("{}:80", "x".repeat(64));
        let target = Target { url: String::new(), authority: Some(name), known: Arc::default() };
        target.known().addresses = vec![nobody, server.local_addr().unwrap()];
        assert_eq!(target.connect().await.unwrap().peer_addr().unwrap(), server.local_addr().unwrap());
        assert_eq!(target.way_out(), Some(Ipv4Addr::LOCALHOST.into()));
        target.known().addresses = vec![nobody];
        assert_eq!(target.connect().await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
