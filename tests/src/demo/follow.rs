//! Following a run through the edge, step by step, as it happens.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::task::JoinHandle;

use crate::hub::{Hub, text};
use crate::prober::{Page, client, page};
use crate::seen::{Seen, until};
use crate::stage::{HOST, PROJECT};
use crate::terminal::Terminal;

/// Time between two looks at the page.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A run that ended.
#[derive(Debug)]
pub struct Run {
    /// How.
    pub state: String,
    /// The step that failed; empty when none did.
    pub failed_step: String,
    /// Why.
    pub failure: String,
    /// How long each step took.
    pub steps: BTreeMap<String, Duration>,
}

/// The moment when the app's address first answers with a commit.
pub struct Arrival {
    commit: String,
    page: Arc<OnceLock<(Instant, Page)>>,
    looking: JoinHandle<()>,
}

impl Arrival {
    /// Begins to look.
    pub fn watch(url: &str, commit: &str) -> Self {
        let (url, commit, seen) = (url.to_owned(), commit.to_owned(), Arc::new(OnceLock::new()));
        let (wanted, see) = (commit.clone(), Arc::clone(&seen));
        let looking = tokio::spawn(async move {
            let client = client();
            loop {
                if let Ok(page) = page(&client, &url).await
                    && wanted.starts_with(&page.commit)
                {
                    let _ = see.set((Instant::now(), page));
                    return;
                }
                tokio::time::sleep(LOOK_INTERVAL).await;
            }
        });
        Self { commit, page: seen, looking }
    }

    /// Waits for it.
    pub async fn seen(&self, within: Duration) -> Seen<Instant> {
        let what = format!("commit {} at the app's address", self.commit);
        until(&what, within, async || Ok(self.page.get().map(|(at, _)| *at))).await
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// Shows a job's run as it goes and returns how it ended.
pub async fn follow(hub: &Hub, terminal: &mut Terminal, job: &Value, arrival: &Arrival, within: Duration) -> Seen<Run> {
    let begun = Instant::now();
    let what = format!("the run of job {job} to begin");
    let id = until(&what, within, async || hub.run_of_job(HOST, PROJECT, job).await).await?;
    let (mut shown, mut is_live) = (0, false);
    let what = format!("the end of run {id}");
    let view = until(&what, within.saturating_sub(begun.elapsed()), async || {
        let view = hub.get(&format!("/api/runs/{id}")).await?;
        let steps = view["steps"].as_array().cloned().unwrap_or_default();
        while let Some(step) = steps.get(shown).filter(|step| has_ended(step)) {
            show(terminal, step);
            shown += 1;
        }
        if let Some((_, page)) = arrival.page.get().filter(|_| !is_live) {
            is_live = true;
            terminal.seen("live", &format!("the app's address answers with version {}", page.version));
        }
        if let Some(step) = steps.get(shown) {
            terminal.passing(&text(&step["name"]), "…");
        }
        let is_over = view["run"]["state"] != "running" && shown == steps.len();
        Ok(is_over.then_some(view))
    });
    let view = view.await?;
    let steps = view["steps"].as_array().into_iter().flatten();
    Ok(Run {
        state: text(&view["run"]["state"]),
        failed_step: text(&view["run"]["failure"]["step"]),
        failure: text(&view["run"]["failure"]["message"]),
        steps: steps.map(|step| (text(&step["name"]), took(step).unwrap_or_default())).collect(),
    })
}

fn has_ended(step: &Value) -> bool {
    !matches!(step["state"].as_str(), Some("pending" | "started"))
}

fn took(step: &Value) -> Option<Duration> {
    step["duration_ms"].as_u64().map(Duration::from_millis)
}

fn show(terminal: &mut Terminal, step: &Value) {
    let (name, detail) = (text(&step["name"]), text(&step["detail"]));
    if step["state"] == "succeeded" {
        terminal.event(&name, took(step), &detail);
    } else {
        terminal.failed(&name, took(step), &detail);
    }
}
