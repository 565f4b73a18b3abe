//! Who may see the dashboard: a password, a signed cookie, a bearer.
//!
//! Pure. The cookie holds its own end and a MAC under `SESSION_KEY`; nothing
//! about a session is stored, so signing everybody out is changing the key.
//! Comparisons of secrets are constant in time.

use doorstep_shared::time::Timestamp;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// Name of the cookie.
pub const COOKIE: &str = "doorstep_session";
/// How long a session lasts: 30 days.
pub const SESSION_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// The value of a fresh cookie.
#[must_use]
pub fn issue(key: &str, now: Timestamp) -> String {
    let ends = now.plus_ms(SESSION_MS).0;
    format!("{ends}.{}", hex::encode(mac(key, &ends.to_string()).finalize().into_bytes()))
}

/// Does this `Cookie` header hold a session that is good now?
#[must_use]
pub fn is_signed_in(key: &str, cookie_header: Option<&str>, now: Timestamp) -> bool {
    if key.is_empty() {
        return false;
    }
    cookie_header
        .unwrap_or_default()
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(name, _)| *name == COOKIE)
        .any(|(_, value)| is_good(key, value, now))
}

fn is_good(key: &str, value: &str, now: Timestamp) -> bool {
    let Some((ends, digest)) = value.split_once('.') else { return false };
    let Ok(digest) = hex::decode(digest) else { return false };
    mac(key, ends).verify_slice(&digest).is_ok() && ends.parse::<u64>().is_ok_and(|ends| ends > now.0)
}

/// Are these two secrets equal? Empty ones never are.
#[must_use]
pub fn same_secret(expected: &str, given: &str) -> bool {
    // A MAC of both under one key hides lengths and compares in constant time.
    let expected_mac = mac("doorstep compare", expected).finalize().into_bytes();
    !expected.is_empty() && mac("doorstep compare", given).verify_slice(&expected_mac).is_ok()
}

/// The secret of an `Authorization: Bearer …` header.
#[must_use]
pub fn bearer(header: Option<&str>) -> Option<&str> {
    let (scheme, secret) = header?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(secret.trim())
}

/// A path of this site to go to after signing in; anything else becomes `/`.
#[must_use]
pub fn local_path(next: &str) -> &str {
    let local = next.starts_with('/')
        && !next.starts_with("//")
        // Browsers drop tabs and line ends from an address before they read it.
        && !next.contains(|c: char| c == '\\' || c.is_control())
        && next.len() <= 512
        && !next.starts_with("/login");
    if local { next } else { "/" }
}

fn mac(key: &str, text: &str) -> Hmac<Sha256> {
    // HMAC takes keys of every length, so the second arm is never reached.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key.as_bytes()) {
        Ok(mac) => mac,
        Err(_) => <Hmac<Sha256> as hmac::digest::KeyInit>::new(&Default::default()),
    };
    mac.update(text.as_bytes());
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn a_session_is_good_until_it_ends_and_only_under_its_key() {
        let cookie = format!("a=b; {COOKIE}={}; c=d", issue("key", NOW));
        assert!(is_signed_in("key", Some(&cookie), NOW));
        assert!(!is_signed_in("other", Some(&cookie), NOW));
        assert!(!is_signed_in("", Some(&cookie), NOW));
        assert!(!is_signed_in("key", Some(&cookie), NOW.plus_ms(SESSION_MS)));
        assert!(!is_signed_in("key", None, NOW));
    }

    #[test]
    fn a_changed_end_is_noticed() {
        let value = issue("key", NOW);
        let later = value.replacen(char::is_numeric, "9", 1);
        assert!(!is_signed_in("key", Some(&format!("{COOKIE}={later}")), NOW));
    }

    #[test]
    fn secrets_compare() {
        assert!(same_secret("a", "a"));
        assert!(!same_secret("a", "b"));
        assert!(!same_secret("", ""));
        assert_eq!(bearer(Some("Bearer x")), Some("x"));
        assert_eq!(bearer(Some("Basic x")), None);
    }

    #[test]
    fn next_stays_on_this_site() {
        for (next, path) in [("/runs/1", "/runs/1"), ("//evil", "/"), ("https://evil", "/"), ("/\\evil", "/"), ("/\t/evil", "/"), ("", "/"), ("/login", "/")] {
            assert_eq!(local_path(next), path);
        }
    }
}
