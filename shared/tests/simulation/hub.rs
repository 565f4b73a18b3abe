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
use doorstep_shared::protocol::{Grant, Holding, Refusal, Report, ToEdge, ToExecutor, VERSION, VERSION_MIN, fit};
use doorstep_shared::queue::{Input, Job, LEASE_TOLD_MS, NewJob, Queue, Verdict};
use doorstep_shared::time::Timestamp;

use super::bug::ModelBug;
use super::coverage::Seen;
use super::ledger::Ledger;
use super::rows::Rows;
use super::stage::Stage;
use super::turn::Change;
use super::wire::{ConnId, Down, Up, Wire};

/// Who is at the other end of a socket, after its hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub host: Name,
    pub journal: String,
    /// The version of the protocol it speaks.
    pub version: u16,
}

#[derive(Default)]
pub struct Socket {
    pub peer: Option<Peer>,
    /// What its welcome said is stored.
    pub acknowledged: u64,
    /// No report came on it yet.
    pub fresh: bool,
    /// Its host can take no job now.
    pub parked: bool,
    /// The hub said its last word on it.
    pub ending: bool,
}

/// A project, and the repository it follows.
pub struct Target {
    pub host: Name,
    pub project: Name,
    pub repo: usize,
}

/// What is stored of a journal, in order.
#[derive(Default)]
pub struct Stored {
    /// How many reports came before the first that was ever told.
    pub base: u64,
    pub reports: Vec<Report>,
}

#[derive(Default)]
pub struct Hub {
    /// The version of the protocol it speaks.
    pub version: u16,
    pub targets: Vec<Target>,
    /// Rows of jobs that live, and of those that ended.
    pub(super) rows: Rows,
    pub(super) deliveries: BTreeMap<usize, Vec<JobId>>,
    pub(super) journals: BTreeMap<String, Stored>,
    /// What it is set to, and when it rings.
    pub(super) alarm: Option<(Timestamp, Timestamp)>,
    pub(super) sockets: BTreeMap<ConnId, Socket>,
    /// The only part that an eviction takes.
    pub(super) queue: Option<Queue>,
    pub ledger: Ledger,
}

impl Hub {
    pub fn new(version: u16, targets: Vec<Target>) -> Self {
        Self { version, targets, ..Self::default() }
    }

    pub fn opened(&mut self, stage: &mut Stage, wire: &mut Wire, conn: ConnId) {
        self.sockets.insert(conn, Socket::default());
        wire.open(stage, conn);
        let nonce = format!("{conn:x}");
        let challenge = ToExecutor::Challenge { nonce, version: self.version, version_min: VERSION_MIN };
        wire.send_down(stage, conn, Down::Frame(challenge));
    }

    pub fn frame(&mut self, stage: &mut Stage, wire: &mut Wire, conn: ConnId, frame: Up) {
        let Some(Socket { peer, ending, .. }) = self.sockets.get(&conn) else { return };
        let (peer, ending) = (peer.clone(), *ending);
        self.check_words(stage, &frame, peer.as_ref());
        let heard = match (frame, peer) {
            // The platform answers; the hub does not wake.
            (Up::Ping, _) => {
                wire.send_down(stage, conn, Down::Pong);
                true
            }
            (Up::Frame(ToEdge::Hello { host, journal, holding, version, parked, .. }), None) if !ending => {
                let known = (VERSION_MIN..=self.version).contains(&version);
                stage.check(known, || format!("{host} speaks version {version}"));
                self.hello(stage, wire, conn, Peer { host, journal, version }, holding, parked.is_some())
            }
            (Up::Frame(ToEdge::Parked { reason }), Some(peer)) if !ending => {
                self.parked(stage, wire, conn, peer.host, reason.is_some())
            }
            (Up::Frame(ToEdge::Behind { project, .. }), Some(peer)) if !ending => {
                self.behind(stage, wire, &peer.host, &project)
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
        parked: bool,
    ) -> bool {
        if let Some(older) = self.socket_of(&peer.host).filter(|_| !stage.has(ModelBug::OlderSocketKept)) {
            stage.saw(Seen::Replacements);
            self.refuse(stage, wire, older, Refusal::Replaced);
        }
        let acknowledged = self.stored(&peer.journal);
        let host = peer.host.clone();
        let inputs = vec![Input::Parked { host: host.clone(), parked }, Input::Connected { host, holding }];
        let reply = Some((conn, ToExecutor::Welcome { acknowledged, lease_ms: LEASE_TOLD_MS }));
        self.turn(stage, wire, Change { inputs, hello: Some((conn, peer, parked)), reply, ..Change::default() })
    }

    /// A host can take no job, or can again.
    fn parked(&mut self, stage: &mut Stage, wire: &mut Wire, conn: ConnId, host: Name, parked: bool) -> bool {
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.parked = parked;
        }
        self.turn(stage, wire, Change { inputs: vec![Input::Parked { host, parked }], ..Change::default() })
    }

    /// A host's branch moved on and it knows of no job: that is one, unless there is one.
    fn behind(&mut self, stage: &mut Stage, wire: &mut Wire, host: &Name, project: &Name) -> bool {
        let target = self.targets.iter().position(|target| target.host == *host && target.project == *project);
        let Some(target) = target else { return true };
        let is_deploy = |job: &Job| job.action == Action::Deploy && job.host == *host && job.project == *project;
        if self.live().any(is_deploy) {
            return true;
        }
        stage.saw(Seen::Reconciles);
        let inputs = vec![self.enqueue(stage, self.next_id(stage), target, Action::Deploy, Cause::Reconcile)];
        self.turn(stage, wire, Change { inputs, ..Change::default() })
    }

    /// Is every word of this frame one that both ends know?
    fn check_words(&self, stage: &mut Stage, frame: &Up, peer: Option<&Peer>) {
        let version = peer.map_or(self.version, |peer| peer.version.min(self.version));
        if let Up::Frame(frame) = frame
            && version < VERSION
        {
            let fits = fit(frame.clone(), version).as_ref() == Some(frame);
            stage.check(fits, || format!("{frame:?} came over version {version}"));
        }
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
        let Some(socket) = self.sockets.get_mut(&conn) else { return true };
        let (ending, told, fresh) = (socket.ending, socket.acknowledged, std::mem::take(&mut socket.fresh));
        stage.check(seq > told, || format!("report {seq} was sent again after a welcome that acknowledged {told}"));
        if seq <= stored {
            wire.send_down(stage, conn, Down::Frame(ToExecutor::Acknowledge { seq: stored }));
            return true;
        }
        // A journal with a new name goes on with its numbers.
        let renamed = fresh && stored == 0 && peer.journal != first_journal(&peer.host);
        if seq > stored + 1 && !renamed && !stage.has(ModelBug::GapAcknowledged) {
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

    /// GitHub's POST; true is a 2xx.
    pub fn deliver(&mut self, stage: &mut Stage, wire: &mut Wire, guid: usize, repo: usize) -> bool {
        if self.deliveries.contains_key(&guid) {
            stage.saw(Seen::Duplicates);
            if !stage.has(ModelBug::GuidForgotten) {
                return true;
            }
        }
        let JobId(first) = self.next_id(stage);
        let followers = (0..self.targets.len()).filter(|target| self.targets[*target].repo == repo);
        let ids: Vec<_> = followers.zip(first..).collect();
        let push = |(target, id): (usize, u64)| self.enqueue(stage, JobId(id), target, Action::Deploy, Cause::Push);
        let inputs = ids.into_iter().map(push).collect();
        let written = self.turn(stage, wire, Change { inputs, delivery: Some(guid), ..Change::default() });
        written || stage.has(ModelBug::AnsweredBeforeWritten)
    }

    fn enqueue(&self, stage: &Stage, id: JobId, target: usize, action: Action, cause: Cause) -> Input {
        let target = &self.targets[target];
        let (host, project) = (target.host.clone(), target.project.clone());
        let hint_commit = Some(stage.branches[target.repo].head().moment.to_string());
        Input::Enqueue(NewJob { id, host, project, action, cause, hint_commit, service: None })
    }

    /// A person clicks.
    pub fn click(&mut self, stage: &mut Stage, wire: &mut Wire, target: usize, action: Action) {
        let inputs = vec![self.enqueue(stage, self.next_id(stage), target, action, Cause::Dashboard)];
        self.turn(stage, wire, Change { inputs, ..Change::default() });
    }

    /// A person wants a dead job tried again.
    pub fn revive_one(&mut self, stage: &mut Stage, wire: &mut Wire) {
        let dead: Vec<&Job> = self.rows.ended.values().filter(|job| job.state == JobState::Dead).collect();
        if let Some(job) = dead.get(stage.rng.index(dead.len())) {
            stage.saw(Seen::Revivals);
            let inputs = vec![Input::Revive((*job).clone())];
            self.turn(stage, wire, Change { inputs, ..Change::default() });
        }
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
        // The hub's clock may have been set back meanwhile: then nothing is due.
        if self.alarm.is_none_or(|(_, rings_at)| rings_at > stage.now) {
            return;
        }
        self.alarm = None;
        if !self.turn(stage, wire, Change { inputs: vec![Input::Tick], ..Change::default() }) && self.alarm.is_none() {
            // The platform rings a failed alarm again.
            self.set_alarm(stage, Some(stage.hub_now().plus_ms(2_000)));
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
        self.journals.get(journal).map_or(0, |stored| stored.base + stored.reports.len() as u64)
    }

    /// Numbers rise with time and are never used again.
    fn next_id(&self, stage: &Stage) -> JobId {
        JobId((stage.hub_now().0 * 1_024).max(self.rows.last() + 1))
    }

    pub fn socket_of(&self, host: &Name) -> Option<ConnId> {
        let of_host = |socket: &Socket| !socket.ending && socket.peer.as_ref().is_some_and(|peer| peer.host == *host);
        self.sockets.iter().find(|(_, socket)| of_host(socket)).map(|(conn, _)| *conn)
    }

    pub fn live(&self) -> impl Iterator<Item = &Job> {
        self.rows.live.values()
    }

    /// The jobs that a delivery made, if it is stored.
    pub fn jobs_of(&self, guid: usize) -> Option<&[JobId]> {
        self.deliveries.get(&guid).map(Vec::as_slice)
    }

    pub fn stored_of(&self, journal: &str) -> Option<&Stored> {
        self.journals.get(journal)
    }
}

/// The name of a host's first journal.
pub fn first_journal(host: &Name) -> String {
    format!("{host}-0")
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
        service: job.service.clone(),
    }
}
