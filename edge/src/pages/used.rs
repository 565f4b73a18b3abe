//! What an app or a service uses: two numbers and two small charts.
//!
//! `live.js` adds a point to them every two seconds; the words and the points are
//! made in the same way there. The numbers say all; the charts are for the eye.

use super::html::Html;
use crate::used::{Chart, POINTS_MAX};

/// Height of a chart, in its own units; a point is one unit wide.
const HEIGHT: u64 = 16;
/// A chart of less than this is flat: a tenth of a core, 16 MiB.
const CPU_FLOOR: u64 = 100;
const MEMORY_FLOOR: u64 = 16 << 20;

/// The charts of `project` and `service` (empty for the app itself) on a host;
/// without any yet, a place for them.
pub fn used(host: &str, project: &str, service: &str, chart: Option<&Chart>) -> Html {
    let none = Chart::default();
    let chart = chart.unwrap_or(&none);
    let cpu: Vec<u64> = chart.cpu_permille.iter().map(|permille| u64::from(*permille)).collect();
    let mut html = Html::new();
    html.raw("<span class=\"used\" id=\"used/").text(host).raw("/").text(project).raw("/").text(service).raw("\" data-measure>");
    html.add(&part("cpu", "Processor time: 100 % is a whole core", &cpu_words(&cpu), &cpu, CPU_FLOOR));
    html.add(&part("memory", "Memory", &memory_words(&chart.memory_bytes), &chart.memory_bytes, MEMORY_FLOOR)).raw("</span>");
    html
}

fn part(class: &'static str, what: &'static str, words: &str, values: &[u64], floor: u64) -> Html {
    let points: Vec<String> = values.iter().map(ToString::to_string).collect();
    let mut html = Html::new();
    html.raw("<span class=\"").raw(class).raw("\" data-values=\"").text(&points.join(" ")).raw("\" data-floor=\"").number(floor).raw("\" title=\"").raw(what).raw("\"><span class=\"n\">");
    html.text(words).raw("</span> <svg viewBox=\"0 0 60 16\" preserveAspectRatio=\"none\" aria-hidden=\"true\" focusable=\"false\"><polyline points=\"");
    html.text(&line(values, floor)).raw("\"></polyline></svg></span>");
    html
}

/// The newest value at the right edge; the scale ends at the largest.
fn line(values: &[u64], floor: u64) -> String {
    let top = values.iter().copied().max().unwrap_or(0).max(floor);
    let first = POINTS_MAX.saturating_sub(values.len());
    let point = |(place, value): (usize, &u64)| format!("{},{}", first + place + 1, HEIGHT - value.saturating_mul(HEIGHT - 1) / top);
    values.iter().enumerate().map(point).collect::<Vec<_>>().join(" ")
}

fn cpu_words(values: &[u64]) -> String {
    values.last().map_or_else(String::new, |permille| format!("{}.{} %", permille / 10, permille % 10))
}

fn memory_words(values: &[u64]) -> String {
    const MIB: u64 = 1 << 20;
    match values.last() {
        None => String::new(),
        Some(bytes) if *bytes < 10 * MIB => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
        Some(bytes) if *bytes < 10_240 * MIB => format!("{} MiB", bytes / MIB),
        Some(bytes) => format!("{} GiB", bytes / MIB / 1_024),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn numbers_are_words_and_charts_are_to_scale() {
        let chart = Chart { cpu_permille: vec![0, 50, 1_203], memory_bytes: vec![8 << 20, 9 << 20, 41 << 20] };
        let html = used("attic", "media", "web", Some(&chart)).into_string();
        assert_well_formed(&html);
        assert!(html.contains("<span class=\"n\">120.3 %</span>") && html.contains("<span class=\"n\">41 MiB</span>"), "{html}");
        assert!(html.contains("points=\"58,16 59,16 60,1\""), "{html}");
        let small = line(&[10], CPU_FLOOR);
        assert_eq!(small, "60,15", "a little is a little");
        assert_eq!((memory_words(&[1_572_864]), memory_words(&[30 << 30])), ("1.5 MiB".to_owned(), "30 GiB".to_owned()));
    }

    #[test]
    fn before_anything_is_known_there_is_a_place_for_it() {
        let html = used("attic", "media", "", None).into_string();
        assert_well_formed(&html);
        assert!(html.contains("id=\"used/attic/media/\"") && html.contains("<span class=\"n\"></span>") && html.contains("points=\"\""), "{html}");
    }

    #[test]
    fn nothing_that_a_host_says_is_too_large() {
        let huge = Chart { cpu_permille: vec![u32::MAX; POINTS_MAX], memory_bytes: vec![u64::MAX; POINTS_MAX] };
        assert_well_formed(&used("attic", "media", "web", Some(&huge)).into_string());
    }
}
