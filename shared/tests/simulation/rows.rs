//! The hub's rows of jobs: those that live apart from those that ended, which
//! are many and are looked at rarely.

use std::collections::BTreeMap;

use doorstep_shared::ids::{JobId, JobState};
use doorstep_shared::queue::Job;

#[derive(Default)]
pub struct Rows {
    pub live: BTreeMap<JobId, Job>,
    pub ended: BTreeMap<JobId, Job>,
}

impl Rows {
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.live.get(&id).or_else(|| self.ended.get(&id))
    }

    pub fn save(&mut self, job: &Job) {
        let (into, out_of) =
            if is_live(job.state) { (&mut self.live, &mut self.ended) } else { (&mut self.ended, &mut self.live) };
        out_of.remove(&job.id);
        into.insert(job.id, job.clone());
    }

    pub fn all(&self) -> impl Iterator<Item = &Job> {
        self.live.values().chain(self.ended.values())
    }

    /// The highest number.
    pub fn last(&self) -> u64 {
        let last = |rows: &BTreeMap<JobId, Job>| rows.last_key_value().map_or(0, |(id, _)| id.0);
        last(&self.live).max(last(&self.ended))
    }
}

pub fn is_live(state: JobState) -> bool {
    matches!(state, JobState::Waiting | JobState::Leased)
}

/// Where the branch stood when a job was wanted: its hint, in this model.
pub fn wanted_at(job: &Job) -> u64 {
    job.hint_commit.as_deref().and_then(|moment| moment.parse().ok()).unwrap_or(0)
}
