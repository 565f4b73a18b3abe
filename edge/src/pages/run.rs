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
use super::parts::{self, Asks, Facts, job_words};
use super::version::{self, Have};
use super::{behind, changes, log, steps, when};
use crate::view::{RunPage, RunRow, StepRow};

/// One run, whole, or what of it the reader does not have. The log is text and
/// nothing but text.
#[must_use]
pub fn run(view: &RunPage, have: Option<&[String]>, viewer: Viewer<'_>) -> String {
    let (run, have, now) = (&view.run, Have(have), viewer.now);
    let what = job_words(run.action, run.service.as_ref());
    let mut html = head(view, &what, have);
    if run.failure.is_some() || !matches!(run.state, RunState::Running | RunState::Succeeded) {
        html.add(&failure(run, have));
    }
    html.add(&about(view, have, now));
    html.add(&steps::section(run, &view.steps, have, now));
    let changed = changes::of(&view.steps, view.log.as_deref().unwrap_or_default());
    html.add(&changes::section(&changed, &changes_version(run, &view.steps), have));
    html.add(&log::section(view, have));
    let title = format!("{what} of {} on {}: {}", run.project, run.host, run.state.as_str().replace('_', " "));
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
fn head(view: &RunPage, what: &str, have: Have<'_>) -> Html {
    let run = &view.run;
    let (host, project) = (run.host.as_str(), run.project.as_str());
    let version = version::of(&("head", run.state, &view.remote, &view.job));
    have.part("<div class=\"line\" id=\"head\"", "</div>", &version, || {
        let mut html = Html::new();
        html.raw("<h1>").text(what).raw(" <small>of ");
        html.link(&parts::project_href(host, project), project).raw(" on ").text(host).raw("</small></h1>");
        html.add(&parts::run_badge(run.state));
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
    let asks = Asks { host: run.host.as_str(), project: run.project.as_str(), remote: &view.remote, is_on_containers: false };
    asks.buttons(run.service.as_ref(), &[(run.action, again_words(run.action))])
}

fn again_words(action: Action) -> &'static str {
    match action {
        Action::Fetch => "Fetch again",
        Action::Deploy => "Deploy again",
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
mod tests {
    use super::super::testing::*;
    use super::*;
    use crate::view::JobRow;

    fn page(id: &str, state: &str, steps: Vec<StepRow>, log: &[&str]) -> String {
        of(a_run(id, state), steps, log)
    }

    fn of(run: RunRow, steps: Vec<StepRow>, log: &[&str]) -> String {
        let log: Vec<String> = log.iter().map(|line| (*line).to_owned()).collect();
        super::run(&a_run_page(run, steps, &log), None, VIEWER)
    }

    /// The versions of the parts that a page has.
    fn versions(page: &str) -> Vec<String> {
        page.split(" data-v=\"").skip(1).filter_map(|rest| rest.split('"').next()).map(str::to_owned).collect()
    }

    #[test]
    fn a_run_that_was_rolled_back_says_so_first() {
        let steps = vec![
            a_step("fetch", "succeeded", Some(812), "a1b2c3d Add the cart (3 objects, 812 bytes)"),
            a_step("switch", "undone", Some(90), ""),
            a_step("check", "failed", Some(60_000), "0 of 3 good answers"),
            a_step("prune", "pending", None, ""),
        ];
        assert_eq!(
            seen(&page("r2", "rolled_back", steps, &["", "GET /health -> 500", "<b>not bold</b>"])),
            "Doorstep\nProjects\nContainers\nDeliveries\nAudit\nSettings\n[Sign out]\n\
             # deploy of shop on attic\n↺ rolled back\n[Deploy again: shop on attic]\n\
             ## The new release was not healthy\n\
             Step check: /health answered 500\n\
             The release that was live before serves again.\n\
             Cause\na push\nCommit\na1b2c3d Add the cart\nStarted\n4 min ago\nEnded\n3 min ago\nTook\n31 s\n\
             ## Steps\n\
             Step | State | Took | When | Detail\n\
             fetch | ✓ succeeded | 812 ms | | a1b2c3d Add the cart (3 objects, 812 bytes)\n\
             switch | ↺ undone | 90 ms\n\
             check | ✕ failed | 1 min 0 s | | 0 of 3 good answers\n\
             prune | ○ pending\n\
             ## Log\nraw\n\
             GET /health -> 500\n\
             <b>not bold</b>"
        );
    }

    #[test]
    fn a_run_under_way_counts_and_follows() {
        let page = page("r3", "running", vec![a_step("build", "started", None, "")], &["Resolved 42 packages"]);
        let text = seen(&page);
        assert!(text.contains("# deploy of shop on attic\n◐ running\nCause\n"), "{text}");
        assert!(text.contains("Started\n42 s ago\nUnder way for\n42 s\n"), "{text}");
        assert!(text.contains("build | ◐ started | 20 s\n"), "{text}");
        assert!(page.contains(" data-follow><ol start=\"1\"><li id=\"L1\" value=\"1\">Resolved"), "{page}");
        assert!(!page.contains("id=\"failure\""));
    }

    #[test]
    fn a_run_for_one_service_names_it() {
        let run = RunRow { service: Some("web".parse().unwrap()), action: "restart".parse().unwrap(), ..a_run("r1", "succeeded") };
        let page = of(run, vec![], &[]);
        assert!(page.contains("<title>restart web of shop on attic: succeeded"), "{page}");
        assert!(seen(&page).contains("# restart web of shop on attic"), "{page}");
    }

    #[test]
    fn a_run_without_anything_is_still_a_page() {
        let text = seen(&page("r1", "succeeded", vec![], &[]));
        assert!(text.ends_with("## Steps\nNo step was reported yet.\n## Log\nraw\nNothing was logged so far."), "{text}");
        let mut silent = a_run("r4", "refused");
        silent.failure = None;
        let text = seen(&of(silent, vec![], &[]));
        assert!(text.contains("## It did not succeed\nThe host did not say why.\nNothing was done."), "{text}");
    }

    #[test]
    fn every_state_and_every_kind_of_failure_has_words() {
        for state in RunState::ALL {
            for kind in FailureKind::ALL {
                let mut run = a_run("r", state.as_str());
                run.failure = Some(Failure { kind: *kind, step: "build".into(), message: "m".into() });
                let text = seen(&of(run, vec![], &[]));
                assert!(text.contains(kind_words(*kind)) && text.contains("Step build: m"));
            }
        }
    }

    #[test]
    fn hostile_words_change_no_markup() {
        let with = |word: &str| {
            let steps =
                vec![StepRow { name: word.into(), detail: word.into(), ..a_step("x", "failed", Some(u64::MAX), "") }];
            let delivery = Some(word.to_owned());
            let view = RunPage { repo: Some(word.into()), delivery, ..a_run_page(hostile_run(word), steps, &vec![word.into(); 3]) };
            skeleton(&super::run(&view, None, VIEWER))
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
    #[test]
    fn a_live_job_can_be_cancelled_and_one_that_ended_asked_for_again() {
        let mut view = a_run_page(a_run("r1", "running"), vec![], &[]);
        view.job = Some(a_job("deploy", "leased"));
        let text = seen(&super::run(&view, None, VIEWER));
        assert!(text.contains("◐ running\n[Cancel: deploy shop on attic]\n") && !text.contains("again"), "{text}");
        // It failed, and its job waits for the next try.
        view.run = a_run("r1", "failed");
        view.job = Some(JobRow { failures: 1, ..a_job("deploy", "waiting") });
        let text = seen(&super::run(&view, None, VIEWER));
        assert!(text.contains("Attempt\nits job is ○ waiting to be tried again") && text.contains("[Cancel"), "{text}");
        view.job = None;
        assert!(seen(&super::run(&view, None, VIEWER)).contains("[Deploy again: shop on attic]"));
        view.remote.clear();
        assert!(!super::run(&view, None, VIEWER).contains("<form method=\"post\" action=\"/projects"));
        for action in Action::ALL {
            assert!(again_words(*action).ends_with(" again"));
        }
    }

    #[test]
    fn the_cause_and_the_commit_lead_where_they_came_from() {
        let steps = vec![a_step("fetch", "succeeded", Some(1), "a1b2c3d Add (the) cart (3 objects, 812 bytes)")];
        let html = of(a_run("r1", "succeeded"), steps, &[]);
        assert!(html.contains("<a href=\"/deliveries/d1\"><bdi>a push</bdi></a>"), "{html}");
        assert!(html.contains("href=\"https://github.com/me/shop/commit/a1b2c3d4") && html.contains("<bdi>Add (the) cart</bdi>"), "{html}");
        let other = vec![a_step("fetch", "succeeded", Some(1), "9999999 Other (3 objects, 812 bytes)")];
        assert!(!of(a_run("r1", "succeeded"), other, &[]).contains("<bdi>Other</bdi>"));
    }

    #[test]
    fn what_the_reader_has_is_not_sent_again() {
        let mut steps: Vec<StepRow> = (0..12).map(|n| a_step(&format!("step{n}"), "succeeded", Some(n), "some words of detail")).collect();
        let log: Vec<String> = vec!["a line".into(); 1_000];
        let whole = super::run(&a_run_page(a_run("r1", "running"), steps.clone(), &log), None, VIEWER);
        let have = versions(&whole);
        steps.push(a_step("check", "started", None, ""));
        let view = RunPage { log: None, ..a_run_page(a_run("r1", "running"), steps, &[]) };
        let part = super::run(&view, Some(&have), VIEWER);
        assert_well_formed(&part);
        assert!(part.starts_with("<title>deploy of shop on attic: running · Doorstep</title><main id=\"main\""), "{part}");
        assert!(part.contains("id=\"step/12\" data-v=") && part.contains("<section id=\"output\" data-end=\"2000\" data-same></section>"), "{part}");
        assert_eq!(part.matches("data-same").count(), 12 + 5, "{part}");
        assert!(part.len() < 2_048, "{} bytes of {}", part.len(), whole.len());
    }

    #[test]
    fn the_log_is_read_again_only_when_it_says_what_changed() {
        let run = a_run("r1", "running");
        let have = versions(&super::run(&a_run_page(run.clone(), vec![], &[]), None, VIEWER));
        assert!(run_wants_log(&run, &[], None));
        assert!(!run_wants_log(&run, &[a_step("build", "succeeded", Some(1), "")], Some(&have)));
        assert!(!run_wants_log(&run, &[a_step("verify", "started", None, "")], Some(&have)));
        assert!(run_wants_log(&run, &[a_step("verify", "succeeded", Some(1), "1 added, 0 modified, 0 removed")], Some(&have)));
    }
}
