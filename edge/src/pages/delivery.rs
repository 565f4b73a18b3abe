//! One delivery: what it said, what followed from it, what can be done about it.

use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::{Href, Html};
use super::layout::{Frame, document};
use super::parts::{self, Facts};
use super::{deliveries, json, when};
use crate::view::{DeliveryPage, DeliveryRow};

/// Most of a payload that is shown, in bytes; all of it is one link away.
const PAYLOAD_BYTES_MAX: usize = 200 * 1024;

/// One delivery, whole.
#[must_use]
pub fn delivery(view: &DeliveryPage, viewer: Viewer<'_>) -> String {
    let (row, now) = (&view.row, viewer.now);
    let mut html = Html::new();
    html.raw("<div class=\"line\"><h1>").add(&parts::quote(&row.event_type)).raw(" <small>");
    if let Some(repo) = &row.repo {
        html.raw("of ").add(&parts::quote(repo));
    }
    html.raw("</small></h1>").add(&parts::delivery_badge(row.status));
    html.raw("<div class=\"end\">").add(&replay_form(row)).raw("</div></div>");
    if let Some(reason) = &row.reason {
        html.raw("<p id=\"reason\">").add(&parts::quote(reason)).raw("</p>");
    }
    html.raw("<div class=\"card\" id=\"about\">").add(&about(view, now)).raw("</div>").add(&payload(view));
    let title = format!("{} {}", row.event_type, row.delivery_id);
    document(&title, &Frame::Live { menu: "/deliveries", viewer }, &html)
}

fn about(view: &DeliveryPage, now: Timestamp) -> Html {
    let row = &view.row;
    let code = |text: &str| {
        let mut html = Html::new();
        html.raw("<code>").text(text).raw("</code>");
        html
    };
    let mut facts = Facts::default();
    facts
        .fact("Received", &when::ago(row.received_at, now))
        .fact("Ref", &deliveries::place(row))
        .fact("What followed", &deliveries::followed(&row.jobs, &view.jobs))
        .fact("X-GitHub-Event", &code(&row.event_type))
        .fact("X-GitHub-Delivery", &code(&row.delivery_id))
        .fact("X-Hub-Signature-256", &Html::of("verified"));
    facts.html()
}

/// The button that runs it again.
fn replay_form(row: &DeliveryRow) -> Html {
    let mut html = Html::new();
    html.form(&Href::local(&["deliveries", &row.delivery_id, "replay"]));
    html.raw("<button>Replay<span class=\"vh\"> this delivery</span></button></form>");
    html
}

fn payload(view: &DeliveryPage) -> Html {
    let (text, is_all) = json::pretty(&view.payload, PAYLOAD_BYTES_MAX);
    let raw = Href::local(&["webhooks", "github", "events", &view.row.delivery_id]);
    let mut html = Html::new();
    html.raw("<section id=\"payload\"><div class=\"line\"><h2 id=\"payload-name\">Payload</h2><span class=\"muted\">");
    html.number(view.payload.len() as u64).raw(" bytes</span> <a class=\"end\" href=\"").href(&raw).raw("\">raw</a></div>");
    if !is_all {
        html.raw("<p class=\"muted\">The beginning of it; the raw one is whole.</p>");
    }
    html.raw("<pre class=\"log payload\" tabindex=\"0\" role=\"region\" aria-labelledby=\"payload-name\">\n").text(&text).raw("</pre></section>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn page(row: DeliveryRow, payload: &str) -> String {
        delivery(&DeliveryPage { row, jobs: vec![a_followed_job(1, Some("succeeded"))], payload: payload.into() }, VIEWER)
    }

    #[test]
    fn a_delivery_with_what_it_said_and_what_followed() {
        let row = DeliveryRow { jobs: vec![doorstep_shared::ids::JobId(1)], ..a_delivery("d-1", "accepted", 90_000) };
        let html = page(row, r#"{"ref":"refs/heads/main","commits":[]}"#);
        assert_well_formed(&html);
        assert_eq!(
            seen(&html),
            "Doorstep\nProjects\nContainers\nHosts\nDeliveries\nAudit\nSettings\n[Sign out]\n\
             # push of me/shop\n✓ accepted\n[Replay this delivery]\n\
             Received\n1 min ago\nRef\nmain a1b2c3d\nWhat followed\nshop on attic ✓ succeeded\n\
             X-GitHub-Event\npush\nX-GitHub-Delivery\nd-1\nX-Hub-Signature-256\nverified\n\
             ## Payload\n38 bytes raw\n\
             {\n  \"ref\": \"refs/heads/main\",\n  \"commits\": []\n}"
        );
        assert!(html.contains("<form method=\"post\" action=\"/deliveries/d-1/replay\"><input type=\"hidden\" name=\"form_token\""), "{html}");
        assert!(html.contains("href=\"/webhooks/github/events/d-1\">raw<"), "{html}");
    }

    #[test]
    fn a_large_payload_is_cut_and_says_so() {
        let html = page(a_delivery("d", "ignored", 5), &format!("[{}]", "1,".repeat(1_000_000)));
        assert!(html.len() < 260_000 && html.contains("The beginning of it; the raw one is whole."), "{}", html.len());
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
                ..a_delivery("x", "ignored", 0)
            };
            skeleton(&page(row, word))
        };
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }
}
