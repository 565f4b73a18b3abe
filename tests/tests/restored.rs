//! A host whose disk was put back to an older state, while its edge was not.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::path::Path;

use doorstep_tests::{App, Shop};

const FILES: [&str; 3] = ["journal.db", "journal.db-wal", "journal.db-shm"];

fn copy_journal(from: &Path, to: &Path) {
    for name in FILES {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[tokio::test]
async fn a_journal_that_was_put_back_gets_a_new_identity_and_everything_is_told() {
    let mut shop = Shop::open(&App::bare("1")).await;
    let snapshot = tempfile::tempdir().unwrap();
    shop.is_idle().await;
    shop.host.stop().await;
    copy_journal(&shop.host.state(), snapshot.path());
    shop.host.run_online(&shop.edge).await;
    shop.push_and_see(&App::bare("2")).await;
    shop.serves("2").await;

    shop.host.kill().await;
    copy_journal(snapshot.path(), &shop.host.state());
    shop.host.run_online(&shop.edge).await;
    shop.serves("1").await;
    for version in ["3", "4"] {
        let run = shop.push_and_see(&App::bare(version)).await;
        assert_eq!(run["run"]["state"], "succeeded", "{run:#}");
        assert!(run["steps"].as_array().unwrap().len() > 3, "every step was told: {run:#}");
        shop.serves(version).await;
    }
    assert_eq!(shop.runs().await.len(), 4);
    shop.is_idle().await;
    assert!(shop.host.words().contains("put back to an older state"), "{}", shop.host.words());
}
