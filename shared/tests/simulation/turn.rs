//! One turn of the hub: load if memory is empty, handle, write every row at
//! once, then send. A write that fails takes memory with it and changes
//! nothing; a crash after the write loses what was to be sent.

use doorstep_shared::ids::JobId;
use doorstep_shared::protocol::{Report, ToExecutor};
use doorstep_shared::queue::{Input, Output, Queue};
use doorstep_shared::time::Timestamp;

use super::bug::{Bug, ModelBug};
use super::coverage::Seen;
use super::hub::{Hub, Peer, Socket};
use super::stage::{Event, Stage};
use super::wire::{ConnId, Down, Wire};

/// What one turn handles, and the rows it writes besides the queue's.
#[derive(Default)]
pub struct Change {
    pub inputs: Vec<Input>,
    pub delivery: Option<usize>,
    pub report: Option<(String, u64, Report)>,
    /// The socket, who it is, and whether that host is parked.
    pub hello: Option<(ConnId, Peer, bool)>,
    /// Sent after the write and before what the queue sends.
    pub reply: Option<(ConnId, ToExecutor)>,
}

impl Hub {
    /// One turn; true when its rows are written and its sends are sent.
    pub fn turn(&mut self, stage: &mut Stage, wire: &mut Wire, change: Change) -> bool {
        let mut queue = self.queue.take().unwrap_or_else(|| self.load(stage.bug()));
        let now = stage.hub_now();
        let ticks = change.inputs == [Input::Tick] && queue.deadline().is_some_and(|at| at <= now);
        let mut outputs = Vec::with_capacity(change.inputs.len());
        for input in &change.inputs {
            stage.trace(|| format!("hub < {input:?}"));
            outputs.push(queue.handle(input.clone(), now));
        }
        let idle = ticks && outputs.iter().all(Vec::is_empty);
        stage.check(!idle, || "a tick that was due did nothing: the hub would spin".to_owned());
        if stage.chance(stage.rates.write_fails) {
            stage.saw(Seen::FailedWrites);
            stage.trace(|| "the write fails, memory is dropped".to_owned());
            return false;
        }
        let reply = self.write(stage, change, &outputs);
        self.set_alarm(stage, queue.deadline());
        self.ledger.check_turn(stage, &self.rows.live, &queue);
        self.check_online(stage, &queue);
        // Nothing waits for ever: while a job lives, the alarm is set.
        let waits = self.rows.live.is_empty() || self.alarm.is_some();
        stage.check(waits, || "a job lives and no alarm is set".to_owned());
        if stage.chance(stage.rates.hub_crash) {
            self.crash(stage, wire);
            return false;
        }
        self.queue = Some(queue);
        self.send(stage, wire, reply, outputs.into_iter().flatten());
        if stage.chance(stage.rates.evict) {
            self.evict(stage);
        }
        true
    }

    fn load(&self, bug: Bug) -> Queue {
        let online = self.peers().map(|peer| peer.host.clone());
        let mut queue = Queue::load(self.live().cloned(), online);
        if bug != Bug::Model(ModelBug::ParkedForgotten) {
            let parked = |socket: &&Socket| socket.parked && !socket.ending;
            let hosts = self.sockets.values().filter(parked).filter_map(|socket| socket.peer.as_ref());
            queue.load_parked(hosts.map(|peer| peer.host.clone()));
        }
        bug.plant_in_queue(queue)
    }

    /// Writes every row of a turn at once and hands back what to say first.
    fn write(&mut self, stage: &mut Stage, change: Change, outputs: &[Vec<Output>]) -> Option<(ConnId, ToExecutor)> {
        for (input, outputs) in change.inputs.iter().zip(outputs) {
            self.ledger.begin(input, &self.rows.live);
            for output in outputs {
                if let Output::Save(job) = output {
                    stage.trace(|| format!("hub = {} {} attempt {} {}", job.id, job.state, job.attempt, job.project));
                    self.ledger.check_row(stage, self.rows.get(job.id), job);
                    self.rows.save(job);
                }
            }
            self.ledger.check_input(stage, &self.rows, outputs);
        }
        if let Some(guid) = change.delivery {
            let jobs = change.inputs.iter().filter_map(enqueued).collect();
            let before = self.deliveries.insert(guid, jobs);
            stage.check(before.is_none(), || format!("delivery {guid} made jobs twice"));
        }
        if let Some((journal, seq, report)) = change.report {
            let stored = self.journals.entry(journal).or_default();
            if stored.reports.is_empty() && !stage.has(ModelBug::GapAcknowledged) {
                stored.base = seq - 1;
            }
            stored.reports.push(report);
            let place = stored.base + stored.reports.len() as u64;
            stage.check(place == seq, || format!("report {seq} was stored in place {place}"));
        }
        if let Some((conn, peer, parked)) = change.hello {
            let acknowledged = self.stored(&peer.journal);
            let socket = Socket { peer: Some(peer), acknowledged, fresh: true, parked, ending: false };
            self.sockets.insert(conn, socket);
        }
        change.reply
    }

    fn send(
        &self,
        stage: &mut Stage,
        wire: &mut Wire,
        reply: Option<(ConnId, ToExecutor)>,
        outputs: impl Iterator<Item = Output>,
    ) {
        if let Some((conn, frame)) = reply {
            wire.send_down(stage, conn, Down::Frame(frame));
        }
        for output in outputs {
            let (host, frame) = match output {
                Output::Save(_) => continue,
                Output::Grant { host, grant } => (host, ToExecutor::Grant { grant }),
                Output::Cancel { host, holding } => {
                    (host, ToExecutor::Cancel { job: holding.job, attempt: holding.attempt })
                }
            };
            let conn = self.socket_of(&host);
            let granted = matches!(frame, ToExecutor::Grant { .. });
            stage.check(conn.is_some() || !granted, || format!("a grant for {host}, which is not there"));
            let parked = conn.and_then(|conn| self.sockets.get(&conn)).is_some_and(|socket| socket.parked);
            stage.check(!parked || !granted, || format!("a grant for {host}, which is parked"));
            if let Some(conn) = conn {
                stage.trace(|| format!("hub > {host} {frame:?}"));
                wire.send_down(stage, conn, Down::Frame(frame));
            }
        }
    }

    pub fn set_alarm(&mut self, stage: &mut Stage, at: Option<Timestamp>) {
        if at == self.alarm.map(|(at, _)| at) {
            return;
        }
        self.alarm = at.map(|at| (at, stage.when_hub_says(at).max(stage.now)));
        if let Some((_, rings_at)) = self.alarm {
            stage.at(rings_at, Event::Alarm);
        }
    }

    fn check_online(&self, stage: &mut Stage, queue: &Queue) {
        for (n, peer) in self.peers().enumerate() {
            stage.check(queue.is_online(&peer.host), || format!("{} has a socket and is not online", peer.host));
            let alone = self.peers().skip(n + 1).all(|other| other.host != peer.host);
            stage.check(alone, || format!("{} has two sockets", peer.host));
        }
        for job in self.live().filter(|job| queue.is_online(&job.host)) {
            stage.check(self.socket_of(&job.host).is_some(), || format!("{} is online without a socket", job.host));
        }
    }
}

fn enqueued(input: &Input) -> Option<JobId> {
    if let Input::Enqueue(new) = input { Some(new.id) } else { None }
}
