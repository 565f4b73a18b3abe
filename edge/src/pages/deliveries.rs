//! What GitHub sent, how it fared, and what became of it.

use doorstep_shared::ids::{DeliveryState, JobId};
use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::{Href, Html};
use super::layout::{Frame, document};
use super::parts::{self, Facts, Table};
use super::when;
use crate::call::EventsQuery;
use crate::fares::{Fares, Share, Unbelieved};
use crate::view::{DeliveriesView, DeliveryRow, FollowedJob};

/// What of a delivery's life can be asked for: only what was stored is a row.
const STORED: [DeliveryState; 2] = [DeliveryState::Accepted, DeliveryState::Ignored];

/// The deliveries, newest first.
#[must_use]
pub fn deliveries(view: &DeliveriesView, viewer: Viewer<'_>) -> String {
    let now = viewer.now;
    let mut newest_first: Vec<&DeliveryRow> = view.rows.iter().collect();
    newest_first.sort_by_key(|row| std::cmp::Reverse((row.received_at, row.id)));
    let is_asked = is_asked(&view.query);
    let mut html = Html::new();
    html.raw("<h1>Deliveries</h1><p class=\"muted\">What GitHub sent to the webhook, and what became of it.</p>");
    if view.rows.is_empty() && !is_asked {
        html.add(&missed(view.missed_last_day)).add(&unbelieved(&view.fares, now)).add(&first_delivery());
        return document("Deliveries", &Frame::Live { menu: "/deliveries", viewer }, &html);
    }
    html.add(&fares(&view.fares, now)).add(&missed(view.missed_last_day)).add(&unbelieved(&view.fares, now)).add(&filter(&view.query));
    if view.rows.is_empty() {
        html.raw("<p class=\"card\" id=\"none\">No delivery fits. <a href=\"/deliveries\">Show all</a></p>");
    } else {
        html.add(&table(&newest_first, &view.jobs, now));
    }
    html.add(&pages(view));
    document("Deliveries", &Frame::Live { menu: "/deliveries", viewer }, &html)
}

fn is_asked(query: &EventsQuery) -> bool {
    let has = |field: &Option<String>| field.as_deref().is_some_and(|text| !text.is_empty());
    query.before.is_some() || has(&query.status) || has(&query.search) || has(&query.event_type) || has(&query.repo)
}

/// How deliveries fared, in numbers and words.
fn fares(fares: &Fares, now: Timestamp) -> Html {
    let mut silence = Html::new();
    if let Some(longest) = fares.silence {
        silence.text(&when::took_words(longest.ms / 1_000 * 1_000)).raw("<p class=\"muted\">");
        silence.raw(if longest.goes_on { "goes on, since " } else { "began " }).add(&when::ago(longest.from, now)).raw("</p>");
    }
    let mut facts = Facts::default();
    facts.fact("Last 24 hours", &share(fares.day)).fact("Last 7 days", &share(fares.week)).fact("Longest silence in 7 days", &silence);
    let mut html = Html::new();
    html.raw("<div class=\"card\" id=\"fares\">").add(&facts.html()).raw("</div>");
    html
}

/// "98.3 % of 60 stored", and what went wrong.
fn share(share: Share) -> Html {
    let mut html = Html::new();
    let Some(permille) = share.permille() else {
        html.raw("no delivery");
        return html;
    };
    let all = share.stored.saturating_add(share.refused).saturating_add(share.missed);
    let (tone, sign) = if permille == 1_000 { ("ok", "✓") } else if permille >= 900 { ("warn", "▲") } else { ("bad", "✕") };
    html.raw("<strong class=\"").raw(tone).raw("\"><span aria-hidden=\"true\">").raw(sign).raw("</span> ").number(permille / 10);
    if !permille.is_multiple_of(10) {
        html.raw(".").number(permille % 10);
    }
    html.raw(" %</strong> of ").number(all).raw(" stored");
    if share.refused > 0 || share.missed > 0 {
        html.raw("<p class=\"muted\">").number(share.refused).raw(" refused, ").number(share.missed).raw(" missed</p>");
    }
    html
}

/// The form that asks for some of them; it works without the script.
fn filter(query: &EventsQuery) -> Html {
    let status = query.status.as_deref().unwrap_or_default();
    let mut html = Html::new();
    html.search_form(&Href::local(&["deliveries"]));
    html.raw("<div class=\"line filter\"><label for=\"search\">Search</label><input id=\"search\" name=\"search\" type=\"search\" maxlength=\"100\" placeholder=\"repository, branch, event, commit or id\" value=\"");
    html.text(query.search.as_deref().unwrap_or_default()).raw("\"><label for=\"status\">Status</label><select id=\"status\" name=\"status\"><option value=\"\">all</option>");
    for state in STORED {
        html.raw("<option value=\"").text(state.as_str()).raw(if status == state.as_str() { "\" selected>" } else { "\">" });
        html.text(state.as_str()).raw("</option>");
    }
    html.raw("</select><button class=\"small\">Show</button>");
    if is_asked(query) {
        html.raw("<a href=\"/deliveries\">Show all</a>");
    }
    html.raw("</div></form>");
    html
}

/// The ways to newer and older ones, with the same question.
fn pages(view: &DeliveriesView) -> Html {
    let mut html = Html::new();
    if view.query.before.is_none() && view.older.is_none() {
        return html;
    }
    html.raw("<nav class=\"line\" id=\"pages\" aria-label=\"Pages\">");
    if view.query.before.is_some() {
        html.raw("<a href=\"").href(&asked(&view.query, None)).raw("\">Newest</a>");
    }
    if let Some(before) = view.older {
        html.raw("<a href=\"").href(&asked(&view.query, Some(before))).raw("\">Older</a>");
    }
    html.raw("</nav>");
    html
}

fn asked(query: &EventsQuery, before: Option<u64>) -> Href {
    let fields = [("status", &query.status), ("search", &query.search), ("type", &query.event_type), ("repo", &query.repo)];
    let given = fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref().filter(|text| !text.is_empty())?)));
    let href = given.fold(Href::local(&["deliveries"]), |href, (name, value)| href.with(name, value));
    before.into_iter().fold(href, |href, before| href.with("before", &before.to_string()))
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

/// What nobody proved to be GitHub's is not kept; that it came may mean that the
/// secrets differ.
fn unbelieved(fares: &Fares, now: Timestamp) -> Html {
    let mut html = Html::new();
    let Some(Unbelieved { count, last }) = fares.unbelieved else { return html };
    html.raw("<p id=\"unbelieved\"><strong>").text(&parts::count_words(usize::try_from(count).unwrap_or(usize::MAX), "POST"));
    html.raw(" or more without the right signature</strong> in the last 24 hours, the last one ").text(&minutes_ago(last, now));
    html.raw(": nothing of them is kept. If they are GitHub's, the secret of the webhook there is not the <code>WEBHOOK_SECRET</code> here.</p>");
    html
}

/// What is known to the minute.
fn minutes_ago(at: Timestamp, now: Timestamp) -> String {
    match now.ms_since(at) / 60_000 {
        0 | 1 => "within two minutes".to_owned(),
        minutes if minutes < 120 => format!("{minutes} min ago"),
        minutes => format!("{} h ago", minutes / 60),
    }
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

fn table(rows: &[&DeliveryRow], jobs: &[FollowedJob], now: Timestamp) -> Html {
    let mut table = Table::new("Deliveries", &["Event", "Status", "Received", "Repository", "Ref", "What followed"]);
    for row in rows {
        let mut event = Html::new();
        event.link(&Href::local(&["deliveries", &row.delivery_id]), &row.event_type);
        let mut status = parts::delivery_badge(row.status);
        if let Some(reason) = &row.reason {
            status.raw("<p class=\"clamp\">").add(&parts::quote(reason)).raw("</p>");
        }
        let cells = [
            event,
            status,
            when::ago(row.received_at, now),
            row.repo.as_deref().map(parts::quote).unwrap_or_default(),
            place(row),
            followed(&row.jobs, jobs),
        ];
        // The GUID is no row's name: a duplicate has it again.
        table.row(&format!("delivery/{}", row.id), &cells);
    }
    table.html()
}

/// The ref without what every branch's name begins with, and the commit.
pub fn place(row: &DeliveryRow) -> Html {
    let mut html = Html::new();
    if let Some(git_ref) = &row.git_ref {
        html.add(&parts::quote(git_ref.strip_prefix("refs/heads/").unwrap_or(git_ref)));
    }
    if let Some(commit) = &row.commit {
        html.raw(" ").add(&parts::commit(commit));
    }
    html
}

/// What became of each job, with its run where one began.
pub fn followed(of: &[JobId], jobs: &[FollowedJob]) -> Html {
    let mut html = Html::new();
    for id in of {
        html.raw("<p>");
        match jobs.iter().find(|job| job.id == *id) {
            Some(job) => html.add(&followed_job(job)),
            None => html.raw("job ").number(id.0),
        };
        html.raw("</p>");
    }
    html
}

fn followed_job(job: &FollowedJob) -> Html {
    let mut html = Html::new();
    let name = format!("{} on {}", job.project, job.host);
    match &job.run {
        Some(run) => html.link(&parts::run_href(run), &name).raw(" ").add(&parts::run_badge(run)),
        None => html.link(&parts::project_href(job.host.as_str(), job.project.as_str()), &name).raw(" ").add(&parts::job_badge(job.state)),
    };
    html
}

#[cfg(test)]
mod tests;
