//! One state of the model, in a normal form: equal situations are equal
//! values, whenever they came about.
//!
//! The hub's clock always shows [`NOW`]: after a turn at a later time, every
//! stored time is moved back by as much. The host's clock is its own and moves
//! only from one deadline of its link to the next; what is seen of a link is
//! [`Daemon::view`], which leaves the length of a wait out.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use doorstep_shared::ids::{Action, Attempt, Cause, FailureKind, JobId, JobState, Name, RunState};
use doorstep_shared::link::Link;
use doorstep_shared::protocol::{Failure, Grant, Holding, Report};
use doorstep_shared::queue::Job;
use doorstep_shared::time::Timestamp;

/// What the hub's clock shows in every state.
pub const NOW: Timestamp = Timestamp(1_700_000_000_000);
/// How far away every wait for a next try is.
pub const RETRY_MS: u64 = 1_000;

/// A grant by its job and attempt.
pub type Held = (JobId, Attempt);

/// What may still go wrong, or happen at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Budget {
    pub pushes: u8,
    pub hub_crashes: u8,
    pub host_crashes: u8,
    /// Losses and duplicates: a POST lost or sent again, a connection cut, a
    /// write that fails. What was under way on a connection is then sent again.
    pub losses: u8,
    /// Things that come at a bad time: a host that wakes and dials anew, a
    /// lease that ends under a live host, a hello that overtakes an older one.
    pub delays: u8,
    /// Runs that fail.
    pub failures: u8,
    /// Renewals that are sent.
    pub renewals: u8,
}

#[derive(Clone, Debug, PartialEq, Hash)]
pub struct State {
    pub left: Budget,
    /// The head of the branch, by its place on it.
    pub head: u8,
    pub deliveries: Vec<Delivery>,
    pub hub: Hub,
    /// In the order of dialling; the host holds the last one at most.
    pub conns: Vec<Conn>,
    pub host: Host,
    /// The first rule that was broken; nothing follows.
    pub broken: Option<(Rule, String)>,
}

impl State {
    /// Lets report numbers count from the oldest that anybody still speaks of.
    fn renumber(&mut self) {
        let settled = self.host.runs.iter().filter_map(|run| run.seq()).map(|seq| seq - 1);
        let said = self.conns.iter().filter_map(Conn::first_report);
        let first = said.chain(settled).fold(self.host.acknowledged.min(self.hub.stored), u64::min);
        if first == 0 {
            return;
        }
        self.hub.stored -= first;
        self.host.acknowledged -= first;
        self.host.left_out += first;
        self.host.history.drain(..first as usize);
        for conn in &mut self.conns {
            conn.count_from(first);
        }
        for run in &mut self.host.runs {
            if let Phase::Settled { seq } = &mut run.phase {
                *seq -= first;
            }
        }
    }

    /// Forgets what can matter no more: the course of jobs that ended, and of
    /// runs that both ends are done with.
    pub fn tidy(&mut self) {
        let live = |rows: &[Row], held: Held| rows.iter().any(|row| row.0.id == held.0 && is_live(row.0.state));
        let current = |rows: &[Row], held: Held| rows.iter().any(|row| (row.0.id, row.0.attempt) == held);
        let rows = &self.hub.rows;
        self.hub.settled.retain(|held| live(rows, *held) && current(rows, *held));
        let granted = |held: Held| {
            let down = self.conns.iter().flat_map(|conn| &conn.down);
            down.into_iter().any(|frame| matches!(frame, Down::Grant(job, attempt, _) if (*job, *attempt) == held))
        };
        self.host.runs.retain(|run| run.phase != Phase::Forgotten || live(rows, run.held) || granted(run.held));
        for run in self.host.runs.iter_mut().filter(|run| run.phase == Phase::Forgotten) {
            (run.commit, run.previous, run.failure) = (0, None, None);
        }
        self.renumber();
    }
}

/// What every state and every step is held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    Attempts,
    Accepted,
    Memory,
    Newest,
    CarriedOut,
    Ending,
    Wire,
}

/// A push's POST.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Delivery {
    pub commit: u8,
    /// It is on its way.
    pub posted: bool,
    /// The hub said 2xx.
    pub accepted: bool,
    /// The hub has a row of it, and this is its job.
    pub job: Option<JobId>,
    pub reconciled: bool,
}

/// What outlives the hub's process; its memory is a function of this, which
/// each turn checks.
#[derive(Clone, Debug, Default, PartialEq, Hash)]
pub struct Hub {
    pub rows: Vec<Row>,
    /// Where the branch stood when job n + 1 was wanted.
    pub wanted: Vec<u8>,
    /// Attempts whose outcome was obeyed.
    pub settled: Vec<Held>,
    /// Reports stored; they are the first ones of the host's history.
    pub stored: u64,
    pub alarm: Option<Timestamp>,
}

/// A row; shared between states, since a step changes few of them.
#[derive(Clone, Debug)]
pub struct Row(pub Arc<Job>);

impl Row {
    /// A row written in a turn at this time, as it looks when that is [`NOW`].
    pub fn at(mut job: Job, at: Timestamp) -> Self {
        job.created = NOW;
        job.since = NOW;
        // The six hours of a run are the simulation's.
        job.run_until = Timestamp(0);
        job.not_before = if job.not_before > at { NOW.plus_ms(RETRY_MS) } else { NOW };
        if job.lease_until != Timestamp(0) {
            job.lease_until = NOW.plus_ms(job.lease_until.ms_since(at));
        }
        Self(Arc::new(job))
    }

    /// What the future depends on; a new field of a job must be placed here.
    fn view(&self) -> View<'_> {
        let Job {
            id,
            host: _,
            project: _,
            action: _,
            cause,
            hint_commit: _,
            service: _,
            state,
            attempt,
            failures: _,
            failures_by_kind,
            created: _,
            not_before,
            lease_until,
            since: _,
            spared: _,
            run_until: _,
            is_graced: _,
            reason,
        } = &*self.0;
        if !is_live(*state) {
            return (*id, *cause, *state, 0, &NO_FAILURE, NOW, NOW, reason.is_some());
        }
        (*id, *cause, *state, *attempt, failures_by_kind, *not_before, *lease_until, reason.is_some())
    }
}

/// What [`Row::view`] shows.
type View<'r> = (JobId, Cause, JobState, Attempt, &'r BTreeMap<FailureKind, u32>, Timestamp, Timestamp, bool);

static NO_FAILURE: BTreeMap<FailureKind, u32> = BTreeMap::new();

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Hash for Row {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.view().hash(hasher);
    }
}

/// A connection, until both ends know that it is over.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Conn {
    pub host_open: bool,
    pub hub: HubEnd,
    /// Nothing gets through any more.
    pub cut: bool,
    pub up: Vec<Up>,
    pub down: Vec<Down>,
}

impl Conn {
    /// The number before the oldest report that it speaks of.
    fn first_report(&self) -> Option<u64> {
        let told = match self.hub {
            HubEnd::Peer { told } | HubEnd::Ending { told: Some(told) } => Some(told),
            HubEnd::Open | HubEnd::Ending { told: None } | HubEnd::Gone => None,
        };
        let up = self.up.iter().filter_map(|frame| if let Up::Report(seq) = frame { Some(seq - 1) } else { None });
        let down = self.down.iter().filter_map(|frame| match frame {
            Down::Welcome(seq) | Down::Acknowledge(seq) => Some(*seq),
            Down::Grant(..) | Down::Cancel(..) | Down::Refuse => None,
        });
        up.chain(down).chain(told).min()
    }

    fn count_from(&mut self, first: u64) {
        if let HubEnd::Peer { told } | HubEnd::Ending { told: Some(told) } = &mut self.hub {
            *told -= first;
        }
        for frame in &mut self.up {
            if let Up::Report(seq) = frame {
                *seq -= first;
            }
        }
        for frame in &mut self.down {
            if let Down::Welcome(seq) | Down::Acknowledge(seq) = frame {
                *seq -= first;
            }
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HubEnd {
    /// The hello has not come yet.
    Open,
    /// The hello was believed; its welcome acknowledged so many reports.
    Peer {
        told: u64,
    },
    /// The hub said its last word and still hears reports.
    Ending {
        told: Option<u64>,
    },
    Gone,
}

/// A frame to the hub; the challenge is taken as answered.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Up {
    Hello(Vec<Held>),
    Renew(Vec<Held>),
    Report(u64),
}

/// A frame to the host.
#[derive(Clone, Debug, PartialEq, Hash)]
pub enum Down {
    Welcome(u64),
    Grant(JobId, Attempt, Cause),
    Cancel(JobId, Attempt),
    Acknowledge(u64),
    Refuse,
}

#[derive(Clone, Debug, Default)]
pub struct Host {
    /// The process; without it, only what follows it here is left.
    pub daemon: Option<Daemon>,
    /// The reports that somebody still speaks of; number n is in place n - 1.
    pub history: Vec<Said>,
    /// How many there were before them, which only the link counts.
    pub left_out: u64,
    pub acknowledged: u64,
    /// Every grant ever stored.
    pub runs: Vec<Run>,
    /// The commit that is live.
    pub live: u8,
}

impl Host {
    /// What the future depends on.
    fn view(&self) -> (&Option<Daemon>, &[Said], u64, &[Run], u8) {
        (&self.daemon, &self.history, self.acknowledged, &self.runs, self.live)
    }
}

impl PartialEq for Host {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Hash for Host {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.view().hash(hasher);
    }
}

#[derive(Clone, Debug)]
pub struct Daemon {
    pub link: Arc<Link>,
    pub now: Timestamp,
    /// Attempts that somebody wants stopped.
    pub stops: Vec<Held>,
}

impl Daemon {
    /// What the future depends on. A link that is not up waits for its dial or
    /// for its hub, and which of them the connections tell; its outbox is the
    /// end of the history; one that is up heard something just now, or never
    /// will again.
    fn view(&self) -> (bool, usize, bool, &[Held]) {
        (self.link.is_up(), self.link.unacknowledged(), self.link.deadline().is_some(), &self.stops)
    }
}

impl PartialEq for Daemon {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl Hash for Daemon {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.view().hash(hasher);
    }
}

/// A stored grant and how far it got.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Run {
    pub held: Held,
    pub phase: Phase,
    /// What the fetch found.
    pub commit: u8,
    /// What was live before the switch, noted before it.
    pub previous: Option<u8>,
    /// Decided before anything is undone.
    pub failure: Option<FailureKind>,
    pub starts: u8,
    pub outcomes: u8,
    /// Not in the journal after all: the planted bug.
    pub volatile: bool,
}

impl Run {
    fn seq(&self) -> Option<u64> {
        if let Phase::Settled { seq } = self.phase { Some(seq) } else { None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    Stored,
    Started,
    Fetched,
    Switched,
    /// What was live before is live again.
    PutBack,
    /// Its outcome is the report of this number.
    Settled {
        seq: u64,
    },
    /// That report is acknowledged.
    Forgotten,
    /// Gone with the process.
    Lost,
}

/// A report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    Started(Held),
    Outcome(Held, Option<FailureKind>),
}

impl Said {
    pub fn report(self) -> Report {
        match self {
            Self::Started((job, attempt)) => Report::Started {
                run: String::new(),
                job: Some(job),
                attempt,
                project: project(),
                action: Action::Deploy,
                cause: Cause::Push,
                service: None,
                at: NOW,
            },
            Self::Outcome((job, attempt), failure) => Report::Outcome {
                run: String::new(),
                job: Some(job),
                attempt,
                state: if failure.is_none() { RunState::Succeeded } else { RunState::Failed },
                failure: failure.map(|kind| Failure { kind, step: String::new(), message: kind.to_string() }),
                commit: None,
                at: NOW,
            },
        }
    }
}

pub fn grant(job: JobId, attempt: Attempt, cause: Cause) -> Grant {
    Grant { job, attempt, project: project(), action: Action::Deploy, cause, hint_commit: None, service: None }
}

pub fn holding((job, attempt): Held) -> Holding {
    Holding { job, attempt }
}

pub fn held(holding: Holding) -> Held {
    (holding.job, holding.attempt)
}

pub fn host() -> Name {
    name("attic")
}

pub fn project() -> Name {
    name("shop")
}

#[expect(clippy::expect_used, reason = "a wrong name is a mistake in this file")]
fn name(text: &str) -> Name {
    text.parse().expect("the model's names are names")
}

pub fn is_live(state: JobState) -> bool {
    matches!(state, JobState::Waiting | JobState::Leased)
}
