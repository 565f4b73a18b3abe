//! Addresses of the host: what the proxy listens on and what a check dials.
//!
//! An address to listen on is numeric, so that reading the file asks no
//! resolver and two projects can be compared for the same port. An address to
//! dial may be a name: it is resolved each time it is dialled.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Stands for the port that a release was given, wherever an address or an
/// argument may hold it.
pub const PORT_PLACEHOLDER: &str = "{port}";

/// Reads `listen`: `127.0.0.1:8000`, `[::1]:8000` or `localhost:8000`, the last
/// meaning 127.0.0.1.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = split(text)?;
    let ip = match host {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        numeric => ip(numeric).ok_or(
            "the host of `listen` is an IP address or localhost, such as \"127.0.0.1:8000\"",
        )?,
    };
    Ok(SocketAddr::new(ip, port))
}

/// Reads the address of a tcp check: a `host:port` whose port may be `{port}`.
/// Handed back as it was written.
pub(super) fn dial(text: &str) -> Result<String, String> {
    let numbered = text
        .strip_suffix(PORT_PLACEHOLDER)
        .map(|host| format!("{host}1"));
    let (host, _) = split(numbered.as_deref().unwrap_or(text))?;
    if ip(host).is_none() && !is_host_name(host) {
        return Err("the host is neither an IP address nor a host name".to_owned());
    }
    Ok(text.to_owned())
}

/// Whether two sockets cannot both listen: same port, and the same address or
/// one of them standing for every address.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

fn split(text: &str) -> Result<(&str, u16), String> {
    let (host, port) = text
        .rsplit_once(':')
        .ok_or("expected host:port, such as \"127.0.0.1:8000\"")?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    let number = port.parse::<u16>().ok().filter(|n| digits && *n != 0);
    let number = number.ok_or("the port is a number from 1 to 65535")?;
    Ok((host, number))
}

fn ip(host: &str) -> Option<IpAddr> {
    // A bare IPv6 address before a port would be ambiguous.
    match host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn is_host_name(host: &str) -> bool {
    // 253 characters is what the name system can carry.
    let label = |label: &str| {
        let first_and_last = label.starts_with('-') || label.ends_with('-');
        let chars = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        !label.is_empty() && label.len() <= 63 && !first_and_last && chars
    };
    host.len() <= 253 && host.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listening_addresses_are_numeric() {
        for (text, expected) in [
            ("127.0.0.1:8000", Some("127.0.0.1:8000")),
            ("localhost:80", Some("127.0.0.1:80")),
            ("[::1]:65535", Some("[::1]:65535")),
            ("0.0.0.0:1", Some("0.0.0.0:1")),
            ("shop.example:80", None),
            ("::1:80", None),
            ("127.0.0.1", None),
            (":80", None),
            ("127.0.0.1:", None),
            ("127.0.0.1:0", None),
            ("127.0.0.1:65536", None),
            ("127.0.0.1:+80", None),
            ("127.0.0.1: 80", None),
            ("127.0.0.1:{port}", None),
            ("[127.0.0.1]:80", None),
        ] {
            let read = listen(text).ok().map(|address| address.to_string());
            assert_eq!(read.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn dialled_addresses_may_be_names_and_hold_the_port() {
        for (text, good) in [
            ("127.0.0.1:5432", true),
            ("db.lan:5432", true),
            ("[::1]:{port}", true),
            ("localhost:{port}", true),
            ("localhost:{prot}", false),
            ("-db:1", false),
            ("a b:1", false),
            ("a..b:1", false),
            ("http://x:80", false),
            ("{port}", false),
        ] {
            assert_eq!(dial(text).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_wildcard_takes_the_port_of_all() {
        for (a, b, expected) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("0.0.0.0:80", "127.0.0.1:80", true),
            ("127.0.0.1:80", "[::]:80", true),
            ("127.0.0.1:80", "127.0.0.2:80", false),
            ("127.0.0.1:80", "127.0.0.1:81", false),
        ] {
            let (a, b) = (a.parse().unwrap(), b.parse().unwrap());
            assert_eq!(collide(a, b), expected, "{a} {b}");
        }
    }
}
