//! Somebody who asks the app every 10 ms and counts.
//!
//! Each question has a connection of its own and is asked on time, whether or
//! not the one before was answered: a wait shows as a slow answer, not as
//! fewer questions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use crate::seen::{NotSeen, Seen};

/// Time between two questions.
const INTERVAL: Duration = Duration::from_millis(10);
/// An answer that takes longer counts as none.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// What the questions came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// How many were asked.
    pub sent: u64,
    /// How many were not answered with 200 and a version.
    pub failed: u64,
    /// What the first of those came to.
    pub first_failure: Option<String>,
    /// The answers by version.
    pub versions: BTreeMap<String, u64>,
    /// The longest answer.
    pub slowest: Duration,
}

/// A prober at work.
pub struct Prober {
    tally: Arc<Mutex<Tally>>,
    stop: watch::Sender<bool>,
    asking: JoinHandle<()>,
}

impl Prober {
    /// Begins to ask.
    pub fn start(url: &str) -> Self {
        let tally = Arc::new(Mutex::new(Tally::default()));
        let (stop, stopped) = watch::channel(false);
        let asking = tokio::spawn(ask(url.to_owned(), Arc::clone(&tally), stopped));
        Self { tally, stop, asking }
    }

    /// What it has counted so far.
    pub fn tally(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Asks no more, waits for the last answers, and tells.
    pub async fn stop(self) -> Seen<Tally> {
        let _ = self.stop.send(true);
        self.asking.await.map_err(|fault| NotSeen::new(format!("the end of the prober ({fault})")))?;
        Ok(self.tally.lock().unwrap().clone())
    }
}

async fn ask(url: String, tally: Arc<Mutex<Tally>>, mut stopped: watch::Receiver<bool>) {
    let client = client();
    let mut answers = JoinSet::new();
    let mut ticks = tokio::time::interval(INTERVAL);
    // After a pause of this machine the questions that were due are asked at once.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            _ = ticks.tick() => {}
        }
        tally.lock().unwrap().sent += 1;
        let (client, url, tally) = (client.clone(), url.clone(), Arc::clone(&tally));
        answers.spawn(async move {
            let begun = Instant::now();
            let answer = page(&client, &url).await.map(|page| page.version);
            tally.lock().unwrap().note(answer, begun.elapsed());
        });
        while answers.try_join_next().is_some() {}
    }
    while answers.join_next().await.is_some() {}
}

impl Tally {
    fn note(&mut self, answer: Result<String, String>, took: Duration) {
        self.slowest = self.slowest.max(took);
        match answer {
            Ok(version) => *self.versions.entry(version).or_default() += 1,
            Err(failure) => {
                self.failed += 1;
                self.first_failure.get_or_insert(failure);
            }
        }
    }

    /// How many were answered well.
    pub fn answered(&self) -> u64 {
        self.versions.values().sum()
    }
}

/// A client with a connection for each request, and no proxy of the machine's.
pub fn client() -> reqwest::Client {
    doorstep_tests::http().pool_max_idle_per_host(0).timeout(ANSWER_LIMIT).build().unwrap()
}

/// What the app's page says of itself.
#[derive(Debug)]
pub struct Page {
    /// Its version.
    pub version: String,
    /// The first digits of its commit.
    pub commit: String,
}

/// The app's page, or why there is none.
pub async fn page(client: &reqwest::Client, url: &str) -> Result<Page, String> {
    let answer = client.get(url).send().await.map_err(|fault| chain(&fault))?;
    let status = answer.status();
    let text = answer.text().await.map_err(|fault| chain(&fault))?;
    let named = text.split_once("version ").and_then(|(_, rest)| rest.split_once(", commit "));
    let page = named.map(|(version, rest)| Page { version: version.to_owned(), commit: rest.trim().to_owned() });
    page.filter(|_| status.as_u16() == 200).ok_or_else(|| format!("{status} {}", text.trim()))
}

/// An error and all that it came from, in a line.
pub fn chain(fault: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(fault), |fault| fault.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
