//! Which site a request comes from, and how it travelled.
//!
//! Pure. Invariant: what a browser says of itself is believed only where it
//! forbids something. Programs say nothing and hold no cookie that a browser
//! would lend to another site.

use std::net::{Ipv4Addr, Ipv6Addr};

/// How a request came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Nobody between could read it.
    Https,
    /// It did not leave the machine.
    Loopback,
    /// Everybody between could read it.
    Plain,
}

impl Transport {
    /// Of a request whose address has this host.
    #[must_use]
    pub fn of(is_https: bool, host: &str) -> Self {
        match (is_https, is_loopback(host)) {
            (true, _) => Self::Https,
            (false, true) => Self::Loopback,
            (false, false) => Self::Plain,
        }
    }

    /// The name of the cookie that is good on it. Browsers take `__Host-` only
    /// over https, for this very host and the whole of it, so no neighbour can
    /// put a cookie of its own in its place.
    #[must_use]
    pub fn cookie(self) -> Option<&'static str> {
        match self {
            Self::Https => Some("__Host-doorstep"),
            Self::Loopback => Some("doorstep_session"),
            Self::Plain => None,
        }
    }

    /// Does a cookie on it say that it wants https?
    #[must_use]
    pub fn is_https(self) -> bool {
        self == Self::Https
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost")
        || bare.parse::<Ipv4Addr>().is_ok_and(|address| address.is_loopback())
        || bare.parse::<Ipv6Addr>().is_ok_and(|address| address.is_loopback())
}

/// What a request says of where it comes from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Said<'a> {
    /// `Host`.
    pub host: Option<&'a str>,
    /// `Origin`.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
}

impl Said<'_> {
    /// Does what changes something come from our own pages, or from no page at all?
    #[must_use]
    pub fn is_ours(&self) -> bool {
        // `same-site` is a neighbour: another port, another name of the domain.
        let is_ours = self.fetch_site.is_none_or(|site| matches!(site, "same-origin" | "none"));
        is_ours && (self.origin.is_none() || self.has_our_origin())
    }

    /// Does a socket come from our own pages? Every browser says its origin, and
    /// that alone counts: of `ws://` not all of them know whether it is the same
    /// site as `http://`.
    #[must_use]
    pub fn has_our_origin(&self) -> bool {
        let Some(origin) = self.origin else { return false };
        let Some((_, origin_host)) = origin.split_once("://") else { return false };
        self.host.is_some_and(|host| host.eq_ignore_ascii_case(origin_host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_goes_without_https() {
        for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "[::1]", "::1"] {
            assert_eq!(Transport::of(false, host), Transport::Loopback, "{host}");
            assert_eq!(Transport::of(true, host), Transport::Https, "{host}");
        }
        for host in ["", "192.168.1.2", "10.0.0.1", "[fe80::1]", "localhost.evil.example", "127.0.0.1.evil.example", "128.0.0.1", "example.org"] {
            assert_eq!(Transport::of(false, host), Transport::Plain, "{host}");
        }
        assert_eq!(Transport::Https.cookie(), Some("__Host-doorstep"));
        assert_eq!(Transport::Plain.cookie(), None);
    }

    #[test]
    fn other_sites_are_known_by_origin_and_by_what_the_browser_says() {
        let ours = |origin, fetch_site| Said { host: Some("edge.example:8787"), origin, fetch_site }.is_ours();
        assert!(ours(None, None));
        assert!(ours(Some("https://edge.example:8787"), Some("same-origin")));
        assert!(ours(Some("http://EDGE.example:8787"), Some("none")));
        for origin in ["https://evil.example", "null", "", "https://edge.example", "https://edge.example:8787.evil.example"] {
            assert!(!ours(Some(origin), None), "{origin}");
        }
        for site in ["cross-site", "same-site", "", "something-new"] {
            assert!(!ours(Some("https://edge.example:8787"), Some(site)), "{site}");
            assert!(!ours(None, Some(site)), "{site}");
        }
    }

    #[test]
    fn a_socket_must_say_its_origin() {
        assert!(!Said { host: Some("edge.example"), ..Said::default() }.has_our_origin());
        assert!(Said { host: Some("edge.example"), origin: Some("https://edge.example"), fetch_site: Some("cross-site") }.has_our_origin());
        assert!(!Said { host: Some("edge.example"), origin: Some("https://evil.example"), fetch_site: Some("same-origin") }.has_our_origin());
        assert!(!Said { host: None, origin: Some("https://edge.example"), fetch_site: None }.has_our_origin());
    }
}
