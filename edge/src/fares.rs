//! How deliveries fared over days: shares and the longest silence.
//!
//! Pure. What counts as a failure is [`health`](crate::health)'s, counted over a
//! day and over seven, since a person who looks at a page wants to know more than
//! whether the last hour was well.

use doorstep_shared::time::Timestamp;
use serde::Serialize;

/// A day.
pub const DAY_MS: u64 = 24 * 3_600 * 1_000;
/// Seven days.
pub const WEEK_MS: u64 = 7 * DAY_MS;
/// Deliveries of a week that are looked at: two a minute.
pub const LOOKED_AT_MAX: u64 = 20_000;

/// Deliveries of some time: those that were stored, and those that were not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Stored.
    pub stored: u64,
    /// Came with the right signature and were refused all the same, or came to an
    /// edge without a secret.
    pub refused: u64,
    /// Pushes whose webhook did not come.
    pub missed: u64,
}

impl Share {
    /// The share of successes in tenths of a percent; none when nothing came. All
    /// of them only when nothing failed.
    #[must_use]
    pub fn permille(self) -> Option<u64> {
        let all = self.stored.saturating_add(self.refused).saturating_add(self.missed);
        self.stored.saturating_mul(1_000).checked_div(all)
    }
}

/// A time in which no delivery came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Silence {
    /// When the delivery before it came.
    pub from: Timestamp,
    /// How long it was.
    pub ms: u64,
    /// It goes on.
    pub goes_on: bool,
}

/// POSTs that were not believed: their signature was wrong, or there was none.
/// What is counted of them is a note a second at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Unbelieved {
    /// So many at least.
    pub count: u64,
    /// When the last one came, to the minute.
    pub last: Timestamp,
}

/// How deliveries fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Fares {
    /// In the last day.
    pub day: Share,
    /// In the last seven days.
    pub week: Share,
    /// The longest silence that began in the last seven days.
    pub silence: Option<Silence>,
    /// Those of the last day that were not believed, if there are any.
    pub unbelieved: Option<Unbelieved>,
}

/// The longest time between two of these, or since the last one; they stand
/// newest first.
#[must_use]
pub fn longest_silence(newest_first: &[Timestamp], now: Timestamp) -> Option<Silence> {
    let last = newest_first.first()?;
    let since = Silence { from: *last, ms: now.ms_since(*last), goes_on: true };
    let between = newest_first.windows(2).filter_map(|pair| match pair {
        [later, earlier] => Some(Silence { from: *earlier, ms: later.ms_since(*earlier), goes_on: false }),
        _ => None,
    });
    between.chain([since]).max_by_key(|silence| silence.ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn ago(ms: u64) -> Timestamp {
        Timestamp(NOW.0 - ms)
    }

    #[test]
    fn a_share_is_whole_only_when_nothing_failed() {
        let permille = |stored, refused, missed| Share { stored, refused, missed }.permille();
        assert_eq!(permille(0, 0, 0), None);
        assert_eq!(permille(7, 0, 0), Some(1_000));
        assert_eq!(permille(9_999, 1, 0), Some(999));
        assert_eq!(permille(1, 0, 2), Some(333));
        assert_eq!(permille(0, 1, 0), Some(0));
        assert!(permille(u64::MAX, u64::MAX, u64::MAX).is_some());
    }

    #[test]
    fn the_longest_silence_may_be_the_one_that_goes_on() {
        assert_eq!(longest_silence(&[], NOW), None);
        let silence = longest_silence(&[ago(5), ago(100), ago(120)], NOW);
        assert_eq!(silence, Some(Silence { from: ago(100), ms: 95, goes_on: false }));
        let silence = longest_silence(&[ago(500), ago(600)], NOW);
        assert_eq!(silence, Some(Silence { from: ago(500), ms: 500, goes_on: true }));
        // A clock that went back makes no silence.
        assert_eq!(longest_silence(&[NOW.plus_ms(9)], NOW).map(|silence| silence.ms), Some(0));
    }
}
