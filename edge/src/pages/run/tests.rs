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
        "Doorstep\nProjects\nContainers\nHosts\nDeliveries\nAudit\nSettings\n[Sign out]\n\
         # deploy of shop on attic\n↺ rolled back\n[Deploy newest commit: shop on attic]\n\
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
        let view = RunPage { repo: Some(word.into()), delivery, ..a_run_page(hostile_run(word), steps, &vec![format!("\u{1b}[31m{word}"); 3]) };
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
    assert!(seen(&super::run(&view, None, VIEWER)).contains("[Deploy newest commit: shop on attic]"));
    view.remote.clear();
    assert!(!super::run(&view, None, VIEWER).contains("<form method=\"post\" action=\"/projects"));
    for action in Action::ALL {
        assert!(again_words(*action).ends_with(if *action == Action::Deploy { "newest commit" } else { " again" }));
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

#[test]
fn one_goes_back_to_a_run_that_made_another_commit_live() {
    let of = |action: &str, state: &str, live: Option<&str>, remote: &[Action]| {
        let mut view = a_run_page(RunRow { action: action.parse().unwrap(), ..a_run("r1", state) }, vec![], &[]);
        (view.live, view.remote) = (live.map(str::to_owned), remote.to_vec());
        super::run(&view, None, VIEWER)
    };
    let page = of("deploy", "succeeded", Some("b0b0"), Action::ALL);
    assert!(page.contains("action=\"/projects/attic/shop/rollback\"") && page.contains(&format!("name=\"commit\" value=\"{COMMIT}\"><button class=\"small\">Roll back to here")), "{page}");
    for page in [
        of("deploy", "succeeded", Some(COMMIT), Action::ALL),
        of("deploy", "succeeded", None, Action::ALL),
        of("deploy", "failed", Some("b0b0"), Action::ALL),
        of("restart", "succeeded", Some("b0b0"), Action::ALL),
        of("deploy", "succeeded", Some("b0b0"), &[Action::Deploy]),
    ] {
        assert!(!page.contains("Roll back to here"), "{page}");
    }
}
