//! One turn of the hub: what is decided, before anything is written or sent.

use std::collections::BTreeMap;

use doorstep_shared::ids::{JobId, JobState, Name};
use doorstep_shared::protocol::{Grant, ToExecutor};
use doorstep_shared::queue::{Input, Job, Output};
use doorstep_shared::time::Timestamp;
use worker::{Result, WebSocket};

use super::Memory;
use super::nudge::Change;
use crate::store::{Statement, save_job};

/// What is sent once the rows are written.
#[derive(Default)]
pub struct Sends {
    /// Frames for hosts, in order.
    pub frames: Vec<(Name, ToExecutor)>,
    /// What of that which pages show differs now.
    pub change: Change,
    /// Sockets whose first report this turn stores.
    pub begun: Vec<WebSocket>,
}

/// The statements and frames of one turn.
pub struct Turn {
    /// The time of the turn.
    pub now: Timestamp,
    statements: Vec<Statement>,
    /// Jobs that changed, as they are last: each is written once.
    jobs: BTreeMap<JobId, Job>,
    sends: Sends,
}

impl Turn {
    /// An empty turn.
    pub fn new(now: Timestamp) -> Self {
        Self { now, statements: Vec::new(), jobs: BTreeMap::new(), sends: Sends::default() }
    }

    /// Writes one more statement.
    pub fn write(&mut self, statement: Statement) {
        self.statements.push(statement);
    }

    /// Sends one more frame.
    pub fn send(&mut self, host: &Name, frame: ToExecutor) {
        self.sends.frames.push((host.clone(), frame));
    }

    /// Takes back the first grant that fits.
    pub fn take_grant(&mut self, fits: impl Fn(&Name, &Grant) -> bool) -> Option<(Name, Grant)> {
        let is_it = |(host, frame): &(Name, ToExecutor)| matches!(frame, ToExecutor::Grant { grant } if fits(host, grant));
        let place = self.sends.frames.iter().position(is_it)?;
        let (host, frame) = self.sends.frames.remove(place);
        let ToExecutor::Grant { grant } = frame else { return None };
        Some((host, grant))
    }

    /// This socket's first report is stored now.
    pub fn begin(&mut self, ws: WebSocket) {
        self.sends.begun.push(ws);
    }

    /// Pages show something else now.
    pub fn changed(&mut self) {
        self.sends.change.all = true;
    }

    /// The pages of deliveries show something else now.
    pub fn delivered(&mut self) {
        self.sends.change.deliveries = true;
    }

    /// The log of a run grew, and ends here now.
    pub fn log_grew(&mut self, run: &str, end: u64) {
        self.sends.change.logs.insert(run.to_owned(), end);
    }

    /// Gives the queue one input and takes what it wants done.
    pub fn queue(&mut self, memory: &mut Memory, input: Input) {
        for output in memory.queue.handle(input, self.now) {
            match output {
                Output::Save(job) => {
                    self.jobs.insert(job.id, job);
                    self.changed();
                }
                Output::Grant { host, grant } => self.send(&host, ToExecutor::Grant { grant }),
                Output::Cancel { host, holding } => {
                    self.send(&host, ToExecutor::Cancel { job: holding.job, attempt: holding.attempt });
                }
            }
        }
    }

    /// Did the queue bury this job in this very turn?
    pub fn was_turned_away(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|job| job.state == JobState::Dead)
    }

    /// The turn's two halves.
    ///
    /// # Errors
    ///
    /// When a row cannot be written as JSON.
    pub fn finish(mut self) -> Result<(Vec<Statement>, Sends)> {
        for job in self.jobs.values() {
            self.statements.extend(save_job(job, self.now)?);
        }
        Ok((self.statements, self.sends))
    }
}
