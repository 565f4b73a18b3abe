//! What the edge shows as live is what serves, by the time it shows that a run
//! ended.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::sync::{Arc, Mutex};

use doorstep_shared::protocol::{ProjectView, Report, ToEdge, decode};
use doorstep_tests::told::end;
use doorstep_tests::{App, Pushed, Shop, Terms, wait};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{accept_async, connect_async};

/// More deploys in a row than views go out at once: whatever waits for its turn
/// among those would be late by seconds in the end.
const PUSHES: usize = 45;

/// The project as it is in the first answer of the API that shows the last run
/// as the one of this push, and as ended.
async fn shown_at_the_end(shop: &Shop, pushed: &Pushed) -> Value {
    let look = async || shop.edge.get("/api/projects").await["projects"][0].clone();
    let is_it = |project: &Value| project["last_run"]["job"] == pushed.job && project["last_run"]["state"] != "running";
    wait::until("the last run to have ended", look, is_it).await
}

/// What a host said to its edge, in its order.
type Said = Arc<Mutex<Vec<ToEdge>>>;

/// Stands between a host that has not run yet and its edge, and hears what it says.
async fn overhear(shop: &Shop) -> Said {
    let (said, listener) = (Said::default(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let (file, edge) = (shop.host.dir().join("doorstep.toml"), shop.edge.url(""));
    let own = format!("http://{}", listener.local_addr().unwrap());
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replacen(&edge, &own, 1)).unwrap();
    let (heard, to) = (Arc::clone(&said), edge.replacen("http", "ws", 1) + "/executor");
    tokio::spawn(async move {
        while let Ok((host, _)) = listener.accept().await {
            let (mut host, (mut hub, _)) = (accept_async(host).await.unwrap(), connect_async(&to).await.unwrap());
            loop {
                let passed = tokio::select! {
                    Some(Ok(asked)) = host.next() => {
                        if let Message::Text(text) = &asked {
                            heard.lock().unwrap().extend(decode::<ToEdge>(text));
                        }
                        hub.send(asked).await
                    }
                    Some(Ok(answer)) = hub.next() => host.send(answer).await,
                    else => break,
                };
                if passed.is_err() {
                    break;
                }
            }
        }
    });
    said
}

/// The commit that is live, as the edge was told last before each report that a
/// run ended; and the commit of that run.
fn live_at_each_end(said: &[ToEdge]) -> Vec<(Option<String>, Option<String>)> {
    let live_of = |projects: &[ProjectView]| projects[0].live.as_ref().map(|live| live.commit.clone());
    let (mut live, mut ends) = (None, Vec::new());
    for frame in said {
        match frame {
            ToEdge::Hello { projects, .. } | ToEdge::Projects { projects } => live = live_of(projects),
            ToEdge::Report { report: Report::Outcome { commit, .. }, .. } => ends.push((live.clone(), commit.clone())),
            _ => {}
        }
    }
    ends
}

#[tokio::test]
async fn what_is_live_is_told_before_the_end_of_the_run() {
    let mut shop = Shop::found(Terms::of(&App::quick("1"))).await;
    let said = overhear(&shop).await;
    shop.host.run_online(&shop.edge).await;
    for version in 1..6 {
        shop.push_and_see(&App::quick(&version.to_string())).await;
    }
    let ends = live_at_each_end(&said.lock().unwrap());
    assert_eq!(ends.len(), 5);
    for (live, commit) in ends {
        assert!(live.is_some() && live == commit, "{live:?} was told as live when the run of {commit:?} ended");
    }
}

#[tokio::test]
async fn a_run_is_not_shown_as_ended_before_what_it_made_live() {
    let mut shop = Shop::open(&App::quick("1")).await;
    for version in 2..2 + PUSHES {
        let pushed = shop.push(&App::quick(&version.to_string())).await;
        let shown = shown_at_the_end(&shop, &pushed).await;
        assert_eq!(shown["last_run"]["state"], "succeeded", "{shown:#}");
        assert_eq!(shown["live"]["commit"], pushed.commit, "version {version}: {shown:#}");
    }
}

#[tokio::test]
async fn what_a_run_put_back_is_live_when_it_is_shown_as_ended() {
    let terms = Terms::of(&App::quick(""));
    let is_good = "[project.shop.hooks]\nafter_switch = [[\"test\", \"!\", \"-e\", \"sick\"]]";
    let mut shop = Shop::open_on(Terms { health: format!("{}\n{is_good}", terms.health), ..terms }, &App::quick("1")).await;
    let live = shop.status().await["live"]["commit"].clone();
    let pushed = shop.push(&App::quick("2").file("sick", "")).await;
    let shown = shown_at_the_end(&shop, &pushed).await;
    assert_eq!((&shown["last_run"]["state"], &shown["live"]["commit"]), (&json!("rolled_back"), &live), "{shown:#}");
    assert_eq!(end(&shop.ended(&pushed).await)[2], "after_switch");
}
