//! Somebody who asks an app for its version every few milliseconds, and notes
//! when it answered what.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::http;

/// Between the begins of two questions. A question costs the app about 1 ms of
/// processor time, so asking more often would slow down what is measured.
const INTERVAL: Duration = Duration::from_millis(3);

/// What an app says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its version.
    pub version: String,
    /// Its process, which tells a start from the one before it.
    pub pid: u64,
}

/// A question: when it was asked, when it was over, and what the answer was.
type Asked = (Instant, Instant, Option<Seen>);

/// The asking, until it is dropped.
#[derive(Debug)]
pub struct Probe {
    asked: Arc<Mutex<Vec<Asked>>>,
    is_over: Arc<AtomicBool>,
    asking: Option<JoinHandle<()>>,
}

impl Probe {
    /// Begins to ask, each time on a connection of its own.
    pub fn start(address: SocketAddr) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let (into, end) = (Arc::clone(&asked), Arc::clone(&is_over));
        let asking = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = seen(address);
                lock(&into).push((begun, Instant::now(), answer));
                std::thread::sleep(INTERVAL.saturating_sub(begun.elapsed()));
            }
        });
        Self { asked, is_over, asking: Some(asking) }
    }

    /// When such an answer came first; waits for it, this long at most.
    pub fn first(&self, patience: Duration, is_it: impl Fn(&Seen) -> bool) -> Result<Instant> {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            let found = lock(&self.asked).iter().find(|(_, _, seen)| seen.as_ref().is_some_and(&is_it)).map(|(_, at, _)| *at);
            if let Some(at) = found {
                return Ok(at);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        bail!("what was waited for did not answer within {patience:?}; the last answer was {:?}", self.last())
    }

    /// The newest answer.
    pub fn last(&self) -> Option<Seen> {
        lock(&self.asked).iter().rev().find_map(|(_, _, seen)| seen.clone())
    }

    /// The longest time without an answer, in milliseconds.
    pub fn gap_ms(&self) -> f64 {
        let asked = lock(&self.asked);
        let answered: Vec<Instant> = asked.iter().filter(|(_, _, seen)| seen.is_some()).map(|(_, at, _)| *at).collect();
        let gaps = answered.iter().zip(answered.iter().skip(1)).map(|(before, after)| (*after - *before).as_secs_f64() * 1e3);
        gaps.fold(0.0, f64::max)
    }

    /// How long questions went without an answer, in milliseconds: from the
    /// first that did to the next answer, all such times together.
    pub fn down_ms(&self) -> f64 {
        let (mut since, mut ms) = (None, 0.0);
        for (begun, at, seen) in lock(&self.asked).iter() {
            match (seen, since) {
                (None, None) => since = Some(*begun),
                (Some(_), Some(down)) => {
                    ms += at.duration_since(down).as_secs_f64() * 1e3;
                    since = None;
                }
                (None, Some(_)) | (Some(_), None) => {}
            }
        }
        ms
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

/// What answers there, once something does.
pub fn wait(address: SocketAddr, patience: Duration) -> Result<Seen> {
    let probe = Probe::start(address);
    probe.first(patience, |_| true)?;
    probe.last().context("an answer is gone")
}

/// What answers there, if something does.
fn seen(address: SocketAddr) -> Option<Seen> {
    let answer = http::get(address, "/").ok().filter(|answer| answer.status == 200)?;
    let body: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    Some(Seen { version: body["version"].as_str()?.to_owned(), pid: body["pid"].as_u64().unwrap_or_default() })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
