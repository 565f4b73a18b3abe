//! What is kept of deliveries, and what is told about them.

use doorstep_shared::protocol::ProjectView;
use doorstep_tests::{Delivery, Edge, GitHub, Push, Raw, Secrets, WEBHOOK_SECRET, project, wait};
use serde_json::Value;

use crate::shared_edge;

#[tokio::test]
async fn ping_is_answered_at_once_and_at_every_address() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    for path in ["/webhooks/github", "/webhook", "/integrations/github/webhook"] {
        let ping = github.ping("pinged/shop");
        let answer = edge.request("POST", path, &ping.headers(), ping.body.clone()).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let told = answer.json();
        assert_eq!((&told["event_type"], &told["delivery_id"]), (&"ping".into(), &ping.guid.as_str().into()));
        assert_eq!(told["jobs"], Value::Array(Vec::new()));
    }
}

#[tokio::test]
async fn health_is_open_and_says_no_more_than_it_should() {
    let edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let health = async || {
        let answer = edge.request("GET", "/webhooks/github/health", &[], "").await;
        assert_eq!(answer.status, 200);
        answer.json()
    };
    let quiet = health().await;
    let keys: Vec<&String> = quiet.as_object().unwrap().keys().collect();
    let expected = ["failed_events_last_hour", "last_event_at", "status", "success_rate", "total_events_last_hour"];
    assert_eq!(keys, expected);
    assert_eq!((&quiet["status"], &quiet["last_event_at"]), (&"silent".into(), &Value::Null));

    edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    // It is counted anew within a second of a delivery.
    let busy = wait::until("the push to count", health, |health| health["total_events_last_hour"] == 1).await;
    assert_eq!((&busy["status"], &busy["total_events_last_hour"], &busy["success_rate"]), (&"healthy".into(), &1.into(), &1.0.into()));
    assert!(busy["last_event_at"].as_u64().is_some_and(|at| at > 1_700_000_000_000), "{busy}");

    // A stranger turns nothing; a delivery that was signed and is not understood does.
    edge.deliver(&GitHub::new("another secret").push("me/shop", Push::to("main"))).await;
    assert_eq!(health().await, busy);
    edge.deliver(&github.deliver_bytes("push", "[]")).await;
    let worse = wait::until("the failure to count", health, |health| health["total_events_last_hour"] == 2).await;
    assert_eq!((&worse["status"], &worse["failed_events_last_hour"]), (&"degraded".into(), &1.into()), "{worse}");
}

#[tokio::test]
async fn a_secret_that_is_not_githubs_shows() {
    let edge = Edge::start().await;
    assert_eq!(edge.deliver(&GitHub::new("another secret").push("me/shop", Push::to("main"))).await.status, 401);
    let health = edge.request("GET", "/webhooks/github/health", &[], "").await.json();
    assert_eq!((&health["status"], &health["failed_events_last_hour"]), (&"degraded".into(), &1.into()), "{health}");
}

#[tokio::test]
async fn healthz_names_the_version() {
    let edge = shared_edge().await;
    let answer = edge.request("GET", "/healthz", &[], "").await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (200, Some("ok")));
    assert_eq!(answer.json()["version"], env!("CARGO_PKG_VERSION"));
    let head = edge.raw(&Raw::new("HEAD", "/healthz")).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
}

#[tokio::test]
async fn a_redelivery_and_a_copy_under_another_guid_change_nothing() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let session = edge.enrolled("twice").await.connect(&[project("twice", "twice/shop")]).await;
    drop(session);
    edge.sees_host("twice", false).await;
    let push = github.push("twice/shop", Push::to("main"));
    assert_eq!(edge.deliver(&push).await.json()["status"], "queued");
    let copy = Delivery { guid: "11111111-0000-11f0-0000-000000000000".into(), ..push.clone() };
    let other_body = Delivery { guid: push.guid.clone(), ..github.push("twice/shop", Push::to("main")) };
    for again in [github.redeliver(&push.guid), copy, other_body] {
        let answer = edge.deliver(&again).await;
        assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("duplicate")), "{}", answer.text());
        assert_eq!(answer.json()["jobs"], Value::Array(Vec::new()));
    }
    assert_eq!(of_repo(&edge, "twice/shop").await.len(), 1);
    assert_eq!(jobs_of(&edge, "twice").await.len(), 1);
}

#[tokio::test]
async fn what_starts_nothing_is_kept_with_its_reason() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let narrow = ProjectView { paths: vec!["apps/shop/**".into(), "*.lock".into()], ..project("narrow", "reasons/narrow") };
    let wide = project("wide", "reasons/wide");
    let _session = edge.enrolled("reasons").await.connect(&[narrow, wide]).await;
    let (narrow, wide) = ("reasons/narrow", "reasons/wide");
    let stories = [
        (github.push(wide, Push::to("next")), "no project follows branch next (wide follows main)"),
        (github.push(wide, Push::tag("v1.0")), "refs/tags/v1.0 is not a branch; only branches are deployed"),
        (github.push("reasons/other", Push::to("main")), "no project follows reasons/other"),
        (github.push(narrow, Push::to("main").modifies(&["README.md"])), ""),
        (github.push(narrow, Push::to("main").modifies(&["README.md", "apps/other/app.py"])), "no changed path matches `paths` of narrow"),
        (github.push(wide, Push::to("main").deleted()), "branch main was deleted"),
        (github.issue(wide, "It is broken"), "`issues` events start nothing"),
        (github.branch_created(wide, "next"), "`create` events start nothing"),
        (github.branch_deleted(wide, "next"), "`delete` events start nothing"),
    ];
    for (delivery, reason) in stories {
        let answer = edge.deliver(&delivery).await;
        let event = edge.event(&delivery.guid).await;
        if reason.is_empty() {
            // The branch's first push: its commits do not name every file.
            assert_eq!(answer.json()["status"], "queued");
            continue;
        }
        assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("ignored")), "{reason}");
        assert_eq!(answer.json()["reason"], reason);
        assert_eq!((event["status"].as_str(), event["reason"].as_str()), (Some("ignored"), Some(reason)));
        assert_eq!(event["jobs"], Value::Array(Vec::new()));
        let sent: Value = serde_json::from_slice(&delivery.body).unwrap();
        assert_eq!(event["payload"], sent, "the payload is kept as it came");
    }
}

#[tokio::test]
async fn a_push_is_deployed_when_it_may_touch_the_paths() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let view = ProjectView { paths: vec!["apps/shop/**".into()], ..project("paths", "paths/shop") };
    let _session = edge.enrolled("paths").await.connect(&[view]).await;
    let (repo, elsewhere) = ("paths/shop", || Push::to("main").modifies(&["docs/index.md"]));
    let stories = [
        ("the first push of the branch", elsewhere(), "queued"),
        ("a push elsewhere", elsewhere(), "ignored"),
        ("the second of two commits touches it", elsewhere().and_modifies(&["apps/shop/app.py"]), "queued"),
        ("a file was added", elsewhere().adds_and_removes(&["apps/shop/new.py"], &[]), "queued"),
        ("a file was removed", elsewhere().adds_and_removes(&[], &["apps/shop/old.py"]), "queued"),
        ("history was rewritten", elsewhere().forced(), "queued"),
        ("no commits are named", elsewhere().without_commits(), "queued"),
        ("a folder with a longer name", Push::to("main").modifies(&["apps/shopping/app.py"]), "ignored"),
        ("a folder of that name elsewhere", Push::to("main").modifies(&["old/apps/shop/app.py"]), "ignored"),
    ];
    for (name, push, status) in stories {
        let answer = edge.deliver(&github.push(repo, push)).await;
        assert_eq!(answer.json()["status"], status, "{name}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_replay_makes_a_job_that_says_so() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    // The push comes before any host announced the project.
    let push = github.push("replayed/shop", Push::to("main"));
    assert_eq!(edge.deliver(&push).await.json()["status"], "ignored");
    let mut session = edge.enrolled("replayed").await.connect(&[project("replayed", "replayed/shop")]).await;
    let path = format!("/webhooks/github/events/{}/replay", push.guid);
    let answer = edge.api("POST", &path).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("queued")), "{}", answer.text());
    let grant = session.grant().await;
    assert_eq!(grant.cause.as_str(), "replay");
    assert_eq!(answer.json()["jobs"], serde_json::json!([grant.job]));
    assert_eq!(grant.hint_commit, Some(push.commit()));
    assert_eq!(of_repo(&edge, "replayed/shop").await.len(), 1, "a replay is no delivery");
    assert_eq!(edge.api("POST", "/webhooks/github/events/nobody/replay").await.status, 404);
    assert_eq!(edge.api("GET", "/webhooks/github/events/nobody").await.status, 404);
}

#[tokio::test]
async fn the_history_is_read_newest_first_and_in_pages() {
    let edge = Edge::start_with(Secrets::default()).await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let mut sent = Vec::new();
    for number in 0..7 {
        let delivery = match number % 3 {
            0 => github.push("me/shop", Push::to("main")),
            1 => github.push("me/blog", Push::to("main")),
            _ => github.issue("me/shop", "again"),
        };
        edge.deliver(&delivery).await;
        sent.push(delivery.guid);
    }
    sent.reverse();
    let ids = async |query: &str| -> Vec<String> {
        let page = edge.get(&format!("/webhooks/github/events{query}")).await;
        let ids = page["events"].as_array().unwrap().iter();
        ids.map(|event| event["delivery_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("").await, sent);
    assert_eq!(ids("?limit=2").await, sent[..2]);
    let second = edge.events().await[1]["id"].as_u64().unwrap();
    assert_eq!(ids(&format!("?limit=3&before={second}")).await, sent[2..5]);
    assert_eq!(ids("?type=issues").await.len(), 2);
    assert_eq!(ids("?repo=me/blog").await.len(), 2);
    assert_eq!(ids("?type=issues&repo=me/blog").await.len(), 0);
    assert_eq!(ids("?repo=%27%20OR%201=1%20--").await.len(), 0);
    for bad in ["?limit=many", "?before=-1", "?limit=1.5"] {
        assert_eq!(edge.api("GET", &format!("/webhooks/github/events{bad}")).await.status, 400, "{bad}");
    }
    assert_eq!(ids("?limit=0").await.len(), 1, "a page holds at least one");
    assert_eq!(ids("?limit=99999999").await.len(), 7);
}

#[tokio::test]
async fn history_sessions_and_hosts_outlive_a_restart() {
    let mut edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    edge.deliver(&github.push("me/shop", Push::to("main"))).await;
    let (cookie, executor) = (edge.session().await, edge.enrolled("attic").await);
    let session = executor.connect(&[project("shop", "me/shop")]).await;
    let ended = edge.stop().await;
    assert_eq!((ended.code, ended.signal), (Some(0), None), "a clean end: {ended:?}");
    drop(session);
    edge.restart().await;
    assert_eq!(edge.events().await.len(), 1);
    assert_eq!(edge.request("GET", "/", &[("cookie", &cookie)], "").await.status, 200);
    let executor = executor.connect(&[project("shop", "me/shop")]).await;
    edge.sees_host("attic", true).await;
    drop(executor);
    wait::until("attic to go", async || edge.host("attic").await.unwrap(), |host| host["online"] == false).await;
}

/// The stored deliveries of one repository.
async fn of_repo(edge: &Edge, repo: &str) -> Vec<Value> {
    edge.events().await.into_iter().filter(|event| event["repo"] == repo).collect()
}

/// The open jobs of one project.
pub async fn jobs_of(edge: &Edge, project: &str) -> Vec<Value> {
    edge.jobs().await.into_iter().filter(|job| job["project"] == project).collect()
}
