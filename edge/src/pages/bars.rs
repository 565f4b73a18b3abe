//! The last runs of a project at a glance: one bar each, the newest on the right.
//!
//! A bar is as high as its run was long among those beside it, on a logarithmic
//! scale. Its state is said by colour, by how the bar is drawn and, unless it succeeded, by a sign
//! under it; its name says all of it in words.
//!
//! Invariant: without patterns and ids, so that a page may hold many. Absent on
//! purpose: scripts and style attributes. Only the newest bar is a stop of the
//! Tab key; `live.js` leads from bar to bar with the arrow keys.

use doorstep_shared::ids::RunState;
use doorstep_shared::time::Timestamp;

use super::html::Html;
use super::parts::{self, job_words};
use super::when;
use crate::lasting::was_cancelled;
use crate::view::RunRow;

/// Bars of one chart.
pub const BARS_MAX: usize = 30;
/// From one bar to the next, in units of the drawing.
const PITCH: u64 = 11;
const BAR_WIDTH: u64 = 8;
/// Room above the signs, in units of the drawing.
const BASE: u64 = 36;
const HEIGHT: u64 = 48;
const BAR_HEIGHT_MIN: u64 = 10;

/// The newest of these runs, which stand newest first; nothing when there is none.
pub fn run_bar(runs: &[RunRow], now: Timestamp) -> Html {
    let shown: Vec<&RunRow> = runs.iter().take(BARS_MAX).collect();
    let mut html = Html::new();
    if shown.is_empty() {
        return html;
    }
    let width = PITCH * shown.len() as u64;
    html.raw("<svg class=\"bars\" role=\"group\" aria-label=\"").text(&summary(&shown)).raw("\" viewBox=\"0 0 ").number(width);
    html.raw(" ").number(HEIGHT).raw("\" width=\"").number(width).raw("\" height=\"").number(HEIGHT).raw("\">");
    let longest = longest_ms(&shown, now);
    for (place, run) in shown.iter().rev().enumerate() {
        let is_newest = place + 1 == shown.len();
        html.add(&bar(run, place as u64 * PITCH, height(took_ms(run, now), longest), is_newest));
    }
    html.raw("</svg>");
    html
}

/// The same for a list of many projects: without links, and as wide however few
/// runs there are, so that the newest stand below each other.
pub fn small(runs: &[RunRow], now: Timestamp) -> Html {
    let shown: Vec<&RunRow> = runs.iter().take(BARS_MAX).collect();
    let mut html = Html::new();
    if shown.is_empty() {
        return html;
    }
    html.raw("<svg class=\"bars small\" role=\"img\" aria-label=\"").text(&summary(&shown)).raw("\" viewBox=\"0 0 330 48\"><path class=\"none\" d=\"M0 36h330\"></path>");
    let longest = longest_ms(&shown, now);
    for (place, run) in (0..BARS_MAX as u64).rev().zip(&shown) {
        html.add(&small_bar(run, place * PITCH + PITCH / 2, height(took_ms(run, now), longest)));
    }
    html.raw("</svg>");
    html
}

/// A run as a stroke, its sign, and its words for who points at it.
fn small_bar(run: &RunRow, x: u64, height: u64) -> Html {
    let (tone, sign) = look(run);
    let mut html = Html::new();
    html.raw("<g class=\"").raw(tone).raw("\"><title>").text(&short_words(run)).raw("</title><path d=\"M").number(x).raw(" ").number(BASE);
    html.raw("v-").number(height).raw("\"></path>");
    if !sign.is_empty() {
        html.raw("<text x=\"").number(x).raw("\" y=\"").number(HEIGHT - 2).raw("\">").raw(sign).raw("</text>");
    }
    html.raw("</g>");
    html
}

/// "deploy succeeded in 12.4 s".
fn short_words(run: &RunRow) -> String {
    let mut words = format!("{} {}", job_words(run.action, run.service.as_ref()), parts::run_word(run));
    if let Some(ended) = run.ended.filter(|_| run.state != RunState::Running) {
        words.push_str(&format!(" in {}", when::took_words(ended.ms_since(run.started))));
    }
    words
}

/// The same in words: "The last 3 runs: 2 succeeded, 1 rolled back".
pub fn run_words(runs: &[RunRow]) -> String {
    summary(&runs.iter().take(BARS_MAX).collect::<Vec<_>>())
}

/// One run as a link: a field to point at, the bar, the sign.
fn bar(run: &RunRow, x: u64, height: u64, is_newest: bool) -> Html {
    let (tone, sign) = look(run);
    let mut html = Html::new();
    html.raw("<a href=\"").href(&parts::run_href(run)).raw(if is_newest { "\">" } else { "\" tabindex=\"-1\">" });
    html.raw("<title>").text(&words(run)).raw("</title>");
    html.raw("<rect class=\"hit\" x=\"").number(x).raw("\" y=\"0\" width=\"").number(PITCH).raw("\" height=\"").number(HEIGHT).raw("\"></rect>");
    html.raw("<rect class=\"bar ").raw(tone).raw("\" x=\"").number(x + 1).raw("\" y=\"").number(BASE - height);
    html.raw("\" width=\"").number(BAR_WIDTH).raw("\" height=\"").number(height).raw("\" rx=\"1\"></rect>");
    html.raw("<text class=\"").raw(tone).raw("\" aria-hidden=\"true\" x=\"").number(x + 1 + BAR_WIDTH / 2).raw("\" y=\"").number(HEIGHT - 2).raw("\">");
    html.raw(sign).raw("</text></a>");
    html
}

/// Class and sign of a state; what went well needs no sign among its like.
fn look(run: &RunRow) -> (&'static str, &'static str) {
    match run.state {
        _ if was_cancelled(run) => ("warn none", "⊘"),
        RunState::Running => ("busy", "◐"),
        RunState::Succeeded => ("ok", ""),
        RunState::Failed => ("bad", "✕"),
        RunState::RolledBack => ("warn back", "↺"),
        RunState::Refused => ("warn none", "⊘"),
    }
}

fn took_ms(run: &RunRow, now: Timestamp) -> u64 {
    match run.state {
        RunState::Running => now.ms_since(run.started),
        RunState::Succeeded | RunState::Failed | RunState::RolledBack | RunState::Refused => run.ended.map_or(0, |ended| ended.ms_since(run.started)),
    }
}

/// How high a bar is among those beside it: the longest fills the room, and each
/// halving takes a quarter of it, so that a build of a minute does not flatten
/// the deploys of five seconds.
fn height(ms: u64, longest_ms: u64) -> u64 {
    const QUARTERS_MAX: u64 = 16;
    // Four times the logarithm, in whole steps.
    let quarters = |ms: u64| u64::from(u128::from(ms.max(1)).saturating_pow(4).ilog2());
    let below = quarters(longest_ms).saturating_sub(quarters(ms)).min(QUARTERS_MAX);
    BASE - (BASE - BAR_HEIGHT_MIN) * below / QUARTERS_MAX
}

/// How long the longest of them took.
fn longest_ms(runs: &[&RunRow], now: Timestamp) -> u64 {
    runs.iter().map(|run| took_ms(run, now)).max().unwrap_or(0)
}

/// A run in words that stay true while the page is open: its exact time.
fn words(run: &RunRow) -> String {
    let mut words = short_words(run);
    if let Some(failure) = run.failure.as_ref().filter(|failure| !failure.step.is_empty()) {
        words.push_str(&format!(", at {}", failure.step));
    }
    if let Some(commit) = &run.commit {
        words.push_str(&format!(", {}", commit.chars().take(7).collect::<String>()));
    }
    words.push_str(&format!(", began {}", when::exact(run.started)));
    words
}

/// "The last 3 runs: 2 succeeded, 1 rolled back".
fn summary(runs: &[&RunRow]) -> String {
    let of = |word: &str| runs.iter().filter(|run| parts::run_word(run) == word).count();
    let words = ["running", "succeeded", "failed", "rolled back", "refused", "cancelled"];
    let counts: Vec<String> = words.iter().filter(|word| of(word) > 0).map(|word| format!("{} {word}", of(word))).collect();
    match runs.len() {
        1 => format!("The last run: {}", counts.join(", ")),
        count => format!("The last {count} runs: {}", counts.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn bars(runs: &[RunRow]) -> String {
        run_bar(runs, NOW).into_string()
    }

    #[test]
    fn a_bar_for_each_run_the_newest_on_the_right() {
        let html = bars(&[a_run("r3", "running"), a_run("r2", "rolled_back"), a_run("r1", "succeeded")]);
        assert_well_formed(&html);
        assert!(html.contains("aria-label=\"The last 3 runs: 1 running, 1 succeeded, 1 rolled back\""), "{html}");
        let at = |id: &str| html.find(&format!("href=\"/runs/{id}\"")).unwrap();
        assert!(at("r1") < at("r2") && at("r2") < at("r3"));
        assert!(html.contains("<title>deploy succeeded in 12.4 s, a1b2c3d, began 2026-09-21 14:10:00 UTC</title>"), "{html}");
        assert!(html.contains("<title>deploy rolled back in 31 s, at check, a1b2c3d, began "), "{html}");
        assert!(html.contains("<title>deploy running, a1b2c3d, began "), "{html}");
        assert_eq!(html.matches("tabindex=\"-1\"").count(), 2, "one of them is a stop of the Tab key");
    }

    #[test]
    fn every_state_has_a_class_and_only_success_no_sign() {
        for state in RunState::ALL {
            let (tone, sign) = look(&RunRow { state: *state, ..a_run("r", "succeeded") });
            assert!(!tone.is_empty());
            assert_eq!(sign.is_empty(), *state == RunState::Succeeded);
        }
    }

    #[test]
    fn a_longer_run_is_never_a_lower_bar() {
        let mut last = 0;
        for exponent in 0..64 {
            let now = height(1 << exponent, 1 << 40);
            assert!((BAR_HEIGHT_MIN..=BASE).contains(&now) && now >= last, "{now}");
            last = now;
        }
        assert_eq!((height(0, u64::MAX), height(u64::MAX, u64::MAX), height(0, 0)), (BAR_HEIGHT_MIN, BASE, BASE));
        assert!(height(4_000, 60_000) < height(10_000, 60_000) && height(10_000, 60_000) < height(30_000, 60_000));
    }

    #[test]
    fn so_many_and_no_more() {
        assert!(run_bar(&[], NOW).is_empty());
        assert!(bars(&[a_run("r1", "failed")]).contains("aria-label=\"The last run: 1 failed\""));
        let many: Vec<RunRow> = (0..100).map(|n| a_run(&format!("r{n}"), "succeeded")).collect();
        let html = bars(&many);
        assert_eq!(html.matches("<title>").count(), BARS_MAX);
        assert!(html.contains("/runs/r0\"") && !html.contains("/runs/r30\""), "the newest are shown");
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| skeleton(&bars(&[hostile_run(word), hostile_run(word)]));
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }
}
