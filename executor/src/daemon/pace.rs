//! How often the edge is told of projects that change.
//!
//! Each telling is a row there, and rows are counted; a container that ends and
//! is started again would tell for ever. So a burst goes out at once, and then
//! one at a time; what is told is always how things are then. What a run did is
//! told with its reports and does not wait (`talk.rs`).

/// Tellings that go out at once after a quiet time: a deploy of a large stack.
const BURST: u64 = 60;
/// One more each 5 s: 17,280 a day at the most, of the 100,000 rows that are free.
const EVERY_MS: u64 = 5_000;

/// The pace of one daemon.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When all that was told is paid for.
    paid_at: u64,
    /// Something waits to be told.
    waits: bool,
}

impl Pace {
    /// May something be told now? If not, it waits until [`Pace::deadline`].
    pub(super) fn lets(&mut self, now: u64) -> bool {
        let lets = self.next() <= now;
        if lets {
            self.paid_at = self.paid_at.max(now) + EVERY_MS;
        }
        self.waits = !lets;
        lets
    }

    /// Nothing waits to be told any more.
    pub(super) fn rest(&mut self) {
        self.waits = false;
    }

    /// When what waits is told.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.waits.then(|| self.next())
    }

    fn next(&self) -> u64 {
        self.paid_at.saturating_sub((BURST - 1) * EVERY_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_out_at_once_and_then_one_at_a_time() {
        let (mut pace, now) = (Pace::default(), 1_000_000);
        assert!((0..BURST).all(|_| pace.lets(now)));
        assert_eq!(pace.deadline(), None);
        assert!(!pace.lets(now));
        assert_eq!(pace.deadline(), Some(now + EVERY_MS));
        assert!(!pace.lets(now + EVERY_MS - 1));
        pace.rest();
        assert_eq!(pace.deadline(), None, "a deadline that nobody meets would be a busy loop");
        assert!(pace.lets(now + EVERY_MS));
        assert_eq!(pace.deadline(), None);
        let later = now + BURST * EVERY_MS * 2;
        assert!((0..BURST).all(|_| pace.lets(later)) && !pace.lets(later), "a quiet time is worth one burst, not two");
    }
}
