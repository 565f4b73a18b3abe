//! A fleet of simulated executors: the real link engine on real sockets, with
//! a host behind it that only pretends to run.
//!
//! Each dials, proves who it is, beats, keeps what is not acknowledged and
//! sends it again, all by `doorstep_shared::link`. A grant is stored once: the
//! same attempt again does nothing, as with the journal. What it holds and has
//! not told yet lives as long as this process.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use doorstep_shared::ids::{RunState, StepState};
use doorstep_shared::link::{Input, Link, Output};
use doorstep_shared::protocol::{self, Grant, Holding, PING, PONG, ProjectView, Report, ToEdge, ToExecutor};
use doorstep_shared::time::{Timestamp, mix};
use doorstep_tests::{Edge, FakeExecutor, project, wait};
use futures_util::{SinkExt, StreamExt, stream};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::bodies::Bodies;
use super::ledger::Ledger;

/// Joins at once: the edge keeps at most 20 codes open.
const JOINS: usize = 12;
/// First dials at once, well below the strangers that the hub admits.
const DIALS: usize = 64;
/// How long all of them may take to come up.
const UP_MAX: Duration = Duration::from_secs(60);
/// Of each socket, so that a thousand of them stay small.
const SOCKET_BUFFER_BYTES: usize = 4 * 1_024;
const STEPS: [&str; 8] = ["fetch", "verify", "build", "sync", "start", "check", "switch", "stop"];
const LOGS: usize = 3;

/// What an executor says about a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Telling {
    /// Only how it ended: the least that settles the job.
    Outcome = 0,
    /// That it started, and how it ended.
    Brief = 1,
    /// Eight steps, each begun and ended, and three pieces of log besides.
    Whole = 2,
}

impl Telling {
    /// Reports of one run.
    pub fn reports(self) -> usize {
        match self {
            Self::Outcome => 1,
            Self::Brief => 2,
            Self::Whole => 2 + 2 * STEPS.len() + LOGS,
        }
    }
}

/// All executors; they end with this value.
#[derive(Debug)]
pub struct Fleet {
    shared: Arc<Shared>,
    count: usize,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    url: String,
    address: std::net::SocketAddr,
    bodies: Arc<Bodies>,
    ledger: Arc<Ledger>,
    delay: Duration,
    telling: AtomicU8,
    up: AtomicUsize,
}

/// What the fleet is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many executors.
    pub executors: usize,
    /// How many projects are followed, each by as many hosts as the ledger says.
    pub projects: usize,
    /// How long a run takes.
    pub delay: Duration,
}

impl Fleet {
    /// Enrols all of them.
    pub async fn enrol(edge: &Edge, plan: &Plan) -> Vec<FakeExecutor> {
        stream::iter(0..plan.executors).map(|i| async move { edge.enrolled(&format!("h{i:04}")).await }).buffered(JOINS).collect().await
    }

    /// Connects all of them, and returns when each is welcome.
    pub async fn connect(edge: &Edge, hosts: Vec<FakeExecutor>, plan: &Plan, bodies: &Arc<Bodies>, ledger: &Arc<Ledger>) -> Self {
        let shared = Arc::new(Shared {
            url: edge.url("/executor").replacen("http", "ws", 1),
            address: edge.address(),
            bodies: Arc::clone(bodies),
            ledger: Arc::clone(ledger),
            delay: plan.delay,
            telling: AtomicU8::new(Telling::Brief as u8),
            up: AtomicUsize::new(0),
        });
        let (count, mut tasks) = (hosts.len(), JoinSet::new());
        for (i, host) in hosts.into_iter().enumerate() {
            // Hosts next to each other follow the same project; the rest follow none.
            let of = i / ledger.followers();
            let views = if of < plan.projects { vec![project("app", &Bodies::repo(of))] } else { Vec::new() };
            tasks.spawn(Executor::new(host, views, i, Arc::clone(&shared)).live());
            if i % DIALS == DIALS - 1 {
                shared.are_up(i + 1).await;
            }
        }
        shared.are_up(count).await;
        Self { shared, count, _tasks: tasks }
    }

    /// What each run is told from now on.
    pub fn tell(&self, telling: Telling) {
        self.shared.telling.store(telling as u8, Ordering::Relaxed);
    }

    /// Waits until all are connected.
    pub async fn is_up(&self) {
        self.shared.are_up(self.count).await;
    }
}

impl Shared {
    async fn are_up(&self, count: usize) {
        wait::until_within(UP_MAX, "the executors to be welcome", async || self.up.load(Ordering::Relaxed), |up| *up >= count).await;
    }

    fn telling(&self) -> Telling {
        match self.telling.load(Ordering::Relaxed) {
            0 => Telling::Outcome,
            1 => Telling::Brief,
            _ => Telling::Whole,
        }
    }
}

/// One executor.
struct Executor {
    host: FakeExecutor,
    views: Vec<ProjectView>,
    shared: Arc<Shared>,
    link: Link,
    socket: Option<WebSocketStream<TcpStream>>,
    is_up: bool,
    /// Grants stored and not yet known to be settled.
    holding: BTreeSet<Holding>,
    /// Runs under way, in the order of their ends.
    runs: VecDeque<(Instant, Grant)>,
    /// Outcomes told and not acknowledged.
    outcomes: VecDeque<(u64, Grant)>,
    last_seq: u64,
    renew_at: Instant,
    lease: Duration,
}

impl Executor {
    fn new(host: FakeExecutor, views: Vec<ProjectView>, i: usize, shared: Arc<Shared>) -> Self {
        Self {
            host,
            views,
            shared,
            link: Link::new(mix(i as u64), []),
            socket: None,
            is_up: false,
            holding: BTreeSet::new(),
            runs: VecDeque::new(),
            outcomes: VecDeque::new(),
            last_seq: 0,
            renew_at: Instant::now(),
            lease: Duration::from_secs(60),
        }
    }

    async fn live(mut self) {
        let mut outputs = self.link.handle(Input::Start, now());
        loop {
            self.carry_out(outputs).await;
            let due = self.due();
            let message = tokio::select! {
                message = next(&mut self.socket) => Some(message),
                () = tokio::time::sleep_until(due.into()) => None,
            };
            outputs = match message {
                Some(message) => self.hear(message),
                None => self.tick(),
            };
        }
    }

    /// When there is something to do though nothing comes.
    fn due(&self) -> Instant {
        let link = self.link.deadline().map(|at| Instant::now() + Duration::from_millis(at.ms_since(now())));
        let run = self.runs.front().map(|(end, _)| *end);
        let renew = (self.is_up && !self.holding.is_empty()).then_some(self.renew_at);
        [link, run, renew].into_iter().flatten().min().unwrap_or_else(|| Instant::now() + self.lease)
    }

    fn tick(&mut self) -> Vec<Output> {
        let mut outputs = self.link.handle(Input::Tick, now());
        while self.runs.front().is_some_and(|(end, _)| *end <= Instant::now()) {
            if let Some((_, grant)) = self.runs.pop_front() {
                outputs.extend(self.end(grant));
            }
        }
        if self.is_up && self.renew_at <= Instant::now() && !self.holding.is_empty() {
            self.renew_at = Instant::now() + self.lease / 3;
            outputs.push(Output::Send(ToEdge::Renew { holding: self.holding.iter().copied().collect() }));
        }
        outputs
    }

    fn hear(&mut self, message: Option<Message>) -> Vec<Output> {
        match message {
            Some(Message::Text(text)) if text.as_str() == PONG => self.link.handle(Input::Pong, now()),
            Some(Message::Text(text)) => match protocol::decode::<ToExecutor>(&text) {
                Ok(frame) => self.link.handle(Input::Frame(frame), now()),
                Err(fault) => self.cut(&fault.to_string()),
            },
            Some(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => Vec::new(),
            Some(Message::Close(_)) | None => self.cut("the socket ended"),
        }
    }

    fn cut(&mut self, reason: &str) -> Vec<Output> {
        self.hang_up();
        self.link.handle(Input::Closed { reason: reason.to_owned() }, now())
    }

    fn hang_up(&mut self) {
        self.socket = None;
        if std::mem::take(&mut self.is_up) {
            self.shared.up.fetch_sub(1, Ordering::Relaxed);
        }
    }

    async fn carry_out(&mut self, outputs: Vec<Output>) {
        let mut outputs = VecDeque::from(outputs);
        let mut is_sent = true;
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Dial => outputs.extend(self.dial().await),
                Output::Authenticate { nonce } => {
                    let holding: Vec<Holding> = self.holding.iter().copied().collect();
                    let hello = self.host.hello_frame(&nonce, &holding, &self.views);
                    is_sent &= self.feed(&hello).await;
                }
                Output::Send(frame) => is_sent &= self.feed(&frame).await,
                Output::Ping => is_sent &= self.feed_text(PING.to_owned()).await,
                Output::Hangup { .. } => self.hang_up(),
                Output::Granted(grant) => outputs.extend(self.begin(grant)),
                Output::Cancelled(holding) => self.cancel(holding),
                Output::Forget { seq } => self.forget(seq),
                Output::Up { lease_ms } => self.welcome(lease_ms),
                // No page is open.
                Output::Watched { .. } | Output::Measured => {}
                Output::Refused { message, .. } => eprintln!("{} was refused: {message}", self.host.name),
                // Only of a journal that says how far it got; these say nothing.
                Output::Outrun { acknowledged } => eprintln!("{} never made report {acknowledged}", self.host.name),
            }
        }
        if let Some(socket) = &mut self.socket {
            is_sent &= socket.flush().await.is_ok();
        }
        if !is_sent && self.socket.is_some() {
            // What follows is a later dial.
            let _ = self.cut("a frame did not leave");
        }
    }

    async fn dial(&mut self) -> Vec<Output> {
        match open(&self.shared).await {
            Ok(socket) => {
                self.socket = Some(socket);
                self.link.handle(Input::Opened, now())
            }
            Err(fault) => self.link.handle(Input::Closed { reason: fault.to_string() }, now()),
        }
    }

    fn welcome(&mut self, lease_ms: u64) {
        self.lease = Duration::from_millis(lease_ms);
        self.renew_at = Instant::now() + self.lease / 3;
        self.is_up = true;
        self.shared.up.fetch_add(1, Ordering::Relaxed);
    }

    fn begin(&mut self, grant: Grant) -> Vec<Output> {
        let at = Instant::now();
        if self.holding.is_empty() {
            // A new lease; one that nobody holds is not renewed.
            self.renew_at = at + self.lease / 3;
        }
        if !self.holding.insert(Holding { job: grant.job, attempt: grant.attempt }) {
            self.shared.ledger.granted_again();
            return Vec::new();
        }
        self.shared.ledger.started(self.number(&grant), grant.job, at);
        let mut outputs = Vec::new();
        if self.shared.telling() != Telling::Outcome {
            let Grant { job, attempt, project, action, cause, .. } = grant.clone();
            let run = run_id(&self.host, &grant);
            outputs.extend(self.post(Report::Started { run, job: Some(job), attempt, project, action, cause, service: None, at: now() }));
        }
        if self.shared.delay.is_zero() {
            outputs.extend(self.end(grant));
        } else {
            self.runs.push_back((at + self.shared.delay, grant));
        }
        outputs
    }

    /// The run is over: everything is told that was not told yet.
    fn end(&mut self, grant: Grant) -> Vec<Output> {
        let (run, at) = (run_id(&self.host, &grant), now());
        let mut outputs = Vec::new();
        if self.shared.telling() == Telling::Whole {
            for report in steps(&run, at).into_iter().chain(logs(&run)) {
                outputs.extend(self.post(report));
            }
        }
        let outcome = Report::Outcome {
            run,
            job: Some(grant.job),
            attempt: grant.attempt,
            state: RunState::Succeeded,
            failure: None,
            commit: grant.hint_commit.clone(),
            at,
        };
        self.outcomes.push_back((self.last_seq + 1, grant));
        outputs.extend(self.post(outcome));
        outputs
    }

    fn post(&mut self, report: Report) -> Vec<Output> {
        self.last_seq += 1;
        self.link.handle(Input::Post { seq: self.last_seq, report }, now())
    }

    /// What has not ended yet never will; an outcome that was told stays told.
    fn cancel(&mut self, holding: Holding) {
        let is_it = |grant: &Grant| Holding { job: grant.job, attempt: grant.attempt } == holding;
        let before = self.runs.len();
        self.runs.retain(|(_, grant)| !is_it(grant));
        if self.runs.len() < before {
            self.holding.remove(&holding);
        }
    }

    fn forget(&mut self, seq: u64) {
        while self.outcomes.front().is_some_and(|(first, _)| *first <= seq) {
            if let Some((_, grant)) = self.outcomes.pop_front() {
                self.holding.remove(&Holding { job: grant.job, attempt: grant.attempt });
                self.shared.ledger.settled(self.number(&grant), grant.job);
            }
        }
    }

    fn number(&self, grant: &Grant) -> Option<u64> {
        self.shared.bodies.number_of_commit(grant.hint_commit.as_deref()?)
    }

    async fn feed(&mut self, frame: &ToEdge) -> bool {
        match protocol::encode(frame) {
            Ok(text) => self.feed_text(text).await,
            Err(_) => false,
        }
    }

    async fn feed_text(&mut self, text: String) -> bool {
        match &mut self.socket {
            Some(socket) => socket.feed(Message::text(text)).await.is_ok(),
            None => true,
        }
    }
}

async fn open(shared: &Shared) -> Result<WebSocketStream<TcpStream>> {
    let stream = TcpStream::connect(shared.address).await?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(SOCKET_BUFFER_BYTES).write_buffer_size(SOCKET_BUFFER_BYTES);
    let (socket, _) = client_async_with_config(&shared.url, stream, Some(config)).await.context("no socket")?;
    Ok(socket)
}

/// The next message; none when the socket ended. Waits for ever without one.
async fn next(socket: &mut Option<WebSocketStream<TcpStream>>) -> Option<Message> {
    match socket {
        Some(socket) => socket.next().await.and_then(Result::ok),
        None => std::future::pending().await,
    }
}

/// Ids of runs begin with their time, as the executor's do.
fn run_id(host: &FakeExecutor, grant: &Grant) -> String {
    format!("{:012x}-{}-{}", grant.job.0 / 1_024, host.name, grant.job.0)
}

fn steps(run: &str, at: Timestamp) -> Vec<Report> {
    let step = |(index, name): (u16, &&str), state, duration_ms| Report::Step {
        run: run.to_owned(),
        index,
        name: (*name).to_owned(),
        state,
        at,
        duration_ms,
        detail: String::new(),
        commit: None,
    };
    let both = |it: (u16, &&str)| [step((it.0, it.1), StepState::Started, None), step(it, StepState::Succeeded, Some(12))];
    (0u16..).zip(&STEPS).flat_map(|(index, name)| both((index, name))).collect()
}

fn logs(run: &str) -> Vec<Report> {
    let line = "Resolved 42 packages in 12ms; nothing to install, the environment is as it should be";
    (0..LOGS).map(|_| Report::Log { run: run.to_owned(), lines: vec![line.to_owned(); 10] }).collect()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(0))
}
