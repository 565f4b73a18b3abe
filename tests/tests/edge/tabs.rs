//! Many open tabs, a run that logs much, and how much a first view weighs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorstep_shared::ids::{RunState, StepState};
use doorstep_tests::{Chatter, Crowd, Edge, GitHub, Push, Tab, WEBHOOK_SECRET, gzipped, project, wait};
use futures_util::future::join_all;
use serde_json::json;
use tokio::sync::watch;

use crate::reports::{outcome, started, step};

/// A log of 1,000 lines a second, below the 1 MiB that an executor sends, in
/// reports far smaller than its own.
const CHATTER: Chatter = Chatter { lines: 8_000, each: 25, per_second: 1_000 };
const TABS: usize = 50;
/// Between two webhooks.
const EVERY: Duration = Duration::from_millis(100);
/// GitHub waits so long for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// A first view of fifty projects, compressed, style and script included.
const FIRST_VIEW_MAX: usize = 60_000;

/// Posts pushes until it is over, and says how many were answered.
async fn push_on(edge: &Edge, is_over: &AtomicBool) -> usize {
    let (mut github, mut count, mut due) = (GitHub::new(WEBHOOK_SECRET), 0, Instant::now());
    while !is_over.load(Ordering::Relaxed) {
        tokio::time::sleep_until(due.into()).await;
        due += EVERY;
        let begun = Instant::now();
        let answer = edge.deliver(&github.push("nobody/follows", Push::to("main"))).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        assert!(begun.elapsed() < ANSWER_MAX, "GitHub waits no longer than that: {:?}", begun.elapsed());
        count += 1;
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_tabs_follow_a_log_that_loses_nothing_while_pushes_come() {
    let edge = Edge::start().await;
    let mut session = edge.enrolled("loud").await.connect(&[project("shop", "loud/shop")]).await;
    session.report(started("loud-1", "shop", None)).await;
    session.report(step("loud-1", 0, "build", StepState::Started)).await;
    let cookie = edge.session().await;
    let (over, is_over) = watch::channel(false);
    let tabs = join_all((0..TABS).map(|_| Tab::open(&edge, &cookie, "/runs/loud-1"))).await;
    let counts: Vec<_> = tabs.iter().map(Tab::count).collect();
    let tabs: Vec<_> = tabs.into_iter().map(|tab| tokio::spawn(tab.live(is_over.clone()))).collect();

    let pushes_are_over = AtomicBool::new(false);
    let logs = async {
        CHATTER.tell(&mut session, "loud-1").await;
        pushes_are_over.store(true, Ordering::Relaxed);
    };
    let (pushes, ()) = tokio::join!(push_on(&edge, &pushes_are_over), logs);
    assert!(pushes > 10, "{pushes} pushes were answered");

    let wanted = CHATTER.all();
    let stored = edge.get("/api/runs/loud-1/log").await["lines"].take();
    assert_eq!(stored, json!(wanted), "each line once, and in order");
    let behind = async || counts.iter().filter(|count| count.load(Ordering::Relaxed) < wanted.len()).count();
    wait::until("every tab to have the whole log", behind, |behind| *behind == 0).await;
    session.report(outcome("loud-1", None, RunState::Succeeded, None)).await;
    over.send(true).unwrap();
    for tab in join_all(tabs).await {
        let seen = tab.unwrap();
        assert!(seen.lines == wanted, "a tab ends with {} lines", seen.lines.len());
    }
}

/// The path of the page's file that begins so.
fn asset<'a>(page: &'a str, stem: &str) -> &'a str {
    let rest = page.split_once(&format!("/assets/{stem}.")).unwrap_or_else(|| panic!("{stem} is not on the page")).1;
    let end = rest.find('"').unwrap();
    &page[page.len() - rest.len() - stem.len() - "/assets/.".len()..page.len() - rest.len() + end]
}

#[tokio::test]
async fn a_first_view_of_fifty_projects_is_small() {
    let edge = Edge::start().await;
    let crowd = Crowd::gather(&edge, 5, 10, 30).await;
    let cookie = edge.session().await;
    let page = edge.request("GET", "/", &[("cookie", cookie.as_str())], "").await.text();
    for project in &crowd.projects {
        assert!(page.contains(&format!("id=\"project/{project}\"")), "{project} is not on the page");
    }
    let mut weights = vec![gzipped(page.as_bytes())];
    for stem in ["style", "live"] {
        let answer = edge.request("GET", asset(&page, stem), &[], "").await;
        assert_eq!(answer.status, 200);
        weights.push(gzipped(&answer.body));
    }
    assert!(weights.iter().sum::<usize>() < FIRST_VIEW_MAX, "page, style and script weigh {weights:?}");
}
