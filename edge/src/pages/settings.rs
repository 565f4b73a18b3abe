//! Who is signed in, which hosts are enrolled, what a day costs.

use super::Viewer;
use super::html::{Href, Html};
use super::layout::{Frame, document};
use super::parts::{self, Facts, Table};
use super::{hosts, when};
use crate::quota;
use crate::view::{SessionRow, SettingsView};

/// The page of settings.
#[must_use]
pub fn settings(view: &SettingsView, viewer: Viewer<'_>) -> String {
    let mut html = Html::new();
    html.raw("<h1>Settings</h1>");
    html.raw("<section id=\"sessions\"><h2>Sessions</h2>").add(&sessions(&view.sessions, viewer)).raw("</section>");
    html.raw("<section id=\"hosts\"><h2>Hosts</h2>").add(&hosts::table(&view.hosts, viewer)).raw("</section>");
    html.raw("<section id=\"usage\"><h2>Use of a free account</h2>").add(&usage(view, viewer)).raw("</section>");
    html.raw("<section id=\"versions\"><h2>Versions</h2>").add(&versions(view)).raw("</section>");
    document("Settings", &Frame::Live { menu: "/settings", viewer }, &html)
}

fn sessions(rows: &[SessionRow], viewer: Viewer<'_>) -> Html {
    let mut table = Table::new("Sessions", &["Session", "Used", "From", "Browser", "Signed in", "Ends", "Action"]);
    for row in rows {
        let mut name = Html::new();
        name.raw("<code>").text(&row.handle).raw("</code>").raw(if row.is_this { " this one" } else { "" });
        let cells = [
            name,
            when::ago(row.seen, viewer.now),
            parts::quote(&row.address),
            parts::quote(&row.agent),
            when::ago(row.created, viewer.now),
            when::on(row.ends),
            end_button(row),
        ];
        table.row(&format!("session/{}", row.handle), &cells);
    }
    let mut html = Html::new();
    html.raw("<p class=\"muted\">A session ends 7 days after it was used last, and 30 days after its beginning. When it was used is known to the hour.</p>");
    html.add(&table.html());
    html.form(&Href::local(&["settings", "sessions", "end-all"])).raw("<button>Sign out everywhere</button></form>");
    html
}

fn end_button(row: &SessionRow) -> Html {
    let mut html = Html::new();
    html.form(&Href::local(&["settings", "sessions", &row.handle, "end"])).raw("<button class=\"small\">End<span class=\"vh\"> session ");
    html.text(&row.handle).raw("</span></button></form>");
    html
}

fn usage(view: &SettingsView, viewer: Viewer<'_>) -> Html {
    let mut table = Table::new("Use of a free account", &["What", "Today", "Yesterday", "A day may have"]);
    let (today, yesterday) = (&view.today, &view.yesterday);
    for (what, today, yesterday, max) in [
        ("Requests", today.requests, yesterday.requests, quota::REQUESTS_MAX),
        ("Rows written", today.rows_written, yesterday.rows_written, quota::ROWS_WRITTEN_MAX),
        ("Rows read", today.rows_read, yesterday.rows_read, quota::ROWS_READ_MAX),
    ] {
        let cells = [Html::of(what), used(today, max), used(yesterday, max), Html::of(&grouped(max))];
        table.row(&format!("usage/{}", what.replace(' ', "-")), &cells);
    }
    let mut html = Html::new();
    html.raw("<p class=\"muted\">These are approximate, and less than the truth: the hub counts only what reaches it, and forgets some of that when it sleeps. Cloudflare's dashboard has the exact ones. A day begins at 00:00 UTC, ");
    html.add(&when::until(quota::next_day(viewer.now), viewer.now)).raw("; what is over the limit of a free account fails until then. A machine of your own has no such limit.</p>");
    html.add(&table.html());
    html
}

fn used(count: u64, max: u64) -> Html {
    let percent = quota::percent(count, max);
    let mut html = Html::new();
    html.raw(if percent >= 80 { "<span class=\"warn\">" } else { "<span>" }).text(&grouped(count));
    html.raw(" <span class=\"muted\">(").number(percent).raw(" %)</span></span>");
    html
}

/// 1,234,567.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn versions(view: &SettingsView) -> Html {
    let mut wire = Html::of("versions ");
    wire.number(view.wire.0.into()).raw(" to ").number(view.wire.1.into());
    let mut facts = Facts::default();
    facts.fact("Edge", &Html::of(view.version)).fact("Wire", &wire);
    let mut html = Html::new();
    html.raw("<div class=\"card\">").add(&facts.html()).raw("</div>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn it_shows_who_is_signed_in_and_what_can_be_ended() {
        let page = settings(&some_settings(), VIEWER);
        let text = seen(&page);
        assert!(text.contains("01234567 this one | 3 h ago | 2001:db8::7 | Mozilla/5.0 (X11; Linux x86_64) | 2 days ago |"), "{text}");
        assert!(text.contains("[Sign out everywhere]"), "{text}");
        assert!(page.contains("action=\"/settings/sessions/89abcdef/end\"") && page.contains("action=\"/settings/sessions/end-all\""));
    }

    #[test]
    fn a_host_is_revoked_with_two_presses() {
        let page = settings(&some_settings(), VIEWER);
        assert!(page.contains("<details id=\"revoke/attic\"><summary>Revoke<span class=\"vh\"> attic</span></summary>"), "{page}");
        assert!(page.contains("action=\"/hosts/attic/revoke\""));
        assert!(page.contains("action=\"/hosts/enrollments\""));
        let none = SettingsView { hosts: vec![], ..some_settings() };
        assert!(seen(&settings(&none, VIEWER)).contains("No host is enrolled."));
    }

    #[test]
    fn what_a_day_cost_stands_beside_what_it_may() {
        let page = settings(&some_settings(), VIEWER);
        let text = seen(&page);
        assert!(text.contains("Requests | 1,234 (2 %) | 99,000 (99 %) | 100,000"), "{text}");
        assert!(text.contains("Rows written | 2,500 (3 %) | 120,000 (120 %) | 100,000"), "{text}");
        assert!(text.contains("These are approximate"), "{text}");
        assert_eq!(page.matches("class=\"warn\"").count(), 2);
    }

    #[test]
    fn numbers_are_grouped() {
        let words: Vec<String> = [0, 999, 1_000, 5_000_000, u64::MAX].into_iter().map(grouped).collect();
        assert_eq!(words, ["0", "999", "1,000", "5,000,000", "18,446,744,073,709,551,615"]);
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| {
            let row = SessionRow { handle: word.into(), address: word.into(), agent: word.into(), ends: doorstep_shared::time::Timestamp(u64::MAX), ..a_session("x", true) };
            skeleton(&settings(&SettingsView { sessions: vec![row], hosts: vec![hostile_host(word)], ..some_settings() }, VIEWER))
        };
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }
}
