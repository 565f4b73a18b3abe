//! Many open tabs, a run that logs much, and how much a first view weighs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use doorstep_shared::ids::{RunState, StepState};
use doorstep_tests::{Chatter, Crowd, Edge, GitHub, Page, Push, Session, Tab, WEBHOOK_SECRET, gunzipped, project, wait};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::reports::{log, outcome, started, step};

/// A log of 1,000 lines a second, below the 1 MiB that an executor sends, in
/// reports far smaller than its own.
const CHATTER: Chatter = Chatter { lines: 8_000, each: 25, per_second: 1_000 };
const TABS: usize = 50;
/// Between two webhooks.
const EVERY: Duration = Duration::from_millis(100);
/// GitHub waits so long for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Nudges are so many milliseconds apart.
const APART_MS: u128 = 100;
/// What a report of a log counts as at least, in the numbers that say where it ends.
const LOG_ROW_BYTES: u64 = 128;
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

/// Logs until a page is told that and nothing else, so that nothing waits to be
/// told any more. Returns where the log ends.
async fn is_quiet(session: &mut Session, run: &str, page: &mut Page) -> u64 {
    for lines in 1.. {
        session.report(log(run, &["a line"])).await;
        loop {
            let told = page.hear().await;
            if told["logs"][run] == json!(lines * LOG_ROW_BYTES) {
                return lines * LOG_ROW_BYTES;
            }
            if told["changed"] == json!(["*"]) {
                break;
            }
        }
    }
    unreachable!("it logs for ever");
}

/// What a page must be told next.
async fn is_told(page: &mut Page, told: Value) {
    assert_eq!(page.hear().await, told);
}

#[tokio::test]
async fn a_nudge_says_which_pages_it_is_for() {
    let edge = Edge::start().await;
    let mut session = edge.enrolled("quiet").await.connect(&[project("shop", "quiet/shop")]).await;
    session.report(started("quiet-1", "shop", None)).await;
    let (mut page, mut github) = (Page::open(&edge, &edge.session().await).await, GitHub::new(WEBHOOK_SECRET));
    let end = is_quiet(&mut session, "quiet-1", &mut page).await + LOG_ROW_BYTES;
    session.report(log("quiet-1", &["one", "two"])).await;
    is_told(&mut page, json!({"changed": ["log"], "logs": {"quiet-1": end}})).await;
    edge.deliver(&github.push("nobody/follows", Push::to("main"))).await;
    is_told(&mut page, json!({"changed": ["/deliveries"]})).await;
    session.report(step("quiet-1", 0, "fetch", StepState::Succeeded)).await;
    is_told(&mut page, json!({"changed": ["*"]})).await;
    edge.deliver(&github.push("quiet/shop", Push::to("main"))).await;
    is_told(&mut page, json!({"changed": ["*"]})).await;
}

#[tokio::test]
async fn a_hundred_changes_are_told_in_a_few_nudges_and_the_last_is_among_them() {
    let edge = Edge::start().await;
    let mut session = edge.enrolled("quick").await.connect(&[project("shop", "quick/shop")]).await;
    session.report(started("quick-1", "shop", None)).await;
    let mut page = Page::open(&edge, &edge.session().await).await;
    let begun = Instant::now();
    for line in 0..100 {
        session.report(log("quick-1", &[&line.to_string()])).await;
    }
    let mut nudges = 0;
    while page.hear().await["logs"]["quick-1"] != json!(100 * LOG_ROW_BYTES) {
        nudges += 1;
    }
    let most = begun.elapsed().as_millis() / APART_MS + 2;
    assert!(nudges <= most, "{nudges} nudges in {:?}", begun.elapsed());
}

#[tokio::test]
async fn who_takes_gzip_gets_it_but_of_no_page_that_repeats_its_address() {
    let edge = Edge::start().await;
    let cookie = edge.session().await;
    let encoding = async |path: &str, takes: &str| {
        let answer = edge.request("GET", path, &[("cookie", &cookie), ("accept-encoding", takes)], "").await;
        assert_eq!(answer.status, 200, "{path}");
        answer.header("content-encoding").map(str::to_owned)
    };
    for path in ["/", "/containers", "/assets/live.js", "/assets/style.css"] {
        assert_eq!(encoding(path, "gzip, deflate").await.as_deref(), Some("gzip"), "{path}");
        assert_eq!(encoding(path, "identity;q=0.5, gzip; q=0.1").await.as_deref(), Some("gzip"), "{path}");
        assert_eq!(encoding(path, "identity, gzip;q=0").await, None, "{path}");
    }
    for path in ["/deliveries?search=x", "/audit", "/settings"] {
        assert_eq!(encoding(path, "gzip, deflate").await, None, "{path}");
    }
    // And what comes is what it says.
    let packed = edge.request("GET", "/assets/live.js", &[("accept-encoding", "gzip")], "").await;
    let plain = edge.request("GET", "/assets/live.js", &[], "").await;
    assert_eq!(gunzipped(&packed.body), plain.body);
    assert_eq!(packed.header("vary"), Some("accept-encoding"));
}

/// The path of the page's file that begins so.
fn asset<'a>(page: &'a str, stem: &str) -> &'a str {
    let begin = format!("/assets/{stem}.");
    page.split('"').find(|word| word.starts_with(&begin)).unwrap()
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
    let mut weights = Vec::new();
    for path in ["/", asset(&page, "style"), asset(&page, "live")] {
        let answer = edge.request("GET", path, &[("cookie", cookie.as_str()), ("accept-encoding", "gzip, deflate")], "").await;
        assert_eq!((answer.status, answer.header("content-encoding")), (200, Some("gzip")), "{path}");
        weights.push(answer.body.len());
    }
    assert!(weights.iter().sum::<usize>() < FIRST_VIEW_MAX, "page, style and script weigh {weights:?}");
}
