//! The machines that run what is deployed: how each is, one more, and one less.

use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::{Href, Html};
use super::layout::{Frame, document};
use super::parts::{self, Table};
use super::when;
use crate::view::HostView;

/// The page of hosts.
#[must_use]
pub fn hosts(rows: &[HostView], viewer: Viewer<'_>) -> String {
    let mut html = Html::new();
    html.raw("<h1>Hosts</h1><p class=\"muted\">A host is a machine of yours that runs <code>doorstep</code>. It dials out; nothing listens on it for us.</p>");
    html.raw("<section id=\"hosts\">").add(&table(rows, viewer)).raw("</section>");
    document("Hosts", &Frame::Live { menu: "/hosts", viewer }, &html)
}

/// All of them, each with what can be done about it, and the way to one more.
pub fn table(rows: &[HostView], viewer: Viewer<'_>) -> Html {
    let mut html = Html::new();
    if rows.is_empty() {
        html.raw("<p class=\"card\" id=\"no-host\">No host is enrolled.</p>");
    } else {
        let mut table = Table::new("Hosts", &["Host", "State", "Away and up", "Version", "Last seen", "Enrolled", "Action"]);
        for host in rows {
            let cells = [
                Html::of(host.name.as_str()),
                state(host),
                if host.online { presence(host, viewer.now) } else { Html::new() },
                parts::quote(&host.executor_version),
                host.last_seen.map(|at| when::ago(at, viewer.now)).unwrap_or_default(),
                when::ago(host.enrolled, viewer.now),
                revoke(host),
            ];
            table.row(&format!("host/{}", host.name), &cells);
        }
        html.add(&table.html());
    }
    html.add(&parts::enroll_button());
    html
}

fn state(host: &HostView) -> Html {
    let mut html = parts::host_badge(host.online);
    if let Some(reason) = &host.parked {
        html.raw("<p class=\"parked\">").add(&parts::parked_badge(reason)).raw("</p>");
    }
    html
}

/// Folded, so that it takes two presses, also without JavaScript.
fn revoke(host: &HostView) -> Html {
    let name = host.name.as_str();
    let mut html = Html::new();
    html.raw("<details id=\"revoke/").text(name).raw("\"><summary>Revoke<span class=\"vh\"> ").text(name).raw("</span></summary>");
    html.raw("<p>Its connection is cut and its key is good no more. What runs there runs on. To have it back it must join again.</p>");
    html.form(&Href::local(&["hosts", name, "revoke"])).raw("<button class=\"small\">Revoke ").text(name).raw("</button></form></details>");
    html
}

/// How far away it is and how long it is up; of one that is away, since when.
pub fn presence(host: &HostView, now: Timestamp) -> Html {
    let mut html = Html::new();
    if host.online {
        html.raw("<span id=\"trip/").text(host.name.as_str()).raw("\" data-measure>");
        if let Some(ms) = host.round_trip_ms {
            html.number(ms.into()).raw(" ms away");
        }
        html.raw("</span>");
        if let Some(booted) = host.booted {
            html.raw(" <span>up ").add(&when::since(booted, now)).raw("</span>");
        }
        return html;
    }
    match host.last_seen {
        Some(at) => html.raw("last seen ").add(&when::ago(at, now)),
        None => html.raw("not seen since it was added ").add(&when::ago(host.enrolled, now)),
    };
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn hosts_with_how_they_are() {
        let near = HostView { round_trip_ms: Some(23), booted: Some(before(3 * 3_600_000)), ..a_host("attic", true) };
        let text = seen(&hosts(&[near, a_host("cellar", false)], VIEWER));
        assert!(text.contains("\nattic | ● online | 23 ms away up 3 h 0 min | 0.1.0 |"), "{text}");
        assert!(text.contains("\ncellar | ○ offline | | 0.1.0 | 3 h ago |") && text.contains("[Revoke cellar]") && text.contains("[Add a host]"), "{text}");
        let none = seen(&hosts(&[], VIEWER));
        assert!(none.contains("No host is enrolled.\n[Add a host]"), "{none}");
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| skeleton(&hosts(&[hostile_host(word)], VIEWER));
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }
}
