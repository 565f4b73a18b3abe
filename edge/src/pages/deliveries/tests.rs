use super::super::testing::*;
use super::*;
use crate::fares::{Silence, Unbelieved};

fn page(rows: Vec<DeliveryRow>) -> String {
    deliveries(&DeliveriesView { rows, ..DeliveriesView::default() }, VIEWER)
}

#[test]
fn pushes_that_github_did_not_tell_about_are_counted_in_words() {
    let with = |missed_last_day| seen(&deliveries(&DeliveriesView { missed_last_day, ..DeliveriesView::default() }, VIEWER));
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
    let followed = vec![a_followed_job(1, Some("succeeded")), a_followed_job(2, None)];
    let view = DeliveriesView { rows: vec![old, new, two, ping], jobs: followed, ..DeliveriesView::default() };
    assert_eq!(
        seen(&deliveries(&view, VIEWER)),
        "Doorstep\nProjects\nContainers\nHosts\nDeliveries\nAudit\nSettings\n[Sign out]\n\
         # Deliveries\n\
         What GitHub sent to the webhook, and what became of it.\n\
         Last 24 hours\nno delivery\nLast 7 days\nno delivery\n\
         Search\nStatus\nall\naccepted\nignored\n[Show]\n\
         Event | Status | Received | Repository | Ref | What followed\n\
         push | ○ ignored no project follows this branch | 15 s ago | me/shop | main a1b2c3d\n\
         push | ✓ accepted | 1 min ago | me/shop | main a1b2c3d | job 1832960000000\n\
         ping | ✓ accepted | 2 h ago\n\
         push | = duplicate | 2 h ago | me/shop | refs/tags/v1 a1b2c3d | shop on attic ✓ succeeded shop on attic ◐ leased"
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
        let job = FollowedJob { id: JobId(u64::MAX), run: Some(hostile_run(word)), ..a_followed_job(1, None) };
        let query = EventsQuery { search: Some(word.into()), status: Some(word.into()), ..EventsQuery::default() };
        skeleton(&deliveries(&DeliveriesView { rows: vec![row], jobs: vec![job], query, older: Some(u64::MAX), ..DeliveriesView::default() }, VIEWER))
    };
    for hostile in HOSTILE {
        assert_eq!(with(hostile), with("x"), "{hostile}");
    }
}

#[test]
fn what_was_asked_for_stays_on_the_way_to_older_ones() {
    let query = EventsQuery { status: Some("ignored".into()), search: Some("a&b".into()), before: Some(9), ..EventsQuery::default() };
    let view = DeliveriesView { rows: vec![a_delivery("d", "ignored", 5)], older: Some(3), query, ..DeliveriesView::default() };
    let page = deliveries(&view, VIEWER);
    assert!(page.contains("href=\"/deliveries?status=ignored&amp;search=a%26b&amp;before=3\">Older<"), "{page}");
    assert!(page.contains("href=\"/deliveries?status=ignored&amp;search=a%26b\">Newest<"), "{page}");
    assert!(page.contains("value=\"a&amp;b\"") && page.contains("<option value=\"ignored\" selected>"), "{page}");
    let none = DeliveriesView { rows: vec![], ..view };
    assert!(seen(&deliveries(&none, VIEWER)).contains("\nNo delivery fits. Show all"));
}

#[test]
fn how_they_fared_is_said_in_numbers() {
    let fares = Fares {
        day: Share { stored: 59, refused: 1, missed: 0 },
        week: Share { stored: 10, refused: 0, missed: 0 },
        silence: Some(Silence { from: Timestamp(NOW.0 - 90_000_000), ms: 3_725_900, goes_on: false }),
        unbelieved: Some(Unbelieved { count: 3, last: Timestamp(NOW.0 - 120_000) }),
    };
    let text = seen(&deliveries(&DeliveriesView { rows: vec![a_delivery("d", "accepted", 5)], fares, ..DeliveriesView::default() }, VIEWER));
    assert!(text.contains("Last 24 hours\n▲ 98.3 % of 60 stored\n1 refused, 0 missed\nLast 7 days\n✓ 100 % of 10 stored\nLongest silence in 7 days\n1 h 2 min\nbegan 1 day ago"), "{text}");
    let none = seen(&deliveries(&DeliveriesView { fares, ..DeliveriesView::default() }, VIEWER));
    for text in [text, none] {
        assert!(text.contains("3 POSTs or more without the right signature in the last 24 hours, the last one 2 min ago: nothing of them is kept."), "{text}");
    }
}

#[test]
fn a_thousand_deliveries_are_one_page() {
    let rows: Vec<_> = (0..1_000).map(|n| a_delivery(&format!("d{n}"), "accepted", n)).collect();
    assert_well_formed(&page(rows));
}
