//! Services as a table, with what can be asked of each.
//!
//! Shared by a project's page and the page of all services, so that a service
//! looks the same on both.

use doorstep_shared::ids::{Action, ServiceState};
use doorstep_shared::protocol::ServiceView;
use doorstep_shared::time::Timestamp;

use super::html::Html;
use super::asks::Asks;
use super::parts::{self, Table};
use super::when;
use crate::view::{JobRow, UsedRow};

/// Digits of a digest that are shown, as the engine itself does.
const DIGEST_DIGITS: usize = 12;

/// What can be asked of a whole project that has services, in this order: some
/// may run while others do not.
pub const OF_A_PROJECT: [(Action, &str); 4] =
    [(Action::Restart, "Restart"), (Action::Stop, "Stop"), (Action::Start, "Start"), (Action::Rebuild, "Rebuild")];
const OF_WHAT_RUNS: &[(Action, &str)] = &[(Action::Restart, "Restart"), (Action::Stop, "Stop"), (Action::Rebuild, "Rebuild")];
const OF_WHAT_DOES_NOT: &[(Action, &str)] = &[(Action::Start, "Start"), (Action::Rebuild, "Rebuild")];

/// The services of one project; only as they last were when its host is offline
/// or does not hear its engine.
pub fn table(services: &[ServiceView], used: &[UsedRow], asks: &Asks<'_>, online: bool, now: Timestamp) -> Html {
    let mut table = Table::new("Services", &["Service", "State", "Uses", "Image", "Up", "Ports", "Action"]);
    for service in services {
        let is_known = online && service.known_until.is_none();
        let cells = [
            name(service, asks),
            state(service, is_known, now),
            uses(service, used, asks, is_known),
            image(service),
            up(service, is_known, now),
            ports(service),
            buttons(service, asks),
        ];
        table.row(&row_id(asks, service.name.as_str()), &cells);
    }
    table.html()
}

/// The id of a service's row.
pub fn row_id(asks: &Asks<'_>, service: &str) -> String {
    format!("service/{}/{}/{service}", asks.host, asks.project)
}

/// What can be asked of one service, as it last was.
pub fn buttons(service: &ServiceView, asks: &Asks<'_>) -> Html {
    let offered = match service.state {
        ServiceState::Running | ServiceState::Restarting | ServiceState::Paused => OF_WHAT_RUNS,
        ServiceState::Created | ServiceState::Exited | ServiceState::Dead | ServiceState::Absent => OF_WHAT_DOES_NOT,
    };
    asks.line(Some(&service.name), offered)
}

/// Its name, and the way to what it prints where its host lets that be seen.
fn name(service: &ServiceView, asks: &Asks<'_>) -> Html {
    let mut html = Html::of(service.name.as_str());
    if asks.shows_logs {
        html.raw(" <a class=\"logs\" href=\"").href(&parts::project_href(asks.host, asks.project).at(&["output", service.name.as_str()]));
        html.raw("\">logs<span class=\"vh\"> of ").text(service.name.as_str()).raw("</span></a>");
    }
    html
}

/// How it is: its state, what its health check says, how it ended.
fn state(service: &ServiceView, is_known: bool, now: Timestamp) -> Html {
    let mut html = parts::service_badge(service, is_known);
    if let Some(health) = service.health {
        html.raw(" ").add(&parts::health_badge(health, is_known));
    }
    if let Some(at) = service.known_until {
        html.raw("<p class=\"muted\">the engine was last heard ").add(&when::ago(at, now)).raw("</p>");
    }
    let ended = !matches!(service.state, ServiceState::Running | ServiceState::Paused) && !service.rests();
    if let Some(code) = service.exit_code.filter(|_| ended) {
        html.raw("<p class=\"muted\">exit code ").text(&code.to_string()).raw("</p>");
    }
    if service.containers > 1 {
        html.raw("<p class=\"muted\">").number(service.containers.into()).raw(" containers</p>");
    }
    html
}

/// What it uses now; of one that does not run, nothing.
fn uses(service: &ServiceView, used: &[UsedRow], asks: &Asks<'_>, is_known: bool) -> Html {
    if !is_known || !matches!(service.state, ServiceState::Running | ServiceState::Paused) {
        return Html::new();
    }
    let row = used.iter().find(|row| row.service.as_ref() == Some(&service.name));
    super::used::used(asks.host, asks.project, service.name.as_str(), row.map(|row| &row.chart))
}

fn image(service: &ServiceView) -> Html {
    let mut html = Html::new();
    if !service.image.is_empty() {
        html.raw("<code title=\"").text(&service.image).raw("\">").text(image_short(&service.image)).raw("</code>");
    }
    if let Some(digest) = &service.digest {
        let digits = digest.split_once(':').map_or(digest.as_str(), |(_, digits)| digits);
        let short: String = digits.chars().take(DIGEST_DIGITS).collect();
        html.raw(" <code title=\"").text(digest).raw("\">").text(&short).raw("</code>");
    }
    html
}

/// An image without its registry, its path and its digest.
fn image_short(image: &str) -> &str {
    let named = image.split_once('@').map_or(image, |(named, _)| named);
    named.rsplit('/').next().filter(|last| !last.is_empty()).unwrap_or(image)
}

/// Since when it runs, and how often it was started again. Nobody knows how
/// long it ran on after its host or its engine went.
fn up(service: &ServiceView, is_known: bool, now: Timestamp) -> Html {
    let runs = matches!(service.state, ServiceState::Running | ServiceState::Paused);
    let mut html = Html::new();
    match service.started.filter(|_| runs) {
        Some(started) if is_known => html.add(&when::since(started, now)),
        Some(started) => html.raw("<span class=\"muted\">started ").add(&when::ago(started, now)).raw("</span>"),
        None => &mut html,
    };
    if service.restarts > 0 {
        let count = usize::try_from(service.restarts).unwrap_or(usize::MAX);
        html.raw("<p class=\"muted\">").text(&parts::count_words(count, "restart")).raw("</p>");
    }
    html
}

fn ports(service: &ServiceView) -> Html {
    let mut html = Html::new();
    for (place, port) in service.ports.iter().enumerate() {
        html.raw(if place == 0 { "" } else { ", " }).add(&parts::quote(port));
    }
    html
}

/// The jobs of a project that have not ended, so that a press of a button shows.
pub fn jobs(jobs: &[JobRow], last_seen: Option<Timestamp>, now: Timestamp) -> Html {
    let mut html = Html::new();
    for job in jobs {
        html.raw("<div class=\"line\" id=\"job/").number(job.id.0).raw("\"><p>").text(&parts::job_words(job.action, job.service.as_ref()));
        html.raw(" ").add(&parts::job_badge(job.state));
        let waits = parts::job_waits(job, last_seen, now);
        if !waits.is_empty() {
            html.raw(": ").add(&waits);
        }
        html.raw("</p>").add(&parts::job_button(job)).raw("</div>");
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::ask::Back;

    fn shown(services: &[ServiceView], remote: &[Action], online: bool) -> String {
        let asks = Asks { host: "attic", project: "media", remote, shows_logs: true, releases: None, back: Back::Project };
        let html = table(services, &[], &asks, online, NOW).into_string();
        assert_well_formed(&html);
        seen(&format!("Skip to content</a>{html}"))
    }

    #[test]
    fn a_service_in_words() {
        let web = a_service("web", "running");
        let jobs = ServiceView { exit_code: Some(1), restarts: 0, ports: vec![], ..a_service("jobs", "exited") };
        assert_eq!(
            shown(&[jobs, web], Action::ALL, true),
            "Service | State | Uses | Image | Up | Ports | Action\n\
             jobs logs of jobs | ✕ exited exit code 1 | | web:1.2 aaaaaaaaaaaa | | | [Start: jobs of media on attic] [Rebuild: jobs of media on attic]\n\
             web logs of web | ● running ✓ healthy | | web:1.2 aaaaaaaaaaaa | 3 h 0 min 2 restarts | 127.0.0.1:8080->80/tcp, 443/tcp | \
             [Restart: web of media on attic] [Stop: web of media on attic] [Rebuild: web of media on attic]"
        );
    }

    #[test]
    fn of_a_host_that_is_away_only_what_was_known() {
        let text = shown(&[a_service("web", "running")], Action::ALL, false);
        assert!(text.contains("web | ● last known: running ✓ healthy | | web") && text.contains("| started 3 h ago 2 restarts |"), "{text}");
    }

    #[test]
    fn of_an_engine_that_is_away_only_what_was_known() {
        let web = ServiceView { known_until: Some(before(60_000)), ..a_service("web", "running") };
        let text = shown(&[web], Action::ALL, true);
        assert!(text.contains("● last known: running ✓ healthy the engine was last heard 1 min ago"), "{text}");
        assert!(text.contains("started 3 h ago"), "{text}");
    }

    #[test]
    fn what_a_person_stopped_is_stopped_and_not_ill() {
        let web = ServiceView { exit_code: Some(137), stopped: true, ..a_service("web", "exited") };
        let text = shown(&[web], Action::ALL, true);
        assert!(text.contains("■ stopped |") && !text.contains("137"), "{text}");
    }

    #[test]
    fn every_state_has_a_word_and_a_sign_and_buttons_that_make_sense() {
        for state in ServiceState::ALL {
            let text = shown(&[a_service("web", state.as_str())], Action::ALL, true);
            assert!(text.contains(state.as_str()), "{text}");
            assert!(text.contains("[Stop") != text.contains("[Start"), "{text}");
        }
    }

    #[test]
    fn images_are_short_and_whole_on_hover() {
        for (image, short) in [
            ("ghcr.io/me/team/web:1.2", "web:1.2"),
            ("localhost:5000/web@sha256:abc", "web"),
            ("postgres:17", "postgres:17"),
            ("odd/", "odd/"),
            ("@", "@"),
        ] {
            assert_eq!(image_short(image), short);
        }
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| {
            let asks = Asks { host: "attic", project: "media", remote: Action::ALL, shows_logs: true, releases: None, back: Back::Containers };
            skeleton(&table(&[hostile_service(word)], &[], &asks, true, NOW).into_string())
        };
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }
}
