//! The first page: every host with its projects.

use std::collections::BTreeMap;

use doorstep_shared::ids::{JobState, Name, ProjectState, RunState};
use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::Html;
use super::layout::{Frame, document};
use super::parts::{self, Facts, count_words, job_words};
use super::when;
use crate::view::{FleetView, HostView, JobRow, ProjectRow};

/// Every host and every project; with nothing there yet, what to do next.
#[must_use]
pub fn projects(view: &FleetView, viewer: Viewer<'_>) -> String {
    let now = viewer.now;
    let mut html = Html::new();
    html.raw("<h1>Projects</h1>");
    if view.hosts.is_empty() {
        html.add(&first_host());
    } else {
        html.raw("<p class=\"muted\" id=\"summary\">").text(&summary(view)).raw("</p>");
    }
    let mut by_host: BTreeMap<&Name, Vec<&ProjectRow>> = BTreeMap::new();
    for project in &view.projects {
        by_host.entry(&project.host).or_default().push(project);
    }
    for host in &view.hosts {
        html.add(&host_section(host, &by_host.remove(&host.name).unwrap_or_default(), now));
    }
    // Nothing that is known is hidden, even if its host is not listed.
    for (host, projects) in by_host {
        html.add(&section_open(host.as_str())).raw("</div>").add(&project_list(&projects, now)).raw("</section>");
    }
    if !view.hosts.is_empty() {
        html.add(&next_steps(view.projects.is_empty()));
    }
    document("Projects", &Frame::Live { menu: "/", viewer }, &html)
}

fn summary(view: &FleetView) -> String {
    let mut words =
        format!("{} on {}", count_words(view.projects.len(), "project"), count_words(view.hosts.len(), "host"));
    let offline = view.hosts.iter().filter(|h| !h.online).count();
    if offline > 0 {
        words.push_str(&format!(", {} offline", count_words(offline, "host")));
    }
    for state in [ProjectState::Failing, ProjectState::Degraded] {
        let count = view.projects.iter().filter(|p| p.online && p.state == state).count();
        if count > 0 {
            words.push_str(&format!(", {count} {state}"));
        }
    }
    words.push('.');
    words
}

fn section_open(host: &str) -> Html {
    let mut html = Html::new();
    html.raw("<section id=\"host/").text(host).raw("\" aria-labelledby=\"name/").text(host);
    html.raw("\"><div class=\"line\"><h2 id=\"name/").text(host).raw("\">").text(host).raw("</h2>");
    html
}

fn host_section(host: &HostView, projects: &[&ProjectRow], now: Timestamp) -> Html {
    let mut html = section_open(host.name.as_str());
    html.add(&parts::host_badge(host.online)).raw(" <span class=\"muted\">");
    match host.last_seen {
        _ if host.online => {}
        Some(at) => {
            html.raw("last seen ").add(&when::ago(at, now));
        }
        None => {
            html.raw("not seen since it was added ").add(&when::ago(host.enrolled, now));
        }
    }
    html.raw("</span> ");
    if !host.executor_version.is_empty() {
        html.raw("<span class=\"muted end clamp\">executor ").add(&parts::quote(&host.executor_version)).raw("</span>");
    }
    html.raw("</div>");
    if let Some(reason) = &host.parked {
        html.raw("<p class=\"parked\">").add(&parts::parked_badge(reason)).raw("</p>");
    }
    html.add(&project_list(projects, now)).raw("</section>");
    html
}

fn project_list(projects: &[&ProjectRow], now: Timestamp) -> Html {
    let mut html = Html::new();
    if projects.is_empty() {
        html.raw("<p class=\"card\">No project in its <code>doorstep.toml</code> yet.</p>");
        return html;
    }
    html.raw("<ul class=\"rows\">");
    for project in projects {
        html.raw("<li class=\"card\" id=\"project/").text(project.host.as_str()).raw("/").text(project.name.as_str());
        html.raw("\">").add(&identity(project)).add(&facts(project, now));
        html.add(&parts::deploy_button(project.host.as_str(), project.name.as_str(), &project.remote)).raw("</li>");
    }
    html.raw("</ul>");
    html
}

/// What it is, how it is, where it serves.
fn identity(project: &ProjectRow) -> Html {
    let mut html = Html::new();
    html.raw("<div class=\"identity\"><h3>");
    html.link(&parts::project_href(project.host.as_str(), project.name.as_str()), project.name.as_str())
        .raw("</h3><p>");
    html.add(&parts::project_badge(project.state, project.online)).raw("</p>");
    if let Some(reason) = &project.reason {
        html.raw("<p class=\"clamp\">").text(reason).raw("</p>");
    }
    if let Some(address) = &project.address {
        html.raw("<p class=\"clamp\">").add(&parts::address(address)).raw("</p>");
    }
    html.raw("</div>");
    html
}

fn facts(project: &ProjectRow, now: Timestamp) -> Html {
    let mut facts = Facts::default();
    facts.fact("Live", &live(project, now)).fact("Last run", &last_run(project, now)).fact("Queue", &queue(project, now));
    facts.html()
}

/// The live commit with its subject and since when it is live.
pub fn live(project: &ProjectRow, now: Timestamp) -> Html {
    let mut html = Html::new();
    match &project.live {
        Some(live) => {
            html.raw("<p class=\"clamp\">")
                .add(&parts::commit(&live.commit))
                .raw(" ")
                .add(&parts::quote(&live.subject));
            html.raw("</p><p class=\"muted\">live ").add(&when::ago(live.since, now)).raw("</p>");
        }
        None => {
            html.raw("<p class=\"muted\">nothing yet</p>");
        }
    }
    html
}

fn last_run(project: &ProjectRow, now: Timestamp) -> Html {
    let mut html = Html::new();
    let Some(run) = &project.last_run else {
        html.raw("<p class=\"muted\">none yet</p>");
        return html;
    };
    html.raw("<p><a href=\"").href(&parts::run_href(run)).raw("\">").text(&job_words(run.action, run.service.as_ref())).raw("</a> ");
    html.add(&parts::run_badge(run.state));
    if let Some(failure) = &run.failure {
        html.raw(" at ").add(&parts::quote(&failure.step));
    }
    html.raw("</p><p class=\"muted\">");
    match (run.state, run.ended) {
        (RunState::Running, _) => {
            html.raw("for ").add(&parts::run_took(run, now));
        }
        (_, ended) => {
            html.add(&when::ago(ended.unwrap_or(run.started), now)).raw(", took ").add(&parts::run_took(run, now));
        }
    }
    html.raw("</p>");
    html
}

/// "1 deploy waiting: its host is away", one line for each action, service and state;
/// then the job that died last.
fn queue(project: &ProjectRow, now: Timestamp) -> Html {
    let mut lines: Vec<(&JobRow, usize)> = Vec::new();
    for job in &project.jobs {
        match lines.iter_mut().find(|(first, _)| (first.action, &first.service, first.state) == (job.action, &job.service, job.state)) {
            Some((_, count)) => *count = count.saturating_add(1),
            None => lines.push((job, 1)),
        }
    }
    let mut html = Html::new();
    for (job, count) in lines {
        let why = why(job, project, now);
        html.add(&job_line(job, count, &why, count == 1));
    }
    for job in &project.dead {
        let mut why = Html::new();
        why.text(job.reason.as_deref().unwrap_or("nobody said why")).raw(" <span class=\"muted\">");
        why.add(&when::ago(job.died.unwrap_or(job.created), now)).raw("</span>");
        html.add(&job_line(job, 1, &why, true));
    }
    html
}

/// One line; a button where it stands for one job, else the project's page has them.
fn job_line(job: &JobRow, count: usize, why: &Html, with_button: bool) -> Html {
    let mut html = Html::new();
    html.raw("<div class=\"line\" id=\"job/").number(job.id.0);
    // Somebody's reason may be long; ours says until when, at its end.
    html.raw(if job.state == JobState::Dead { "\"><p class=\"clamp\">" } else { "\"><p>" });
    html.text(&count_words(count, job.action.as_str()));
    if let Some(service) = &job.service {
        html.raw(" of ").text(service.as_str());
    }
    html.raw(" ").add(&parts::job_badge(job.state));
    if !why.is_empty() {
        html.raw(": ").add(why);
    }
    html.raw("</p>");
    if with_button {
        html.add(&parts::job_button(job));
    }
    html.raw("</div>");
    html
}

fn why(job: &JobRow, project: &ProjectRow, now: Timestamp) -> Html {
    let waits = parts::job_waits(job, project.host_last_seen, now);
    if !waits.is_empty() {
        return waits;
    }
    let words = match (job.state, project.online) {
        (JobState::Leased, false) => Some("host went offline while at it"),
        (JobState::Leased, true) => job.reason.as_deref().or(Some("under way")),
        (JobState::Waiting | JobState::Done | JobState::Dead | JobState::Superseded, _) => job.reason.as_deref(),
    };
    words.map(parts::quote).unwrap_or_default()
}

/// For somebody who has nothing yet.
fn first_host() -> Html {
    let mut html = Html::new();
    html.raw("<section class=\"card\" id=\"first-host\"><h2>No host yet</h2>");
    html.raw("<p>A host is a machine of yours that runs <code>doorstep</code>. It dials out; nothing listens on it for us.</p>");
    html.raw("<ol><li>Press the button for a one-time code:").add(&parts::enroll_button());
    html.raw("</li><li>On the host, write <code>/etc/doorstep/doorstep.toml</code>:").add(&smallest_file());
    html.raw("</li><li>Type these three commands there; the page behind the button fills in the first:");
    html.add(&commands())
        .raw("</li></ol><p class=\"muted\">This page shows the host as soon as it has joined.</p></section>");
    html
}

fn commands() -> Html {
    let mut html = Html::new();
    html.raw("<pre><code># this dashboard's address, and the code\ndoorstep join &lt;address&gt; &lt;code&gt;\n");
    html.raw("# keeps the link and the apps up\ndoorstep run\n# in another terminal: what it has\ndoorstep status</code></pre>");
    html
}

/// For somebody who has a host: the first project, or one more.
fn next_steps(no_project: bool) -> Html {
    let mut html = Html::new();
    if no_project {
        html.raw("<section class=\"card\" id=\"first-project\"><h2>No project yet</h2>")
            .add(&project_help())
            .raw("</section>");
    }
    html.raw("<details class=\"card\" id=\"more\"><summary>Add a host");
    html.raw(if no_project { "" } else { " or a project" }).raw("</summary><h2>A host</h2>");
    html.raw(
        "<p>The button makes a one-time code. On the new host, write a <code>doorstep.toml</code> and type these ",
    );
    html.raw("three commands; the page behind the button fills in the first:</p>").add(&commands());
    html.add(&parts::enroll_button());
    if !no_project {
        html.raw("<h2>A project</h2>").add(&project_help());
    }
    html.raw("</details>");
    html
}

fn project_help() -> Html {
    let mut html = Html::new();
    html.raw(
        "<p>Projects stand in <code>doorstep.toml</code> on their host. This is the smallest one, for a repository ",
    );
    html.raw("with a <code>compose.yaml</code>:</p>").add(&smallest_file());
    html.raw("<p>A Python program also says how it is started:</p><pre><code>[project.shop.process]\n");
    html.raw("command = [\"python\", \"-m\", \"uvicorn\", \"app:app\", \"--port\", \"{port}\"]</code></pre>");
    html.raw("<p>Then <code>doorstep deploy shop</code> on the host, or push to its branch, <code>main</code> unless the file ");
    html.raw("says otherwise. For pushes, the repository on GitHub needs a <a href=\"/deliveries\">webhook</a>.</p>");
    html
}

fn smallest_file() -> Html {
    let mut html = Html::new();
    html.raw("<pre><code>[project.shop]\nrepo = \"https://github.com/me/shop\"</code></pre>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    #[test]
    fn nobody_is_left_alone_with_an_empty_page() {
        let page = projects(&FleetView::default(), VIEWER);
        assert_eq!(
            seen(&page),
            "Doorstep\nProjects\nContainers\nDeliveries\nAudit\nSettings\n[Sign out]\n\
             # Projects\n\
             ## No host yet\n\
             A host is a machine of yours that runs doorstep. It dials out; nothing listens on it for us.\n\
             Press the button for a one-time code:\n\
             [Add a host]\n\
             On the host, write /etc/doorstep/doorstep.toml:\n\
             [project.shop]\nrepo = \"https://github.com/me/shop\"\n\
             Type these three commands there; the page behind the button fills in the first:\n\
             # this dashboard's address, and the code\ndoorstep join <address> <code>\n\
             # keeps the link and the apps up\ndoorstep run\n\
             # in another terminal: what it has\ndoorstep status\n\
             This page shows the host as soon as it has joined."
        );
        assert!(page.contains("<form method=\"post\" action=\"/hosts/enrollments\">"));
    }

    #[test]
    fn a_host_without_rowsshows_the_smallest_file() {
        let page = projects(&FleetView { hosts: vec![a_host("attic", true)], projects: vec![] }, VIEWER);
        assert!(
            seen(&page)
                .contains("## attic\n● online executor 0.1.0\nNo project in its doorstep.toml yet.\n## No project yet")
        );
        assert!(page.contains("[project.shop]\nrepo = "));
    }

    #[test]
    fn the_first_page_of_an_ordinary_fleet() {
        let text = seen(&projects(&a_fleet(), VIEWER));
        let above = text.split("Add a host or a project").next().unwrap();
        assert_eq!(
            above.trim_end(),
            "Doorstep\nProjects\nContainers\nDeliveries\nAudit\nSettings\n[Sign out]\n\
             # Projects\n\
             4 projects on 2 hosts, 1 host offline, 1 failing, 1 degraded.\n\
             ## attic\n● online executor 0.1.0\n▲ takes no jobs: the disk is full\n\
             ### broker\n✕ failing\nexited with 1, 5 times in a minute\n\
             Live\n9f2c11d Bump the wire version\nlive 2 days ago\n\
             Last run\ndeploy ↺ rolled back at check\n3 min ago, took 31 s\n\
             ### media\n▲ degraded\nhttp://10.0.0.4:8096\n\
             Live\nnothing yet\nLast run\nnone yet\n[Deploy media on attic]\n\
             ### shop\n● running\nshop.example\n\
             Live\na1b2c3d Add the cart\nlive 3 min ago\n\
             Last run\ndeploy ◐ running\nfor 42 s\n\
             Queue\n1 deploy ◐ leased: under way\n[Cancel: deploy shop on attic]\n2 fetches ○ waiting\n[Deploy shop on attic]\n\
             ## cellar\n○ offline last seen 3 h ago executor 0.1.0\n\
             ### shop\n● last known: running\nshop.example\n\
             Live\na1b2c3d Add the cart\nlive 3 min ago\n\
             Last run\ndeploy ✓ succeeded\n3 min ago, took 12.4 s\n\
             Queue\n1 deploy ○ waiting: its host is away, last heard 3 h ago; the job is kept until 2026-10-04 (14 days)\n[Cancel: deploy shop on cellar]\n1 deploy ✕ dead: its host did not carry it out within 14 days 2 h ago\n[Try again: deploy shop on cellar]\n[Deploy shop on cellar]"
        );
    }

    #[test]
    fn a_job_for_one_service_names_it() {
        let mut media = a_project("attic", "media");
        let of = |service: &str, id| JobRow { id: doorstep_shared::ids::JobId(id), service: Some(service.parse().unwrap()), ..a_job("restart", "waiting") };
        media.jobs = vec![of("web", 1), of("jobs", 2), of("web", 3)];
        let text = seen(&projects(&FleetView { hosts: vec![], projects: vec![media] }, VIEWER));
        assert!(text.contains("2 restarts of web ○ waiting\n1 restart of jobs ○ waiting\n[Cancel: restart jobs of shop on attic]"), "{text}");
    }

    #[test]
    fn a_deploy_is_offered_only_where_the_host_allows_it() {
        let page = projects(&a_fleet(), VIEWER);
        assert!(page.contains("action=\"/projects/attic/shop/deploy\""));
        assert!(!page.contains("action=\"/projects/attic/broker/deploy\""));
    }

    #[test]
    fn a_project_whose_host_is_not_listed_is_still_shown() {
        let page = projects(&FleetView { hosts: vec![], projects: vec![a_project("attic", "shop")] }, VIEWER);
        assert!(seen(&page).contains("## attic\n### shop"));
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| {
            let fleet = FleetView { hosts: vec![hostile_host(word)], projects: vec![hostile_project(word)] };
            skeleton(&projects(&fleet, VIEWER))
        };
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }

    #[test]
    fn a_huge_fleet_is_one_page() {
        let hosts = (0..50).map(|h| a_host(&format!("h{h:02}"), h % 2 == 0)).collect();
        let rows =
            (0..50).flat_map(|h| (0..40).map(move |p| a_project(&format!("h{h:02}"), &format!("p{p}")))).collect();
        let page = projects(&FleetView { hosts, projects: rows }, VIEWER);
        assert_eq!(page.matches("<li class=\"card\"").count(), 2_000);
        assert_well_formed(&page);
    }
}
