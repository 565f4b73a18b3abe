//! Somebody who uses the app all the time, while it is deployed.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;

/// Between two requests of one connection's kind.
const PAUSE: Duration = Duration::from_millis(2);
/// A request that takes longer has failed. A switch takes milliseconds; the
/// machine that runs tests is shared.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests that go on until [`Prober::stop`].
#[derive(Debug)]
pub struct Prober {
    is_over: Arc<AtomicBool>,
    probing: JoinHandle<Probed>,
}

/// What they met.
#[derive(Clone, Debug, Default)]
pub struct Probed {
    /// Requests that were answered as they should be.
    pub good: usize,
    /// What happened to the others.
    pub failed: Vec<String>,
    /// The versions that answered, each once for as long as it did.
    pub versions: Vec<String>,
}

impl Prober {
    /// Begins to ask `/` there, in turn on a fresh connection and on one that
    /// is kept.
    #[must_use]
    pub fn start(address: SocketAddr) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let probing = tokio::spawn(probe(address, Arc::clone(&is_over)));
        Self { is_over, probing }
    }

    /// Ends it, and says what was met.
    pub async fn stop(self) -> Probed {
        self.is_over.store(true, Ordering::Relaxed);
        self.probing.await.unwrap()
    }
}

async fn probe(address: SocketAddr, is_over: Arc<AtomicBool>) -> Probed {
    let client = |idle| crate::http().pool_max_idle_per_host(idle).timeout(PATIENCE).build().unwrap();
    let clients = [client(0), client(1)];
    let mut probed = Probed::default();
    while !is_over.load(Ordering::Relaxed) {
        for client in &clients {
            match ask(client, address).await {
                Ok(version) => {
                    probed.good += 1;
                    if probed.versions.last() != Some(&version) {
                        probed.versions.push(version);
                    }
                }
                Err(why) => probed.failed.push(why),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    probed
}

async fn ask(client: &reqwest::Client, address: SocketAddr) -> Result<String, String> {
    let answer = client.get(format!("http://{address}/")).send().await.map_err(|fault| format!("{fault:?}"))?;
    let (status, bytes) = (answer.status(), answer.bytes().await.map_err(|fault| format!("{fault:?}"))?);
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    match body["version"].as_str() {
        Some(version) if status.is_success() => Ok(version.to_owned()),
        _ => Err(format!("{status} {}", String::from_utf8_lossy(&bytes))),
    }
}
