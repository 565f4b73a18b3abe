//! What GitHub sent, and what became of it.

use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::Html;
use super::layout::{Frame, document};
use super::parts::{self, Table};
use super::when;
use crate::view::{DeliveriesView, DeliveryRow};

/// The deliveries, newest first.
#[must_use]
pub fn deliveries(view: &DeliveriesView, viewer: Viewer<'_>) -> String {
    let now = viewer.now;
    let mut newest_first: Vec<&DeliveryRow> = view.rows.iter().collect();
    newest_first.sort_by_key(|row| std::cmp::Reverse((row.received_at, row.id)));
    let mut html = Html::new();
    html.raw("<h1>Deliveries</h1><p class=\"muted\">What GitHub sent to the webhook, and what became of it.</p>");
    html.add(&missed(view.missed_last_day));
    if view.rows.is_empty() {
        html.add(&first_delivery());
    } else {
        html.add(&table(&newest_first, now));
    }
    document("Deliveries", &Frame::Live { menu: "/deliveries", viewer }, &html)
}

fn missed(count: u64) -> Html {
    let mut html = Html::new();
    let (pushes, were) = match count {
        0 => return html,
        1 => (" push", " was"),
        _ => (" pushes", " were"),
    };
    html.raw("<p id=\"missed\"><strong>").number(count).raw(pushes).raw(were);
    html.raw(" found by reconciling</strong> in the last 24 hours: GitHub's webhook did not arrive. ");
    html.raw("What was pushed is deployed all the same. GitHub's page of the webhook says what became of it.</p>");
    html
}

fn first_delivery() -> Html {
    let mut html = Html::new();
    html.raw("<section class=\"card\" id=\"first-delivery\"><h2>No delivery yet</h2>");
    html.raw("<p>On GitHub, open the repository's <strong>Settings</strong>, <strong>Webhooks</strong>, <strong>Add webhook</strong>:</p>");
    html.raw("<dl><div><dt>Payload URL</dt><dd>this dashboard's address and <code>/webhooks/github</code></dd></div>");
    html.raw("<div><dt>Content type</dt><dd><code>application/json</code></dd></div>");
    html.raw("<div><dt>Secret</dt><dd>the value of <code>WEBHOOK_SECRET</code></dd></div>");
    html.raw("<div><dt>Events</dt><dd>just the push event</dd></div></dl>");
    html.raw("<p class=\"muted\">GitHub sends a ping at once; it shows up here.</p></section>");
    html
}

fn table(rows: &[&DeliveryRow], now: Timestamp) -> Html {
    let mut table = Table::new("Deliveries", &["Event", "Status", "Received", "Repository", "Ref", "What followed"]);
    for row in rows {
        let mut event = Html::new();
        event
            .raw("<span title=\"")
            .text(&row.delivery_id)
            .raw("\">")
            .add(&parts::quote(&row.event_type))
            .raw("</span>");
        let cells = [
            event,
            parts::delivery_badge(row.status),
            when::ago(row.received_at, now),
            row.repo.as_deref().map(parts::quote).unwrap_or_default(),
            place(row),
            followed(row),
        ];
        // The GUID is no row's name: a duplicate has it again.
        table.row(&format!("delivery/{}", row.id), &cells);
    }
    table.html()
}

/// The ref without what every branch's name begins with, and the commit.
fn place(row: &DeliveryRow) -> Html {
    let mut html = Html::new();
    if let Some(git_ref) = &row.git_ref {
        html.add(&parts::quote(git_ref.strip_prefix("refs/heads/").unwrap_or(git_ref)));
    }
    if let Some(commit) = &row.commit {
        html.raw(" ").add(&parts::commit(commit));
    }
    html
}

fn followed(row: &DeliveryRow) -> Html {
    let mut html = Html::new();
    if let Some(reason) = &row.reason {
        html.raw("<p>").text(reason).raw("</p>");
    }
    if let [first, more @ ..] = row.jobs.as_slice() {
        html.raw(if more.is_empty() { "<p>job " } else { "<p>jobs " }).number(first.0);
        for job in more {
            html.raw(", ").number(job.0);
        }
        html.raw("</p>");
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use doorstep_shared::ids::JobId;

    fn page(rows: Vec<DeliveryRow>) -> String {
        deliveries(&DeliveriesView { rows, missed_last_day: 0 }, VIEWER)
    }

    #[test]
    fn pushes_that_github_did_not_tell_about_are_counted_in_words() {
        let with = |missed_last_day| seen(&deliveries(&DeliveriesView { rows: vec![], missed_last_day }, VIEWER));
        assert!(with(1).contains("\n1 push was found by reconciling in the last 24 hours: GitHub's webhook did not arrive."));
        assert!(with(3).contains("\n3 pushes were found by reconciling"));
        assert!(!with(0).contains("reconciling"));
    }

    #[test]
    fn an_empty_history_says_how_to_set_the_webhook() {
        let text = seen(&deliveries(&DeliveriesView::default(), VIEWER));
        assert!(
            text.contains("## No delivery yet") && text.contains("/webhooks/github") && text.contains("WEBHOOK_SECRET")
        );
    }

    #[test]
    fn deliveries_newest_first() {
        let old = a_delivery("d1", "accepted", 90_000);
        let mut new = a_delivery("d2", "ignored", 15_000);
        (new.reason, new.jobs) = (Some("no project follows this branch".into()), vec![]);
        let ping = DeliveryRow {
            event_type: "ping".into(),
            repo: None,
            git_ref: None,
            commit: None,
            jobs: vec![],
            ..a_delivery("d3", "accepted", 7_200_000)
        };
        let mut two = a_delivery("d4", "duplicate", 8_000_000);
        (two.git_ref, two.jobs) = (Some("refs/tags/v1".into()), vec![JobId(1), JobId(2)]);
        assert_eq!(
            seen(&page(vec![old, new, two, ping])),
            "Doorstep\nProjects\nContainers\nDeliveries\nAudit\nSettings\n[Sign out]\n\
             # Deliveries\n\
             What GitHub sent to the webhook, and what became of it.\n\
             Event | Status | Received | Repository | Ref | What followed\n\
             push | ○ ignored | 15 s ago | me/shop | main a1b2c3d | no project follows this branch\n\
             push | ✓ accepted | 1 min ago | me/shop | main a1b2c3d | job 1832960000000\n\
             ping | ✓ accepted | 2 h ago\n\
             push | = duplicate | 2 h ago | me/shop | refs/tags/v1 a1b2c3d | jobs 1, 2"
        );
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| {
            let row = DeliveryRow {
                delivery_id: word.into(),
                event_type: word.into(),
                reason: Some(word.into()),
                repo: Some(word.into()),
                git_ref: Some(word.into()),
                commit: Some(word.into()),
                received_at: Timestamp(u64::MAX),
                jobs: vec![JobId(u64::MAX)],
                ..a_delivery("x", "refused", 0)
            };
            skeleton(&page(vec![row]))
        };
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }

    #[test]
    fn a_thousand_deliveries_are_one_page() {
        let rows: Vec<_> = (0..1_000).map(|n| a_delivery(&format!("d{n}"), "accepted", n)).collect();
        assert_well_formed(&page(rows));
    }
}
