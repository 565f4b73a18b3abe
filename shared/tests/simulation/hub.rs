//! The hub's shell: rows, sockets and an alarm around the queue engine.
//!
//! An eviction takes memory and leaves rows, sockets and the alarm; a crash
//! takes every socket too. What one turn does is in [`turn`](super::turn).
//!
//! A frame whose turn failed is lost while its sender believes it arrived, so
//! its socket must end: a report is sent again on the next one only. A socket
//! that is ending still brings what was under way.

use std::collections::BTreeMap;

use doorstep_shared::ids::{Action, Cause, JobId, JobState, Name, RunState};
use doorstep_shared::protocol::{Grant, Holding, Refusal, Report, ToEdge, ToExecutor, VERSION, VERSION_MIN};
use doorstep_shared::queue::{Input, Job, LEASE_MS, NewJob, Queue, Verdict};
use doorstep_shared::time::Timestamp;

use super::bug::ModelBug;
use super::coverage::Seen;
use super::ledger::{Ledger, is_live};
use super::stage::Stage;
use super::turn::Change;
use super::wire::{ConnId, Down, Up, Wire};

/// Who is at the other end of a socket, after its hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub host: Name,
    pub journal: String,
}

#[derive(Default)]
pub struct Socket {
    pub peer: Option<Peer>,
    /// What its welcome said is stored.
    pub acknowledged: u64,
    /// The hub said its last word on it.
    pub ending: bool,
}

/// A project that follows the pushed branch.
pub struct Target {
    pub host: Name,
    pub project: Name,
}

#[derive(Default)]
pub struct Hub {
    pub(super) rows: BTreeMap<JobId, Job>,
    pub(super) deliveries: BTreeMap<usize, Vec<JobId>>,
    pub(super) journals: BTreeMap<String, Vec<Report>>,
    pub(super) alarm: Option<Timestamp>,
    pub(super) sockets: BTreeMap<ConnId, Socket>,
    /// The only part that an eviction takes.
    pub(super) queue: Option<Queue>,
    pub ledger: Ledger,
}

impl Hub {
    pub fn opened(&mut self, stage: &mut Stage, wire: &mut Wire, conn: ConnId) {
        self.sockets.insert(conn, Socket::default());
        wire.open(stage, conn);
        let nonce = format!("{conn:x}");
        let challenge = ToExecutor::Challenge { nonce, version: VERSION, version_min: VERSION_MIN };
        wire.send_down(stage, conn, Down::Frame(challenge));
    }

    pub fn frame(&mut self, stage: &mut Stage, wire: &mut Wire, conn: ConnId, frame: Up) {
        let Some(Socket { peer, ending, .. }) = self.sockets.get(&conn) else { return };
        let (peer, ending) = (peer.clone(), *ending);
        let heard = match (frame, peer) {
            // The platform answers; the hub does not wake.
            (Up::Ping, _) => {
                wire.send_down(stage, conn, Down::Pong);
                true
            }
            (Up::Frame(ToEdge::Hello { host, journal, holding, .. }), None) if !ending => {
                self.hello(stage, wire, conn, Peer { host, journal }, holding)
            }
            (Up::Frame(ToEdge::Renew { holding }), Some(Peer { host, .. })) if !ending => {
                self.turn(stage, wire, Change { inputs: vec![Input::Renew { host, holding }], ..Change::default() })
            }
            (Up::Frame(ToEdge::Report { seq, report }), Some(peer)) => {
                self.report(stage, wire, conn, peer, seq, report)
            }
            (Up::Frame(_), _) => true,
        };
        if !heard && !stage.has(ModelBug::SocketKept) {
            self.refuse(stage, wire, conn, Refusal::Busy);
        }
    }

    fn hello(
        &mut self,
        stage: &mut Stage,
        wire: &mut Wire,
        conn: ConnId,
        peer: Peer,
        holding: Vec<Holding>,
    ) -> bool {
        if let Some(older) = self.socket_of(&peer.host) {
            stage.saw(Seen::Replacements);
            self.refuse(stage, wire, older, Refusal::Replaced);
        }
        let acknowledged = self.stored(&peer.journal);
        let inputs = vec![Input::Connected { host: peer.host.clone(), holding }];
        let reply = Some((conn, ToExecutor::Welcome { acknowledged, lease_ms: LEASE_MS }));
        self.turn(stage, wire, Change { inputs, hello: Some((conn, peer)), reply, ..Change::default() })
    }

    fn report(
        &mut self,
        stage: &mut Stage,
        wire: &mut Wire,
        conn: ConnId,
        peer: Peer,
        seq: u64,
        report: Report,
    ) -> bool {
        let stored = self.stored(&peer.journal);
        let (ending, told) = self.sockets.get(&conn).map_or((true, 0), |socket| (socket.ending, socket.acknowledged));
        stage.check(seq > told, || format!("report {seq} was sent again after a welcome that acknowledged {told}"));
        if seq <= stored {
            wire.send_down(stage, conn, Down::Frame(ToExecutor::Acknowledge { seq: stored }));
            return true;
        }
        if seq > stored + 1 && !stage.has(ModelBug::GapAcknowledged) {
            stage.saw(Seen::Gaps);
            stage.check(ending, || format!("report {seq} came after {stored} on a good socket"));
            return true;
        }
        let inputs = settlement(&peer.host, &report).into_iter().collect();
        let reply = Some((conn, ToExecutor::Acknowledge { seq }));
        self.turn(stage, wire, Change { inputs, report: Some((peer.journal, seq, report)), reply, ..Change::default() })
    }

    fn refuse(&mut self, stage: &mut Stage, wire: &mut Wire, conn: ConnId, refusal: Refusal) {
        let refuse = ToExecutor::Refuse { refusal, message: format!("{refusal:?}") };
        wire.send_down(stage, conn, Down::Frame(refuse));
        wire.hub_closes(stage, conn);
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.ending = true;
        }
    }

    /// A socket ended.
    pub fn closed(&mut self, stage: &mut Stage, wire: &mut Wire, conn: ConnId) {
        if let Some(Socket { peer: Some(Peer { host, .. }), ending: false, .. }) = self.sockets.remove(&conn) {
            self.turn(stage, wire, Change { inputs: vec![Input::Disconnected { host }], ..Change::default() });
        }
    }

    /// GitHub's POST; true is a 2xx. `head` is where the branch stands now.
    pub fn deliver(&mut self, stage: &mut Stage, wire: &mut Wire, guid: usize, targets: &[Target], head: u64) -> bool {
        if self.deliveries.contains_key(&guid) {
            stage.saw(Seen::Duplicates);
            if !stage.has(ModelBug::GuidForgotten) {
                return true;
            }
        }
        let mut id = self.next_id(stage.now);
        let mut inputs = Vec::new();
        for target in targets {
            self.ledger.head_at_enqueue.insert(id, head);
            inputs.push(enqueue(id, target, Action::Deploy, Cause::Push));
            id = JobId(id.0 + 1);
        }
        let written = self.turn(stage, wire, Change { inputs, delivery: Some(guid), ..Change::default() });
        written || stage.has(ModelBug::AnsweredBeforeWritten)
    }

    /// A person clicks.
    pub fn click(&mut self, stage: &mut Stage, wire: &mut Wire, target: &Target, action: Action, head: u64) {
        let id = self.next_id(stage.now);
        self.ledger.head_at_enqueue.insert(id, head);
        let inputs = vec![enqueue(id, target, action, Cause::Dashboard)];
        self.turn(stage, wire, Change { inputs, ..Change::default() });
    }

    /// A person cancels a job that is not over yet.
    pub fn cancel_one(&mut self, stage: &mut Stage, wire: &mut Wire) {
        let live: Vec<JobId> = self.live().map(|job| job.id).collect();
        if !live.is_empty() {
            let job = stage.rng.pick(&live);
            stage.saw(Seen::Cancels);
            self.turn(stage, wire, Change { inputs: vec![Input::Cancel { job }], ..Change::default() });
        }
    }

    /// Sends a grant a second time, as a hub that lost count would.
    pub fn grant_again(&self, stage: &mut Stage, wire: &mut Wire) {
        let leased: Vec<&Job> = self.live().filter(|job| job.state == JobState::Leased).collect();
        let Some(job) = leased.get(stage.rng.index(leased.len())) else { return };
        if let Some(conn) = self.socket_of(&job.host) {
            stage.saw(Seen::GrantsAgain);
            wire.send_down(stage, conn, Down::Frame(ToExecutor::Grant { grant: grant_of(job) }));
        }
    }

    /// The alarm rings, perhaps one that was set to another time since.
    pub fn ring(&mut self, stage: &mut Stage, wire: &mut Wire) {
        if self.alarm.is_none_or(|at| at > stage.now) {
            return;
        }
        self.alarm = None;
        if !self.turn(stage, wire, Change { inputs: vec![Input::Tick], ..Change::default() }) && self.alarm.is_none() {
            // The platform rings a failed alarm again.
            self.set_alarm(stage, Some(stage.now.plus_ms(2_000)));
        }
    }

    /// Memory is lost; rows, sockets and the alarm stay.
    pub fn evict(&mut self, stage: &mut Stage) {
        stage.saw(Seen::Evictions);
        self.queue = None;
    }

    /// The process ends, for a deploy of the hub itself or for no reason.
    pub fn crash(&mut self, stage: &mut Stage, wire: &mut Wire) {
        stage.saw(Seen::HubCrashes);
        stage.trace(|| "the hub crashes".to_owned());
        self.queue = None;
        self.sockets.clear();
        wire.drop_all(stage);
    }

    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.sockets.values().filter(|socket| !socket.ending).filter_map(|socket| socket.peer.as_ref())
    }

    pub fn stored(&self, journal: &str) -> u64 {
        self.journals.get(journal).map_or(0, Vec::len) as u64
    }

    /// Numbers rise with time and are never used again.
    fn next_id(&self, now: Timestamp) -> JobId {
        let last = self.rows.last_key_value().map_or(0, |(id, _)| id.0);
        JobId((now.0 * 1_024).max(last + 1))
    }

    pub fn socket_of(&self, host: &Name) -> Option<ConnId> {
        let of_host = |socket: &Socket| !socket.ending && socket.peer.as_ref().is_some_and(|peer| peer.host == *host);
        self.sockets.iter().find(|(_, socket)| of_host(socket)).map(|(conn, _)| *conn)
    }

    pub fn live(&self) -> impl Iterator<Item = &Job> {
        self.rows.values().filter(|job| is_live(job.state))
    }

    pub fn rows(&self) -> impl Iterator<Item = &Job> {
        self.rows.values()
    }

    pub fn row(&self, id: JobId) -> Option<&Job> {
        self.rows.get(&id)
    }

    /// The jobs that a delivery made, if it is stored.
    pub fn jobs_of(&self, guid: usize) -> Option<&[JobId]> {
        self.deliveries.get(&guid).map(Vec::as_slice)
    }

    /// What is stored of a journal, in order.
    pub fn reports_of(&self, journal: &str) -> &[Report] {
        self.journals.get(journal).map_or(&[], Vec::as_slice)
    }
}

fn enqueue(id: JobId, target: &Target, action: Action, cause: Cause) -> Input {
    let (host, project) = (target.host.clone(), target.project.clone());
    Input::Enqueue(NewJob { id, host, project, action, cause, hint_commit: None })
}

fn settlement(host: &Name, report: &Report) -> Option<Input> {
    let Report::Outcome { job: Some(job), attempt, state, failure, .. } = report else { return None };
    let verdict = match (state, failure) {
        (RunState::Succeeded, _) | (_, None) => Verdict::Done,
        (_, Some(failure)) => Verdict::Failed { kind: failure.kind, reason: failure.message.clone() },
    };
    Some(Input::Settle { host: host.clone(), holding: Holding { job: *job, attempt: *attempt }, verdict })
}

fn grant_of(job: &Job) -> Grant {
    Grant {
        job: job.id,
        attempt: job.attempt,
        project: job.project.clone(),
        action: job.action,
        cause: job.cause,
        hint_commit: job.hint_commit.clone(),
    }
}
