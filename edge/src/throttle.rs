//! How long a guesser of the password must wait.
//!
//! Pure. Invariant: the wait is asked for before anything is compared, and a
//! try that is refused for it counts for nothing, so that it costs no row and
//! makes no wait longer. What is absent: a lock that only a person could lift.

use doorstep_shared::time::Timestamp;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;

/// What one count allows.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// Wrong tries without a wait.
    pub free: u64,
    /// The longest wait.
    pub wait_ms_max: u64,
    /// How long the count is kept, after the newest wrong try or the first.
    pub kept_ms: u64,
    /// Does each wrong try keep it for longer?
    pub is_kept_by_each: bool,
}

/// Of one address: 5 in a row, then 1 s, 2 s, 4 s … 15 min. That is about a
/// hundred guesses a day.
pub const OF_ADDRESS: Rule = Rule { free: 5, wait_ms_max: 15 * MINUTE_MS, kept_ms: 24 * HOUR_MS, is_kept_by_each: true };

/// Of everybody: 50 within an hour, then up to a minute, so that who guesses
/// from many addresses gets some 110 guesses an hour, and who may come in waits
/// a minute and not for ever.
pub const OF_ALL: Rule = Rule { free: 50, wait_ms_max: MINUTE_MS, kept_ms: HOUR_MS, is_kept_by_each: false };

/// The row of everybody.
pub const ALL: &str = "*";

/// Wrong tries that are remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tries {
    /// How many.
    pub wrong: u64,
    /// When the newest was.
    pub last: Timestamp,
    /// When they are forgotten.
    pub ends: Timestamp,
}

impl Rule {
    /// How long nobody of this count may try, in milliseconds; 0 for "now".
    #[must_use]
    pub fn wait_ms(&self, tries: Tries, now: Timestamp) -> u64 {
        let Some(over) = tries.wrong.checked_sub(self.free).filter(|_| tries.ends > now) else { return 0 };
        // 2^20 s are 12 days, more than any wait.
        let wait_ms = (SECOND_MS << over.min(20)).min(self.wait_ms_max);
        // A clock that went back makes nobody wait longer than the rule says.
        tries.last.plus_ms(wait_ms).ms_since(now).min(wait_ms)
    }

    /// The count after one more wrong try.
    #[must_use]
    pub fn after_wrong(&self, tries: Tries, now: Timestamp) -> Tries {
        let known = if tries.ends > now { tries } else { Tries::default() };
        let begins = known.wrong == 0 || self.is_kept_by_each;
        Tries {
            wrong: known.wrong.saturating_add(1),
            last: now,
            ends: if begins { now.plus_ms(self.kept_ms) } else { known.ends },
        }
    }
}

/// A wait in whole seconds, as `Retry-After` wants it.
#[must_use]
pub fn seconds(wait_ms: u64) -> u64 {
    wait_ms.div_ceil(SECOND_MS).max(1)
}

/// A wait in words.
#[must_use]
pub fn words(seconds: u64) -> String {
    match seconds {
        1 => "1 second".to_owned(),
        2..=90 => format!("{seconds} seconds"),
        _ => format!("{} minutes", seconds.div_ceil(60)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    /// The waits after each of so many wrong tries, made as soon as each is allowed.
    fn waits(rule: Rule, count: usize) -> Vec<u64> {
        let (mut tries, mut now, mut waits) = (Tries::default(), NOW, vec![]);
        for _ in 0..count {
            tries = rule.after_wrong(tries, now);
            let wait_ms = rule.wait_ms(tries, now);
            waits.push(wait_ms / SECOND_MS);
            now = now.plus_ms(wait_ms);
        }
        waits
    }

    #[test]
    fn an_address_waits_ever_longer_after_five() {
        assert_eq!(waits(OF_ADDRESS, 17), [0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900]);
    }

    #[test]
    fn everybody_waits_after_fifty_and_never_more_than_a_minute() {
        let waits = waits(OF_ALL, 60);
        assert!(waits.iter().take(49).all(|wait| *wait == 0));
        assert_eq!(waits[49..], [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]);
    }

    #[test]
    fn the_wait_passes_and_the_count_is_forgotten() {
        let tries = Tries { wrong: 9, last: NOW, ends: NOW.plus_ms(OF_ADDRESS.kept_ms) };
        assert_eq!(OF_ADDRESS.wait_ms(tries, NOW.plus_ms(6_000)), 10_000);
        assert_eq!(OF_ADDRESS.wait_ms(tries, NOW.plus_ms(16_000)), 0);
        assert_eq!(OF_ADDRESS.wait_ms(tries, tries.ends), 0);
        assert_eq!(OF_ADDRESS.after_wrong(tries, tries.ends).wrong, 1);
        assert_eq!(OF_ADDRESS.wait_ms(Tries { wrong: u64::MAX, ..tries }, NOW), 15 * MINUTE_MS);
    }

    #[test]
    fn a_clock_that_went_back_locks_nobody_out() {
        let tries = Tries { wrong: 5, last: NOW.plus_ms(9 * HOUR_MS), ends: NOW.plus_ms(33 * HOUR_MS) };
        assert_eq!(OF_ADDRESS.wait_ms(tries, NOW), 1_000);
    }

    #[test]
    fn an_hour_of_everybody_begins_with_its_first_wrong_try() {
        let first = OF_ALL.after_wrong(Tries::default(), NOW);
        let second = OF_ALL.after_wrong(first, NOW.plus_ms(59 * MINUTE_MS));
        assert_eq!((second.wrong, second.ends), (2, NOW.plus_ms(HOUR_MS)));
        assert_eq!(OF_ALL.after_wrong(second, NOW.plus_ms(HOUR_MS)).wrong, 1);
    }

    #[test]
    fn waits_are_said_in_words() {
        assert_eq!((seconds(1), seconds(1_001), seconds(0)), (1, 2, 1));
        assert_eq!((words(1).as_str(), words(45).as_str(), words(900).as_str()), ("1 second", "45 seconds", "15 minutes"));
    }
}
