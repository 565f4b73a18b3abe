//! Every service of every project of every host; what needs a look comes first.

use doorstep_shared::ids::Action;
use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::{Href, Html};
use super::layout::{Frame, document};
use super::asks::Asks;
use super::parts::{self, Table, count_words};
use super::{services, when};
use crate::view::{AskedAll, ContainersHost, ContainersProject, ContainersView, Problem};

/// All services; with none yet, what to do next.
#[must_use]
pub fn containers(view: &ContainersView, viewer: Viewer<'_>) -> String {
    let now = viewer.now;
    let mut html = Html::new();
    html.raw("<h1>Containers</h1>");
    if view.hosts.is_empty() {
        html.add(&first_service());
    } else {
        html.raw("<p class=\"muted\" id=\"summary\">").text(&summary(view)).raw("</p>").add(&problems(view));
    }
    for host in &view.hosts {
        html.add(&host_section(host, now));
    }
    document("Containers", &Frame::Live { menu: "/containers", viewer }, &html)
}

fn summary(view: &ContainersView) -> String {
    let projects = view.hosts.iter().flat_map(|host| &host.projects);
    let (mut services, mut of, mut problems) = (0usize, 0usize, 0usize);
    for project in projects {
        services = services.saturating_add(project.services.len());
        of = of.saturating_add(1);
        problems = problems.saturating_add(project.problems.len());
    }
    let found = if problems == 0 { "no problem".to_owned() } else { count_words(problems, "problem") };
    format!("{} of {} on {}, {found}.", count_words(services, "service"), count_words(of, "project"), count_words(view.hosts.len(), "host"))
}

fn asks<'a>(host: &'a ContainersHost, project: &'a ContainersProject) -> Asks<'a> {
    Asks::of_services(host.name.as_str(), project)
}

fn problems(view: &ContainersView) -> Html {
    let mut table = Table::new("Problems", &["Service", "Problem", "Project", "Action"]);
    let mut any = false;
    for host in &view.hosts {
        for project in &host.projects {
            for problem in &project.problems {
                any = true;
                add_problem(problem, host, project, &mut table);
            }
        }
    }
    let mut html = Html::new();
    if any {
        html.raw("<section id=\"problems\"><h2>Problems</h2>").add(&table.html()).raw("</section>");
    }
    html
}

fn add_problem(problem: &Problem, host: &ContainersHost, project: &ContainersProject, table: &mut Table) {
    let asks = asks(host, project);
    let service = problem.service.as_ref().and_then(|name| project.services.iter().find(|service| &service.name == name));
    let (mut name, mut of) = (Html::new(), Html::new());
    let (id, buttons) = match service {
        Some(service) => {
            let row = services::row_id(&asks, service.name.as_str());
            name.raw("<a href=\"#").text(&row).raw("\">").text(service.name.as_str()).raw("</a>");
            (format!("problem/{row}"), services::buttons(service, &asks))
        }
        None => {
            name.raw("the whole project");
            (format!("problem/project/{}/{}", asks.host, asks.project), asks.line(None, &services::OF_A_PROJECT))
        }
    };
    of.link(&parts::project_href(asks.host, asks.project), asks.project).raw(" on ").text(asks.host);
    table.row(&id, &[name, parts::problem_badge(&problem.why, host.online), of, buttons]);
}

fn host_section(host: &ContainersHost, now: Timestamp) -> Html {
    let name = host.name.as_str();
    let mut html = Html::new();
    html.raw("<section id=\"host/").text(name).raw("\" aria-labelledby=\"name/").text(name);
    html.raw("\"><div class=\"line\"><h2 id=\"name/").text(name).raw("\">").text(name).raw("</h2>");
    html.add(&parts::host_badge(host.online)).raw("</div>");
    if !host.online {
        html.raw("<p>This host is offline: ").add(&known_since(host, now)).raw(" What is asked now waits for it.</p>");
    }
    if let Some(reason) = &host.parked {
        html.raw("<p class=\"parked\">").add(&parts::parked_badge(reason)).raw("</p>");
    }
    html.add(&all(host));
    for project in &host.projects {
        html.add(&project_part(host, project, now));
    }
    html.raw("</section>");
    html
}

fn known_since(host: &ContainersHost, now: Timestamp) -> Html {
    let mut html = Html::new();
    match host.last_seen {
        Some(at) => html.raw("all of this was true when it was last heard, ").add(&when::ago(at, now)).raw("."),
        None => html.raw("it is not known when this was true."),
    };
    html
}

/// What can be asked of all projects at once. It is folded, since a press of it
/// may stop everything that a machine does.
fn all(host: &ContainersHost) -> Html {
    let name = host.name.as_str();
    let mut html = Html::new();
    let allowed = |action: Action| host.projects.iter().any(|project| project.remote.contains(&action));
    let offered: Vec<_> = services::OF_A_PROJECT.iter().filter(|(action, _)| allowed(*action)).collect();
    if offered.is_empty() {
        return html;
    }
    html.raw("<details id=\"all/").text(name).raw("\"><summary>All projects on ").text(name).raw("</summary><div class=\"line\">");
    for (action, words) in offered {
        html.form(&Href::local(&["containers", name, action.as_str()]));
        html.raw("<button class=\"small\">").raw(words).raw(" all<span class=\"vh\"> on ").text(name).raw("</span></button></form>");
    }
    html.raw("</div></details>");
    html
}

fn project_part(host: &ContainersHost, project: &ContainersProject, now: Timestamp) -> Html {
    let asks = asks(host, project);
    let mut html = Html::new();
    html.raw("<div class=\"part\" id=\"project/").text(asks.host).raw("/").text(asks.project).raw("\"><div class=\"line\"><h3>");
    html.link(&parts::project_href(asks.host, asks.project), asks.project).raw("</h3>");
    html.add(&parts::project_badge(project.state, host.online)).raw("<div class=\"end\">");
    html.add(&asks.line(None, &services::OF_A_PROJECT)).raw("</div></div>");
    if let Some(reason) = &project.reason {
        html.raw("<p class=\"clamp\">").add(&parts::quote(reason)).raw("</p>");
    }
    html.add(&services::jobs(&project.jobs, host.last_seen, now));
    html.add(&services::table(&project.services, &project.used, &asks, host.online, now));
    html.add(&asks.not_allowed(&services::OF_A_PROJECT.map(|(action, _)| action))).raw("</div>");
    html
}

fn first_service() -> Html {
    let mut html = Html::new();
    html.raw("<section class=\"card\" id=\"first-service\"><h2>No containers yet</h2>");
    html.raw("<p>Here is every service of every compose project. A project is one when its part of the host's <code>doorstep.toml</code> says so:</p>");
    html.raw("<pre><code>[project.media]\nrepo = \"https://github.com/me/media\"\n\n[project.media.compose]\nfile = \"compose.yaml\"</code></pre>");
    html.raw("<p>Then <code>doorstep deploy media</code> on the host, or push to its branch. ");
    html.raw("A host whose <code>doorstep</code> is older than this edge tells nothing of its services: update it.</p></section>");
    html
}

/// What became of an ask to all projects of a host. It answers a POST and is
/// shown once, so it must not fetch itself again.
#[must_use]
pub fn asked_all(view: &AskedAll, viewer: Viewer<'_>) -> String {
    let now = viewer.now;
    let (host, action) = (view.host.as_str(), view.action.as_str());
    let mut html = Html::new();
    html.raw("<h1>").text(action).raw(" all <small>on ").text(host).raw("</small></h1><div class=\"card\"><p>");
    html.text(&count_words(view.queued.len(), "job")).raw(if view.queued.len() == 1 { " was queued" } else { " were queued" });
    html.raw(" ").add(&when::ago(now, now)).raw(".</p>");
    html.add(&list("Queued", &view.queued, host));
    html.add(&list("Not allowed by the host's doorstep.toml", &view.not_allowed, host));
    html.add(&list("Too many of its jobs wait already", &view.busy, host));
    if !view.host_online && !view.queued.is_empty() {
        html.raw("<p>The host is offline; the jobs wait for it, 14 days at most.</p>");
    }
    html.raw("<p><a href=\"/containers#host/").text(host).raw("\">To the containers</a></p></div>");
    document(&format!("{action} all on {host}"), &Frame::Still(viewer), &html)
}

fn list(what: &'static str, projects: &[doorstep_shared::ids::Name], host: &str) -> Html {
    let mut html = Html::new();
    if projects.is_empty() {
        return html;
    }
    html.raw("<p>").raw(what).raw(": ");
    for (place, project) in projects.iter().enumerate() {
        html.raw(if place == 0 { "" } else { ", " }).link(&parts::project_href(host, project.as_str()), project.as_str());
    }
    html.raw("</p>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn nobody_is_left_alone_with_an_empty_page() {
        let text = seen(&containers(&ContainersView::default(), VIEWER));
        assert!(text.contains("## No containers yet") && text.contains("\n[project.media.compose]\nfile = \"compose.yaml\""), "{text}");
    }

    #[test]
    fn what_needs_a_look_comes_first() {
        let text = seen(&containers(&some_containers(), VIEWER));
        assert_eq!(
            text,
            "Doorstep\nProjects\nContainers\nHosts\nDeliveries\nAudit\nSettings\n[Sign out]\n\
             # Containers\n\
             3 services of 2 projects on 2 hosts, 2 problems.\n\
             ## Problems\n\
             Service | Problem | Project | Action\n\
             the whole project | ✕ failing: no such image | media on attic | [Restart: media on attic] [Stop: media on attic] [Start: media on attic] [Rebuild: media on attic]\n\
             jobs | ✕ exited with 1 | media on attic | [Start: jobs of media on attic] [Rebuild: jobs of media on attic]\n\
             ## attic\n● online\n\
             All projects on attic\n[Restart all on attic]\n[Stop all on attic]\n[Start all on attic]\n[Rebuild all on attic]\n\
             ### media\n✕ failing\n\
             [Restart: media on attic]\n[Stop: media on attic]\n[Start: media on attic]\n[Rebuild: media on attic]\n\
             no such image\n\
             restart web ◐ leased\n[Cancel: restart web of media on attic]\n\
             Service | State | Uses | Image | Up | Ports | Action\n\
             jobs | ✕ exited exit code 1 | | web:1.2 aaaaaaaaaaaa | 2 restarts | 127.0.0.1:8080->80/tcp, 443/tcp | [Start: jobs of media on attic] [Rebuild: jobs of media on attic]\n\
             web | ● running ✓ healthy | | web:1.2 aaaaaaaaaaaa | 3 h 0 min 2 restarts | 127.0.0.1:8080->80/tcp, 443/tcp | \
             [Restart: web of media on attic] [Stop: web of media on attic] [Rebuild: web of media on attic]\n\
             ## cellar\n○ offline\n\
             This host is offline: all of this was true when it was last heard, 3 h ago. What is asked now waits for it.\n\
             All projects on cellar\n[Restart all on cellar]\n\
             ### blog\n● last known: running\n[Restart: blog on cellar]\n\
             Service | State | Uses | Image | Up | Ports | Action\n\
             web | ● last known: running ✓ healthy | | web:1.2 aaaaaaaaaaaa | started 3 h ago 2 restarts | 127.0.0.1:8080->80/tcp, 443/tcp | [Restart: web of blog on cellar]\n\
             Not allowed from here: stop, start, rebuild\n\
             The doorstep.toml of cellar decides. This would allow it:\n[project.blog.policy]\nremote = [\"restart\", \"stop\", \"start\", \"rebuild\"]"
        );
    }

    #[test]
    fn buttons_name_their_service_and_lead_back_here() {
        let page = containers(&some_containers(), VIEWER);
        let form = "action=\"/projects/attic/media/restart\"><input type=\"hidden\" name=\"form_token\" value=\"f0f1f2\"><input type=\"hidden\" name=\"service\" value=\"web\"><input type=\"hidden\" name=\"back\" value=\"containers\"><button";
        assert!(page.contains(form), "{page}");
        assert!(page.contains("<form method=\"post\" action=\"/containers/attic/stop\">"), "{page}");
        assert!(page.contains("<a href=\"#service/attic/media/jobs\">") && page.contains("id=\"service/attic/media/jobs\""), "{page}");
    }

    #[test]
    fn an_ask_to_all_says_what_became_of_it() {
        let text = seen(&asked_all(&an_ask_to_all(), VIEWER));
        assert!(
            text.ends_with(
                "# restart all on attic\n2 jobs were queued just now.\nQueued: blog, media\nNot allowed by the host's doorstep.toml: shop\n\
                 The host is offline; the jobs wait for it, 14 days at most.\nTo the containers"
            ),
            "{text}"
        );
        assert!(!asked_all(&an_ask_to_all(), VIEWER).contains("<script"), "a page that answers a POST must not fetch itself again");
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| skeleton(&containers(&hostile_containers(word), VIEWER));
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }

    #[test]
    fn ten_thousand_services_are_one_page() {
        let mut view = some_containers();
        let project = view.hosts[0].projects[0].clone();
        view.hosts[0].projects = (0..100)
            .map(|p| ContainersProject {
                name: format!("p{p}").parse().unwrap(),
                services: (0..100).map(|s| a_service(&format!("s{s}"), "running")).collect(),
                jobs: vec![],
                ..project.clone()
            })
            .collect();
        let page = containers(&view, VIEWER);
        assert_eq!(page.matches("<tr role=\"row\" id=\"service/attic/").count(), 10_000);
        assert_well_formed(&page);
    }
}
