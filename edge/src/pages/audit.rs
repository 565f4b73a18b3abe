//! What people did, newest first.

use super::Viewer;
use super::html::{Href, Html};
use super::layout::{Frame, document};
use super::parts::{self, Table};
use super::when;
use crate::audit::job_of;
use crate::view::{AuditRow, AuditView, FollowedJob};

/// The entries, with a search and a way to older ones.
#[must_use]
pub fn audit(view: &AuditView, viewer: Viewer<'_>) -> String {
    let mut html = Html::new();
    html.raw("<h1>Audit</h1><p class=\"muted\">What people and programs did here, and what was refused to them: the newest 10,000 entries of 90 days.</p>");
    html.add(&search(&view.search));
    if view.rows.is_empty() {
        html.raw("<p class=\"card\" id=\"none\">");
        html.raw(if view.search.is_empty() { "Nothing yet." } else { "Nothing that holds this word." }).raw("</p>");
    } else {
        html.add(&table(&view.rows, &view.jobs, viewer));
    }
    html.add(&older(view));
    document("Audit", &Frame::Live { menu: "/audit", viewer }, &html)
}

fn search(word: &str) -> Html {
    let mut html = Html::new();
    html.search_form(&Href::local(&["audit"])).raw("<label for=\"search\">Search</label><div class=\"line\">");
    html.raw("<input id=\"search\" name=\"search\" type=\"search\" maxlength=\"64\" value=\"").text(word);
    html.raw("\"><button class=\"small\">Search</button></div></form>");
    html
}

fn table(rows: &[AuditRow], jobs: &[FollowedJob], viewer: Viewer<'_>) -> Html {
    let mut table = Table::new("Audit", &["Action", "Result", "When", "Target", "Who", "From"]);
    for row in rows {
        let cells = [
            Html::of(&row.action.replace('_', " ")),
            result(row, jobs),
            when::ago(row.at, viewer.now),
            target(row),
            who(&row.who),
            parts::quote(&row.address),
        ];
        table.row(&format!("audit/{}", row.id), &cells);
    }
    table.html()
}

/// What became of it: of a job, its run.
fn result(row: &AuditRow, jobs: &[FollowedJob]) -> Html {
    let job = job_of(&row.result).and_then(|id| jobs.iter().find(|job| job.id == id));
    match job.and_then(|job| job.run.as_ref()) {
        Some(run) => {
            let mut html = Html::new();
            html.link(&parts::run_href(run), "its run").raw(" ").add(&parts::run_badge(run));
            html
        }
        None => Html::of(&row.result.replace('_', " ")),
    }
}

fn target(row: &AuditRow) -> Html {
    let mut html = Html::new();
    match (&row.host, &row.project) {
        (Some(host), Some(project)) => html.link(&parts::project_href(host.as_str(), project.as_str()), &row.target),
        _ => html.add(&parts::quote(&row.target)),
    };
    html
}

/// A session by its handle, which the settings name too.
fn who(name: &str) -> Html {
    let mut html = Html::new();
    let is_handle = name.len() == crate::asker::HANDLE_DIGITS && name.bytes().all(|b| b.is_ascii_hexdigit());
    if is_handle {
        html.raw("<code>").text(name).raw("</code>");
    } else {
        html.add(&parts::quote(name));
    }
    html
}

fn older(view: &AuditView) -> Html {
    let mut html = Html::new();
    let Some(before) = view.before else { return html };
    let mut href = Href::local(&["audit"]).with("before", &before.to_string());
    if !view.search.is_empty() {
        href = href.with("search", &view.search);
    }
    html.raw("<p id=\"older\"><a href=\"").href(&href).raw("\">Older entries</a></p>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn entries_newest_first_with_a_way_to_their_project() {
        let page = audit(&an_audit(), VIEWER);
        let text = seen(&page);
        let rows = "Action | Result | When | Target | Who | From\n\
             deploy | queued job 12 | just now | shop on attic | bearer | 192.0.2.7\n\
             sign in | signed in | 10 s ago |  | 01234567 | 192.0.2.7\n\
             sign in | refused: wrong password | 15 s ago |  | nobody | 192.0.2.7\n\
             Older entries";
        let squeezed = |text: &str| text.replace("|  |", "| |");
        assert!(squeezed(&text).contains(&squeezed(rows)), "{text}");
        assert!(page.contains("<a href=\"/projects/attic/shop\">"), "{page}");
        let ran = AuditView { jobs: vec![a_followed_job(12, Some("succeeded"))], ..an_audit() };
        let page = audit(&ran, VIEWER);
        assert!(seen(&page).contains("deploy | its run ✓ succeeded | just now") && page.contains("href=\"/runs/r1\""), "{page}");
        assert!(page.contains("href=\"/audit?before=3\""), "{page}");
    }

    #[test]
    fn a_search_is_kept_on_the_way_to_older_ones() {
        let view = AuditView { search: "a&b".into(), ..an_audit() };
        let page = audit(&view, VIEWER);
        assert!(page.contains("href=\"/audit?before=3&amp;search=a%26b\"") && page.contains("value=\"a&amp;b\""), "{page}");
        let none = AuditView { search: "x".into(), ..AuditView::default() };
        assert!(seen(&audit(&none, VIEWER)).contains("Nothing that holds this word."));
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| {
            let row = AuditRow { who: word.into(), address: word.into(), ..a_deed(1, word, word, word, word) };
            skeleton(&audit(&AuditView { rows: vec![row], jobs: vec![], search: word.into(), before: Some(1) }, VIEWER))
        };
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }
}
