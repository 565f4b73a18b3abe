//! `doorstep run`: one loop that everything wakes.
//!
//! The link engine says when to dial and what to send; grants are stored
//! before they are acted on; runs of different projects go on side by side,
//! those of one project one after the other. Invariant: what is reported is in
//! the journal first. The daemon listens on a Unix socket and on no port.
//! Ending it ends no app: they go on, and the next daemon finds them again.

mod asked;
mod left;
mod link;
mod measure;
mod pace;
mod reconcile;
mod room;
mod start;
mod talk;
mod view;
mod watch;
mod work;

pub use view::{live_view, quarantined};

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use doorstep_shared::ids::{Action, ServiceName};
use doorstep_shared::link::{Input, Link};
use doorstep_shared::protocol::{Holding, Report, ToExecutor, decode};
use doorstep_shared::time::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};
use tracing::{error, info, warn};

use crate::cli::{Exit, Failure};
use crate::clock;
use crate::config::{self, LoadError};
use crate::control;
use crate::git::{Web, WebLimits};
use crate::identity::Identity;
use crate::journal::RunRecord;
use crate::reach::Target;
use crate::run::{Cancel, Request, Shared};
use crate::socket::{Said, Socket};
use crate::standing::{self, Standings};
use crate::supervisor::Supervisor;

/// How often the apps' logs are looked at.
const TRIM_MS: u64 = 60_000;
/// The wall clock ran this much ahead of the steady one: the host slept.
const SLEPT: Duration = Duration::from_secs(10);
/// Fetches at once. Each holds a thread; name look-ups need some of the 64 too.
const FETCHES_MAX: usize = 16;
/// How often the proxy and the disks are looked after.
const TEND_MS: u64 = 5_000;
/// How often the way to the edge is looked at: three calls of the system.
const WAY_MS: u64 = 2_000;
/// Reports that a slow watcher on this host may lag behind.
const WATCH_BACKLOG: usize = 1_024;

/// Everything that wakes the loop.
pub enum Wake {
    /// A report is in the journal.
    Posted {
        /// Its number.
        seq: u64,
        /// The report.
        report: Report,
    },
    /// A socket said something.
    Said(u64, Said),
    /// A run of this project ended.
    RunEnded(String),
    /// Somebody on this host asks.
    Asked(Ask),
    /// How the disks are: why no run may begin, if so.
    Room(Option<String>),
    /// The origin of a project said where its branch is.
    Head {
        /// The project.
        project: String,
        /// What it said, or why it is not known.
        asked: reconcile::Asked,
    },
}

/// What is asked over the Unix socket.
pub enum Ask {
    /// How everything is, as JSON.
    Status(oneshot::Sender<serde_json::Value>),
    /// A run of this action for a project; the answer is the run's id, or why not.
    Act { project: String, action: Action, to: Option<u64>, service: Option<ServiceName>, reply: oneshot::Sender<std::result::Result<String, String>> },
    /// The projects' names.
    Projects(oneshot::Sender<Vec<String>>),
}

enum Work {
    Fresh { request: Request, id: String },
    /// What another daemon left open. It is never dropped: what it left half
    /// done is put right first, also when it was cancelled meanwhile.
    Resume { record: RunRecord, cancel: Cancel },
}

impl Work {
    fn holding(&self) -> Option<Holding> {
        match self {
            Self::Fresh { request, .. } => request.job.map(|(job, attempt)| Holding { job, attempt }),
            Self::Resume { record, .. } => record.holding(),
        }
    }
}

struct Running {
    holding: Option<Holding>,
    cancel: Cancel,
}

struct Daemon {
    shared: Rc<Shared>,
    identity: Option<Identity>,
    edge: Option<String>,
    target: Option<Target>,
    /// The address of this host that the edge was reached from when it was looked
    /// at last, and when it is looked at next.
    way: Option<IpAddr>,
    way_at: u64,
    link: Link,
    socket: Option<Socket>,
    sockets: u64,
    lease_ms: u64,
    renew_at: Option<u64>,
    trim_at: u64,
    tend_at: u64,
    rounds: reconcile::Rounds,
    /// Projects whose origin is being asked.
    asking: BTreeMap<String, reconcile::Asking>,
    /// Projects whose origin did not answer when it was asked last.
    silent_origins: BTreeSet<String>,
    /// Why no run may begin here, if so.
    parked: Option<String>,
    look: room::Look,
    /// Does the edge know this host as parked?
    told_parked: bool,
    running: BTreeMap<String, Running>,
    waiting: BTreeMap<String, VecDeque<Work>>,
    refused: Option<String>,
    /// The edge refuses this host for good: nothing that it asked for begins.
    is_revoked: bool,
    announced: Option<Vec<doorstep_shared::protocol::ProjectView>>,
    watches: watch::Watches,
    measures: measure::Measures,
    pace: pace::Pace,
    /// When this daemon began.
    started: Timestamp,
    changed: Rc<Notify>,
}

/// Runs the daemon until it is told to stop.
pub async fn run(file: Option<&Path>, state: &Path) -> Result<Exit, Failure> {
    let loaded = config::load(file).map_err(|fault| {
        let exit = match &fault {
            LoadError::NotFound { .. } | LoadError::Faults(_) | LoadError::Variable { .. } => Exit::Config,
            LoadError::Read { .. } => Exit::Error,
        };
        Failure { fault: anyhow::Error::new(fault), exit }
    })?;
    info!("the host's file is {}", loaded.file.display());
    for warning in &loaded.config.warnings {
        warn!("{warning}");
    }
    std::fs::create_dir_all(state).with_context(|| format!("{} cannot be made", state.display()))?;
    let state = std::path::absolute(state)?;
    if let Err(fault) = start::keep_private(&state) {
        warn!("logs and journal may be read by others: {fault:#}");
    }
    let _lock = start::lock(&state).await?;
    let journal = Rc::new(start::open_journal(&state).await?);
    let (wake, mut woken) = mpsc::unbounded_channel();
    let changed = Rc::new(Notify::new());
    let supervisor = Supervisor::new(state.clone(), Rc::clone(&journal), loaded.config.projects.clone(), loaded.vars.clone(), Rc::clone(&changed));
    let web = Web::new(tokio::runtime::Handle::current(), WebLimits::default()).context("the client for git does not start")?;
    let (watchers, _) = broadcast::channel(WATCH_BACKLOG);
    let shared = Rc::new(Shared { state: state.clone(), journal, supervisor: Rc::new(supervisor), config: loaded.config, web, fetches: tokio::sync::Semaphore::new(FETCHES_MAX), standings: Standings::default(), wake: wake.clone(), watchers });
    let server = control::serve(&shared).context("the control socket cannot be opened")?;
    // What of it cannot be done now must not keep the rest from being looked after.
    if let Err(fault) = shared.supervisor.start_all().await {
        error!("not all of what should run was brought up: {fault:#}");
    }
    shared.supervisor.stacks().watch();
    left::tell(&shared);
    let mut daemon = Daemon::new(Rc::clone(&shared), &state, Rc::clone(&changed))?;
    daemon.look_for_room();
    daemon.take_up()?;
    daemon.look_at_branches();
    daemon.dial();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    loop {
        let (steady, wall) = (Instant::now(), SystemTime::now());
        let wait = daemon.wait();
        tokio::select! {
            Some(what) = woken.recv() => daemon.woken(what),
            () = changed.notified() => {
                daemon.announce();
                if daemon.shared.supervisor.has_moved_stacks() {
                    daemon.tend_proxy();
                }
            }
            () = tokio::time::sleep(wait) => daemon.tick(),
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
        }
        let slept = wall.elapsed().unwrap_or_default().saturating_sub(steady.elapsed());
        if slept > SLEPT {
            info!("the host slept for {} s", slept.as_secs());
            daemon.give(Input::Woke);
            daemon.rounds.soon(clock::steady().0);
        }
    }
    drop(server);
    if let Err(fault) = shared.journal.forgive_open_runs() {
        warn!("{fault:#}");
    }
    info!("the daemon ends; the apps go on");
    Ok(Exit::Ok)
}

impl Daemon {
    fn new(shared: Rc<Shared>, state: &Path, changed: Rc<Notify>) -> Result<Self> {
        let identity = Identity::load(state)?;
        let edge = identity.as_ref().map(|identity| shared.config.edge.clone().unwrap_or_else(|| identity.edge.clone()));
        shared.journal.keep_reports(identity.is_some());
        let outbox = shared.journal.unacknowledged()?;
        let rounds = reconcile::Rounds::new(shared.config.reconcile, clock::steady().0, clock::random_u64());
        let last_report = shared.journal.last_report()?;
        Ok(Self {
            link: Link::new(clock::random_u64(), outbox).with_last_report(last_report),
            shared,
            identity,
            target: edge.as_deref().map(Target::of),
            edge,
            way: None,
            way_at: clock::steady().0 + WAY_MS,
            socket: None,
            sockets: 0,
            lease_ms: doorstep_shared::queue::LEASE_MS,
            renew_at: None,
            rounds,
            asking: BTreeMap::new(),
            silent_origins: BTreeSet::new(),
            parked: None,
            look: room::Look::default(),
            told_parked: false,
            trim_at: clock::steady().0 + TRIM_MS,
            tend_at: clock::steady().0 + TEND_MS,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
            refused: None,
            is_revoked: false,
            announced: None,
            watches: watch::Watches::default(),
            measures: measure::Measures::default(),
            pace: pace::Pace::default(),
            started: clock::wall(),
            changed,
        })
    }

    fn dial(&mut self) {
        match (&self.identity, &self.edge) {
            (Some(identity), Some(edge)) => {
                info!(host = %identity.host, "this host answers to {edge}");
                self.give(Input::Start);
            }
            _ => warn!("this host is not enrolled at an edge; only `doorstep deploy` here starts runs (`doorstep join` enrols it)"),
        }
    }

    /// Takes up what the last daemon left: open runs first, then grants.
    fn take_up(&mut self) -> Result<()> {
        let open = self.shared.journal.open_runs()?;
        let begun: Vec<Holding> = open.iter().filter_map(RunRecord::holding).collect();
        for record in open {
            info!(project = record.project, run.id = record.id, "a run was left open at `{}`", record.point.as_str());
            self.enqueue(record.project.clone(), Work::Resume { record, cancel: Cancel::default() });
        }
        for grant in self.shared.journal.held_grants()? {
            if !begun.contains(&Holding { job: grant.job, attempt: grant.attempt }) {
                self.accept(&grant);
            }
        }
        Ok(())
    }

    fn wait(&self) -> Duration {
        let now = clock::steady().0;
        let next = [self.link.deadline().map(|at| at.0), self.renew_at, Some(self.trim_at), Some(self.tend_at), Some(self.way_at), self.look.deadline(), self.rounds.deadline(), self.watches.deadline(), self.measures.deadline(), self.pace.deadline()];
        let next = next.into_iter().flatten().min().unwrap_or(u64::MAX);
        Duration::from_millis(next.saturating_sub(now))
    }

    fn tick(&mut self) {
        let now = clock::steady().0;
        if self.trim_at <= now {
            self.trim_at = now + TRIM_MS;
            self.shared.supervisor.trim_logs();
        }
        if self.tend_at <= now {
            self.tend_at = now + TEND_MS;
            self.tend_proxy();
            self.look_for_room();
        }
        self.give_up_look(now);
        if self.way_at <= now {
            self.way_at = now + WAY_MS;
            self.look_at_way();
        }
        self.look_at_watches(now);
        self.say_what_is_used(now);
        if self.pace.deadline().is_some_and(|at| at <= now) {
            self.announce();
        }
        if self.rounds.is_due(now) {
            self.reconcile();
        }
        if self.renew_at.is_some_and(|at| at <= now) {
            self.renew();
        }
        self.give(Input::Tick);
    }

    fn tend_proxy(&self) {
        let supervisor = Rc::clone(&self.shared.supervisor);
        let busy = self.running.keys().cloned().collect();
        tokio::task::spawn_local(async move { supervisor.tend_proxy(&busy).await });
    }

    /// A cable was put back, another network was joined, an address was renewed:
    /// what was sent from the old address is never answered.
    fn look_at_way(&mut self) {
        let way = self.target.as_ref().and_then(Target::way_out);
        let was = std::mem::replace(&mut self.way, way);
        if let Some(way) = way.filter(|way| was != Some(*way)) {
            info!("the way to the edge begins at {way} now");
            self.give(Input::Woke);
        }
    }

    fn woken(&mut self, what: Wake) {
        match what {
            // Reports of a host without an edge are for its own log alone.
            Wake::Posted { seq: 0, .. } => {}
            Wake::Posted { seq, report } => {
                self.announce_before(&report);
                self.give(Input::Post { seq, report });
            }
            Wake::RunEnded(project) => {
                self.running.remove(&project);
                // A run that found no room ends, and the next must not begin.
                self.look_for_room();
                let (supervisor, name) = (Rc::clone(&self.shared.supervisor), project.clone());
                tokio::task::spawn_local(async move { supervisor.route_again(&name).await });
                self.start_next(&project);
                self.announce();
                self.look_at_branch(&project);
            }
            Wake::Asked(ask) => self.asked(ask),
            Wake::Room(lacks) => self.room_is(lacks),
            Wake::Head { project, asked } => self.head_is(&project, asked),
            Wake::Said(number, said) if self.socket.as_ref().is_some_and(|socket| socket.number == number) => self.said(said),
            Wake::Said(..) => {}
        }
    }

    /// How every live release stands to its branch.
    fn look_at_branches(&self) {
        for project in self.shared.config.projects.keys() {
            self.look_at_branch(project);
        }
    }

    fn look_at_branch(&self, project: &str) {
        let Some(project) = self.shared.config.projects.get(project) else { return };
        let changed = Rc::clone(&self.changed);
        standing::look(&self.shared, project, move || changed.notify_one());
    }

    fn said(&mut self, said: Said) {
        match said {
            Said::Opened => {
                self.way = self.target.as_ref().and_then(Target::way_out);
                self.give(Input::Opened);
            }
            Said::Pong => {
                self.measures.answered(clock::steady().0);
                self.give(Input::Pong);
            }
            Said::Closed(reason) => {
                let was_up = self.link.is_up();
                self.socket = None;
                if was_up {
                    warn!("the link to the edge is down: {reason}");
                } else {
                    tracing::debug!("the edge cannot be reached: {reason}");
                }
                self.give(Input::Closed { reason });
            }
            Said::Unreachable(reason) => {
                self.socket = None;
                tracing::debug!("the edge cannot be reached: {reason}");
                self.give(Input::Unreachable { reason });
            }
            Said::Text(text) => match decode::<ToExecutor>(&text) {
                Ok(frame) => self.give(Input::Frame(frame)),
                Err(fault) => {
                    warn!("the edge sent a frame that is not understood: {fault}");
                    self.socket = None;
                    self.give(Input::Closed { reason: "a frame was not understood".to_owned() });
                }
            },
        }
    }

    /// Gives the link engine an input and carries out what it wants.
    fn give(&mut self, input: Input) {
        let was_up = self.link.is_up();
        for output in self.link.handle(input, clock::steady()) {
            if let Err(fault) = self.carry_out(output) {
                // The journal or the key failed: without them nothing may be
                // promised, so what came with it is not taken, and comes again.
                error!("{fault:#}");
                self.socket = None;
                self.link.handle(Input::Closed { reason: "a frame could not be stored".to_owned() }, clock::steady());
                self.look_for_room();
                break;
            }
        }
        if !self.link.is_up() {
            self.renew_at = None;
            if was_up {
                self.rounds.link_went(clock::steady().0);
            }
        }
    }
}
