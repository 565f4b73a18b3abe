//! How deliveries fare, judged from counts.
//!
//! Pure. What is open to everybody must not be turned by anybody: only what is
//! proven counts. A delivery that was stored is a success. Failures are
//! deliveries that carried the right signature and were refused all the same,
//! pushes whose webhook did not come within minutes (found by reconciling, each
//! head of a repository once), and everything that was refused because this
//! edge has no secret. A POST without a signature or with a wrong one is a
//! stranger's noise, and so is one that was refused before its signature could
//! be verified.
//!
//! One case would then be missed: the secret here is not the one at GitHub, so
//! nothing but wrong signatures comes. So they count when nothing was stored
//! for a day. Before that day is over, reconciling finds the pushes.

use doorstep_shared::time::Timestamp;
use serde::Serialize;

/// Nothing was stored for so long: the webhook is silent. A day.
const SILENT_MS: u64 = 24 * 3_600 * 1_000;
/// Below this share of successes it is degraded: one in ten failed.
const GOOD_RATE: f64 = 0.9;

/// The code under which a push counts that reconciling found.
pub const MISSED: &str = "missed";

/// The counts of the last hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    stored: u64,
    failed: u64,
    wrong: u64,
    last: Option<Timestamp>,
}

/// The answer; its shape is fixed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Health {
    status: &'static str,
    success_rate: f64,
    total_events_last_hour: u64,
    failed_events_last_hour: u64,
    last_event_at: Option<Timestamp>,
}

impl Counts {
    /// So many were stored, the last of all time then.
    #[must_use]
    pub fn new(stored: u64, last: Option<Timestamp>) -> Self {
        Self { stored, last, ..Self::default() }
    }

    /// So many were refused under this code.
    pub fn refused(&mut self, code: &str, count: u64) {
        let of = match code {
            "signature_wrong" => &mut self.wrong,
            _ if is_unproven(code) => return,
            _ => &mut self.failed,
        };
        *of = of.saturating_add(count);
    }

    /// How many failed.
    #[must_use]
    pub fn failed(&self, now: Timestamp) -> u64 {
        self.failed.saturating_add(if self.is_silent(now) { self.wrong } else { 0 })
    }

    fn is_silent(&self, now: Timestamp) -> bool {
        self.last.is_none_or(|last| now.ms_since(last) > SILENT_MS)
    }

    /// The judgement.
    #[must_use]
    pub fn judge(self, now: Timestamp) -> Health {
        let (silent, failed) = (self.is_silent(now), self.failed(now));
        let total = self.stored.saturating_add(failed);
        #[expect(clippy::cast_precision_loss, reason = "counts of one hour are far below 2^52")]
        let success_rate = if total == 0 { 1.0 } else { self.stored as f64 / total as f64 };
        let status = match (silent && failed == 0, success_rate < GOOD_RATE) {
            (true, _) => "silent",
            (false, true) => "degraded",
            (false, false) => "healthy",
        };
        Health {
            status,
            success_rate,
            total_events_last_hour: total,
            failed_events_last_hour: failed,
            last_event_at: self.last,
        }
    }
}

/// Was it refused under this code before anybody knew whose it is?
#[must_use]
pub fn is_unproven(code: &str) -> bool {
    matches!(code, "signature_missing" | "signature_wrong" | "body_too_large" | "body_cut")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    fn judged(stored: u64, last_ms_ago: Option<u64>, refused: &[(&str, u64)]) -> (&'static str, u64, u64) {
        let mut counts = Counts::new(stored, last_ms_ago.map(|ms| Timestamp(NOW.0 - ms)));
        for (code, count) in refused {
            counts.refused(code, *count);
        }
        let health = counts.judge(NOW);
        (health.status, health.total_events_last_hour, health.failed_events_last_hour)
    }

    #[test]
    fn strangers_do_not_turn_it() {
        let noise = [("signature_missing", 900), ("signature_wrong", 900), ("body_too_large", 9), ("body_cut", 9)];
        assert_eq!(judged(1, Some(5), &noise), ("healthy", 1, 0));
        // A quiet hour of a day that was not.
        assert_eq!(judged(0, Some(SILENT_MS), &noise), ("healthy", 0, 0));
        assert_eq!(judged(0, None, &[("signature_missing", 900)]), ("silent", 0, 0));
    }

    #[test]
    fn a_secret_that_is_not_the_same_shows_as_nothing_but_wrong_signatures() {
        assert_eq!(judged(0, None, &[("signature_wrong", 2)]), ("degraded", 2, 2));
        assert_eq!(judged(0, Some(SILENT_MS + 1), &[("signature_wrong", 2)]), ("degraded", 2, 2));
        assert_eq!(judged(0, Some(9), &[("secret_not_set", 1)]), ("degraded", 1, 1));
    }

    #[test]
    fn what_was_signed_and_refused_or_never_came_counts() {
        assert_eq!(judged(9, Some(5), &[("wrong_shape", 1)]), ("healthy", 10, 1));
        assert_eq!(judged(8, Some(5), &[("wrong_shape", 1), (MISSED, 1)]), ("degraded", 10, 2));
        assert_eq!(judged(0, Some(SILENT_MS + 1), &[(MISSED, 1)]), ("degraded", 1, 1));
        assert_eq!(judged(0, Some(SILENT_MS + 1), &[]), ("silent", 0, 0));
    }
}
