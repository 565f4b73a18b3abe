//! What needs a look, above everything else: a host that is away or takes no
//! jobs, a project that is not well, a run that ended badly, a job given up.

use doorstep_shared::ids::ProjectState;
use doorstep_shared::time::Timestamp;

use super::super::html::{Href, Html};
use super::super::parts::{self, count_words, job_words};
use super::super::version::{self, Have};
use super::super::when;
use crate::view::{FleetView, HostView, JobRow, ProjectRow, RunRow};

/// Rows that are listed; a page of nothing else helps nobody.
const ROWS_MAX: usize = 12;

/// One thing that needs a look.
pub enum Look<'a> {
    /// A host is offline; so many jobs wait for it.
    Away(&'a HostView, usize),
    /// A host takes no jobs, and why.
    Parked(&'a HostView, &'a str),
    /// A project is failing or degraded.
    Unwell(&'a ProjectRow),
    /// A run of a project went wrong, and was not made good since.
    Ran(&'a ProjectRow, &'a RunRow),
    /// A job was given up, and nothing made that good since.
    Dead(&'a ProjectRow, &'a JobRow),
}

/// What needs a look, the gravest kind first.
pub fn of(view: &FleetView) -> Vec<Look<'_>> {
    let mut looks = Vec::new();
    for host in &view.hosts {
        if !host.online {
            let jobs = view.projects.iter().filter(|project| project.host == host.name).map(|project| project.jobs.len());
            looks.push(Look::Away(host, jobs.sum()));
        } else if let Some(reason) = &host.parked {
            looks.push(Look::Parked(host, reason));
        }
    }
    // Of a host that is away only the last state is known, and that it is away is said.
    let is_unwell = |project: &&ProjectRow| project.online && matches!(project.state, ProjectState::Failing | ProjectState::Degraded);
    looks.extend(view.projects.iter().filter(is_unwell).map(Look::Unwell));
    for project in &view.projects {
        // A job that was given up says what its last run said.
        looks.extend(project.trouble.as_ref().map(|run| Look::Ran(project, run)).or_else(|| project.dead.first().map(|job| Look::Dead(project, job))));
    }
    looks
}

/// The section, or nothing when all is well.
pub fn section(looks: &[Look<'_>], have: Have<'_>, now: Timestamp) -> Html {
    if looks.is_empty() {
        return Html::new();
    }
    let version = version::of(&("attention", looks.iter().map(said).collect::<Vec<_>>()));
    have.part("<section id=\"attention\" class=\"card\"", "</section>", &version, || list(looks, now))
}

/// What a row says, but for words that count on by themselves.
fn said(look: &Look<'_>) -> [String; 4] {
    let of = |kind: &str, project: &ProjectRow, what: String| [kind.to_owned(), project.host.to_string(), project.name.to_string(), what];
    match look {
        Look::Away(host, jobs) => ["away".to_owned(), host.name.to_string(), jobs.to_string(), host.last_seen.map_or_else(String::new, |at| at.0.to_string())],
        Look::Parked(host, reason) => ["parked".to_owned(), host.name.to_string(), String::new(), (*reason).to_owned()],
        Look::Unwell(project) => of("state", project, format!("{} {}", project.state, project.reason.as_deref().unwrap_or_default())),
        Look::Ran(project, run) => of("run", project, format!("{} {}", run.id, run.state)),
        Look::Dead(project, job) => of("dead", project, job.id.to_string()),
    }
}

fn list(looks: &[Look<'_>], now: Timestamp) -> Html {
    let mut html = Html::new();
    html.raw("<h2>Needs a look</h2><ul class=\"looks\">");
    for look in looks.iter().take(ROWS_MAX) {
        html.add(&row(look, now));
    }
    html.raw("</ul>");
    let left = looks.len().saturating_sub(ROWS_MAX);
    if left > 0 {
        html.raw("<p class=\"muted\">and ").text(&count_words(left, "thing")).raw(" more below</p>");
    }
    html
}

fn row(look: &Look<'_>, now: Timestamp) -> Html {
    match look {
        Look::Away(host, jobs) => away(host, *jobs, now),
        Look::Parked(host, reason) => {
            let mut html = open("parked", host.name.as_str(), None);
            html.add(&parts::parked_badge(reason)).raw("</li>");
            html
        }
        Look::Unwell(project) => {
            let mut html = of_project("state", project);
            html.add(&parts::project_badge(project.state, project.online));
            if let Some(reason) = &project.reason {
                html.raw(" <span class=\"one\">").add(&parts::quote(reason)).raw("</span>");
            }
            html.raw("</li>");
            html
        }
        Look::Ran(project, run) => ran(project, run, now),
        Look::Dead(project, job) => {
            let mut html = of_project("dead", project);
            html.text(&job_words(job.action, job.service.as_ref())).raw(" ").add(&parts::job_badge(job.state)).raw(" <span class=\"one\">");
            html.add(&parts::quote(job.reason.as_deref().unwrap_or("nobody said why"))).raw("</span> <span class=\"muted\">");
            html.add(&when::ago(job.died.unwrap_or(job.created), now)).raw("</span></li>");
            html
        }
    }
}

fn away(host: &HostView, jobs: usize, now: Timestamp) -> Html {
    let mut html = open("away", host.name.as_str(), None);
    html.add(&parts::host_badge(false));
    if let Some(at) = host.last_seen {
        html.raw(" <span class=\"muted\">last seen ").add(&when::ago(at, now)).raw("</span>");
    }
    if jobs > 0 {
        html.raw(" <span>").text(&count_words(jobs, "job")).raw(if jobs == 1 { " waits for it</span>" } else { " wait for it</span>" });
    }
    html.raw("</li>");
    html
}

fn ran(project: &ProjectRow, run: &RunRow, now: Timestamp) -> Html {
    let mut html = of_project("run", project);
    html.raw("<a href=\"").href(&parts::run_href(run)).raw("\">").text(&job_words(run.action, run.service.as_ref())).raw("</a> ");
    html.add(&parts::run_badge(run));
    if let Some(failure) = &run.failure {
        html.raw(" <span class=\"one\">at ").add(&parts::quote(&failure.step)).raw(": ").add(&parts::quote(&failure.message)).raw("</span>");
    }
    html.raw(" <span class=\"muted\">").add(&when::ago(run.ended.unwrap_or(run.started), now)).raw("</span></li>");
    html
}

fn of_project(kind: &'static str, project: &ProjectRow) -> Html {
    open(kind, project.host.as_str(), Some(project.name.as_str()))
}

/// The row's begin: which host or project, as a link to it further down.
fn open(kind: &'static str, host: &str, project: Option<&str>) -> Html {
    let mut html = Html::new();
    html.raw("<li id=\"look/").raw(kind).raw("/").text(host);
    if let Some(name) = project {
        html.raw("/").text(name);
    }
    html.raw("\">");
    match project {
        Some(name) => html.link(&parts::project_href(host, name), name).raw(" <span class=\"muted\">on ").text(host).raw("</span> "),
        None => html.link(&Href::within(&["host", host]), host).raw(" "),
    };
    html
}
