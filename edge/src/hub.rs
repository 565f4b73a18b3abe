//! The hub: one Durable Object with the queue, the history and the sockets.
//!
//! Every input is one turn: load memory if it is empty, decide, write every
//! row in one transaction, then send; no `await` in between. A failed write
//! drops memory, so memory equals storage after each turn. Memory may vanish
//! between any two events and is only a cache.
//!
//! Calls and statuses: `POST /deliver` ([`deliver`]) is GitHub's answer;
//! `POST /call` ([`answer`]) takes an [`Envelope`](crate::call::Envelope);
//! `GET /executor` and `GET /live` ([`sockets`], [`greet`]) upgrade to WebSockets;
//! anything else is 404.

mod act;
mod answer;
mod arrivals;
mod audit;
mod clean;
mod containers;
mod deliver;
mod deliveries;
mod greet;
mod hosts;
mod jobs;
mod kept;
mod measure;
mod nudge;
mod peers;
mod read;
mod reconcile;
mod report;
mod runs;
mod sessions;
mod settings;
mod sockets;
mod turn;
mod watch;

use std::cell::{Cell, OnceCell, RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::{PING, PONG};
use doorstep_shared::queue::{Input, Queue};
use doorstep_shared::time::Timestamp;
use worker::{
    DurableObject, Env, Error, Request, Response, Result, State, WebSocket, WebSocketIncomingMessage,
    WebSocketRequestResponsePair, console_error, durable_object,
};

use crate::followed::{Followed, Key};
use crate::kept::Kept;
use crate::platform::now;
use crate::store::{Statement, Store, next_number, number, text};
use crate::used::Used;
use crate::view::RunRow;
use crate::{call::Envelope, reply};
use turn::Turn;

/// Old rows are removed this often at most, while the hub stays awake.
const CLEAN_MS: u64 = 3_600_000;

/// The Durable Object class; its name is in `wrangler.toml` and never changes.
#[durable_object]
pub struct Hub {
    state: State,
    store: OnceCell<Store>,
    memory: RefCell<Option<Memory>>,
    arrivals: RefCell<arrivals::Arrivals>,
    alarm_at: Cell<Option<u64>>,
    peers: RefCell<Option<peers::Peers>>,
    nudges: Rc<RefCell<nudge::Nudges>>,
    cleaned_at: Cell<u64>,
    written: Cell<settings::Written>,
    health: RefCell<Option<read::Known>>,
    fares: RefCell<Option<(doorstep_shared::time::Timestamp, crate::fares::Fares)>>,
    /// What hosts said lately that is used there.
    measured: RefCell<BTreeMap<Name, Used>>,
    /// The newest runs of projects, as pages showed them last.
    recent: RefCell<BTreeMap<Key, Vec<RunRow>>>,
}

/// What the hub knows while it is awake; all of it is in rows too.
pub(crate) struct Memory {
    queue: Queue,
    projects: Followed,
    last_number: u64,
    /// What is kept of hosts that reported lately.
    kept: BTreeMap<Name, Kept>,
}

impl Memory {
    /// A number for a job or an event, larger than all before it.
    fn number(&mut self, now: Timestamp) -> u64 {
        self.last_number = next_number(self.last_number, now.0);
        self.last_number
    }
}

impl DurableObject for Hub {
    fn new(state: State, _env: Env) -> Self {
        if let Ok(pair) = WebSocketRequestResponsePair::new(PING, PONG) {
            state.set_websocket_auto_response(&pair);
        }
        Self { state, store: OnceCell::new(), memory: RefCell::new(None), arrivals: RefCell::new(arrivals::Arrivals::default()), alarm_at: Cell::new(None), peers: RefCell::new(None), nudges: Rc::default(), cleaned_at: Cell::new(0), written: Cell::default(), health: RefCell::new(None), fares: RefCell::new(None), measured: RefCell::default(), recent: RefCell::default() }
    }

    async fn fetch(&self, mut req: Request) -> Result<Response> {
        if let Ok(store) = self.store() {
            store.count_request();
        }
        let outcome = match req.path().as_str() {
            "/deliver" => self.deliver(&mut req).await,
            "/call" => match serde_json::from_str::<Envelope>(&req.text().await?) {
                Ok(call) => self.answer(call).await,
                Err(fault) => reply::error(400, "bad_call", &fault.to_string()),
            },
            "/executor" => self.accept_executor().await,
            "/live" => self.accept_live(&req),
            _ => reply::error(404, "not_found", "the hub has no such call"),
        };
        self.count_day();
        outcome.or_else(|fault| {
            console_error!("the hub failed: {fault}");
            reply::error(500, "storage", "the hub could not store this; nothing was changed")
        })
    }

    async fn alarm(&self) -> Result<Response> {
        self.alarm_at.set(None);
        // Never an error: the platform would retry six times and then forget.
        if let Err(fault) = self.wake().await {
            console_error!("the hub's alarm failed: {fault}");
            self.set_alarm(now().plus_ms(60_000)).await;
        }
        Response::empty()
    }

    async fn websocket_message(&self, ws: WebSocket, message: WebSocketIncomingMessage) -> Result<()> {
        let text = match message {
            WebSocketIncomingMessage::String(text) => text,
            WebSocketIncomingMessage::Binary(_) => String::new(),
        };
        if let Err(fault) = self.heard(&ws, &text).await {
            console_error!("a frame was not handled: {fault}");
            // The executor dials again and sends what was not acknowledged.
            let _ = ws.close(Some(1011), Some("the hub could not store this"));
        }
        Ok(())
    }

    async fn websocket_close(&self, ws: WebSocket, code: usize, _reason: String, _was_clean: bool) -> Result<()> {
        let echoed = u16::try_from(code).ok().filter(|code| (3000..5000).contains(code) || *code == 1000);
        let _ = ws.close(Some(echoed.unwrap_or(1000)), Some(""));
        self.gone(&ws).await;
        Ok(())
    }

    async fn websocket_error(&self, ws: WebSocket, _error: Error) -> Result<()> {
        self.gone(&ws).await;
        Ok(())
    }
}

impl Hub {
    /// The store, opened by the first call that wants it. One that cannot be
    /// opened fails that call; the next call tries again.
    fn store(&self) -> Result<&Store> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let opened = Store::open(&self.state)?;
        Ok(self.store.get_or_init(|| opened))
    }

    fn memory(&self) -> Result<RefMut<'_, Memory>> {
        let mut memory = self.memory.try_borrow_mut().map_err(|_| Error::RustError("the hub's memory is in use".into()))?;
        if memory.is_none() {
            *memory = Some(self.load()?);
        }
        RefMut::filter_map(memory, Option::as_mut).map_err(|_| Error::RustError("the hub has no memory".into()))
    }

    fn load(&self) -> Result<Memory> {
        let store = self.store()?;
        let projects = store.projects()?.into_iter().collect();
        let mut queue = Queue::load(store.live_jobs()?, self.hosts_online());
        queue.load_parked(self.hosts_parked());
        Ok(Memory {
            queue,
            projects,
            last_number: store.last_number()?,
            kept: BTreeMap::new(),
        })
    }

    /// One turn: `decide` fills it from memory, then it is written, then sent.
    async fn turn<T>(&self, decide: impl FnOnce(&mut Memory, &mut Turn) -> Result<T>) -> Result<T> {
        let (outcome, sends) = match self.decide_and_write(decide) {
            Ok(done) => done,
            Err(fault) => {
                if let Ok(mut memory) = self.memory.try_borrow_mut() {
                    *memory = None;
                }
                return Err(fault);
            }
        };
        self.send(sends);
        let deadline = self.memory()?.queue.deadline();
        if let Some(deadline) = deadline {
            self.set_alarm(deadline).await;
        }
        Ok(outcome)
    }

    /// A turn that is one input of the queue and nothing else.
    async fn queue_turn(&self, input: Input) -> Result<()> {
        self.turn(|memory, turn| {
            turn.queue(memory, input);
            Ok(())
        })
        .await
    }

    fn decide_and_write<T>(&self, decide: impl FnOnce(&mut Memory, &mut Turn) -> Result<T>) -> Result<(T, turn::Sends)> {
        let mut memory = self.memory()?;
        let mut turn = Turn::new(now());
        let outcome = decide(&mut memory, &mut turn)?;
        self.withhold(&mut memory, &mut turn);
        let (statements, sends) = turn.finish()?;
        self.store()?.commit(statements)?;
        Ok((outcome, sends))
    }

    /// Moves the alarm earlier; never later, since each move is a billed row.
    async fn set_alarm(&self, at: Timestamp) {
        let now = now();
        if self.alarm_at.get().is_some_and(|known| known <= at.0 && known > now.0) {
            return;
        }
        // An alarm at this very moment may not fire.
        let wait_ms = at.ms_since(now).max(10);
        let wait_ms = i64::try_from(wait_ms).unwrap_or(i64::MAX);
        match self.state.storage().set_alarm(wait_ms).await {
            Ok(()) => {
                self.alarm_at.set(Some(at.0.max(now.0.saturating_add(10))));
                if let Ok(store) = self.store() {
                    store.count_alarm();
                }
            }
            Err(fault) => console_error!("the alarm was not set: {fault}"),
        }
    }

    async fn wake(&self) -> Result<()> {
        if let Some(next) = self.cut_strangers() {
            self.set_alarm(next).await;
        }
        let silent = self.cut_silent_hosts();
        let ticked = self.turn(|memory, turn| {
            for (host, heard_at) in silent {
                turn.write(Statement::new("UPDATE hosts SET last_seen = max(last_seen, ?) WHERE name = ?", [number(heard_at.0), text(host.as_str())]));
                turn.queue(memory, Input::Disconnected { host });
                turn.changed();
            }
            turn.queue(memory, Input::Tick);
            Ok(())
        });
        ticked.await?;
        // Last, and at most once an hour: no lease waits for it.
        let now = now().0;
        if self.cleaned_at.get().saturating_add(CLEAN_MS) <= now {
            self.cleaned_at.set(now);
            self.clean_up()?;
        }
        self.count_day();
        Ok(())
    }
}
