//! Times and durations as a person says them, with the exact time beside.
//!
//! `live.js` counts on between two fetches with the same words; whoever
//! changes the wording here changes it there.

use doorstep_shared::time::Timestamp;

use super::html::Html;

const SECOND_MS: u64 = 1_000;
const MINUTE_MS: u64 = 60 * SECOND_MS;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Beyond this a date says more than a number of days.
const AGO_MAX_MS: u64 = 30 * DAY_MS;
/// The last millisecond that HTML's `datetime` can write: the end of the year 9999.
const TIME_MAX_MS: u64 = 253_402_300_799_999;

/// How long ago, as a `<time>` that carries the exact time.
pub fn ago(at: Timestamp, now: Timestamp) -> Html {
    time(at, "ago", &ago_words(at, now))
}

/// How long since, for what is still under way.
pub fn since(at: Timestamp, now: Timestamp) -> Html {
    time(at, "for", &took_words(whole_seconds(now.ms_since(at))))
}

/// A time to come.
pub fn until(at: Timestamp, now: Timestamp) -> Html {
    let words = match at.ms_since(now) {
        0 => "now".to_owned(),
        left if left < MINUTE_MS => format!("in {}", took_words(whole_seconds(left))),
        left if left < HOUR_MS => format!("in {} min", left / MINUTE_MS),
        left => format!("in {} h", left / HOUR_MS),
    };
    time(at, "", &words)
}

/// The day of something to come, as a date.
pub fn on(at: Timestamp) -> Html {
    time(at, "", &Exact::of(at).date())
}

/// The exact time, for a person.
pub fn exact(at: Timestamp) -> String {
    Exact::of(at).person()
}

fn time(at: Timestamp, tick: &'static str, words: &str) -> Html {
    let exact = Exact::of(at);
    let mut html = Html::new();
    html.raw("<time datetime=\"").text(&exact.machine()).raw("\" title=\"").text(&exact.person());
    if !tick.is_empty() {
        html.raw("\" data-tick=\"").raw(tick);
    }
    html.raw("\">").text(words).raw("</time>");
    html
}

fn ago_words(at: Timestamp, now: Timestamp) -> String {
    match now.ms_since(at) {
        // A host's clock may run ahead of ours: the future is "just now" too.
        ms if ms < 10 * SECOND_MS => "just now".to_owned(),
        ms if ms < MINUTE_MS => format!("{} s ago", ms / SECOND_MS),
        ms if ms < HOUR_MS => format!("{} min ago", ms / MINUTE_MS),
        ms if ms < DAY_MS => format!("{} h ago", ms / HOUR_MS),
        ms if ms < 2 * DAY_MS => "1 day ago".to_owned(),
        ms if ms < AGO_MAX_MS => format!("{} days ago", ms / DAY_MS),
        _ => format!("on {}", Exact::of(at).date()),
    }
}

/// A duration: `340 ms`, `4.2 s`, `3 min 4 s`, `2 h 5 min`, `3 days 2 h`.
pub fn took_words(ms: u64) -> String {
    match ms {
        ms if ms < SECOND_MS && !ms.is_multiple_of(SECOND_MS) => format!("{ms} ms"),
        ms if ms < MINUTE_MS && !ms.is_multiple_of(SECOND_MS) => {
            format!("{}.{} s", ms / SECOND_MS, ms % SECOND_MS / 100)
        }
        ms if ms < MINUTE_MS => format!("{} s", ms / SECOND_MS),
        ms if ms < HOUR_MS => format!("{} min {} s", ms / MINUTE_MS, ms % MINUTE_MS / SECOND_MS),
        ms if ms < DAY_MS => format!("{} h {} min", ms / HOUR_MS, ms % HOUR_MS / MINUTE_MS),
        ms => format!("{} d {} h", ms / DAY_MS, ms % DAY_MS / HOUR_MS),
    }
}

fn whole_seconds(ms: u64) -> u64 {
    ms / SECOND_MS * SECOND_MS
}

/// A UTC calendar time, years 1970 to 9999.
struct Exact {
    year: u64,
    month: u64,
    day: u64,
    ms: u64,
}

impl Exact {
    /// Howard Hinnant's `civil_from_days`, for days since 1970 only: every
    /// term is positive and below 4·10^6, so nothing can overflow.
    fn of(at: Timestamp) -> Self {
        let at_ms = at.0.min(TIME_MAX_MS);
        let days = at_ms / DAY_MS + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Self {
            year: year_of_era + era * 400 + u64::from(month <= 2),
            month,
            day: day_of_year - (153 * shifted_month + 2) / 5 + 1,
            ms: at_ms % DAY_MS,
        }
    }

    fn date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    fn clock(&self) -> String {
        format!("{:02}:{:02}:{:02}", self.ms / HOUR_MS, self.ms % HOUR_MS / MINUTE_MS, self.ms % MINUTE_MS / SECOND_MS)
    }

    fn machine(&self) -> String {
        format!("{}T{}Z", self.date(), self.clock())
    }

    fn person(&self) -> String {
        format!("{} {} UTC", self.date(), self.clock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp(1_790_000_000_000);

    #[test]
    fn how_long_ago_in_words() {
        let words = |ms| ago_words(Timestamp(NOW.0 - ms), NOW);
        assert_eq!(words(0), "just now");
        assert_eq!(words(9_999), "just now");
        assert_eq!(words(59_999), "59 s ago");
        assert_eq!(words(3_599_999), "59 min ago");
        assert_eq!(words(DAY_MS - 1), "23 h ago");
        assert_eq!(words(DAY_MS), "1 day ago");
        assert_eq!(words(29 * DAY_MS), "29 days ago");
        assert_eq!(words(30 * DAY_MS), "on 2026-08-22");
        assert_eq!(ago_words(NOW.plus_ms(50_000), NOW), "just now");
    }

    #[test]
    fn how_long_it_took_in_words() {
        let cases = [
            (0, "0 s"),
            (7, "7 ms"),
            (1_000, "1 s"),
            (4_250, "4.2 s"),
            (59_999, "59.9 s"),
            (184_000, "3 min 4 s"),
            (7_500_000, "2 h 5 min"),
            (DAY_MS + HOUR_MS, "1 d 1 h"),
        ];
        for (ms, words) in cases {
            assert_eq!(took_words(ms), words);
        }
    }

    #[test]
    fn the_exact_time_stands_beside() {
        assert_eq!(
            ago(Timestamp(1_789_999_880_000), NOW).into_string(),
            "<time datetime=\"2026-09-21T14:11:20Z\" title=\"2026-09-21 14:11:20 UTC\" data-tick=\"ago\">2 min ago</time>"
        );
        let days = [
            (0, "1970-01-01"),
            (951_782_400_000, "2000-02-29"),
            (951_868_800_000, "2000-03-01"),
            (u64::MAX, "9999-12-31"),
        ];
        for (ms, date) in days {
            assert_eq!(Exact::of(Timestamp(ms)).date(), date);
        }
    }

    proptest! {
        #[test]
        fn any_two_times_can_be_shown(at in any::<u64>(), now in any::<u64>()) {
            for html in [on(Timestamp(at)), ago(Timestamp(at), Timestamp(now)), since(Timestamp(at), Timestamp(now)), until(Timestamp(at), Timestamp(now))] {
                prop_assert!(html.into_string().starts_with("<time datetime=\""));
            }
        }

        #[test]
        fn days_follow_each_other(day in 0u64..2_900_000) {
            let (a, b) = (Exact::of(Timestamp(day * DAY_MS)), Exact::of(Timestamp((day + 1) * DAY_MS)));
            prop_assert!((a.year, a.month, a.day) < (b.year, b.month, b.day));
            prop_assert!((1..=12).contains(&a.month) && (1..=31).contains(&a.day));
        }
    }
}
