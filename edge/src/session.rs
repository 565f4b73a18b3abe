//! Sessions of people who signed in: a random token, a cookie, an end.
//!
//! Pure. The cookie holds the token and a MAC of it under `SESSION_KEY`, so that
//! what we did not make is refused in the Worker and costs the hub nothing. The
//! hub keeps the token's hash and decides whether its session goes on; changing
//! the key signs everybody out. Comparisons of secrets are constant in time.
//! Absent: a token that is used twice; each sign-in has one of its own.

use doorstep_shared::time::Timestamp;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

use crate::site::Transport;

const HOUR_MS: u64 = 3_600 * 1_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// How long a session lasts at most: 30 days.
pub const SESSION_MS: u64 = 30 * DAY_MS;
/// How long it lasts without being used: 7 days.
pub const IDLE_MS: u64 = 7 * DAY_MS;
/// That it was used is written once in this time: a row is billed.
pub const SEEN_MS: u64 = HOUR_MS;
/// Sessions at once; the oldest gives way.
pub const SESSIONS_MAX: u64 = 50;
/// The field of a form, and with `x-` and a dash the header of a program that
/// uses a person's session.
pub const FORM_TOKEN: &str = "form_token";
/// That header.
pub const FORM_TOKEN_HEADER: &str = "x-form-token";
/// Digits of a token: 256 bits.
const TOKEN_DIGITS: usize = 64;
/// Cookies of our name that are looked at; a browser sends one.
const COOKIES_MAX: usize = 4;

/// When a session was made and used, and when it ends at the latest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// When it was used, as far as that was written.
    pub seen: Timestamp,
    /// When it ends, used or not.
    pub ends: Timestamp,
}

impl Times {
    /// Of a session that begins.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self { seen: now, ends: now.plus_ms(SESSION_MS) }
    }

    /// Does it go on?
    #[must_use]
    pub fn goes_on(&self, now: Timestamp) -> bool {
        now < self.ends && now.ms_since(self.seen) < IDLE_MS
    }

    /// Is it time to write that it is used?
    #[must_use]
    pub fn is_to_be_seen(&self, now: Timestamp) -> bool {
        now.ms_since(self.seen) >= SEEN_MS
    }
}

/// A token of 32 random bytes.
#[must_use]
pub fn token(random: [u8; 32]) -> String {
    hex::encode(random)
}

/// What the hub keeps of a token: its SHA-256 in hex.
#[must_use]
pub fn hash(token: &str) -> String {
    hex::encode(Sha256::digest(token))
}

/// The token that a `Cookie` header holds under this name, if we made it.
#[must_use]
pub fn token_of(key: &str, cookie_header: Option<&str>, name: &str) -> Option<String> {
    if key.is_empty() {
        return None;
    }
    let pairs = cookie_header.unwrap_or_default().split(';').filter_map(|pair| pair.trim().split_once('='));
    let ours = pairs.filter(|(known, _)| *known == name).take(COOKIES_MAX);
    ours.filter_map(|(_, value)| value.split_once('.')).find(|(token, digest)| is_ours(key, token, digest)).map(|(token, _)| token.to_owned())
}

fn is_ours(key: &str, token: &str, digest: &str) -> bool {
    let fits = token.len() == TOKEN_DIGITS && token.bytes().all(|b| b.is_ascii_hexdigit());
    fits && hex::decode(digest).is_ok_and(|digest| mac(key, &["cookie ", token]).verify_slice(&digest).is_ok())
}

/// The `Set-Cookie` of a session that begins; `None` where none may.
#[must_use]
pub fn begins(key: &str, token: &str, transport: Transport) -> Option<String> {
    let digest = hex::encode(mac(key, &["cookie ", token]).finalize().into_bytes());
    cookie(&format!("{token}.{digest}"), SESSION_MS / 1_000, transport)
}

/// The `Set-Cookie` that takes it away.
#[must_use]
pub fn ends(transport: Transport) -> Option<String> {
    cookie("", 0, transport)
}

fn cookie(value: &str, seconds: u64, transport: Transport) -> Option<String> {
    let secure = if transport.is_https() { "; Secure" } else { "" };
    Some(format!("{}={value}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}", transport.cookie()?))
}

/// What the forms of a session carry, so that no other page can send one.
#[must_use]
pub fn form_token(key: &str, hash: &str) -> String {
    hex::encode(mac(key, &["form ", hash]).finalize().into_bytes())
}

/// A password as the hub compares it: it learns none.
#[must_use]
pub fn proof(key: &str, password: &str) -> String {
    hex::encode(mac(key, &["password ", password]).finalize().into_bytes())
}

/// Are these two secrets equal? Empty ones never are.
#[must_use]
pub fn same_secret(expected: &str, given: &str) -> bool {
    // A MAC of both under one key hides lengths and compares in constant time.
    let expected_mac = mac("doorstep compare", &[expected]).finalize().into_bytes();
    !expected.is_empty() && mac("doorstep compare", &[given]).verify_slice(&expected_mac).is_ok()
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

fn mac(key: &str, texts: &[&str]) -> Hmac<Sha256> {
    // HMAC takes keys of every length, so the second arm is never reached.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key.as_bytes()) {
        Ok(mac) => mac,
        Err(_) => <Hmac<Sha256> as hmac::digest::KeyInit>::new(&Default::default()),
    };
    texts.iter().for_each(|text| mac.update(text.as_bytes()));
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);
    const NAME: &str = "doorstep_session";

    fn a_token() -> String {
        token([7; 32])
    }

    /// The value of the cookie that a `Set-Cookie` sets.
    fn value(set_cookie: &str) -> &str {
        set_cookie.split(';').next().unwrap().split_once('=').unwrap().1
    }

    #[test]
    fn a_cookie_is_read_back_and_only_under_its_key_and_name() {
        let set = begins("key", &a_token(), Transport::Loopback).unwrap();
        let header = format!("a=b; {NAME}=old.00; {NAME}={}; c=d", value(&set));
        assert_eq!(token_of("key", Some(&header), NAME), Some(a_token()));
        assert_eq!(token_of("other", Some(&header), NAME), None);
        assert_eq!(token_of("", Some(&header), NAME), None);
        assert_eq!(token_of("key", Some(&header), "__Host-doorstep"), None, "a cookie of plain http opens nothing over https");
        assert_eq!(token_of("key", None, NAME), None);
    }

    #[test]
    fn what_we_did_not_make_is_refused() {
        let set = begins("key", &a_token(), Transport::Loopback).unwrap();
        let good = value(&set);
        let (token, digest) = good.split_once('.').unwrap();
        // The last one is a cookie of an older build: its own end and a MAC of that.
        let old = format!("1790000000000.{}", hex::encode(mac("key", &["1790000000000"]).finalize().into_bytes()));
        for bad in [
            String::new(),
            token.to_owned(),
            format!("{token}."),
            format!("{token}.00"),
            format!("{token}.zz"),
            format!("{}.{digest}", token.replace('7', "8")),
            format!("{good}0"),
            format!(".{digest}"),
            old,
        ] {
            assert_eq!(token_of("key", Some(&format!("{NAME}={bad}")), NAME), None, "{bad}");
        }
        let many = format!("{NAME}=a.b; ").repeat(1_000) + &format!("{NAME}={good}");
        assert_eq!(token_of("key", Some(&many), NAME), None, "so many are no browser's");
    }

    #[test]
    fn the_cookie_says_how_it_may_travel() {
        let https = begins("key", &a_token(), Transport::Https).unwrap();
        assert!(https.starts_with("__Host-doorstep=0707"), "{https}");
        for part in ["; Path=/", "; HttpOnly", "; SameSite=Lax", "; Secure", "; Max-Age=2592000"] {
            assert!(https.contains(part), "{part} in {https}");
        }
        assert!(!https.contains("Domain"));
        let here = begins("key", &a_token(), Transport::Loopback).unwrap();
        assert!(here.starts_with("doorstep_session=") && !here.contains("Secure"), "{here}");
        assert_eq!(begins("key", &a_token(), Transport::Plain), None);
        assert_eq!(ends(Transport::Https).unwrap(), "__Host-doorstep=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0; Secure");
    }

    #[test]
    fn a_session_ends_after_a_week_unused_or_a_month() {
        let mut times = Times::new(NOW);
        assert!(times.goes_on(NOW) && times.goes_on(NOW.plus_ms(IDLE_MS - 1)));
        assert!(!times.goes_on(NOW.plus_ms(IDLE_MS)));
        for day in 1..30 {
            let now = NOW.plus_ms(day * DAY_MS);
            assert!(times.goes_on(now), "day {day}");
            times.seen = now;
        }
        assert!(!times.goes_on(NOW.plus_ms(SESSION_MS)), "used to the last, and ended");
        assert!(times.goes_on(Timestamp(0)), "a clock that went back ends nothing");
    }

    #[test]
    fn that_it_is_used_is_written_once_an_hour() {
        let times = Times::new(NOW);
        assert!(!times.is_to_be_seen(NOW) && !times.is_to_be_seen(NOW.plus_ms(SEEN_MS - 1)));
        assert!(times.is_to_be_seen(NOW.plus_ms(SEEN_MS)));
    }

    #[test]
    fn a_form_token_is_one_sessions_and_no_cookie() {
        let (one, other) = (hash(&a_token()), hash(&token([8; 32])));
        assert_eq!(form_token("key", &one), form_token("key", &one), "it stays while the session does");
        assert_ne!(form_token("key", &one), form_token("key", &other));
        assert_ne!(form_token("key", &one), form_token("other", &one));
        assert_ne!(form_token("key", &a_token()), value(&begins("key", &a_token(), Transport::Https).unwrap()).split_once('.').unwrap().1);
        assert!(same_secret(&form_token("key", &one), &form_token("key", &one)) && !same_secret(&form_token("key", &one), ""));
    }

    #[test]
    fn a_proof_is_of_one_password() {
        assert_eq!(proof("key", "a"), proof("key", "a"));
        assert_ne!(proof("key", "a"), proof("key", "b"));
        assert_ne!(proof("key", "a"), proof("other", "a"));
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
        for (next, path) in [("/runs/1", "/runs/1"), ("/audit?search=a", "/audit?search=a"), ("//evil", "/"), ("https://evil", "/"), ("/\\evil", "/"), ("/\t/evil", "/"), ("", "/"), ("/login", "/")] {
            assert_eq!(local_path(next), path);
        }
    }
}
