//! The executor's end of the connection: dial, prove, beat, report, resume.
//!
//! Contract: [`Link::handle`] takes one input and the time and returns what
//! the shell must do, in order. [`Link::deadline`] says when to call it with
//! [`Input::Tick`]. Reports enter through [`Input::Post`] after the journal
//! stored them and leave through [`Output::Forget`] once the hub has: in
//! between they are sent again on every new connection.
//!
//! Invariants: at most one socket; a link that gets no answer for two
//! heartbeats is down, whatever else it hears; reports are sent in order of
//! their numbers. An edge that answers and does not let the host in is asked
//! ever more seldom; where nobody answers, a dial costs nobody anything, and
//! the wait stays short, so that a host is back soon after its network. What is
//! absent: sockets, keys (the shell signs), the journal, and any clock.

mod types;

use std::collections::VecDeque;

use crate::protocol::{Holding, Refusal, Report, ToEdge, ToExecutor, VERSION, VERSION_MIN};
use crate::time::{Timestamp, backoff_ms, mix};

pub use types::{Input, Output};

/// Time between heartbeats. Two missed ones and the wait for the second make
/// 15 + 15 + a tick: a half-open socket is found within 40 s.
pub const HEARTBEAT_MS: u64 = 15_000;
/// No answer for this long means the link is down: two heartbeats. A grant is
/// no answer: it also comes when what the host sends is lost on its way.
pub const SILENCE_MS_MAX: u64 = 2 * HEARTBEAT_MS;
/// A dial or a handshake that takes longer than this is given up.
pub const HANDSHAKE_MS_MAX: u64 = 15_000;
/// First ceiling of the full-jitter backoff between dials.
pub const DIAL_BASE_MS: u64 = 500;
/// Last ceiling of it.
pub const DIAL_CAP_MS: u64 = 60_000;
/// The only ceiling of it while nobody answers. A dial then takes two seconds
/// at most, with a second try to connect after one, so that the next packet
/// leaves 2.5 s after the network is back at the latest.
pub const UNREACHABLE_CAP_MS: u64 = 1_500;
/// So many links that were up and soon lost weigh as much as one dial that
/// failed: a network that comes and goes is not the fault of the edge.
const LOST_PER_FAILURE: u32 = 4;
/// A connection that lived this long makes the next dial quick again.
pub const SETTLED_MS: u64 = 30_000;
/// An edge that speaks no version in common, or does not know this host, is
/// dialled again within this.
pub const UPDATE_MS: u64 = 10 * 60_000;
/// Reports sent and not yet acknowledged; the rest waits. 64 frames of at
/// most 256 KiB bound what a dying socket buffers to 16 MiB.
pub const WINDOW: usize = 64;

/// Known-wrong variants, for the test that must catch each of them.
#[cfg(feature = "planted-bugs")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkBug {
    /// Unacknowledged reports are dropped with their socket.
    OutboxDropped,
    /// A silent socket is believed for ever.
    SilenceBelieved,
    /// Reports are forgotten when sent, not when acknowledged.
    ForgetEarly,
    /// A hub that knows reports which were never made is believed.
    OutrunBelieved,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Waiting { dial_at: Timestamp },
    Dialing { since: Timestamp },
    Challenged { since: Timestamp },
    Up { since: Timestamp, answered: Timestamp, ping_at: Timestamp },
    Ended,
}

/// The connection engine; see the module's contract.
#[derive(Clone, Debug)]
pub struct Link {
    state: State,
    /// What speaks for a longer wait; [`LOST_PER_FAILURE`] are one failed dial.
    strikes: u32,
    seed: u64,
    outbox: VecDeque<(u64, Report)>,
    /// How many at the front of the outbox were sent on this socket.
    sent: usize,
    /// The highest number that the hub can know of, if that is known: what the
    /// journal had given before this process, and what this process sent.
    last: Option<u64>,
    /// What both ends of this connection understand.
    version: u16,
    #[cfg(feature = "planted-bugs")]
    bug: Option<LinkBug>,
}

impl Link {
    /// A link with the reports the journal still holds, in order. The seed
    /// decorrelates the dials of many hosts.
    #[must_use]
    pub fn new(seed: u64, outbox: impl IntoIterator<Item = (u64, Report)>) -> Self {
        Self {
            state: State::Idle,
            strikes: 0,
            seed,
            outbox: outbox.into_iter().collect(),
            sent: 0,
            last: None,
            version: VERSION,
            #[cfg(feature = "planted-bugs")]
            bug: None,
        }
    }

    /// Says up to which number the journal has made reports, so that a journal
    /// that was put back to an older state is noticed.
    #[must_use]
    pub fn with_last_report(mut self, seq: u64) -> Self {
        self.last = Some(seq);
        self
    }

    /// The version of the protocol that this connection speaks.
    #[must_use]
    pub fn version(&self) -> u16 {
        self.version
    }

    /// Makes this link wrong in one way.
    #[cfg(feature = "planted-bugs")]
    pub fn plant(&mut self, bug: LinkBug) {
        self.bug = Some(bug);
    }

    #[cfg(feature = "planted-bugs")]
    fn has(&self, bug: LinkBug) -> bool {
        self.bug == Some(bug)
    }

    /// Is the hub's welcome the last word?
    #[must_use]
    pub fn is_up(&self) -> bool {
        matches!(self.state, State::Up { .. })
    }

    /// Reports the hub has not acknowledged.
    #[must_use]
    pub fn unacknowledged(&self) -> usize {
        self.outbox.len()
    }

    /// When [`Input::Tick`] has something to do, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        match self.state {
            State::Idle | State::Ended => None,
            State::Waiting { dial_at } => Some(dial_at),
            State::Dialing { since } | State::Challenged { since } => Some(since.plus_ms(HANDSHAKE_MS_MAX)),
            State::Up { answered, ping_at, .. } => Some(ping_at.min(answered.plus_ms(SILENCE_MS_MAX))),
        }
    }

    /// Handles one input; see the module's contract.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Output> {
        match input {
            Input::Start => self.start(now),
            Input::Opened => self.opened(now),
            Input::Closed { .. } => self.closed(now),
            Input::Unreachable { .. } => self.unreachable(now),
            Input::Frame(frame) => self.frame(frame, now),
            Input::Pong => {
                self.is_answered(now);
                Vec::new()
            }
            Input::Post { seq, report } => {
                self.outbox.push_back((seq, report));
                self.flush()
            }
            Input::Woke => self.woke(now),
            Input::Tick => self.tick(now),
        }
    }

    fn start(&mut self, now: Timestamp) -> Vec<Output> {
        match self.state {
            State::Idle | State::Waiting { .. } => self.dial(now),
            State::Dialing { .. } | State::Challenged { .. } | State::Up { .. } | State::Ended => Vec::new(),
        }
    }

    fn dial(&mut self, now: Timestamp) -> Vec<Output> {
        self.state = State::Dialing { since: now };
        vec![Output::Dial]
    }

    fn opened(&mut self, now: Timestamp) -> Vec<Output> {
        match self.state {
            State::Dialing { .. } => {
                self.state = State::Challenged { since: now };
                Vec::new()
            }
            // A socket that opened after it was given up.
            State::Idle | State::Waiting { .. } | State::Ended => vec![hangup("nobody waits for this socket")],
            State::Challenged { .. } | State::Up { .. } => Vec::new(),
        }
    }

    fn closed(&mut self, now: Timestamp) -> Vec<Output> {
        match self.state {
            State::Idle | State::Ended | State::Waiting { .. } => {}
            State::Dialing { .. } | State::Challenged { .. } => self.retreat(LOST_PER_FAILURE, now),
            State::Up { since, .. } => self.lose(since, now),
        }
        Vec::new()
    }

    /// Nobody can be spared anything by a long wait, and what was held against
    /// the edge before says nothing about it any more.
    fn unreachable(&mut self, now: Timestamp) -> Vec<Output> {
        if matches!(self.state, State::Dialing { .. }) {
            self.strikes = 0;
            self.wait(UNREACHABLE_CAP_MS, UNREACHABLE_CAP_MS, now);
        }
        Vec::new()
    }

    /// A link that was up is gone.
    fn lose(&mut self, since: Timestamp, now: Timestamp) {
        if now.ms_since(since) >= SETTLED_MS {
            self.strikes = 0;
        }
        self.retreat(1, now);
    }

    /// Waits before the next dial, longer each time.
    fn retreat(&mut self, strikes: u32, now: Timestamp) {
        self.wait(DIAL_BASE_MS, DIAL_CAP_MS, now);
        self.strikes = self.strikes.saturating_add(strikes);
    }

    /// Full jitter, so that a fleet does not come back in one instant.
    fn wait(&mut self, base_ms: u64, cap_ms: u64, now: Timestamp) {
        self.seed = mix(self.seed);
        let wait_ms = backoff_ms(self.strikes / LOST_PER_FAILURE, base_ms, cap_ms, self.seed);
        self.state = State::Waiting { dial_at: now.plus_ms(wait_ms) };
        self.sent = 0;
        #[cfg(feature = "planted-bugs")]
        if self.has(LinkBug::OutboxDropped) {
            self.outbox.clear();
        }
    }

    fn frame(&mut self, frame: ToExecutor, now: Timestamp) -> Vec<Output> {
        match (frame, &self.state) {
            (ToExecutor::Challenge { nonce, version, version_min }, State::Challenged { .. }) => {
                if version < VERSION_MIN || version_min > VERSION {
                    let message = format!("the edge speaks versions {version_min} to {version} of the protocol, this executor {VERSION_MIN} to {VERSION}: update the older one");
                    return self.refused(Refusal::Version, message, now);
                }
                self.version = version.min(VERSION);
                vec![Output::Authenticate { nonce }]
            }
            (ToExecutor::Welcome { acknowledged, .. }, State::Challenged { .. })
                if self.is_outrun(acknowledged) =>
            {
                self.retreat(LOST_PER_FAILURE, now);
                vec![Output::Outrun { acknowledged }, hangup("the edge knows reports that this journal never made")]
            }
            (ToExecutor::Welcome { acknowledged, lease_ms }, State::Challenged { .. }) => {
                self.state = State::Up { since: now, answered: now, ping_at: now.plus_ms(HEARTBEAT_MS) };
                self.sent = 0;
                let mut outputs = vec![Output::Up { lease_ms }];
                outputs.extend(self.acknowledged(acknowledged));
                outputs.extend(self.flush());
                outputs
            }
            (ToExecutor::Acknowledge { seq }, State::Up { .. }) => {
                self.is_answered(now);
                let mut outputs = self.acknowledged(seq);
                outputs.extend(self.flush());
                outputs
            }
            (ToExecutor::Grant { grant }, State::Up { .. }) => vec![Output::Granted(grant)],
            (ToExecutor::Cancel { job, attempt }, State::Up { .. }) => vec![Output::Cancelled(Holding { job, attempt })],
            (ToExecutor::Watch { project, tail }, State::Up { .. }) => vec![Output::Watched { project, tail }],
            (ToExecutor::Measure, State::Up { .. }) => vec![Output::Measured],
            (ToExecutor::Refuse { refusal, message }, State::Challenged { .. } | State::Up { .. }) => {
                self.refused(refusal, message, now)
            }
            // Late frames of a socket that was given up, and `joined`, which
            // only the `join` verb waits for.
            (_, State::Idle | State::Waiting { .. } | State::Dialing { .. } | State::Ended)
            | (ToExecutor::Joined { .. }, _)
            | (ToExecutor::Challenge { .. } | ToExecutor::Welcome { .. }, State::Up { .. })
            | (
                ToExecutor::Grant { .. } | ToExecutor::Cancel { .. } | ToExecutor::Acknowledge { .. } | ToExecutor::Watch { .. } | ToExecutor::Measure,
                State::Challenged { .. },
            ) => Vec::new(),
        }
    }

    /// Does the hub know reports that were never sent?
    fn is_outrun(&self, acknowledged: u64) -> bool {
        #[cfg(feature = "planted-bugs")]
        if self.has(LinkBug::OutrunBelieved) {
            return false;
        }
        self.last.is_some_and(|last| acknowledged > last)
    }

    fn refused(&mut self, refusal: Refusal, message: String, now: Timestamp) -> Vec<Output> {
        match refusal {
            // Whoever updates or restores the edge need not think of its hosts.
            Refusal::Version | Refusal::Unknown => {
                self.wait(UPDATE_MS, UPDATE_MS, now);
                vec![hangup(&message), Output::Refused { refusal, message }]
            }
            Refusal::NotAuthorised | Refusal::BadCode | Refusal::NameTaken => {
                self.state = State::Ended;
                vec![hangup(&message), Output::Refused { refusal, message }]
            }
            // Replaced: the other socket may be this very daemon's newer dial
            // or a second daemon; backing off keeps two of them from a duel.
            Refusal::Replaced | Refusal::Protocol | Refusal::Busy => {
                self.retreat(LOST_PER_FAILURE, now);
                vec![hangup(&message)]
            }
        }
    }

    fn acknowledged(&mut self, seq: u64) -> Vec<Output> {
        let before = self.outbox.len();
        while self.outbox.front().is_some_and(|(first, _)| *first <= seq) {
            self.outbox.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        if self.outbox.len() == before { Vec::new() } else { vec![Output::Forget { seq }] }
    }

    fn flush(&mut self) -> Vec<Output> {
        if !self.is_up() {
            return Vec::new();
        }
        let until = self.outbox.len().min(WINDOW);
        let frames: Vec<Output> = self
            .outbox
            .range(self.sent.min(until)..until)
            .map(|(seq, report)| Output::Send(ToEdge::Report { seq: *seq, report: report.clone() }))
            .collect();
        self.sent = until;
        if let Some((seq, _)) = until.checked_sub(1).and_then(|newest| self.outbox.get(newest)) {
            self.last = self.last.map(|last| last.max(*seq));
        }
        #[cfg(feature = "planted-bugs")]
        if self.has(LinkBug::ForgetEarly) {
            self.outbox.drain(..until);
            self.sent = 0;
        }
        frames
    }

    fn is_answered(&mut self, now: Timestamp) {
        if let State::Up { answered, .. } = &mut self.state {
            *answered = now;
        }
    }

    fn woke(&mut self, now: Timestamp) -> Vec<Output> {
        self.strikes = 0;
        match self.state {
            State::Idle | State::Ended | State::Dialing { .. } | State::Challenged { .. } => Vec::new(),
            State::Waiting { .. } => self.dial(now),
            // The socket is most likely dead; a new one costs one round trip.
            State::Up { .. } => {
                self.sent = 0;
                let mut outputs = vec![hangup("the host slept or its network changed")];
                outputs.extend(self.dial(now));
                outputs
            }
        }
    }

    fn tick(&mut self, now: Timestamp) -> Vec<Output> {
        match self.state {
            State::Idle | State::Ended => Vec::new(),
            State::Waiting { dial_at } if dial_at <= now => self.dial(now),
            State::Dialing { since } | State::Challenged { since } if since.plus_ms(HANDSHAKE_MS_MAX) <= now => {
                self.retreat(LOST_PER_FAILURE, now);
                vec![hangup("the edge did not answer in time")]
            }
            State::Up { since, answered, ping_at } => self.beat(since, answered, ping_at, now),
            State::Waiting { .. } | State::Dialing { .. } | State::Challenged { .. } => Vec::new(),
        }
    }

    fn beat(&mut self, since: Timestamp, answered: Timestamp, ping_at: Timestamp, now: Timestamp) -> Vec<Output> {
        #[cfg(feature = "planted-bugs")]
        let believe = self.has(LinkBug::SilenceBelieved);
        #[cfg(not(feature = "planted-bugs"))]
        let believe = false;
        if answered.plus_ms(SILENCE_MS_MAX) <= now && !believe {
            self.lose(since, now);
            return vec![hangup("nothing heard for two heartbeats")];
        }
        if ping_at <= now {
            let answered = if believe { now } else { answered };
            self.state = State::Up { since, answered, ping_at: now.plus_ms(HEARTBEAT_MS) };
            return vec![Output::Ping];
        }
        Vec::new()
    }
}

fn hangup(reason: &str) -> Output {
    Output::Hangup { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests;
