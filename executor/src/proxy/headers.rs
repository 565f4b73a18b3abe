//! What a request's and a response's header fields become on their way
//! through: pure functions over header maps.
//!
//! Fields that speak about one connection stop here (RFC 9110, 7.6.1); an
//! upgrade is put back by hand. `Host` passes unchanged, also when a client
//! names it in `Connection`. `X-Forwarded-For` grows by the peer;
//! `X-Forwarded-Proto` and `X-Forwarded-Host` are kept when a proxy in front
//! has set them, because only that one knows about TLS.

use std::net::IpAddr;

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Uri, Version};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Fields of one connection besides those that `Connection` names.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    TRANSFER_ENCODING,
    TE,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("proxy-authenticate"),
    HeaderName::from_static("proxy-authorization"),
];

/// What a request wants besides an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wishes {
    /// The protocol to change to.
    pub(super) upgrade: Option<HeaderValue>,
    /// Not to send its body before it is asked to.
    pub(super) expects_continue: bool,
}

/// Turns the head of a client's request into the one that an upstream gets.
pub(super) fn to_upstream(head: &mut Parts, peer: IpAddr) -> Wishes {
    let wishes = Wishes {
        upgrade: wanted_upgrade(head),
        expects_continue: head.version >= Version::HTTP_11
            && (head.headers.get(EXPECT))
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")),
    };
    let trailers = has_token(&head.headers, &TE, "trailers");
    strip_hop_by_hop(&mut head.headers);
    if trailers {
        head.headers
            .insert(TE, HeaderValue::from_static("trailers"));
    }
    put_upgrade(&mut head.headers, wishes.upgrade.as_ref());
    to_origin_form(head);
    forwarded(&mut head.headers, peer);
    head.version = Version::HTTP_11;
    wishes
}

/// Turns the header fields of an upstream's answer into those the client gets.
pub(super) fn to_client(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

/// The same for an answer that changes the protocol.
pub(super) fn to_client_switching(headers: &mut HeaderMap) {
    let upgrade = headers.get(UPGRADE).cloned();
    strip_hop_by_hop(headers);
    put_upgrade(headers, upgrade.as_ref());
}

/// The protocol that a client asks to change to. HTTP/2 is none of them: a
/// connection in it would stay with one release for ever.
fn wanted_upgrade(head: &Parts) -> Option<HeaderValue> {
    let asked =
        head.version == Version::HTTP_11 && has_token(&head.headers, &CONNECTION, "upgrade");
    let protocol = head.headers.get(UPGRADE).filter(|_| asked)?;
    (!protocol.as_bytes().eq_ignore_ascii_case(b"h2c")).then(|| protocol.clone())
}

fn put_upgrade(headers: &mut HeaderMap, protocol: Option<&HeaderValue>) {
    if let Some(protocol) = protocol {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol.clone());
    }
}

fn strip_hop_by_hop(headers: &mut HeaderMap) {
    // A length beside a transfer coding is how requests are smuggled.
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if headers.contains_key(CONNECTION) {
        for name in connection_names(headers) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn connection_names(headers: &HeaderMap) -> Vec<HeaderName> {
    tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| name != HOST)
        .collect()
}

fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    (headers.get_all(name).into_iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// `GET http://host/path` becomes `GET /path`, and its host wins over the
/// `Host` field (RFC 9112, 3.2.2).
fn to_origin_form(head: &mut Parts) {
    let Some(authority) = head.uri.authority() else {
        return;
    };
    if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
        head.headers.insert(HOST, host);
    }
    head.uri = match head.uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    };
}

fn forwarded(headers: &mut HeaderMap, peer: IpAddr) {
    let peer = peer.to_canonical().to_string();
    let mut chain = Vec::with_capacity(64);
    for earlier in headers.get_all(X_FORWARDED_FOR) {
        chain.extend_from_slice(earlier.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    if let Ok(chain) = HeaderValue::from_bytes(&chain) {
        headers.insert(X_FORWARDED_FOR, chain);
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if let Some(host) = headers.get(HOST).cloned()
        && !headers.contains_key(X_FORWARDED_HOST)
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn through(fields: &[(&str, &str)]) -> (HeaderMap, Wishes) {
        let mut request = Request::builder().uri("/a?b");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        let wishes = to_upstream(&mut head, "::ffff:10.0.0.7".parse().unwrap());
        (head.headers, wishes)
    }

    #[test]
    fn fields_of_the_connection_stop_here() {
        let (headers, _) = through(&[
            ("host", "shop.test"),
            ("connection", "close, X-Secret , host"),
            ("connection", "keep-alive"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-authorization", "basic x"),
            ("te", "gzip, trailers"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("x-kept", "2"),
        ]);
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let wanted = [
            "host",
            "te",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-kept",
        ];
        assert_eq!(names, wanted);
        assert_eq!(headers["te"], "trailers");
    }

    #[test]
    fn the_chain_of_proxies_grows_and_the_front_is_believed() {
        let (headers, _) = through(&[
            ("host", "inner"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "shop.example"),
        ]);
        assert_eq!(
            headers["x-forwarded-for"],
            "1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.7"
        );
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "shop.example");
        let (headers, _) = through(&[("host", "inner")]);
        assert_eq!(headers["x-forwarded-proto"], "http");
        assert_eq!(headers["x-forwarded-host"], "inner");
    }

    #[test]
    fn an_upgrade_is_put_back_unless_it_is_http_2() {
        let (headers, wishes) = through(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(wishes.upgrade.unwrap(), "websocket");
        assert_eq!(
            (&headers["connection"], &headers["upgrade"]),
            (
                &HeaderValue::from_static("upgrade"),
                &HeaderValue::from_static("websocket")
            )
        );
        let (headers, wishes) = through(&[("connection", "upgrade"), ("upgrade", "h2c")]);
        assert_eq!(wishes.upgrade, None);
        assert!(!headers.contains_key("upgrade"));
        let (_, wishes) = through(&[("upgrade", "websocket")]);
        assert_eq!(wishes.upgrade, None, "not named in connection");
    }

    #[test]
    fn an_absolute_target_becomes_a_path_and_its_host_wins() {
        let request = Request::get("http://real.test:81/x?y").header("host", "other");
        let (mut head, ()) = request.body(()).unwrap().into_parts();
        to_upstream(&mut head, "10.0.0.7".parse().unwrap());
        assert_eq!(head.uri, "/x?y");
        assert_eq!(head.headers["host"], "real.test:81");
    }
}
