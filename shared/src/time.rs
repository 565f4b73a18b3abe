//! Points in time, as numbers that somebody else read from a clock.

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch. Below 2^53 until the year 287396, so it
/// survives JavaScript's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus `ms` milliseconds, stopping at the largest value.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this time; 0 when the clock went back.
    #[must_use]
    pub fn ms_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// One step of the SplitMix64 generator: decorrelated bits from any seed.
///
/// Used for jitter only, never for secrets. Source of the constants:
/// Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014.
#[must_use]
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Full jitter: uniform in `0..=min(cap_ms, base_ms * 2^failures)`.
#[must_use]
pub fn backoff_ms(failures: u32, base_ms: u64, cap_ms: u64, seed: u64) -> u64 {
    let ceiling = base_ms.saturating_mul(1u64.checked_shl(failures.min(32)).unwrap_or(u64::MAX)).min(cap_ms);
    mix(seed) % ceiling.saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_grows_and_stops_at_its_cap() {
        let worst = |failures| (0..500).map(|seed| backoff_ms(failures, 500, 60_000, seed)).max().unwrap();
        assert!(worst(0) <= 500);
        assert!(worst(3) > 2_000 && worst(3) <= 4_000);
        assert!(worst(60) > 50_000 && worst(60) <= 60_000);
    }
}
