//! From a push to a grant.

use doorstep_shared::ids::{Action, Cause};
use doorstep_shared::protocol::{Holding, ProjectView};
use doorstep_tests::{Edge, GitHub, Heard, Push, WEBHOOK_SECRET, project};
use futures_util::future::join_all;

use crate::history::jobs_of;
use crate::shared_edge;

#[tokio::test]
async fn a_push_is_granted_to_every_host_that_follows() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let next = ProjectView { branch: "next".into(), ..project("next", "followed/shop") };
    let mut one = edge.enrolled("follower-1").await.connect(&[project("shop", "followed/shop"), next]).await;
    let mut two = edge.enrolled("follower-2").await.connect(&[project("shop", "followed/shop")]).await;
    let push = github.push("followed/shop", Push::to("main"));
    let answer = edge.deliver(&push).await;
    assert_eq!((answer.status, answer.json()["status"].as_str()), (202, Some("queued")));
    for session in [&mut one, &mut two] {
        let grant = session.grant().await;
        assert_eq!((grant.project.as_str(), grant.action, grant.cause, grant.attempt), ("shop", Action::Deploy, Cause::Push, 1));
        assert_eq!(grant.hint_commit, Some(push.commit()));
    }
    assert_eq!(answer.json()["jobs"].as_array().unwrap().len(), 2);
    assert_eq!(edge.event(&push.guid).await["jobs"], answer.json()["jobs"]);
}

#[tokio::test]
async fn the_same_delivery_fifty_times_at_once_is_one_job() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let mut session = edge.enrolled("fifty").await.connect(&[project("fifty", "fifty/shop")]).await;
    let push = github.push("fifty/shop", Push::to("main"));
    let answers = join_all((0..50).map(|_| edge.deliver(&push))).await;
    let count = |status: &str| answers.iter().filter(|answer| answer.status == 202 && answer.json()["status"] == status).count();
    assert_eq!((count("queued"), count("duplicate")), (1, 49));
    let grant = session.grant().await;
    assert_eq!(edge.event(&push.guid).await["jobs"], serde_json::json!([grant.job]));
    assert_eq!(jobs_of(&edge, "fifty").await.len(), 1);
    // A second grant would come before this one's answer.
    let next = github.push("fifty/shop", Push::to("main"));
    edge.deliver(&next).await;
    assert_eq!(jobs_of(&edge, "fifty").await.len(), 2, "one runs and one waits");
}

#[tokio::test]
async fn fifty_pushes_at_once_leave_one_that_waits() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let executor = edge.enrolled("burst").await;
    drop(executor.connect(&[project("burst", "burst/shop")]).await);
    edge.sees_host("burst", false).await;
    let pushes: Vec<_> = (0..50).map(|_| github.push("burst/shop", Push::to("main"))).collect();
    let answers = join_all(pushes.iter().map(|push| edge.deliver(push))).await;
    assert!(answers.iter().all(|answer| answer.status == 202 && answer.json()["status"] == "queued"));
    let newest = answers.iter().filter_map(|answer| answer.json()["jobs"][0].as_u64()).max().unwrap();
    let waiting = jobs_of(&edge, "burst").await;
    assert_eq!(waiting.len(), 1, "{waiting:?}");
    assert_eq!((waiting[0]["id"].as_u64(), waiting[0]["state"].as_str()), (Some(newest), Some("waiting")));
    let mut session = executor.connect(&[project("burst", "burst/shop")]).await;
    assert_eq!(session.grant().await.job.0, newest);
}

#[tokio::test]
async fn an_accepted_push_survives_a_crash() {
    let mut edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let executor = edge.enrolled("attic").await;
    let mut session = executor.connect(&[project("shop", "me/shop")]).await;
    let push = github.push("me/shop", Push::to("main"));
    assert_eq!(edge.deliver(&push).await.status, 202);
    let ended = edge.kill_workerd().await;
    assert_eq!(ended.code, Some(1), "the edge ends when its workerd does: {ended:?}");
    assert!(!ended.stderr.is_empty(), "and says why");
    let heard = session.socket.hear_out().await;

    edge.restart().await;
    assert_eq!(edge.deliver(&push).await.json()["status"], "duplicate", "it was stored");
    let mut session = executor.connect(&[project("shop", "me/shop")]).await;
    let grant = session.grant().await;
    assert_eq!((grant.cause, grant.hint_commit), (Cause::Push, Some(push.commit())));
    assert!(grant.attempt >= 1, "heard before the crash: {heard:?}");
}

#[tokio::test]
async fn a_host_that_was_away_gets_its_push_and_keeps_what_it_holds() {
    let edge = shared_edge().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let executor = edge.enrolled("away").await;
    let projects = [project("away", "away/shop")];
    drop(executor.connect(&projects).await);
    edge.sees_host("away", false).await;
    edge.deliver(&github.push("away/shop", Push::to("main"))).await;

    let mut session = executor.connect(&projects).await;
    let first = session.grant().await;
    drop(session);
    // It never stored the grant: granted again, under the next attempt.
    let mut session = executor.connect(&projects).await;
    let second = session.grant().await;
    assert_eq!((second.job, second.attempt), (first.job, first.attempt + 1));
    drop(session);
    // It did: nothing is granted, until something new comes.
    let holding = [Holding { job: second.job, attempt: second.attempt }];
    let mut session = executor.connect_holding(&holding, &projects).await;
    let answer = edge.api("POST", "/api/projects/away/away/restart").await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    assert_eq!(session.socket.beat().await, doorstep_tests::Heard::Pong, "the project is busy");
    assert_eq!(jobs_of(&edge, "away").await.len(), 2);
}

#[tokio::test]
async fn people_ask_for_what_the_hosts_file_allows() {
    let edge = shared_edge().await;
    let view = ProjectView { remote: vec![Action::Restart], ..project("asked", "asked/shop") };
    let mut session = edge.enrolled("asked").await.connect(&[view]).await;
    let ask = async |path: &str| edge.api("POST", &format!("/api/projects/{path}")).await;
    let refused = ask("asked/asked/deploy").await;
    assert_eq!((refused.status, refused.error().as_str()), (403, "not_allowed"));
    assert_eq!(ask("asked/nothing/restart").await.status, 404);
    assert_eq!(ask("nobody/asked/restart").await.status, 404);
    for unknown in ["asked/asked/format-disk", "asked/../deploy", "asked/asked/Restart", "asked/asked/restart/"] {
        assert_eq!(ask(unknown).await.status, 404, "{unknown}");
    }
    let taken = ask("asked/asked/restart").await;
    assert_eq!(taken.status, 202);
    let grant = session.grant().await;
    assert_eq!((grant.action, grant.cause), (Action::Restart, Cause::Dashboard));
    assert_eq!(taken.json()["job"], serde_json::json!(grant.job));
}

#[tokio::test]
async fn a_hello_to_an_edge_that_just_woke_is_granted_one_attempt() {
    let mut edge = Edge::start().await;
    let mut github = GitHub::new(WEBHOOK_SECRET);
    let executor = edge.enrolled("early").await;
    drop(executor.connect(&[project("shop", "early/shop")]).await);
    edge.sees_host("early", false).await;
    edge.deliver(&github.push("early/shop", Push::to("main"))).await;
    edge.kill_workerd().await;
    edge.restart().await;
    // Nothing loads the hub's memory before the hello does.
    let mut session = executor.connect(&[project("shop", "early/shop")]).await;
    assert_eq!(session.grant().await.attempt, 1);
    assert_eq!(session.socket.beat().await, Heard::Pong, "no second grant comes");
}
