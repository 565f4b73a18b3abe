//! Durations as a person writes them: a whole number and one unit, `30s`.
//!
//! One number and one unit is the whole grammar. Fractions and sums (`1.5s`,
//! `1m30s`) are refused rather than guessed at: there is always a smaller unit.

use std::time::Duration;

/// Units with their milliseconds, longest first, for reading and for printing.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads `10ms`, `30s`, `5m` or `2h`.
pub fn parse(text: &str) -> Result<Duration, String> {
    let digits_len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, unit) = text.split_at(digits_len);
    let unit_ms = UNITS.iter().find(|(name, _)| *name == unit);
    let Some((_, unit_ms)) = unit_ms.filter(|_| !digits.is_empty()) else {
        return Err(
            "a duration is a whole number and one of ms, s, m, h, such as \"30s\" or \"1500ms\""
                .to_owned(),
        );
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|count| count.checked_mul(*unit_ms))
        .map(Duration::from_millis)
        .ok_or_else(|| "this duration is too long".to_owned())
}

/// Writes a duration as [`parse`] reads it, in the largest unit that is whole.
pub(super) fn written(duration: Duration) -> String {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    UNITS
        .iter()
        .find(|(_, unit_ms)| ms >= *unit_ms && ms.is_multiple_of(*unit_ms))
        .map_or_else(
            || "0s".to_owned(),
            |(name, unit_ms)| format!("{}{name}", ms / unit_ms),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simple_durations_are_read_and_written() {
        for (text, ms, back) in [
            ("10ms", 10, "10ms"),
            ("30s", 30_000, "30s"),
            ("5m", 300_000, "5m"),
            ("2h", 7_200_000, "2h"),
            ("60s", 60_000, "1m"),
            ("1500ms", 1_500, "1500ms"),
            ("0s", 0, "0s"),
        ] {
            let duration = parse(text).unwrap();
            assert_eq!(duration, Duration::from_millis(ms), "{text}");
            assert_eq!(written(duration), back);
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "", "s", "30", "1.5s", "1m30s", "-1s", "+1s", " 1s", "1 s", "1S", "1d", "1s ", "٣s",
            "1µs",
        ] {
            let message = parse(text).unwrap_err();
            assert!(message.contains("such as \"30s\""), "{text}: {message}");
        }
        for text in ["99999999999999999999s", "18446744073709551615h"] {
            assert_eq!(parse(text).unwrap_err(), "this duration is too long");
        }
    }
}
