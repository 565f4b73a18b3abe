//! One run: what went wrong, its steps, its log.

use doorstep_shared::ids::{FailureKind, RunState, StepState};
use doorstep_shared::protocol::Failure;
use doorstep_shared::time::Timestamp;

use super::Viewer;
use super::html::Html;
use super::layout::{Frame, document};
use super::parts::{self, Facts, Table, job_words};
use super::when;
use crate::view::{RunRow, RunView, StepRow};

/// One run, whole. The log is text and nothing but text.
#[must_use]
pub fn run(view: &RunView, viewer: Viewer<'_>) -> String {
    let now = viewer.now;
    let run = &view.run;
    let (host, project) = (run.host.as_str(), run.project.as_str());
    let mut html = Html::new();
    let what = job_words(run.action, run.service.as_ref());
    html.raw("<div class=\"line\"><h1>").text(&what).raw(" <small>of ");
    html.link(&parts::project_href(host, project), project).raw(" on ").text(host).raw("</small></h1>");
    html.add(&parts::run_badge(run.state)).raw("</div>");
    if run.failure.is_some() || !matches!(run.state, RunState::Running | RunState::Succeeded) {
        html.add(&failure(run));
    }
    html.raw("<div class=\"card\" id=\"about\">").add(&about(run, now)).raw("</div>");
    html.raw("<section id=\"steps\"><h2>Steps</h2>").add(&steps(&view.steps, now)).raw("</section>");
    html.raw("<section id=\"output\"><h2 id=\"log-name\">Log</h2>").add(&log(view)).raw("</section>");
    let title = format!("{what} of {project} on {host}: {}", run.state.as_str().replace('_', " "));
    document(&title, &Frame::Live { menu: "/", viewer }, &html)
}

fn failure(run: &RunRow) -> Html {
    let mut html = Html::new();
    html.raw("<section class=\"card failure\" id=\"failure\"><h2>");
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
    html.raw("<p>").text(consequence(run.state)).raw("</p></section>");
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
        FailureKind::Cancelled => "It was cancelled, or ran past its time limit",
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

fn about(run: &RunRow, now: Timestamp) -> Html {
    let mut cause = Html::of(parts::cause_words(run.cause));
    if run.attempt > 1 {
        cause.raw(" <span class=\"muted\">attempt ").number(run.attempt.into()).raw("</span>");
    }
    let mut facts = Facts::default();
    facts
        .fact("Started", &when::ago(run.started, now))
        .fact(if run.state == RunState::Running { "Under way for" } else { "Took" }, &parts::run_took(run, now))
        .fact("Commit", &run.commit.as_deref().map(parts::commit).unwrap_or_default())
        .fact("Cause", &cause);
    facts.html()
}

fn steps(steps: &[StepRow], now: Timestamp) -> Html {
    let mut html = Html::new();
    if steps.is_empty() {
        html.raw("<p class=\"card\">No step was reported yet.</p>");
        return html;
    }
    let mut table = Table::new("Steps", &["Step", "State", "Took", "Detail"]);
    for (place, step) in steps.iter().enumerate() {
        let took = match (step.duration_ms, step.state) {
            (Some(ms), _) => Html::of(&when::took_words(ms)),
            (None, StepState::Started) => when::since(step.at, now),
            (None, StepState::Pending | StepState::Succeeded | StepState::Failed | StepState::Undone) => Html::new(),
        };
        let detail = if step.detail.is_empty() { Html::new() } else { parts::quote(&step.detail) };
        table.row(&format!("step/{place}"), &[Html::of(&step.name), parts::step_badge(step.state), took, detail]);
    }
    html.add(&table.html());
    html
}

fn log(view: &RunView) -> Html {
    let mut html = Html::new();
    let running = view.run.state == RunState::Running;
    if view.log.is_empty() {
        html.raw(if running {
            "<p class=\"card\">Nothing was logged yet.</p>"
        } else {
            "<p class=\"card\">Nothing was logged.</p>"
        });
        return html;
    }
    html.raw("<pre id=\"log\" tabindex=\"0\" role=\"region\" aria-labelledby=\"log-name\"");
    html.raw(if running { " data-follow" } else { "" });
    // A browser swallows one newline after <pre>; this one, not the log's first empty line.
    html.raw(">\n");
    for line in &view.log {
        html.text(line).raw("\n");
    }
    html.raw("</pre>");
    html
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn page(id: &str, state: &str, steps: Vec<StepRow>, log: &[&str]) -> String {
        super::run(&RunView { run: a_run(id, state), steps, log: log.iter().map(|l| (*l).to_owned()).collect() }, VIEWER)
    }

    #[test]
    fn a_run_that_was_rolled_back_says_so_first() {
        let steps = vec![
            a_step("fetch", "succeeded", Some(812), "a1b2c3d Add the cart"),
            a_step("switch", "undone", Some(90), ""),
            a_step("check", "failed", Some(60_000), "0 of 3 good answers"),
            a_step("prune", "pending", None, ""),
        ];
        assert_eq!(
            seen(&page("r2", "rolled_back", steps, &["", "GET /health -> 500", "<b>not bold</b>"])),
            "Doorstep\nProjects\nContainers\nDeliveries\nAudit\nSettings\n[Sign out]\n\
             # deploy of shop on attic\n↺ rolled back\n\
             ## The new release was not healthy\n\
             Step check: /health answered 500\n\
             The release that was live before serves again.\n\
             Started\n4 min ago\nTook\n31 s\nCommit\na1b2c3d\nCause\na push\n\
             ## Steps\n\
             Step | State | Took | Detail\n\
             fetch | ✓ succeeded | 812 ms | a1b2c3d Add the cart\n\
             switch | ↺ undone | 90 ms\n\
             check | ✕ failed | 1 min 0 s | 0 of 3 good answers\n\
             prune | ○ pending\n\
             ## Log\n\
             GET /health -> 500\n\
             <b>not bold</b>"
        );
    }

    #[test]
    fn a_run_under_way_counts_and_follows() {
        let page = page("r3", "running", vec![a_step("build", "started", None, "")], &["Resolved 42 packages"]);
        let text = seen(&page);
        assert!(text.contains("◐ running\nStarted\n42 s ago\nUnder way for\n42 s\n"), "{text}");
        assert!(text.contains("build | ◐ started | 20 s\n"), "{text}");
        assert!(page.contains(" data-follow>\nResolved"));
        assert!(!page.contains("id=\"failure\""));
    }

    #[test]
    fn a_run_for_one_service_names_it() {
        let run = RunRow { service: Some("web".parse().unwrap()), action: "restart".parse().unwrap(), ..a_run("r1", "succeeded") };
        let page = super::run(&RunView { run, steps: vec![], log: vec![] }, VIEWER);
        assert!(page.contains("<title>restart web of shop on attic: succeeded"), "{page}");
        assert!(seen(&page).contains("# restart web of shop on attic"), "{page}");
    }

    #[test]
    fn a_run_without_anything_is_still_a_page() {
        let text = seen(&page("r1", "succeeded", vec![], &[]));
        assert!(text.ends_with("## Steps\nNo step was reported yet.\n## Log\nNothing was logged."), "{text}");
        let mut silent = a_run("r4", "refused");
        silent.failure = None;
        let text = seen(&super::run(&RunView { run: silent, steps: vec![], log: vec![] }, VIEWER));
        assert!(text.contains("## It did not succeed\nThe host did not say why.\nNothing was done."), "{text}");
    }

    #[test]
    fn every_state_and_every_kind_of_failure_has_words() {
        for state in RunState::ALL {
            for kind in FailureKind::ALL {
                let mut run = a_run("r", state.as_str());
                run.failure = Some(Failure { kind: *kind, step: "build".into(), message: "m".into() });
                let text = seen(&super::run(&RunView { run, steps: vec![], log: vec![] }, VIEWER));
                assert!(text.contains(kind_words(*kind)) && text.contains("Step build: m"));
            }
        }
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| {
            let steps =
                vec![StepRow { name: word.into(), detail: word.into(), ..a_step("x", "failed", Some(u64::MAX), "") }];
            skeleton(&super::run(&RunView { run: hostile_run(word), steps, log: vec![word.into(); 3] }, VIEWER))
        };
        for hostile in HOSTILE {
            assert_eq!(with(hostile), with("x"), "{hostile}");
        }
    }

    #[test]
    fn a_full_log_is_one_page() {
        let line = "error: <expected> \"one\" & 'two' ".repeat(8);
        let log: Vec<&str> = std::iter::repeat_n(line.as_str(), 4_096).collect();
        assert_well_formed(&page("r1", "succeeded", vec![], &log));
    }
}
