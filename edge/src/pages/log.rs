//! A run's log: numbered lines that can be linked to.
//!
//! Lines stand in lists of [`CHUNK`], so that a browser lays out only those that
//! it shows (`content-visibility`), and a log of 100,000 lines scrolls as a short
//! one does. A line costs some 20 bytes of markup: its number is the list's, and its
//! anchor is its id. The script adds what comes later and the tools; without it
//! they are absent, and the page has the log as it was.

use doorstep_shared::ids::RunState;

use super::html::{Href, Html};
use super::version::Have;
use crate::view::RunPage;

/// Lines of one list.
pub const CHUNK: usize = 200;
/// Lines of one page, with some 30 bytes each beside their text: 6 MB at most.
/// Only a log of lines shorter than five bytes has more.
const LINES_MAX: usize = 200_000;

/// The section; what the reader has of the log is not sent again.
pub fn section(view: &RunPage, have: Have<'_>) -> Html {
    let mut html = Html::new();
    html.raw("<section id=\"output\" data-end=\"").number(view.log_end).raw("\"");
    let Some(lines) = view.log.as_ref().filter(|_| !have.is_part()) else {
        html.raw(" data-same></section>");
        return html;
    };
    let log = Href::local(&["api", "runs", &view.run.id, "log"]);
    html.raw("><div class=\"line\" id=\"log-head\"><h2 id=\"log-name\">Log</h2>");
    html.raw("<a class=\"end\" href=\"").href(&log.clone().with("format", "text")).raw("\">raw</a></div>");
    if lines.is_empty() {
        html.raw("<p class=\"muted\" id=\"log-empty\">Nothing was logged so far.</p>");
    }
    html.raw("<div id=\"log\" tabindex=\"0\" role=\"region\" aria-labelledby=\"log-name\" data-from=\"").href(&log);
    html.raw("\" data-next=\"").number(view.log_end).raw("\"");
    html.raw(if view.run.state == RunState::Running { " data-follow>" } else { ">" });
    for (place, chunk) in lines.iter().take(LINES_MAX).collect::<Vec<_>>().chunks(CHUNK).enumerate() {
        html.add(&list(place * CHUNK + 1, chunk));
    }
    html.raw("</div>");
    if lines.len() > LINES_MAX {
        html.raw("<p class=\"muted\">").number((lines.len() - LINES_MAX) as u64).raw(" more lines are in the raw log.</p>");
    }
    html.raw("</section>");
    html
}

fn list(first: usize, lines: &[&String]) -> Html {
    let mut html = Html::new();
    html.raw("<ol start=\"").number(first as u64).raw("\">");
    for (place, line) in lines.iter().enumerate() {
        let number = (first + place) as u64;
        html.raw("<li id=\"L").number(number).raw("\"");
        if place == 0 {
            // A list that is laid out for itself counts for itself.
            html.raw(" value=\"").number(number).raw("\"");
        }
        // The newline is no line of its own at an element's end, and keeps an
        // empty line as high as the others.
        html.raw(">").text(line).raw("\n</li>");
    }
    html.raw("</ol>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn page(state: &str, lines: &[&str]) -> RunPage {
        a_run_page(a_run("r1", state), vec![], &lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn lines_are_numbered_and_can_be_linked_to() {
        let html = section(&page("running", &["", "<b>one</b>"]), Have::default()).into_string();
        assert_well_formed(&html);
        assert!(html.contains("<ol start=\"1\"><li id=\"L1\" value=\"1\">\n</li><li id=\"L2\">&lt;b&gt;one&lt;/b&gt;\n</li></ol>"), "{html}");
        assert!(html.contains(" data-from=\"/api/runs/r1/log\" data-next=\"2000\" data-follow>"), "{html}");
        assert!(html.contains("href=\"/api/runs/r1/log?format=text\">raw<"), "{html}");
    }

    #[test]
    fn lists_are_short_and_go_on_where_the_last_ended() {
        let html = section(&page("succeeded", &["x"; 401]), Have::default()).into_string();
        assert_well_formed(&html);
        for start in ["<ol start=\"1\">", "<ol start=\"201\"><li id=\"L201\" value=\"201\">", "<ol start=\"401\"><li id=\"L401\" value=\"401\">"] {
            assert!(html.contains(start), "{start}");
        }
        assert_eq!(html.matches("<ol").count(), 3);
        assert!(!html.contains("data-follow"));
    }

    #[test]
    fn who_has_the_log_is_told_where_it_ends_and_no_more() {
        let html = section(&page("running", &["x"]), Have(Some(&[]))).into_string();
        assert_eq!(html, "<section id=\"output\" data-end=\"2000\" data-same></section>");
    }

    #[test]
    fn a_log_of_very_short_lines_ends_with_a_sentence() {
        let html = section(&page("succeeded", &vec![""; LINES_MAX + 7]), Have::default()).into_string();
        assert!(html.contains("<p class=\"muted\">7 more lines are in the raw log.</p>"));
        assert_eq!(html.matches("<li").count(), LINES_MAX);
    }
}
