//! One project with its run history.

use doorstep_shared::ids::{Action, ProjectState};
use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::{Href, Html};
use super::layout::{Frame, document};
use super::asks::{Asks, offered};
use super::parts::{self, Facts};
use super::{behind, history, home, services, used, when};
use crate::ask::Back;
use crate::view::{ProjectPage, ProjectRow};

/// One project, its queue and its runs, in the order given.
#[must_use]
pub fn project(view: &ProjectPage, viewer: Viewer<'_>) -> String {
    let now = viewer.now;
    let project = &view.project;
    let (host, name) = (project.host.as_str(), project.name.as_str());
    let mut html = Html::new();
    html.raw("<div class=\"line\"><h1>").text(name).raw(" <small>on ").text(host).raw("</small></h1>");
    html.add(&parts::project_badge(project.state, project.online)).raw("<div class=\"end\">");
    html.add(&asks(project).deploy()).raw("</div></div>");
    html.add(&notes(project)).add(&about(project, now)).add(&behind::behind(project, now));
    if project.services.is_empty() && project.online && project.state != ProjectState::Stopped {
        let chart = view.used.iter().find(|row| row.service.is_none()).map(|row| &row.chart);
        html.raw("<p id=\"uses\">").add(&used::used(host, name, "", chart)).raw("</p>");
    }
    if !project.services.is_empty() {
        html.raw("<section id=\"services\"><h2>Services</h2>");
        html.add(&services::table(&project.services, &view.used, &asks(project), project.online, now)).raw("</section>");
    }
    if !project.jobs.is_empty() {
        html.raw("<section id=\"queue\"><h2>Queue</h2>").add(&history::queue(project, now)).raw("</section>");
    }
    if !project.dead.is_empty() {
        html.raw("<section id=\"dead\"><h2>Dead jobs</h2><p class=\"muted\">Given up in the last 7 days.</p>");
        html.add(&history::dead(&project.dead, now)).raw("</section>");
    }
    if project.live.is_some() {
        html.raw("<section id=\"output\"><h2 id=\"printed-name\">Output</h2>").add(&printed(project)).raw("</section>");
    }
    html.raw("<section id=\"runs\"><h2>Runs</h2>").add(&history::runs(&view.runs, now)).add(&pages(view)).raw("</section>");
    document(&format!("{name} on {host}"), &Frame::Live { menu: "/", viewer }, &html)
}

/// The ways to newer and older runs.
fn pages(view: &ProjectPage) -> Html {
    let mut html = Html::new();
    if view.before.is_none() && view.older.is_none() {
        return html;
    }
    let href = || parts::project_href(view.project.host.as_str(), view.project.name.as_str());
    html.raw("<nav class=\"line\" id=\"pages\" aria-label=\"Pages\">");
    if view.before.is_some() {
        html.raw("<a href=\"").href(&href().at(&["runs"])).raw("\">Newest</a>");
    }
    if let Some(older) = &view.older {
        html.raw("<a href=\"").href(&href().with("before", older).at(&["runs"])).raw("\">Older</a>");
    }
    html.raw("</nav>");
    html
}

/// Where the script puts what the app prints; its host keeps that, not the edge.
fn printed(project: &ProjectRow) -> Html {
    let (host, name) = (project.host.as_str(), project.name.as_str());
    let mut html = Html::new();
    if !project.shows_logs {
        html.raw("<p class=\"muted\">What it prints stays on its host: <code>doorstep logs ").text(name);
        html.raw(" -f</code> shows it there. With <code>\"logs\"</code> in <code>[policy] remote</code> of the host's <code>doorstep.toml</code> it shows here too.</p>");
        return html;
    }
    if project.services.len() > 1 {
        html.raw("<p class=\"line\" id=\"of-service\"><a href=\"#output\">all</a>");
        for service in &project.services {
            html.raw("<a href=\"").href(&Href::within(&["output", service.name.as_str()])).raw("\">").text(service.name.as_str()).raw("</a>");
        }
        html.raw("</p>");
    }
    html.raw("<noscript><p class=\"muted\">Without JavaScript: <code>doorstep logs ").text(name).raw(" -f</code> on its host.</p></noscript>");
    html.raw("<pre id=\"printed\" hidden class=\"log\" tabindex=\"0\" role=\"log\" aria-labelledby=\"printed-name\" data-host=\"").text(host);
    html.raw("\" data-project=\"").text(name).raw("\" data-empty=\"");
    html.raw(if project.online { "Nothing was printed yet." } else { "Its host is offline, and the host keeps what the app prints." });
    html.raw("\"></pre>");
    html
}

fn notes(project: &ProjectRow) -> Html {
    let mut html = Html::new();
    if let Some(reason) = &project.reason {
        html.raw("<p id=\"reason\">").text(reason).raw("</p>");
    }
    if !project.online {
        html.raw("<p id=\"offline\">Its host is offline: this is how things stood when it last spoke. What is asked now waits for it.</p>");
    }
    html
}

fn about(project: &ProjectRow, now: Timestamp) -> Html {
    let mut address = Html::new();
    if let Some(text) = &project.address {
        address.add(&parts::address(text));
    }
    let mut source = parts::address(&project.repo);
    source.raw(" <span class=\"muted\">").add(&parts::quote(&project.branch)).raw("</span>");
    let mut facts = Facts::default();
    facts.fact("Live", &home::live(project, now)).fact("Committed", &committed(project, now)).fact("Address", &address).fact("Repository", &source);
    let mut html = Html::new();
    html.raw("<div class=\"card\" id=\"about\">").add(&facts.html());
    let buttons = asks(project).buttons(None, offered(project));
    if !buttons.is_empty() {
        html.raw("<div class=\"line\" id=\"actions\">").add(&buttons).raw("</div>");
    }
    html.add(&asks(project).not_allowed(Action::ALL));
    html.raw("</div>");
    html
}

/// When the live commit was made.
fn committed(project: &ProjectRow, now: Timestamp) -> Html {
    let mut html = Html::new();
    if let Some(at) = project.live.as_ref().and_then(|live| live.committed) {
        html.add(&when::ago(at, now));
    }
    html
}

fn asks(project: &ProjectRow) -> Asks<'_> {
    Asks::of(project, Back::Project)
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::view::{JobRow, RunRow};
    use doorstep_shared::protocol::BackView;

    fn page(project: ProjectRow, runs: Vec<RunRow>) -> String {
        super::project(&ProjectPage { project, runs, before: None, older: None, used: vec![] }, VIEWER)
    }

    #[test]
    fn a_project_and_its_history() {
        let mut shop = a_project("attic", "shop");
        shop.jobs = vec![a_job("deploy", "waiting")];
        assert_eq!(
            seen(&page(shop, vec![a_run("r3", "running"), a_run("r2", "rolled_back"), a_run("r1", "succeeded")])),
            "Doorstep\nProjects\nContainers\nHosts\nDeliveries\nAudit\nSettings\n[Sign out]\n\
             # shop on attic\n● running\n[Deploy shop on attic]\n\
             Live\na1b2c3d Add the cart\nby Ann, live 3 min ago\n\
             Committed\n5 min ago\n\
             Address\nshop.example\n\
             Repository\ngithub.com/me/shop main\n\
             [Restart: shop on attic]\n[Stop: shop on attic]\n[Fetch: shop on attic]\n[Roll back: shop on attic]\n[Rebuild: shop on attic]\n\
             ## Queue\n\
             Job | State | Asked | Cause | Commit | Action\n\
             deploy | ○ waiting | 20 s ago | a push | a1b2c3d | [Cancel: deploy shop on attic]\n\
             ## Output\nWithout JavaScript: doorstep logs shop -f on its host.\n\
             ## Runs\n\
             deploy succeeded in 12.4 s, a1b2c3d, began 2026-09-21 14:10:00 UTC\n\
             deploy rolled back in 31 s, at check, a1b2c3d, began 2026-09-21 14:08:50 UTC\n↺\n\
             deploy running, a1b2c3d, began 2026-09-21 14:12:38 UTC\n◐\n\
             The last 3 runs: 1 running, 1 succeeded, 1 rolled back\n\
             Run | State | Started | Took | Cause | Commit\n\
             deploy | ◐ running | 42 s ago | 42 s | push | a1b2c3d\n\
             deploy | ↺ rolled back at check: /health answered 500 | 4 min ago | 31 s | push | a1b2c3d\n\
             deploy | ✓ succeeded | 3 min ago | 12.4 s | push | a1b2c3d"
        );
    }

    #[test]
    fn the_way_to_older_runs_and_back() {
        let of = |before: Option<&str>, older: Option<&str>| {
            let view = ProjectPage { project: a_project("attic", "shop"), runs: vec![a_run("r1", "succeeded")], before: before.map(str::to_owned), older: older.map(str::to_owned), used: vec![] };
            super::project(&view, VIEWER)
        };
        assert!(!of(None, None).contains("id=\"pages\""));
        let html = of(Some("r9"), Some("r1"));
        assert!(html.contains("<a href=\"/projects/attic/shop#runs\">Newest</a>") && html.contains("<a href=\"/projects/attic/shop?before=r1#runs\">Older</a>"), "{html}");
    }

    #[test]
    fn a_way_back_names_its_commit_and_is_offered_where_there_is_one() {
        let with = |back: Option<BackView>| seen(&page(ProjectRow { back, ..a_project("attic", "shop") }, vec![]));
        let kept = BackView { to: Some("0011223344556677889900112233445566778899".into()), kept: vec![] };
        assert!(with(Some(kept)).contains("[Roll back to 0011223: shop on attic]"));
        assert!(!with(Some(BackView::default())).contains("Roll back"));
        assert!(with(None).contains("[Roll back: shop on attic]"), "its host does not say");
    }

    #[test]
    fn an_offline_host_is_said_and_nothing_is_pretended() {
        let mut shop = a_project("cellar", "shop");
        (shop.online, shop.live, shop.address) = (false, None, None);
        shop.remote.clear();
        let text = seen(&page(shop, vec![]));
        assert!(text.contains("# shop on cellar\n● last known: running\nIts host is offline"), "{text}");
        assert!(text.contains("Not allowed from here: fetch, deploy, restart,") && !text.contains("[Deploy"));
        assert!(text.contains("Live\nnothing yet\nRepository") && text.contains("No run yet."));
    }

    #[test]
    fn what_the_app_prints_shows_where_its_host_lets_it() {
        let shop = a_project("attic", "shop");
        assert!(page(shop.clone(), vec![]).contains("data-host=\"attic\" data-project=\"shop\""));
        let mut silent = shop.clone();
        silent.shows_logs = false;
        let html = page(silent, vec![]);
        assert!(seen(&html).contains("## Output\nWhat it prints stays on its host: doorstep logs shop -f shows it there.") && !html.contains("<pre"), "{html}");
        let mut new = shop;
        new.live = None;
        assert!(!page(new, vec![]).contains("id=\"output\""));
    }

    #[test]
    fn what_can_be_asked_follows_from_the_state_and_the_hosts_file() {
        let mut shop = a_project("attic", "shop");
        shop.state = ProjectState::Stopped;
        let text = seen(&page(shop, vec![]));
        assert!(text.contains("[Start: shop on attic]") && !text.contains("[Stop") && !text.contains("[Restart"), "{text}");
        let mut shop = a_project("attic", "shop");
        shop.remote = vec![Action::Deploy, Action::Restart];
        let text = seen(&page(shop, vec![]));
        assert!(text.contains("[Restart: shop on attic]") && !text.contains("[Roll back") && !text.contains("[Stop"), "{text}");
        let mut shop = a_project("attic", "shop");
        shop.live = None;
        let text = seen(&page(shop, vec![]));
        assert!(text.contains("[Fetch: shop on attic]") && !text.contains("[Restart") && !text.contains("[Stop"), "{text}");
    }

    #[test]
    fn services_and_what_was_asked_of_one() {
        let mut media = a_project("attic", "media");
        media.services = vec![a_service("web", "running")];
        media.jobs = vec![JobRow { service: Some("web".parse().unwrap()), project: media.name.clone(), ..a_job("restart", "waiting") }];
        media.dead = vec![JobRow { service: Some("web".parse().unwrap()), ..a_dead_job("no such image") }];
        let run = RunRow { service: Some("web".parse().unwrap()), action: Action::Restart, ..a_run("r1", "succeeded") };
        let page = page(media, vec![run]);
        let text = seen(&page);
        assert!(text.contains("## Services\nService | State |") && text.contains("\nweb logs of web | ● running ✓ healthy |"), "{text}");
        assert!(text.contains("\nrestart web | ○ waiting |") && text.contains("[Cancel: restart web of media on attic]"), "{text}");
        assert!(text.contains("\ndeploy web | ✕ dead") && text.contains("\nrestart web | ✓ succeeded"), "{text}");
        assert!(page.contains("action=\"/projects/attic/media/stop\"><input type=\"hidden\" name=\"form_token\" value=\"f0f1f2\"><input type=\"hidden\" name=\"service\" value=\"web\"><button"), "{page}");
    }

    #[test]
    fn a_dead_job_says_why_and_can_be_tried_again() {
        let mut shop = a_project("attic", "shop");
        shop.dead = vec![a_dead_job("check: /health answered 500")];
        let page = page(shop, vec![]);
        assert!(
            seen(&page).contains(
                "## Dead jobs\nGiven up in the last 7 days.\n\
                 Job | Why | Given up | Cause | Commit | Action\n\
                 deploy | ✕ dead check: /health answered 500 | 2 h ago | a push | a1b2c3d | [Try again: deploy shop on attic]\n\
                 ## Output"
            ),
            "{}",
            seen(&page)
        );
        assert!(page.contains("<form method=\"post\" action=\"/jobs/1832960000009/revive\">"));
    }

    #[test]
    fn a_job_that_its_host_keeps_waiting_says_so() {
        let mut shop = a_project("cellar", "shop");
        (shop.online, shop.host_last_seen) = (false, Some(Timestamp(NOW.0 - 3 * 3_600_000)));
        shop.jobs = vec![JobRow { waits_until: Some(NOW.plus_ms(13 * 86_400_000)), ..a_job("deploy", "waiting") }];
        let away = seen(&page(shop.clone(), vec![]));
        assert!(
            away.contains("○ waiting its host is away, last heard 3 h ago; the job is kept until 2026-10-04 (14 days)"),
            "{away}"
        );
        shop.jobs = vec![JobRow { parked: Some("the disk is full".into()), ..a_job("deploy", "waiting") }];
        let parked = seen(&page(shop, vec![]));
        assert!(parked.contains("○ waiting its host takes no jobs: the disk is full"), "{parked}");
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| skeleton(&page(hostile_project(word), vec![hostile_run(word)]));
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }

    #[test]
    fn a_thousand_runs_are_one_page() {
        let runs = (0..1_000).map(|n| a_run(&format!("r{n}"), "rolled_back")).collect();
        let page = page(a_project("attic", "shop"), runs);
        assert_eq!(page.matches("id=\"run/").count(), 1_000);
        assert_well_formed(&page);
    }
}
