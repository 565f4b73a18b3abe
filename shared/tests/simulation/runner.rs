//! Many worlds, on two threads.

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::bug::Bug;
use super::coverage::Coverage;
use super::world::{Ending, live};

const SEEDS_DEFAULT: u64 = 2_000;
/// From so many worlds on, everything worth covering must have happened; the
/// rarest is a run that hangs until it is given up, in one world of 500.
const SEEDS_THOROUGH: u64 = 10_000;
const THREADS: u64 = 2;
/// Violations worth printing; the rest is likely the same.
const VIOLATIONS_MAX: usize = 10;

/// Which worlds to live through.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub first: u64,
    pub seeds: u64,
    traced: bool,
    stop_at_violation: bool,
}

/// A number from the environment.
fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

impl Default for Plan {
    fn default() -> Self {
        Self { first: 1, seeds: SEEDS_DEFAULT, traced: false, stop_at_violation: false }
    }
}

impl Plan {
    /// What the command line wants, or else the environment. A first seed alone
    /// is one world, with a trace.
    pub fn wanted(first: Option<u64>, seeds: Option<u64>) -> Self {
        let alone = first.is_some() && seeds.is_none();
        let first = first.or_else(|| from_env("DOORSTEP_SEED"));
        let seeds = seeds.or_else(|| from_env("DOORSTEP_SEEDS").filter(|_| !alone));
        let seeds = seeds.unwrap_or(if first.is_some() { 1 } else { SEEDS_DEFAULT });
        let traced = first.is_some() && seeds == 1;
        Self { first: first.unwrap_or(1), seeds, traced, ..Self::default() }
    }

    /// In so many worlds everything that may go wrong does; most of what is
    /// planted shows in the first few.
    #[cfg(feature = "planted-bugs")]
    pub fn until_violation() -> Self {
        Self { seeds: SEEDS_THOROUGH, stop_at_violation: true, ..Self::default() }
    }

    pub fn is_thorough(&self) -> bool {
        self.seeds >= SEEDS_THOROUGH
    }
}

/// What came of them.
#[derive(Default)]
pub struct Outcome {
    /// Seeds and what went wrong, lowest seed first.
    pub violations: Vec<(u64, String)>,
    pub seen: Coverage,
    pub events: u64,
    pub quiet_after_ms: u64,
}

impl Outcome {
    fn add(&mut self, seed: u64, ending: Ending) {
        self.seen.merge(&ending.seen);
        self.events += ending.events;
        self.quiet_after_ms = self.quiet_after_ms.max(ending.quiet_after_ms);
        self.violations.extend(ending.violation.map(|violation| (seed, violation)));
    }

    fn merge(&mut self, other: Self) {
        self.seen.merge(&other.seen);
        self.events += other.events;
        self.quiet_after_ms = self.quiet_after_ms.max(other.quiet_after_ms);
        self.violations.extend(other.violations);
        self.violations.sort();
    }
}

/// Lives through every world of the plan.
pub fn run(plan: &Plan, bug: Bug) -> Outcome {
    let next = AtomicU64::new(0);
    let mut outcome = Outcome::default();
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(|| work(plan, bug, &next))).collect();
        for thread in threads {
            outcome.merge(thread.join().unwrap_or_default());
        }
    });
    outcome
}

fn work(plan: &Plan, bug: Bug, next: &AtomicU64) -> Outcome {
    let mut outcome = Outcome::default();
    let enough = if plan.stop_at_violation { 1 } else { VIOLATIONS_MAX };
    while outcome.violations.len() < enough {
        let place = next.fetch_add(1, Ordering::Relaxed);
        if place >= plan.seeds {
            break;
        }
        let seed = plan.first + place;
        match catch_unwind(|| live(seed, bug, plan.traced)) {
            Ok(ending) => outcome.add(seed, ending),
            Err(_) => outcome.violations.push((seed, "a panic, see above".to_owned())),
        }
    }
    if plan.stop_at_violation && !outcome.violations.is_empty() {
        next.store(plan.seeds, Ordering::Relaxed);
    }
    outcome
}
