//! What a day cost, beside what a free account of Cloudflare allows.
//!
//! Pure. Only approximate: the hub counts what reaches it, and what it counted
//! and had not written when it fell asleep is lost.

use doorstep_shared::time::Timestamp;
use serde::Serialize;

/// Requests to Workers, and to Durable Objects, a day.
pub const REQUESTS_MAX: u64 = 100_000;
/// Rows written a day.
pub const ROWS_WRITTEN_MAX: u64 = 100_000;
/// Rows read a day.
pub const ROWS_READ_MAX: u64 = 5_000_000;

/// What was counted is written this often at most: 96 rows a day.
const WRITTEN_MS: u64 = 15 * 60 * 1_000;
/// Or when so much was counted since, so that a busy quarter of an hour before
/// a sleep is not lost: one row for 500.
const WRITTEN_AFTER: u64 = 500;
const DAY_MS: u64 = 24 * 3_600 * 1_000;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Requests that reached the hub.
    pub requests: u64,
    /// Rows read.
    pub rows_read: u64,
    /// Rows written.
    pub rows_written: u64,
}

impl Counts {
    /// What was counted since `earlier`.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            rows_read: self.rows_read.saturating_sub(earlier.rows_read),
            rows_written: self.rows_written.saturating_sub(earlier.rows_written),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            rows_read: self.rows_read.saturating_add(other.rows_read),
            rows_written: self.rows_written.saturating_add(other.rows_written),
        }
    }

    /// Is it time to write what was counted since then?
    #[must_use]
    pub fn is_to_be_written(self, written_at: Timestamp, now: Timestamp) -> bool {
        let is_much = self.requests.max(self.rows_written) >= WRITTEN_AFTER;
        let is_some = self != Self::default();
        is_much || (is_some && (now.ms_since(written_at) >= WRITTEN_MS || now < written_at))
    }
}

/// The day of a time, as Cloudflare counts them: it begins at 00:00 UTC.
#[must_use]
pub fn day(now: Timestamp) -> u64 {
    now.0 / DAY_MS
}

/// When the next day begins.
#[must_use]
pub fn next_day(now: Timestamp) -> Timestamp {
    Timestamp(day(now).saturating_add(1).saturating_mul(DAY_MS))
}

/// A count as part of what is allowed, in percent, rounded up: what was used
/// is never shown as nothing.
#[must_use]
pub fn percent(count: u64, max: u64) -> u64 {
    count.saturating_mul(100).div_ceil(max.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    #[test]
    fn counts_are_written_four_times_an_hour_or_after_many() {
        let some = Counts { requests: 1, ..Counts::default() };
        assert!(!some.is_to_be_written(NOW, NOW.plus_ms(WRITTEN_MS - 1)));
        assert!(some.is_to_be_written(NOW, NOW.plus_ms(WRITTEN_MS)));
        assert!(some.is_to_be_written(NOW, Timestamp(0)), "a clock that went back does not stop it");
        assert!(!Counts::default().is_to_be_written(Timestamp(0), NOW), "nothing is not written");
        assert!(Counts { rows_written: 500, ..some }.is_to_be_written(NOW, NOW));
        assert!(!Counts { rows_read: 999_999, ..some }.is_to_be_written(NOW, NOW));
    }

    #[test]
    fn days_are_those_of_utc() {
        assert_eq!(day(Timestamp(DAY_MS - 1)), 0);
        assert_eq!(next_day(Timestamp(DAY_MS - 1)), Timestamp(DAY_MS));
        assert_eq!(next_day(Timestamp(DAY_MS)), Timestamp(2 * DAY_MS));
    }

    #[test]
    fn a_part_is_rounded_up() {
        assert_eq!((percent(0, 100_000), percent(1, 100_000), percent(100_000, 100_000), percent(250_000, 100_000)), (0, 1, 100, 250));
        assert_eq!(percent(u64::MAX, 0), u64::MAX);
    }

    #[test]
    fn counts_add_and_subtract() {
        let one = Counts { requests: 1, rows_read: 2, rows_written: 3 };
        assert_eq!(one.plus(one).since(one), one);
        assert_eq!(Counts::default().since(one), Counts::default());
    }
}
