//! A run's log: numbered lines that can be linked to.
//!
//! Lines stand in lists of [`CHUNK`], so that a browser lays out only those that
//! it shows (`content-visibility`), and a log of 100,000 lines scrolls as a short
//! one does. A line costs some 20 bytes of markup: its number is the list's, and its
//! anchor is its id. Only here are colours read ([`colour`](doorstep_shared::colour)):
//! they become classes, and the words between them are text. The script adds what comes later and the tools; without it
//! they are absent, and the page has the log as it was.

use doorstep_shared::colour::{Look, MARKS, pieces};
use doorstep_shared::ids::RunState;

use super::html::{Href, Html};
use super::version::Have;
use crate::view::{LogPart, RunPage};

/// Lines of one list.
pub const CHUNK: usize = 200;
/// Lines of one page, with some 30 bytes each beside their text: 6 MB at most.
/// Only a log of lines shorter than five bytes has more. A change of look is five
/// bytes in the log and some 20 here: 4 MB at most, in a log with fewer lines.
const LINES_MAX: usize = 200_000;
/// The classes of the sixteen colours, and of what text may be beside coloured.
const COLOURS: [&str; 16] = ["c0", "c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11", "c12", "c13", "c14", "c15"];
const MARK_CLASSES: [&str; MARKS] = ["bold", "dim", "italic", "underlined"];

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
        html.raw(">").add(&words(line)).raw("\n</li>");
    }
    html.raw("</ol>");
    html
}

/// A part of a log for the script, which numbers its lines.
#[must_use]
pub fn log_part(part: &LogPart) -> String {
    let mut html = Html::new();
    html.raw("<!doctype html><title>Log</title><ol data-next=\"").number(part.next).raw(if part.more { "\" data-more>" } else { "\">" });
    for line in &part.lines {
        html.raw("<li>").add(&words(line)).raw("\n</li>");
    }
    html.raw("</ol>");
    html.into_page("")
}

/// A line's words in their colours.
fn words(line: &str) -> Html {
    let mut html = Html::new();
    if !line.contains('\u{1b}') {
        html.text(line);
        return html;
    }
    for (look, text) in pieces(line) {
        if look == Look::default() {
            html.text(&text);
            continue;
        }
        html.raw("<span class=\"");
        for (at, class) in classes(look).enumerate() {
            html.raw(if at == 0 { "" } else { " " }).raw(class);
        }
        html.raw("\">").text(&text).raw("</span>");
    }
    html
}

fn classes(look: Look) -> impl Iterator<Item = &'static str> {
    let colour = look.colour.and_then(|colour| COLOURS.get(usize::from(colour)).copied());
    let marks = MARK_CLASSES.into_iter().zip(look.marks).filter_map(|(class, is_on)| is_on.then_some(class));
    colour.into_iter().chain(marks)
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

    /// With `^` for ESC.
    fn shown(line: &str) -> String {
        words(&line.replace('^', "\u{1b}")).into_string()
    }

    #[test]
    fn colours_become_classes_and_nothing_else_of_a_terminal_is_left() {
        assert_eq!(shown("^[1;31merror^[0m: <b>"), "<span class=\"c1 bold\">error</span>: &lt;b&gt;");
        assert_eq!(shown("^[2;3;4;97mx"), "<span class=\"c15 dim italic underlined\">x</span>");
        assert_eq!(shown("^]0;title\u{7}a^[2J^[41mb\0c"), "abc");
        assert_eq!(shown("^[31;38;5;99999999999m^[m"), "");
    }

    #[test]
    fn a_part_is_the_same_lines() {
        let part = LogPart { lines: vec!["\u{1b}[32m<ok>".into(), String::new()], next: 300, more: true };
        let html = log_part(&part);
        assert_well_formed(&html);
        assert_eq!(html, "<!doctype html><title>Log</title><ol data-next=\"300\" data-more><li><span class=\"c2\">&lt;ok&gt;</span>\n</li><li>\n</li></ol>");
        assert!(log_part(&LogPart { more: false, ..part }).contains("<ol data-next=\"300\">"));
    }

    #[test]
    fn hostile_words_in_colours_change_no_markup() {
        let with = |word: &str| {
            let lines = [format!("\u{1b}[31m{word}"), format!("a \u{1b}[1mb\u{1b}[0;33m{word}\u{1b}[0m c")];
            let part = log_part(&LogPart { lines: lines.to_vec(), next: 1, more: false });
            let page = section(&page("running", &[&lines[0], &lines[1]]), Have::default()).into_string();
            assert_well_formed(&part);
            assert_well_formed(&page);
            assert!(!part.contains('\u{1b}') && !page.contains('\u{1b}'));
            (skeleton(&part), skeleton(&page))
        };
        for hostile in HOSTILE {
            // Its own colours are colours, wherever they stand.
            let hostile = hostile.replace("\u{1b}[31m", "\u{1b}[2K");
            assert_eq!(with(&hostile), with("x"), "{hostile}");
        }
    }

    /// A colour of the style sheet, `#rgb` or `#rrggbb`, each part from 0 to 1.
    fn rgb(colour: &str) -> [f64; 3] {
        let digits: Vec<u32> = colour.trim_start_matches('#').chars().map(|c| c.to_digit(16).unwrap()).collect();
        [0, 1, 2].map(|at| f64::from(if digits.len() == 3 { digits[at] * 17 } else { digits[2 * at] * 16 + digits[2 * at + 1] }) / 255.0)
    }

    /// WCAG's relative luminance.
    fn luminance(colour: [f64; 3]) -> f64 {
        let [red, green, blue] = colour.map(|part| if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) });
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    fn contrast(one: [f64; 3], other: [f64; 3]) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn every_colour_can_be_read_on_its_ground() {
        let css = include_str!("style.css");
        let value = |name: &str, at: usize| css.split(&format!("--{name}: ")).nth(at).and_then(|rest| rest.split(';').next()).unwrap_or_else(|| panic!("--{name}"));
        let mixed = |with: [f64; 3], ground: [f64; 3]| [0, 1, 2].map(|part| 0.18 * with[part] + 0.82 * ground[part]);
        for scheme in [1, 2] {
            let of = |name: &str| rgb(value(name, scheme));
            let ground = of("code");
            // Its own, and that of a line that is linked to or found.
            let grounds = [ground, mixed(of("warn"), ground), mixed(of("busy"), ground)];
            for class in COLOURS {
                let least = grounds.map(|ground| contrast(of(class), ground)).into_iter().fold(f64::MAX, f64::min);
                assert!(least >= 4.5, "{class} has {least:.2} in scheme {scheme}");
                assert!(css.contains(&format!("#log .{class} {{ color: var(--{class}); }}")), "{class}");
            }
        }
        for class in MARK_CLASSES {
            assert!(css.contains(&format!("#log .{class} {{")), "{class}");
        }
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
