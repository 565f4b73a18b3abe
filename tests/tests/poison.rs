//! A run over which daemons die, and one over which they are only told to end.

use std::path::Path;

use doorstep_tests::{App, Shop, Terms, wait};
use serde_json::json;

/// A second version that does not listen before this file is there; its run waits in `check`.
fn waiting(gate: &Path) -> App {
    App::bare("2").waiting_for(gate)
}

/// Waits until this daemon carries the run out, so far that it checks.
async fn checks_again(shop: &Shop, before: usize) -> usize {
    let count = async || shop.host.words().matches("a run begins").count();
    wait::until("the run to be taken up", count, |seen| *seen > before).await
}

#[tokio::test]
async fn a_run_that_kills_the_daemon_three_times_is_buried_unrun() {
    let gate = tempfile::tempdir().unwrap();
    let mut shop = Shop::open_on(Terms::of(&App::bare("1")).within("5m"), &App::bare("1")).await;
    let pushed = shop.push(&waiting(&gate.path().join("open"))).await;
    let mut begun = 1;
    for _ in 0..3 {
        begun = checks_again(&shop, begun).await;
        shop.host.restart().await;
    }
    let run = shop.ended(&pushed).await;
    assert_eq!((&run["run"]["state"], &run["run"]["failure"]["kind"]), (&json!("failed"), &json!("crash")), "{run:#}");
    assert_eq!(run["run"]["attempt"], 1, "not tried again: {run:#}");
    shop.is_idle().await;
    assert_eq!(shop.runs().await.len(), 2);
    assert_eq!(shop.version().await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_daemon_that_is_told_to_end_counts_against_no_run() {
    let gate = tempfile::tempdir().unwrap();
    let open = gate.path().join("open");
    let mut shop = Shop::open_on(Terms::of(&App::bare("1")).within("5m"), &App::bare("1")).await;
    let pushed = shop.push(&waiting(&open)).await;
    let mut begun = 1;
    for _ in 0..5 {
        begun = checks_again(&shop, begun).await;
        shop.host.stop().await;
        shop.host.run();
    }
    checks_again(&shop, begun).await;
    std::fs::write(&open, "").unwrap();
    let run = shop.ended(&pushed).await;
    assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
    shop.serves("2").await;
}
