//! Somebody who asks an app for its version every few milliseconds, and notes
//! when it answered what.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::http;

/// Between the begins of two questions. A question costs the app about 1 ms of
/// processor time, so asking more often would slow down what is measured.
const INTERVAL: Duration = Duration::from_millis(3);
/// How long a version may take to come.
const PATIENCE: Duration = Duration::from_secs(30);

/// The asking, until it is dropped.
#[derive(Debug)]
pub struct Probe {
    seen: Arc<Mutex<Vec<(Instant, String)>>>,
    is_over: Arc<AtomicBool>,
    asking: Option<JoinHandle<()>>,
}

impl Probe {
    /// Begins to ask, each time on a connection of its own.
    pub fn start(address: SocketAddr) -> Self {
        let seen: Arc<Mutex<Vec<(Instant, String)>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (into, end) = (Arc::clone(&seen), Arc::clone(&is_over));
        let asking = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let begun = Instant::now();
                if let Some(version) = version(address) {
                    lock(&into).push((Instant::now(), version));
                }
                std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
            }
        });
        Self { seen, is_over, asking: Some(asking) }
    }

    /// When this version answered first; waits for it.
    pub fn first(&self, version: &str) -> Result<Instant> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some((at, _)) = lock(&self.seen).iter().find(|(_, seen)| seen == version) {
                return Ok(*at);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let last = lock(&self.seen).last().map(|(_, version)| version.clone());
        bail!("version {version} did not answer within {PATIENCE:?}; the last one that did is {last:?}")
    }

    /// The longest time without an answer, in milliseconds.
    pub fn gap_ms(&self) -> f64 {
        let seen = lock(&self.seen);
        let gaps = seen.iter().zip(seen.iter().skip(1)).map(|((before, _), (after, _))| (*after - *before).as_secs_f64() * 1e3);
        gaps.fold(0.0, f64::max)
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(asking) = self.asking.take() {
            let _ = asking.join();
        }
    }
}

/// The version that answers there, if one does.
pub fn version(address: SocketAddr) -> Option<String> {
    let answer = http::get(address, "/").ok().filter(|answer| answer.status == 200)?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    body["version"].as_str().map(str::to_owned)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
