//! One project on the first page: what is live, how its last runs went, and
//! what can be asked of it.

use doorstep_shared::ids::{Action, RunState};
use doorstep_shared::time::Timestamp;

use super::super::html::Html;
use super::super::Viewer;
use super::super::asks::{Asks, offered};
use super::super::parts::{self, Facts, job_words};
use super::super::version::{self, Have};
use super::super::{bars, behind, when};
use super::queue::queue;
use crate::ask::Back;
use crate::view::ProjectRow;

/// Projects, one below the other.
pub fn list(projects: &[&ProjectRow], have: Have<'_>, viewer: Viewer<'_>) -> Html {
    let mut html = Html::new();
    if projects.is_empty() {
        html.raw("<p class=\"card\">No project in its <code>doorstep.toml</code> yet.</p>");
        return html;
    }
    html.raw("<ul class=\"rows\">");
    for project in projects {
        html.raw("<li class=\"card\" id=\"project/").text(project.host.as_str()).raw("/").text(project.name.as_str()).raw("\">");
        html.add(&have.part("<div class=\"row\"", "</div>", &shown(project, viewer), || card(project, viewer.now))).raw("</li>");
    }
    html.raw("</ul>");
    html
}

/// The version of what is shown, and of the token in its forms; that its host
/// was heard again is no news.
fn shown(project: &ProjectRow, viewer: Viewer<'_>) -> String {
    let seen = project.host_last_seen.filter(|_| !project.online);
    let ran: Vec<_> = project.recent.iter().map(|run| (run.state, run.started, run.ended)).collect();
    version::of(&("project", viewer.form_token, ProjectRow { host_last_seen: seen, recent: vec![], ..project.clone() }, ran))
}

fn card(project: &ProjectRow, now: Timestamp) -> Html {
    let mut html = identity(project, now);
    html.add(&facts(project, now)).add(&asks(project));
    html
}

/// What it is, how it is, where it serves, how it ran.
fn identity(project: &ProjectRow, now: Timestamp) -> Html {
    let href = parts::project_href(project.host.as_str(), project.name.as_str());
    let mut html = Html::new();
    html.raw("<div class=\"identity\"><div class=\"line\"><h3>").link(&href, project.name.as_str()).raw("</h3>");
    html.add(&parts::project_badge(project.state, project.online)).raw("</div>");
    if let Some(reason) = &project.reason {
        html.raw("<p class=\"clamp\">").add(&parts::quote(reason)).raw("</p>");
    }
    if let Some(address) = &project.address {
        html.raw("<p class=\"clamp\">").add(&parts::address(address)).raw("</p>");
    }
    html.add(&bars::small(&project.recent, now)).raw("</div>");
    html
}

fn facts(project: &ProjectRow, now: Timestamp) -> Html {
    let mut facts = Facts::default();
    facts.fact("Live", &live(project, now)).fact("Branch", &branch(project));
    facts.fact("Last run", &last_run(project, now)).fact("Queue", &queue(project, now));
    facts.html()
}

/// The live commit: its subject, who wrote it, since when it is live.
pub fn live(project: &ProjectRow, now: Timestamp) -> Html {
    let mut html = Html::new();
    let Some(live) = &project.live else {
        html.raw("<p class=\"muted\">nothing yet</p>");
        return html;
    };
    html.raw("<p class=\"clamp\">").add(&behind::commit_link(&live.commit, &project.repo)).raw(" ").add(&parts::quote(&live.subject));
    html.raw("</p><p class=\"muted\">");
    if !live.author.is_empty() {
        html.raw("by ").add(&parts::quote(&live.author)).raw(", ");
    }
    html.raw("live ").add(&when::ago(live.since, now)).raw("</p>");
    html
}

/// How the live release stands to its branch, where they differ.
fn branch(project: &ProjectRow) -> Html {
    let mut html = Html::new();
    if let Some(bad) = &project.quarantined {
        html.raw("<p><a href=\"").href(&parts::project_href(project.host.as_str(), project.name.as_str())).raw("#behind\"><span class=\"warn\">⊘ ");
        html.text(parts::short(&bad.commit)).raw(" was bad</span></a></p><p class=\"muted\">not deployed again by itself</p>");
        return html;
    }
    let Some(view) = project.behind.as_ref().filter(|view| view.behind > 0 || view.ahead > 0) else { return html };
    html.raw("<p><a href=\"").href(&parts::project_href(project.host.as_str(), project.name.as_str())).raw("#behind\">");
    html.text(&behind::short_words(view)).raw("</a></p>");
    if let Some(newest) = view.commits.first() {
        html.raw("<p class=\"muted clamp\">").add(&parts::quote(&newest.subject)).raw("</p>");
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
    html.add(&parts::run_badge(run));
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


/// A deploy at hand, everything else one press away: a list of many projects is
/// read more often than it is pressed.
fn asks(project: &ProjectRow) -> Html {
    let (host, name) = (project.host.as_str(), project.name.as_str());
    let asks = Asks::of(project, Back::Home);
    let mut html = Html::new();
    html.raw("<div class=\"asks\">").add(&asks.deploy());
    let mut more = asks.buttons(None, offered(project));
    more.add(&asks.not_allowed(Action::ALL));
    if !more.is_empty() {
        html.raw("<details id=\"more/").text(host).raw("/").text(name).raw("\"><summary>More<span class=\"vh\">: ").text(name).raw(" on ").text(host);
        html.raw("</span></summary><div class=\"line\">").add(&more).raw("</div></details>");
    }
    html.raw("</div>");
    html
}
