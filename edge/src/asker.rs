//! Who asks, as the Worker says it to the hub with every call.
//!
//! Pure. Invariant: nothing here is a secret that opens a door. Of a session it
//! is the hash of its token, and what a browser and its network say of
//! themselves is cut and cleaned before anything is kept of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// The holder of a cookie that we made: the hash of its token. Whether the
    /// session goes on is the hub's to know.
    Session(String),
    /// The holder of `API_TOKEN`.
    Bearer,
    /// Anybody.
    #[default]
    Nobody,
}

/// Who asks, from where and with what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Who.
    pub who: Who,
    /// The address that the request came from, or [`EVERYBODY`].
    pub address: String,
    /// What the program calls itself.
    pub agent: String,
    /// What the forms of this session carry; empty for the others.
    pub form_token: String,
}

/// The address of those whose address nobody tells us.
pub const EVERYBODY: &str = "everybody";
/// Longest name of a program that is kept: enough for browser and system.
const AGENT_BYTES_MAX: usize = 120;
/// Digits of a session's hash that name it to people. Of 50 sessions two have
/// the same with a chance of 50² / 2 / 16^8, one in three million.
pub const HANDLE_DIGITS: usize = 8;

/// The name of a session to people: it opens nothing.
#[must_use]
pub fn handle(hash: &str) -> &str {
    hash.get(..HANDLE_DIGITS).unwrap_or(hash)
}

impl Asker {
    /// Who it is, in one word.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.who {
            Who::Session(hash) => handle(hash),
            Who::Bearer => "bearer",
            Who::Nobody => "nobody",
        }
    }

    /// The hash of the session, if it is one.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        match &self.who {
            Who::Session(hash) => Some(hash),
            Who::Bearer | Who::Nobody => None,
        }
    }

    /// Whose wrong passwords are counted together with this one's. A browser that
    /// was signed in once has a cookie that nobody else can make, and so a count
    /// of its own: strangers at the same address do not lock it out.
    #[must_use]
    pub fn counted_as(&self) -> String {
        match self.session() {
            Some(hash) => format!("browser {}", handle(hash)),
            None => grouped(&self.address),
        }
    }
}

/// An address as it is kept: the one that a text names, with or without a port.
#[must_use]
pub fn address(text: Option<&str>) -> String {
    parsed(text.unwrap_or_default()).map_or_else(|| EVERYBODY.to_owned(), |address| address.to_string())
}

/// The addresses that count as one: of IPv6 a /64, which is the least that
/// anybody is given.
#[must_use]
pub fn grouped(address: &str) -> String {
    match parsed(address) {
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        Some(IpAddr::V4(address)) => address.to_string(),
        None => EVERYBODY.to_owned(),
    }
}

fn parsed(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let without_port = || text.parse::<std::net::SocketAddr>().ok().map(|whole| whole.ip());
    text.parse::<IpAddr>().ok().or_else(without_port).map(|address| address.to_canonical())
}

/// What a program calls itself, in plain characters and cut.
#[must_use]
pub fn agent(text: Option<&str>) -> String {
    let plain: String = text.unwrap_or_default().chars().filter(|c| c.is_ascii_graphic() || *c == ' ').collect();
    doorstep_shared::text::cut(plain.trim(), AGENT_BYTES_MAX).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_a_port() {
        for (text, read) in [
            ("192.0.2.7", "192.0.2.7"),
            (" 192.0.2.7:4711 ", "192.0.2.7"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("", EVERYBODY),
            ("192.0.2.7, 10.0.0.1", EVERYBODY),
            ("<script>", EVERYBODY),
        ] {
            assert_eq!(address(Some(text)), read, "{text}");
        }
        assert_eq!(address(None), EVERYBODY);
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        assert_eq!(grouped("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(grouped("2001:db8:1:2::9"), grouped("2001:db8:1:2:ffff::"));
        assert_ne!(grouped("2001:db8:1:2::"), grouped("2001:db8:1:3::"));
        assert_eq!((grouped("192.0.2.7"), grouped("::ffff:192.0.2.7")), ("192.0.2.7".into(), "192.0.2.7".into()));
        assert_eq!(grouped("unix:/tmp/socket"), EVERYBODY);
    }

    #[test]
    fn a_browser_that_was_signed_in_is_counted_by_itself() {
        let of = |who: Who| Asker { who, address: "192.0.2.7".into(), ..Asker::default() };
        assert_eq!(of(Who::Nobody).counted_as(), "192.0.2.7");
        let known = of(Who::Session("0123456789abcdef".into()));
        assert_eq!((known.counted_as().as_str(), known.name()), ("browser 01234567", "01234567"));
        assert_eq!((of(Who::Bearer).name(), of(Who::Nobody).name()), ("bearer", "nobody"));
    }

    #[test]
    fn what_a_program_calls_itself_is_cleaned_and_cut() {
        assert_eq!(agent(Some("Mozilla/5.0\r\n\u{1b}[31m (X11)\u{202e}é")), "Mozilla/5.0[31m (X11)");
        assert_eq!(agent(Some(&"a".repeat(9_999))).len(), AGENT_BYTES_MAX);
        assert_eq!(agent(None), "");
    }
}
