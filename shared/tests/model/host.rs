//! The host's shell around the real link, and its runs: each effect and each
//! row is a step of its own, so the process may die between any two.

use std::sync::Arc;

use doorstep_shared::ids::FailureKind;
use doorstep_shared::link::{self, Link};
use doorstep_shared::protocol::{Grant, Refusal, ToEdge, ToExecutor, VERSION};
use doorstep_shared::queue::LEASE_TOLD_MS;

use super::scene::Scene;
use super::state::{Conn, Daemon, Down, Held, HubEnd, NOW, Phase, Rule, Run, Said, Up, grant, held};
use crate::model::bug::ModelBug;

/// Ticks until a link that hears nothing must have given its socket up: a
/// ping, and the silence after it.
const TICKS_MAX: usize = 3;

impl Scene {
    /// The daemon starts and dials. A run that was under way goes on, or
    /// begins again under its attempt.
    pub fn boot(&mut self, again: bool) {
        let host = &mut self.state.host;
        for run in host.runs.iter_mut().filter(|run| again && may_begin_again(run)) {
            run.phase = Phase::Started;
        }
        let first = host.acknowledged as usize;
        let outbox =
            host.history.iter().enumerate().skip(first).map(|(n, said)| (host.left_out + n as u64 + 1, said.report()));
        let link = self.bug.plant_in_link(Link::new(1, outbox));
        host.daemon = Some(Daemon { link: Arc::new(link), now: NOW, stops: Vec::new() });
        self.input(link::Input::Start);
    }

    /// The process dies; the kernel closes its socket.
    pub fn crash(&mut self) {
        self.state.host.daemon = None;
        for run in self.state.host.runs.iter_mut().filter(|run| run.volatile && !is_over(run)) {
            run.phase = Phase::Lost;
        }
        self.hang_up();
    }

    /// Hands an input to the link and carries out what follows.
    pub fn input(&mut self, input: link::Input) {
        let Some(daemon) = &mut self.state.host.daemon else { return };
        let outputs = Arc::make_mut(&mut daemon.link).handle(input, daemon.now);
        for output in outputs {
            self.carry_out(output);
        }
        let torn = self.slot().is_none() && self.link_is_up();
        self.check(Rule::Wire, !torn, || "the link is up without a socket".to_owned());
    }

    pub fn link_is_up(&self) -> bool {
        self.state.host.daemon.as_ref().is_some_and(|daemon| daemon.link.is_up())
    }

    /// The connection in the host's hand.
    pub fn slot(&self) -> Option<usize> {
        self.state.conns.iter().position(|conn| conn.host_open)
    }

    fn carry_out(&mut self, output: link::Output) {
        match output {
            link::Output::Dial => self.dial(),
            link::Output::Authenticate { .. } => {
                let held = self.holding();
                self.send_up(Up::Hello(held));
            }
            link::Output::Send(ToEdge::Report { seq, report }) => {
                let seq = seq.saturating_sub(self.state.host.left_out).max(1);
                let right = self.state.host.history.get(seq as usize - 1).is_some_and(|said| said.report() == report);
                self.check(Rule::Wire, right, || format!("report {seq} is not what the journal says"));
                self.send_up(Up::Report(seq));
            }
            link::Output::Send(frame) => self.check(Rule::Wire, false, || format!("the link says {frame:?}")),
            link::Output::Hangup { .. } => self.hang_up(),
            // Answered at once by the platform, or never.
            link::Output::Outrun { .. } => self.check(Rule::Wire, false, || "the hub knows reports that were never made".to_owned()),
            link::Output::Ping | link::Output::Up { .. } => {}
            link::Output::Watched { .. } | link::Output::Measured => self.check(Rule::Wire, false, || "nobody watches here".to_owned()),
            link::Output::Refused { message, .. } => self.check(Rule::Wire, false, || message),
            link::Output::Granted(grant) => self.granted(&grant),
            link::Output::Cancelled(holding) => self.stop(held(holding)),
            link::Output::Forget { seq } => self.forget(seq),
        }
    }

    /// The hub's side of a handshake changes nothing until the hello comes, so
    /// it is one step with the dial.
    fn dial(&mut self) {
        let free = self.slot().is_none();
        self.check(Rule::Wire, free, || "a dial with a socket in the hand".to_owned());
        let (up, down) = (Vec::new(), Vec::new());
        self.state.conns.push(Conn { host_open: true, hub: HubEnd::Open, cut: false, up, down });
        self.input(link::Input::Opened);
        let challenge = ToExecutor::Challenge { nonce: String::new(), version: VERSION, version_min: VERSION };
        self.input(link::Input::Frame(challenge));
    }

    fn hang_up(&mut self) {
        if let Some(c) = self.slot() {
            self.state.conns[c].host_open = false;
            self.sweep();
        }
    }

    /// The host's clock moves to the link's deadline.
    fn tick(&mut self) {
        if let Some(daemon) = &mut self.state.host.daemon {
            daemon.now = daemon.link.deadline().unwrap_or(daemon.now).max(daemon.now);
        }
        self.input(link::Input::Tick);
    }

    /// The wait for the next dial is over.
    pub fn dials(&mut self) {
        self.tick();
        let dialled = self.slot().is_some();
        self.check(Rule::Wire, dialled, || "the wait for a dial ended without one".to_owned());
    }

    /// Nothing is heard until the link gives its socket up.
    pub fn gives_up(&mut self) {
        for _ in 0..TICKS_MAX {
            if self.slot().is_some() {
                self.tick();
            }
        }
        let free = self.slot().is_none();
        self.check(Rule::Wire, free, || "a silent socket is believed".to_owned());
    }

    pub fn host_sees_close(&mut self) {
        self.hang_up();
        self.input(link::Input::Closed { reason: String::new() });
    }

    pub fn host_hears(&mut self, c: usize) {
        let left_out = self.state.host.left_out;
        let frame = match self.state.conns[c].down.remove(0) {
            Down::Welcome(seq) => ToExecutor::Welcome { acknowledged: left_out + seq, lease_ms: LEASE_TOLD_MS },
            Down::Grant(job, attempt, cause) => ToExecutor::Grant { grant: grant(job, attempt, cause) },
            Down::Cancel(job, attempt) => ToExecutor::Cancel { job, attempt },
            Down::Acknowledge(seq) => ToExecutor::Acknowledge { seq: left_out + seq },
            Down::Refuse => ToExecutor::Refuse { refusal: Refusal::Busy, message: String::new() },
        };
        self.input(link::Input::Frame(frame));
    }

    /// What is announced to the hub: everything not settled there for sure.
    pub fn holding(&self) -> Vec<Held> {
        self.state.host.runs.iter().filter(|run| !run.volatile && !is_over(run)).map(|run| run.held).collect()
    }

    fn granted(&mut self, grant: &Grant) {
        let held = (grant.job, grant.attempt);
        if self.state.host.runs.iter().any(|run| run.held == held) {
            return;
        }
        let volatile = self.bug_is(ModelBug::GrantNotJournaled);
        let (commit, previous, failure, starts, outcomes) = (0, None, None, 0, 0);
        let phase = Phase::Stored;
        self.state.host.runs.push(Run { held, phase, commit, previous, failure, starts, outcomes, volatile });
        let older = |run: &&Run| run.held.0 == held.0 && run.held.1 < held.1;
        let older: Vec<Held> = self.state.host.runs.iter().filter(older).map(|run| run.held).collect();
        for held in older {
            self.stop(held);
        }
    }

    /// Somebody wants an attempt stopped: at once if it waits, at its next
    /// step if it runs.
    fn stop(&mut self, held: Held) {
        let Some(r) = self.state.host.runs.iter().position(|run| run.held == held) else { return };
        if self.state.host.runs[r].phase == Phase::Stored {
            self.state.host.runs[r].failure = Some(FailureKind::Cancelled);
            self.settle(r);
        } else if is_running(&self.state.host.runs[r])
            && let Some(daemon) = &mut self.state.host.daemon
            && !daemon.stops.contains(&held)
        {
            daemon.stops.push(held);
        }
    }

    fn forget(&mut self, seq: u64) {
        let host = &mut self.state.host;
        host.acknowledged = host.acknowledged.max(seq.saturating_sub(host.left_out));
        for run in &mut host.runs {
            if let Phase::Settled { seq } = run.phase
                && seq <= host.acknowledged
            {
                run.phase = Phase::Forgotten;
            }
        }
    }

    /// A run begins with a fetch; only one that begins again has it as a step of
    /// its own.
    pub fn start(&mut self, r: usize) {
        let commit = self.found(r);
        let run = &mut self.state.host.runs[r];
        run.phase = Phase::Fetched;
        run.commit = commit;
        run.starts += 1;
        let said = Said::Started(run.held);
        self.post(said);
    }

    pub fn fetch(&mut self, r: usize) {
        self.state.host.runs[r].commit = self.found(r);
        self.state.host.runs[r].phase = Phase::Fetched;
    }

    /// What a fetch finds: the head of the branch, whatever a push named.
    fn found(&self, r: usize) -> u8 {
        let job = self.state.host.runs[r].held.0;
        let hint = self.state.deliveries.iter().find(|delivery| delivery.job == Some(job)).map(|push| push.commit);
        hint.filter(|_| self.bug_is(ModelBug::HintFollowed)).unwrap_or(self.state.head)
    }

    pub fn switch(&mut self, r: usize) {
        let run = &mut self.state.host.runs[r];
        run.previous.get_or_insert(self.state.host.live);
        self.state.host.live = run.commit;
        run.phase = Phase::Switched;
    }

    pub fn fail(&mut self, r: usize, kind: FailureKind) {
        self.state.host.runs[r].failure = Some(kind);
    }

    pub fn put_back(&mut self, r: usize) {
        let run = &mut self.state.host.runs[r];
        run.phase = Phase::PutBack;
        if let Some(previous) = run.previous.filter(|_| !self.bug_is(ModelBug::RollbackForgotten)) {
            self.state.host.live = previous;
        }
    }

    /// The outcome is a row and a report in one.
    pub fn settle(&mut self, r: usize) {
        let run = &self.state.host.runs[r];
        let (held, live) = (run.held, self.state.host.live);
        let put_back = run.failure.is_none() || run.previous.is_none_or(|previous| previous == live);
        self.check(Rule::CarriedOut, put_back, || format!("{held:?} failed and what it switched to stays"));
        let run = &mut self.state.host.runs[r];
        run.outcomes += 1;
        run.phase = Phase::Settled { seq: self.state.host.history.len() as u64 + 1 };
        let said = Said::Outcome(held, run.failure);
        if let Some(daemon) = &mut self.state.host.daemon {
            daemon.stops.retain(|stopped| *stopped != held);
        }
        self.post(said);
    }

    fn post(&mut self, said: Said) {
        self.state.host.history.push(said);
        let seq = self.state.host.history.len() as u64;
        self.input(link::Input::Post { seq: self.state.host.left_out + seq, report: said.report() });
    }
}

pub fn is_over(run: &Run) -> bool {
    matches!(run.phase, Phase::Forgotten | Phase::Lost)
}

pub fn is_running(run: &Run) -> bool {
    matches!(run.phase, Phase::Started | Phase::Fetched | Phase::Switched | Phase::PutBack)
}

pub fn may_begin_again(run: &Run) -> bool {
    matches!(run.phase, Phase::Fetched | Phase::Switched) && run.failure.is_none()
}
