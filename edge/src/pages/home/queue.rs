//! What of a project has not ended, and what was given up last.

use doorstep_shared::ids::{JobState, RunState};
use doorstep_shared::time::Timestamp;

use super::super::html::Html;
use super::super::parts::{self, count_words};
use super::super::when;
use crate::view::{JobRow, ProjectRow};

/// "1 deploy waiting: its host is away", one line for each action, service and state;
/// then the job that died last.
pub fn queue(project: &ProjectRow, now: Timestamp) -> Html {
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

/// Has its host begun with it?
fn is_running(job: &JobRow, project: &ProjectRow) -> bool {
    project.last_run.iter().chain(&project.recent).any(|run| run.job == Some(job.id) && run.state == RunState::Running)
}

fn why(job: &JobRow, project: &ProjectRow, now: Timestamp) -> Html {
    let waits = parts::job_waits(job, project.host_last_seen, now);
    if !waits.is_empty() {
        return waits;
    }
    let words = match (job.state, project.online) {
        (JobState::Leased, false) => Some("host went offline while at it"),
        (JobState::Leased, true) if is_running(job, project) => job.reason.as_deref().or(Some("under way")),
        (JobState::Leased, true) => job.reason.as_deref().or(Some("handed to its host")),
        (JobState::Waiting | JobState::Done | JobState::Dead | JobState::Superseded, _) => job.reason.as_deref(),
    };
    words.map(parts::quote).unwrap_or_default()
}

