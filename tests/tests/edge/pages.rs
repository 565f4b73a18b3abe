//! Pages that refresh in parts, and what can be asked of the history.

use doorstep_shared::ids::{RunState, StepState};
use doorstep_shared::protocol::Report;
use doorstep_tests::{Edge, GitHub, Push, WEBHOOK_SECRET, project};
use serde_json::json;

use crate::reports::{log, outcome, started, step};
use crate::shared_edge;

/// What a page is for a person, who has these parts of it.
async fn page(edge: &Edge, path: &str, have: Option<&str>) -> String {
    let cookie = edge.session().await;
    let mut headers = vec![("cookie", cookie.as_str())];
    headers.extend(have.map(|have| ("x-doorstep-have", have)));
    let answer = edge.request("GET", path, &headers, "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text()
}

/// The versions of its parts.
fn versions(page: &str) -> String {
    page.split(" data-v=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn a_log_is_read_on_from_where_its_reader_stands() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("parts").await.connect(&[project("parts", "parts/shop")]).await;
    session.report(started("parts-1", "parts", None)).await;
    let part = async |after: u64| edge.get(&format!("/api/runs/parts-1/log?after={after}")).await;
    assert_eq!(part(0).await, json!({"lines": [], "next": 0, "more": false}));
    session.report(log("parts-1", &["one", "two"])).await;
    session.report(log("parts-1", &["three"])).await;
    let first = part(0).await;
    assert_eq!((&first["lines"], &first["more"]), (&json!(["one", "two", "three"]), &json!(false)));
    let next = first["next"].as_u64().unwrap();
    assert_eq!(part(next).await, json!({"lines": [], "next": next, "more": false}));
    session.report(log("parts-1", &["four"])).await;
    assert_eq!(part(next).await["lines"], json!(["four"]));

    // A long one comes in parts, each line once.
    let line = "x".repeat(4_000);
    for _ in 0..100 {
        session.report(log("parts-1", &[&line])).await;
    }
    let (mut lines, mut at, mut parts) = (0, 0, 0);
    loop {
        let part = part(at).await;
        lines += part["lines"].as_array().unwrap().len();
        (at, parts) = (part["next"].as_u64().unwrap(), parts + 1);
        if part["more"] == false {
            break;
        }
    }
    assert_eq!((lines, parts), (104, 2));
    let text = edge.api("GET", "/api/runs/parts-1/log?format=text").await.text();
    assert!(text.starts_with("one\ntwo\nthree\nfour\nxxx"), "{}", &text[..40]);
    for bad in ["?after=-1", "?format=html"] {
        assert_eq!(edge.api("GET", &format!("/api/runs/parts-1/log{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(edge.api("GET", "/api/runs/nobody/log?after=0").await.status, 404);
}

#[tokio::test]
async fn a_refresh_holds_what_is_new_and_no_more() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("fresh").await.connect(&[project("fresh", "fresh/shop")]).await;
    session.report(started("fresh-1", "fresh", None)).await;
    session.report(log("fresh-1", &["~ app.py", "a secret of the log"])).await;
    session.report(step("fresh-1", 0, "fetch", StepState::Succeeded)).await;
    let whole = page(&edge, "/runs/fresh-1", None).await;
    assert!(whole.contains("a secret of the log") && whole.starts_with("<!doctype html>"), "{whole}");
    let have = versions(&whole);
    session.report(step("fresh-1", 1, "build", StepState::Started)).await;
    let part = page(&edge, "/runs/fresh-1", Some(&have)).await;
    assert!(part.starts_with("<title>") && part.contains("build it") && part.contains("id=\"step/0\" data-same"), "{part}");
    assert!(!part.contains("a secret of the log") && part.len() < 2_048, "{} bytes: {part}", part.len());

    // What changed is shown once the host says how much there is.
    let Report::Step { run, name, state, at, duration_ms, .. } = step("fresh-1", 2, "verify", StepState::Succeeded) else { return };
    let detail = "0 added, 1 modified, 0 removed".to_owned();
    session.report(Report::Step { run, index: 2, name, state, at, duration_ms, detail, commit: None }).await;
    assert!(page(&edge, "/runs/fresh-1", Some(&have)).await.contains("Changed files (1)"));
    session.report(outcome("fresh-1", None, RunState::Succeeded, None)).await;
    assert!(page(&edge, "/runs/fresh-1", Some(&have)).await.contains("succeeded"));
}

#[tokio::test]
async fn the_history_can_be_searched_and_a_delivery_looked_at_and_run_again() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let mut session = edge.enrolled("attic").await.connect(&[project("shop", "me/shop")]).await;
    let push = github.push("me/shop", Push::to("main"));
    edge.deliver(&push).await;
    let grant = session.grant().await;
    session.report(started("zz-1", "shop", Some(&grant))).await;
    session.report(outcome("zz-1", Some(&grant), RunState::Succeeded, None)).await;
    for _ in 0..3 {
        edge.deliver(&github.push("me/Other", Push::to("next"))).await;
    }
    let rows = async |query: &str| page(&edge, &format!("/deliveries{query}"), None).await.matches(" id=\"delivery/").count();
    assert_eq!(rows("").await, 4);
    for (query, count) in [("?status=ignored&search=", 3), ("?status=accepted", 1), ("?search=oTHER", 3), ("?search=heads/next", 3), ("?search=%25", 0)] {
        assert_eq!(rows(query).await, count, "{query}");
    }
    assert_eq!(rows(&format!("?search={}", push.guid)).await, 1);
    let older = edge.get("/webhooks/github/events?limit=3").await["before"].as_u64().unwrap();
    assert_eq!(rows(&format!("?before={older}")).await, 1);
    let cookie = edge.session().await;
    assert_eq!(edge.request("GET", "/deliveries?status=lost", &[("cookie", &cookie)], "").await.status, 400);

    // A delivery leads to its run, and the run to it.
    let path = format!("/deliveries/{}", push.guid);
    let delivery = page(&edge, &path, None).await;
    assert!(delivery.contains("href=\"/runs/zz-1\"") && delivery.contains("refs/heads/main"), "{delivery}");
    assert!(page(&edge, "/deliveries", None).await.contains("href=\"/runs/zz-1\""));
    assert!(page(&edge, "/runs/zz-1", None).await.contains(&format!("href=\"{path}\"")));
    assert_eq!(edge.request("GET", "/deliveries/nobody", &[("cookie", &cookie)], "").await.status, 404);
    let bare = edge.request("POST", &format!("{path}/replay"), &[("cookie", &cookie), ("origin", &edge.url(""))], "").await;
    assert_eq!(bare.status, 403, "a form carries its session's token");
    let replay = edge.press(&cookie, &format!("{path}/replay"), "").await;
    assert_eq!(replay.status, 303, "{}", replay.text());
    assert_eq!(session.grant().await.cause.as_str(), "replay");
}

#[tokio::test]
async fn the_bar_of_the_first_page_is_as_the_runs_are() {
    let edge = shared_edge().await;
    let mut session = edge.enrolled("bars").await.connect(&[project("bars", "bars/shop")]).await;
    let bar = async || {
        let page = page(&edge, "/", None).await;
        let card = page.split("id=\"project/bars/bars\"").nth(1).unwrap().split("</li>").next().unwrap().to_owned();
        card.split_once("role=\"img\" aria-label=\"").map(|(_, rest)| rest.split('"').next().unwrap().to_owned())
    };
    assert_eq!(bar().await, None);
    session.report(started("bars-1", "bars", None)).await;
    assert_eq!(bar().await.as_deref(), Some("The last run: 1 running"));
    session.report(outcome("bars-1", None, RunState::Succeeded, None)).await;
    assert_eq!(bar().await.as_deref(), Some("The last run: 1 succeeded"));
    session.report(started("bars-2", "bars", None)).await;
    assert_eq!(bar().await.as_deref(), Some("The last 2 runs: 1 running, 1 succeeded"));
    for number in 3..=40 {
        session.report(started(&format!("bars-{number:02}"), "bars", None)).await;
    }
    assert!(bar().await.unwrap().starts_with("The last 30 runs:"));
}
