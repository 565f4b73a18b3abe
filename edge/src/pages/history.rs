//! A project's tables: what is queued, what was given up, what ran.

use doorstep_shared::time::Timestamp;

use super::html::Html;
use super::parts::{self, Table, job_words};
use super::{bars, when};
use crate::view::{JobRow, ProjectRow, RunRow};

/// The jobs that have not ended.
pub fn queue(project: &ProjectRow, now: Timestamp) -> Html {
    let mut table = Table::new("Queue", &["Job", "State", "Asked", "Cause", "Commit", "Action"]);
    for job in &project.jobs {
        let mut state = parts::job_badge(job.state);
        if job.attempt > 1 {
            state.raw(" <span class=\"muted\">attempt ").number(job.attempt.into()).raw("</span>");
        }
        let waits = parts::job_waits(job, project.host_last_seen, now);
        if let Some(reason) = job.reason.as_ref().filter(|_| job.again.is_none_or(|at| at <= now)) {
            state.raw("<p>").text(reason).raw("</p>");
        }
        if !waits.is_empty() {
            state.raw("<p>").add(&waits).raw("</p>");
        }
        let cells = [
            Html::of(&job_words(job.action, job.service.as_ref())),
            state,
            when::ago(job.created, now),
            Html::of(parts::cause_words(job.cause)),
            job.hint_commit.as_deref().map(parts::commit).unwrap_or_default(),
            parts::job_button(job),
        ];
        table.row(&format!("job/{}", job.id), &cells);
    }
    table.html()
}

/// The jobs that were given up, and why.
pub fn dead(jobs: &[JobRow], now: Timestamp) -> Html {
    let mut table = Table::new("Dead jobs", &["Job", "Why", "Given up", "Cause", "Commit", "Action"]);
    for job in jobs {
        let mut why = parts::job_badge(job.state);
        why.raw("<p class=\"clamp\">").text(job.reason.as_deref().unwrap_or("nobody said why")).raw("</p>");
        let cells = [
            Html::of(&job_words(job.action, job.service.as_ref())),
            why,
            when::ago(job.died.unwrap_or(job.created), now),
            Html::of(parts::cause_words(job.cause)),
            job.hint_commit.as_deref().map(parts::commit).unwrap_or_default(),
            parts::job_button(job),
        ];
        table.row(&format!("job/{}", job.id), &cells);
    }
    table.html()
}

/// The runs as bars and as a table.
pub fn runs(runs: &[RunRow], now: Timestamp) -> Html {
    let mut html = Html::new();
    if runs.is_empty() {
        html.raw("<p class=\"card\">No run yet. Push to the branch, or deploy from here or on the host.</p>");
        return html;
    }
    html.raw("<div class=\"card\" id=\"bars\">").add(&bars::run_bar(runs, now));
    html.raw("<p class=\"muted\" aria-hidden=\"true\">").text(&bars::run_words(runs)).raw("</p></div>");
    let mut table = Table::new("Runs", &["Run", "State", "Started", "Took", "Cause", "Commit"]);
    for run in runs {
        let mut name = Html::new();
        name.link(&parts::run_href(run), &job_words(run.action, run.service.as_ref()));
        let mut state = parts::run_badge(run);
        if let Some(failure) = &run.failure {
            state.raw("<p class=\"clamp\">at ").add(&parts::quote(&failure.step)).raw(": ");
            state.add(&parts::quote(&failure.message)).raw("</p>");
        }
        let cells = [
            name,
            state,
            when::ago(run.started, now),
            parts::run_took(run, now),
            Html::of(run.cause.as_str()),
            run.commit.as_deref().map(parts::commit).unwrap_or_default(),
        ];
        table.row(&format!("run/{}", run.id), &cells);
    }
    html.add(&table.html());
    html
}
