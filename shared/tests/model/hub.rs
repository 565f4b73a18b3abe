//! The hub's shell around the real queue: one input is one turn.
//!
//! Every turn begins with the rows and ends with a check that memory is what
//! the rows would give: so a hub that was evicted behaves as one that was not,
//! and the state need not say which it is.

use doorstep_shared::ids::{Action, Cause, JobId, JobState};
use doorstep_shared::queue::{Input, Job, Output, Queue};
use doorstep_shared::time::Timestamp;

use super::coverage::Seen;
use super::input;
use super::rules::{self, Facts};
use super::scene::Scene;
use super::state::{Down, Held, HubEnd, NOW, Row, Rule, State, Up, host, is_live, project};
use crate::model::bug::ModelBug;

/// An alarm that is further away belongs to the jobs that nobody ever
/// carries out, whose time never comes here.
const ALARM_MS_MAX: u64 = 24 * 3_600 * 1_000;

/// What one turn writes and says besides the queue's.
#[derive(Default)]
pub struct Change {
    pub input: Option<Input>,
    /// This report is stored.
    pub report: Option<u64>,
    /// This connection's hello is believed.
    pub hello: Option<usize>,
    /// Said first.
    pub reply: Option<(usize, Down)>,
}

impl Scene {
    /// One turn at this time, which is the present from then on.
    pub fn turn(&mut self, change: Change, at: Timestamp) {
        let mut queue = self.loaded();
        let due = queue.deadline().is_some_and(|deadline| deadline <= at);
        let ticks = change.input == Some(Input::Tick);
        let before = self.state.hub.rows.clone();
        let outputs = change.input.clone().map(|input| queue.handle(input, at)).unwrap_or_default();
        self.check(Rule::Memory, !(due && ticks && outputs.is_empty()), || {
            "a tick that was due did nothing".to_owned()
        });
        self.write(&change, &before, &outputs, at);
        self.check_memory(&queue);
        self.move_to(at);
        self.send(change.reply, &before, outputs);
    }

    fn loaded(&self) -> Queue {
        let online = self.peer().map(|_| host());
        let jobs = self.state.hub.rows.iter().filter(|row| is_live(row.0.state)).map(|row| (*row.0).clone());
        self.bug.plant_in_queue(Queue::load(jobs, online))
    }

    /// The connection whose hello was believed last.
    pub fn peer(&self) -> Option<usize> {
        self.state.conns.iter().position(|conn| matches!(conn.hub, HubEnd::Peer { .. }))
    }

    fn write(&mut self, change: &Change, before: &[Row], outputs: &[Output], at: Timestamp) {
        let facts = Facts::new(change.input.as_ref(), &self.state, at);
        for output in outputs {
            if let Output::Save(job) = output {
                let old = before.iter().find(|row| row.0.id == job.id).map(|row| &*row.0);
                let verdict = rules::check_row(&facts, old, job);
                self.broken(verdict);
                self.saw_if(Seen::Superseded, job.state == JobState::Superseded);
                self.saw_if(Seen::GrantedAgain, job.attempt > 1);
                self.save(job);
            }
        }
        self.state.hub.settled.extend(facts.settles());
        let stale = matches!(change.input, Some(Input::Settle { .. })) && facts.settles().is_none();
        self.saw_if(Seen::StaleOutcome, stale);
        if let Some(seq) = change.report {
            let next = self.state.hub.stored + 1;
            self.check(Rule::Wire, seq == next, || format!("report {seq} was stored in place {next}"));
            self.state.hub.stored = seq;
        }
        if let Some(c) = change.hello {
            self.state.conns[c].hub = HubEnd::Peer { told: self.state.hub.stored };
        }
        let verdict = rules::check_turn(&facts, before, &self.state);
        self.broken(verdict);
    }

    fn save(&mut self, job: &Job) {
        let row = Row(job.clone().into());
        match self.state.hub.rows.iter_mut().find(|row| row.0.id == job.id) {
            Some(old) => *old = row,
            None => self.state.hub.rows.push(row),
        }
    }

    /// Memory is what a hub that was evicted would load, to the last field.
    fn check_memory(&mut self, queue: &Queue) {
        let loaded = self.loaded();
        let same = format!("{loaded:?}") == format!("{queue:?}");
        self.check(Rule::Memory, same, || format!("the rows give {loaded:?} and memory is {queue:?}"));
    }

    /// The time of this turn becomes the present, and the alarm is set.
    fn move_to(&mut self, at: Timestamp) {
        for row in &mut self.state.hub.rows {
            *row = Row::at((*row.0).clone(), at);
        }
        self.state.hub.alarm = self.loaded().deadline();
    }

    fn send(&mut self, reply: Option<(usize, Down)>, before: &[Row], outputs: Vec<Output>) {
        if let Some((c, frame)) = reply {
            self.send_down(c, frame);
        }
        for output in outputs {
            let frame = match output {
                Output::Save(_) => continue,
                Output::Grant { grant, .. } => {
                    let ours = grant.project == project() && grant.action == Action::Deploy && self.peer().is_some();
                    self.check(Rule::Wire, ours, || format!("{grant:?} is for nobody"));
                    let was = before.iter().find(|row| row.0.id == grant.job).map_or(0, |row| row.0.attempt);
                    self.check(Rule::Attempts, grant.attempt > was, || format!("{grant:?} was granted before"));
                    Down::Grant(grant.job, grant.attempt, grant.cause)
                }
                Output::Cancel { holding, .. } => {
                    self.saw_if(Seen::Stopped, true);
                    Down::Cancel(holding.job, holding.attempt)
                }
            };
            if let Some(c) = self.peer() {
                self.send_down(c, frame);
            }
        }
    }

    /// A frame arrives, and perhaps the write of its turn fails.
    pub fn hub_hears(&mut self, c: usize, write_fails: bool) {
        let frame = self.state.conns[c].up.remove(0);
        if write_fails {
            if !self.bug_is(ModelBug::SocketKept) {
                self.refuse(c);
            }
            return;
        }
        match (frame, self.state.conns[c].hub) {
            (Up::Hello(held), HubEnd::Open) => self.hello(c, &held),
            (Up::Renew(held), HubEnd::Peer { .. }) => {
                self.turn(Change { input: Some(input::renew(&held)), ..Change::default() }, NOW);
            }
            (Up::Report(seq), HubEnd::Peer { told }) => self.report(c, seq, told, false),
            (Up::Report(seq), HubEnd::Ending { told: Some(told) }) => self.report(c, seq, told, true),
            (Up::Hello(_), HubEnd::Peer { .. } | HubEnd::Ending { .. } | HubEnd::Gone)
            | (Up::Renew(_), HubEnd::Open | HubEnd::Ending { .. } | HubEnd::Gone)
            | (Up::Report(_), HubEnd::Open | HubEnd::Ending { told: None } | HubEnd::Gone) => {}
        }
    }

    fn hello(&mut self, c: usize, held: &[Held]) {
        if let Some(older) = self.peer().filter(|_| !self.bug_is(ModelBug::OlderSocketKept)) {
            self.saw_if(Seen::Replaced, true);
            self.refuse(older);
        }
        let reply = Some((c, Down::Welcome(self.state.hub.stored)));
        self.turn(Change { input: Some(input::connected(held)), hello: Some(c), reply, report: None }, NOW);
        let alone = self.state.conns.iter().filter(|conn| matches!(conn.hub, HubEnd::Peer { .. })).count() <= 1;
        self.check(Rule::Wire, alone, || "the host has two sockets".to_owned());
    }

    fn report(&mut self, c: usize, seq: u64, told: u64, ending: bool) {
        self.check(Rule::Wire, seq > told, || format!("report {seq} was sent again after a welcome that had {told}"));
        let stored = self.state.hub.stored;
        if seq <= stored {
            self.saw_if(Seen::ReportTwice, true);
            self.send_down(c, Down::Acknowledge(stored));
            return;
        }
        if seq > stored + 1 && !self.bug_is(ModelBug::GapAcknowledged) {
            self.check(Rule::Wire, ending, || format!("report {seq} came after {stored} on a good socket"));
            return;
        }
        let input = self.state.host.history.get(seq as usize - 1).copied().and_then(input::settle);
        let reply = Some((c, Down::Acknowledge(seq)));
        self.turn(Change { input, report: Some(seq), reply, hello: None }, NOW);
    }

    fn refuse(&mut self, c: usize) {
        self.send_down(c, Down::Refuse);
        let conn = &mut self.state.conns[c];
        let told = if let HubEnd::Peer { told } = conn.hub { Some(told) } else { None };
        conn.hub = HubEnd::Ending { told };
    }

    pub fn hub_sees_close(&mut self, c: usize) {
        let was = std::mem::replace(&mut self.state.conns[c].hub, HubEnd::Gone);
        self.sweep();
        if matches!(was, HubEnd::Peer { .. }) {
            self.turn(Change { input: Some(input::disconnected()), ..Change::default() }, NOW);
        }
    }

    /// GitHub's POST, and perhaps the write of its turn fails.
    pub fn hub_is_posted(&mut self, guid: usize, write_fails: bool) {
        self.state.deliveries[guid].posted = false;
        if write_fails {
            self.state.deliveries[guid].accepted |= self.bug_is(ModelBug::AnsweredBeforeWritten);
            return;
        }
        if self.state.deliveries[guid].job.is_none() || self.bug_is(ModelBug::GuidForgotten) {
            let once = self.state.deliveries[guid].job.is_none();
            self.check(Rule::Accepted, once, || format!("delivery {guid} made jobs twice"));
            self.state.deliveries[guid].job = Some(self.enqueue(Cause::Push));
        } else {
            self.saw_if(Seen::DeliveryTwice, true);
        }
        self.state.deliveries[guid].accepted = true;
    }

    /// The hub looks at the branch by itself, since no POST came.
    pub fn reconcile(&mut self, guid: usize) {
        self.state.deliveries[guid].reconciled = true;
        self.enqueue(Cause::Reconcile);
    }

    fn enqueue(&mut self, cause: Cause) -> JobId {
        self.state.hub.wanted.push(self.state.head);
        let id = JobId(self.state.hub.wanted.len() as u64);
        self.turn(Change { input: Some(input::enqueue(id, cause)), ..Change::default() }, NOW);
        id
    }

    pub fn ring(&mut self) {
        if let Some(at) = alarm(&self.state) {
            let leased = self.state.hub.rows.iter().any(|row| row.0.state == JobState::Leased);
            self.saw_if(Seen::LeaseEnded, leased);
            self.turn(Change { input: Some(Input::Tick), ..Change::default() }, at);
        }
    }

    /// The process ends and every socket with it; the next input starts it
    /// again. What it had said may still arrive.
    pub fn hub_crashes(&mut self) {
        for conn in &mut self.state.conns {
            conn.hub = HubEnd::Gone;
        }
        self.sweep();
    }
}

/// When the alarm rings, if that is within reach.
pub fn alarm(state: &State) -> Option<Timestamp> {
    state.hub.alarm.filter(|at| at.ms_since(NOW) < ALARM_MS_MAX)
}
