//! One run: what went wrong, its steps, what it brought, its log.
//!
//! While a run goes on, the script asks for what is new only: [`run`] leaves out
//! the parts that the reader has, and the log, which comes by a way of its own.

use doorstep_shared::ids::{Action, Cause, FailureKind, RunState};
use doorstep_shared::protocol::Failure;
use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::{Href, Html};
use super::layout::{self, Frame};
use super::asks::Asks;
use super::parts::{self, Facts, job_words};
use super::version::{self, Have};
use super::{behind, changes, log, steps, when};
use crate::ask::Back;
use crate::view::{RunPage, RunRow, StepRow};

/// One run, whole, or what of it the reader does not have. The log is text and
/// nothing but text.
#[must_use]
pub fn run(view: &RunPage, have: Option<&[String]>, viewer: Viewer<'_>) -> String {
    let (run, have, now) = (&view.run, Have(have), viewer.now);
    let what = job_words(run.action, run.service.as_ref());
    let mut html = head(view, &what, have, viewer);
    if run.failure.is_some() || !matches!(run.state, RunState::Running | RunState::Succeeded) {
        html.add(&failure(run, have));
    }
    html.add(&about(view, have, now));
    html.add(&steps::section(run, &view.steps, have, now));
    let changed = changes::of(&view.steps, view.log.as_deref().unwrap_or_default());
    html.add(&changes::section(&changed, &changes_version(run, &view.steps), have));
    html.add(&log::section(view, have));
    let title = format!("{what} of {} on {}: {}", run.project, run.host, parts::run_word(run));
    let frame = Frame::Live { menu: "/", viewer };
    if have.is_part() { layout::fragment(&title, &frame, &html) } else { layout::document(&title, &frame, &html) }
}

/// Must the log be read for a reader who has these parts?
#[must_use]
pub fn run_wants_log(run: &RunRow, steps: &[StepRow], have: Option<&[String]>) -> bool {
    !Have(have).has(&changes_version(run, steps))
}

/// What a run brought is known once the steps are over that say so.
fn changes_version(run: &RunRow, steps: &[StepRow]) -> String {
    let told: Vec<&StepRow> = steps.iter().filter(|step| matches!(step.name.as_str(), "verify" | "sync") && step.duration_ms.is_some()).collect();
    version::of(&("changes", &run.id, told))
}

/// What it is, how it stands, and what can be done about it.
fn head(view: &RunPage, what: &str, have: Have<'_>, viewer: Viewer<'_>) -> Html {
    let run = &view.run;
    let (host, project) = (run.host.as_str(), run.project.as_str());
    let version = version::of(&("head", viewer.form_token, run.state, &run.commit, &view.remote, &view.live, &view.back, &view.job));
    have.part("<div class=\"line\" id=\"head\"", "</div>", &version, || {
        let mut html = Html::new();
        html.raw("<h1>").text(what).raw(" <small>of ");
        html.link(&parts::project_href(host, project), project).raw(" on ").text(host).raw("</small></h1>");
        html.add(&parts::run_badge(run));
        let buttons = buttons(view);
        if !buttons.is_empty() {
            html.raw("<div class=\"line end\" id=\"actions\">").add(&buttons).raw("</div>");
        }
        html
    })
}

/// While its job lives it can be cancelled; after that it can be asked for again.
fn buttons(view: &RunPage) -> Html {
    let run = &view.run;
    if let Some(job) = &view.job {
        return parts::job_button(job);
    }
    if run.state == RunState::Running {
        return Html::new();
    }
    let asks = Asks { host: run.host.as_str(), project: run.project.as_str(), remote: &view.remote, shows_logs: false, releases: view.back.as_ref(), back: Back::Project };
    let mut html = asks.buttons(run.service.as_ref(), &[(run.action, again_words(run.action))]);
    if let Some(commit) = to_go_back_to(view) {
        html.add(&asks.go_back_to(commit));
    }
    html
}

/// The commit of a run that made it live, while another is.
fn to_go_back_to(view: &RunPage) -> Option<&str> {
    let run = &view.run;
    let made_live = run.state == RunState::Succeeded && matches!(run.action, Action::Deploy | Action::Rollback);
    let live = view.live.as_deref().filter(|_| made_live)?;
    run.commit.as_deref().filter(|commit| *commit != live)
}

fn again_words(action: Action) -> &'static str {
    match action {
        Action::Fetch => "Fetch again",
        // Not this run's commit, if there is a newer one.
        Action::Deploy => "Deploy newest commit",
        Action::Restart => "Restart again",
        Action::Stop => "Stop again",
        Action::Start => "Start again",
        Action::Rebuild => "Rebuild again",
        Action::Rollback => "Roll back again",
    }
}

fn failure(run: &RunRow, have: Have<'_>) -> Html {
    let version = version::of(&("failure", run.state, &run.failure));
    have.part("<section class=\"card failure\" id=\"failure\"", "</section>", &version, || failure_words(run))
}

fn failure_words(run: &RunRow) -> Html {
    let mut html = Html::new();
    html.raw("<h2>");
    match &run.failure {
        Some(Failure { kind, step, message }) => {
            html.text(kind_words(*kind)).raw("</h2><p>");
            if !step.is_empty() {
                html.raw("Step <strong>").add(&parts::quote(step)).raw("</strong>: ");
            }
            html.raw("<span class=\"message\">").add(&parts::quote(message)).raw("</span></p>");
        }
        None => {
            html.raw("It did not succeed</h2><p>The host did not say why.</p>");
        }
    }
    html.raw("<p>").text(consequence(run.state)).raw("</p>");
    html
}

/// What kind of thing went wrong, to somebody who reads nothing else.
fn kind_words(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Network => "The network on the way to the repository or a package index failed",
        FailureKind::Build => "The build broke",
        FailureKind::Source => "What the repository holds cannot be deployed",
        FailureKind::Health => "The new release was not healthy",
        FailureKind::Policy => "The host's own file does not allow it",
        FailureKind::Host => "Something is wrong with the host itself",
        FailureKind::Disk => "The host's disk is full",
        FailureKind::Crash => "It killed the host's daemon again and again",
        FailureKind::Cancelled => "It was cancelled",
    }
}

/// What it means for what is live.
fn consequence(state: RunState) -> &'static str {
    match state {
        RunState::Running => "The run has not ended yet.",
        RunState::Succeeded => "The run succeeded nevertheless.",
        RunState::Failed => "Nothing was switched: what was live before was not touched.",
        RunState::RolledBack => "The release that was live before serves again.",
        RunState::Refused => "Nothing was done.",
    }
}

fn about(view: &RunPage, have: Have<'_>, now: Timestamp) -> Html {
    let run = &view.run;
    let subject = subject(run, &view.steps);
    let waits = view.job.as_ref().map(|job| (job.state, job.failures));
    let version = version::of(&("about", run, subject, &view.repo, &view.delivery, waits));
    have.part("<div class=\"card\" id=\"about\"", "</div>", &version, || {
        let mut facts = Facts::default();
        facts
            .fact("Cause", &cause(view))
            .fact("Commit", &commit(run, subject, view.repo.as_deref().unwrap_or_default()))
            .fact("Started", &when::ago(run.started, now))
            .fact("Ended", &run.ended.filter(|_| run.state != RunState::Running).map(|at| when::ago(at, now)).unwrap_or_default())
            .fact(if run.state == RunState::Running { "Under way for" } else { "Took" }, &parts::run_took(run, now))
            .fact("Attempt", &attempt(view));
        facts.html()
    })
}

/// Why it ran, with the delivery that asked for it where one is known.
fn cause(view: &RunPage) -> Html {
    let mut html = Html::new();
    match (view.run.cause, &view.delivery) {
        (Cause::Push, Some(guid)) => html.link(&Href::local(&["deliveries", guid]), parts::cause_words(Cause::Push)),
        (cause, _) => html.text(parts::cause_words(cause)),
    };
    html
}

fn commit(run: &RunRow, subject: Option<&str>, repo: &str) -> Html {
    let Some(commit) = &run.commit else { return Html::new() };
    let mut html = behind::commit_link(commit, repo);
    if let Some(subject) = subject {
        html.raw(" ").add(&parts::quote(subject));
    }
    html
}

/// The commit's subject, which the fetch says behind the commit: `a1b2c3d
/// Subject (3 objects, 812 bytes)`.
fn subject<'a>(run: &RunRow, steps: &'a [StepRow]) -> Option<&'a str> {
    let commit = run.commit.as_deref()?;
    let detail = steps.iter().find(|step| step.name == "fetch")?.detail.as_str();
    let (short, rest) = detail.split_once(' ')?;
    let (subject, counts) = rest.rsplit_once(" (")?;
    let is_it = short.len() >= 7 && commit.starts_with(short) && counts.contains("objects");
    (is_it && !subject.is_empty()).then_some(subject)
}

/// Which try of its job it is, and whether one follows.
fn attempt(view: &RunPage) -> Html {
    let mut html = Html::new();
    if view.run.attempt > 1 {
        html.number(view.run.attempt.into());
    }
    if let Some(job) = view.job.as_ref().filter(|job| view.run.state != RunState::Running && job.failures > 0) {
        html.raw(if html.is_empty() { "" } else { "; " }).raw("its job is ").add(&parts::job_badge(job.state)).raw(" to be tried again");
    }
    html
}

#[cfg(test)]
mod tests;
