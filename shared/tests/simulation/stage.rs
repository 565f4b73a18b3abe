//! What every part of the model shares: the clock, the agenda, chance, the
//! first violation and the counts of what was covered.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use doorstep_shared::protocol::Holding;
use doorstep_shared::time::Timestamp;

use super::branch::Branch;
use super::bug::{Bug, ModelBug};
use super::coverage::{Coverage, Seen};
use super::rng::Rng;
use super::wire::{ConnId, Down, Up};

/// When every world begins.
pub const T0: Timestamp = Timestamp(1_700_000_000_000);

/// How far the hub's clock begins ahead of true time, so that it can step back.
const HUB_AHEAD_MS: u64 = 3_600_000;

/// What happens at a time.
pub enum Event {
    DialArrives { conn: ConnId },
    ToHub { conn: ConnId, frame: Up },
    ToHost { conn: ConnId, frame: Down },
    HubSeesClose { conn: ConnId },
    HostSeesClose { conn: ConnId },
    Alarm,
    Deadline { daemon: usize, at: Timestamp },
    Renew { daemon: usize, conn: ConnId },
    StepEnds { host: usize, boot: u32, holding: Holding },
    Boot { host: usize },
    Wake { host: usize },
    Sweep { host: usize, boot: u32 },
    SweepEnds { host: usize, boot: u32 },
    LinkStillDown { host: usize, since: Timestamp },
    DiskCheck { host: usize, boot: u32 },
    SecondDaemonEnds { daemon: usize },
    Push,
    Webhook { guid: usize },
    Fault,
    Heal,
}

/// Worlds in 10,000 that know steps that hang: each takes 6 hours to end.
const HANGING_WORLDS: u64 = 40;

/// How often things go wrong in this world, in 10,000. Each world draws its
/// own, many of them 0: a world with one kind of trouble goes deeper into it.
#[derive(Clone, Debug, Default)]
pub struct Rates {
    pub crash: u64,
    pub write_fails: u64,
    pub hub_crash: u64,
    pub evict: u64,
    pub run_fails: u64,
    pub slow_step: u64,
    pub chatty_step: u64,
    pub stall: u64,
    pub dial_fails: u64,
    pub webhook_lost: u64,
    pub webhook_twice: u64,
    pub webhook_late: u64,
    pub force_push: u64,
    /// Of commits: never healthy, and deadly to the daemon that builds them.
    pub sick: u64,
    pub poison: u64,
    /// Of steps: never ends.
    pub hang: u64,
}

impl Rates {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            crash: rng.pick(&[0, 20, 100]),
            write_fails: rng.pick(&[0, 50, 300]),
            hub_crash: rng.pick(&[0, 20, 100]),
            evict: rng.pick(&[0, 500, 5_000]),
            run_fails: rng.pick(&[0, 300, 1_500]),
            slow_step: rng.pick(&[0, 300, 1_500]),
            chatty_step: rng.pick(&[0, 0, 0, 100, 1_000]),
            stall: rng.pick(&[0, 100, 1_000]),
            dial_fails: rng.pick(&[0, 500, 3_000]),
            webhook_lost: rng.pick(&[0, 500, 3_000]),
            webhook_twice: rng.pick(&[0, 1_000, 4_000]),
            webhook_late: rng.pick(&[0, 1_000, 5_000]),
            force_push: rng.pick(&[0, 0, 1_000, 4_000]),
            sick: rng.pick(&[0, 0, 1_000, 3_000]),
            poison: rng.pick(&[0, 0, 0, 1_000]),
            hang: if rng.chance(HANGING_WORLDS) { 500 } else { 0 },
        }
    }
}

/// What is due when: time, order of the calls, and place in the list of events.
type Entry = (Timestamp, u64, usize);

pub struct Stage {
    pub now: Timestamp,
    pub rng: Rng,
    pub rates: Rates,
    /// Frames pass through their JSON on the way.
    pub encoded: bool,
    pub seen: Coverage,
    pub violation: Option<String>,
    pub events: u64,
    bug: Bug,
    traced: bool,
    agenda: BinaryHeap<Reverse<Entry>>,
    /// The events of the agenda, where they need not move.
    planned: Vec<Option<Event>>,
    free: Vec<usize>,
    serial: u64,
    /// The branches at the origins.
    pub branches: Vec<Branch>,
    hub_ahead_ms: u64,
}

impl Stage {
    pub fn new(seed: u64, bug: Bug, traced: bool) -> Self {
        let mut rng = Rng::new(seed);
        let rates = Rates::draw(&mut rng);
        Self {
            now: T0,
            rates,
            encoded: rng.chance(1_000),
            rng,
            seen: Coverage::default(),
            violation: None,
            events: 0,
            bug,
            traced,
            agenda: BinaryHeap::new(),
            planned: Vec::new(),
            free: Vec::new(),
            serial: 0,
            branches: Vec::new(),
            hub_ahead_ms: HUB_AHEAD_MS,
        }
    }

    /// Puts an event on the agenda; what is due at one time happens in the order of these calls.
    pub fn at(&mut self, at: Timestamp, event: Event) {
        self.serial += 1;
        let place = self.free.pop().unwrap_or_else(|| {
            self.planned.push(None);
            self.planned.len() - 1
        });
        self.planned[place] = Some(event);
        self.agenda.push(Reverse((at.max(self.now), self.serial, place)));
    }

    pub fn after_ms(&mut self, ms: u64, event: Event) {
        self.at(self.now.plus_ms(ms), event);
    }

    /// Takes the next event and moves the clock to it.
    pub fn next(&mut self) -> Option<Event> {
        let Reverse((at, _, place)) = self.agenda.pop()?;
        self.now = at;
        self.events += 1;
        self.free.push(place);
        self.planned[place].take()
    }

    /// What the hub's clock says.
    pub fn hub_now(&self) -> Timestamp {
        self.now.plus_ms(self.hub_ahead_ms)
    }

    /// The true time at which the hub's clock says this, if nobody sets it.
    pub fn when_hub_says(&self, at: Timestamp) -> Timestamp {
        Timestamp(at.0.saturating_sub(self.hub_ahead_ms))
    }

    pub fn set_hub_clock_back(&mut self, ms: u64) {
        self.hub_ahead_ms = self.hub_ahead_ms.saturating_sub(ms);
    }

    pub fn chance(&mut self, in_10_000: u64) -> bool {
        self.rng.chance(in_10_000)
    }

    pub fn saw(&mut self, what: Seen) {
        self.seen.add(what);
    }

    pub fn bug(&self) -> Bug {
        self.bug
    }

    pub fn has(&self, bug: ModelBug) -> bool {
        self.bug == Bug::Model(bug)
    }

    /// Keeps the first violation; the world stops after this step.
    pub fn check(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds && self.violation.is_none() {
            self.violation = Some(message());
        }
    }

    pub fn trace(&self, line: impl FnOnce() -> String) {
        if self.traced {
            let ms = self.now.ms_since(T0);
            println!("{:>6}.{:03} {}", ms / 1_000, ms % 1_000, line());
        }
    }
}
