//! One round trip less: what the origin would say first is guessed.
//!
//! libgit2 offers the newest twenty commits it has and waits to hear which of
//! them the origin has too, before it asks for the pack. Nearly always the
//! origin has them all, since they came from there; so it is told so at once,
//! and its next request, which repeats them, goes out with the wish for the
//! pack. The origin decides by that request alone what it sends: a commit it
//! does not know changes nothing. Only when it knows none of them, after a
//! history was rewritten, would it send too much; it says so first, and the
//! fetch begins again without the guess. Absent: guessing what a branch's head
//! is.

use std::sync::{Mutex, PoisonError};

/// A packet without a text, which ends a round.
const FLUSH: &[u8] = b"0000";
/// How an origin's answer begins that knows nothing that was offered.
pub(super) const REFUTED: &[u8] = b"0008NAK\n";
/// Digits of a packet's length, which counts them too.
const LENGTH_DIGITS: usize = 4;

/// How a fetch stands with its guess.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claims {
    /// None is made.
    None,
    /// One may be made.
    Allowed,
    /// One was made.
    Made,
    /// It was wrong.
    Refuted,
}

/// That, shared with a transport.
#[derive(Debug)]
pub(super) struct State(Mutex<Claims>);

impl State {
    pub fn new(claims: Claims) -> Self {
        Self(Mutex::new(claims))
    }

    pub fn set(&self, claims: Claims) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = claims;
    }

    pub fn get(&self) -> Claims {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a round that offers commits and asks for no pack yet: each is
/// known. `None` for any other request, and for one that is not understood.
pub(super) fn answer(request: &[u8]) -> Option<Vec<u8>> {
    let mut answer = Vec::new();
    let mut last: &[u8] = b"";
    for packet in Packets(request) {
        last = packet?;
        if let Some(commit) = last.strip_prefix(b"have ") {
            let line = [b"ACK ", commit.trim_ascii_end(), b" common\n"].concat();
            let length = line.len() + LENGTH_DIGITS;
            answer.extend_from_slice(format!("{length:04x}").as_bytes());
            answer.extend_from_slice(&line);
        }
    }
    // It says "multi_ack_detailed" where it names its first wish.
    let is_detailed = request
        .windows(b"multi_ack_detailed".len())
        .any(|word| word == b"multi_ack_detailed");
    if answer.is_empty() || !last.is_empty() || !is_detailed {
        return None;
    }
    answer.extend_from_slice(REFUTED);
    Some(answer)
}

/// The texts of packets, empty for a flush; `None` once where they make no sense.
struct Packets<'a>(&'a [u8]);

impl<'a> Iterator for Packets<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        if let Some(rest) = self.0.strip_prefix(FLUSH) {
            self.0 = rest;
            return Some(Some(b""));
        }
        let digits = self.0.get(..LENGTH_DIGITS);
        let length = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| usize::from_str_radix(digits, 16).ok());
        let text = length.and_then(|length| self.0.get(LENGTH_DIGITS..length));
        self.0 = length
            .and_then(|length| self.0.get(length..))
            .filter(|_| text.is_some())
            .unwrap_or_default();
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    fn packet(text: &str) -> String {
        format!("{:04x}{text}", text.len() + LENGTH_DIGITS)
    }

    fn offer(end: &str) -> String {
        let want = packet(&format!("want {A} multi_ack_detailed side-band-64k\n"));
        let have = packet(&format!("have {A}\n"));
        format!("{want}0000{have}{have}{end}")
    }

    #[test]
    fn only_an_offer_is_answered() {
        let ack = packet(&format!("ACK {A} common\n"));
        let told = answer(offer("0000").as_bytes()).map(|told| String::from_utf8(told).unwrap());
        assert_eq!(told, Some(format!("{ack}{ack}0008NAK\n")));
        let wish = packet(&format!("want {A} multi_ack_detailed\n")) + "0000";
        for other in [
            offer("0009done\n"),
            wish,
            offer("0000").replace("_detailed", ""),
            offer("zzzz"),
            offer("00"),
            offer("0001"),
            offer("ffff0000"),
            String::new(),
        ] {
            assert_eq!(answer(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_state_is_what_it_was_set_to() {
        for claims in [Claims::None, Claims::Allowed, Claims::Made, Claims::Refuted] {
            let state = State::new(Claims::None);
            state.set(claims);
            assert_eq!(state.get(), claims);
        }
    }
}
