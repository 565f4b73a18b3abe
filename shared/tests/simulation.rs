//! Both engines against each other, in virtual time.
//!
//! Each seed is a world: a hub around [`queue`](doorstep_shared::queue), one to
//! three hosts around [`link`](doorstep_shared::link), a wire that loses,
//! delays and keeps silent, a GitHub that doubles and forgets, crashes at any
//! effect, evictions, failed writes, clocks that jump, second daemons, and
//! people who cancel and click. After every step the invariants hold; when the
//! faults end, every world comes to rest within a bounded time, every job has
//! ended, and what was pushed last is live or its job says why not.
//!
//! Not covered: enrolment and signatures, revoked hosts, jobs of a host that
//! stays away for 14 days (stories of the queue's own tests), clocks that go
//! back, frames past the size limits, a lost webhook that no redelivery follows
//! (reconciling is not the engines').
//!
//! `DOORSTEP_SEEDS` says how many worlds, `DOORSTEP_SEED` which is the first;
//! with the latter alone, that one world is lived through with a trace. Run
//! with `--nocapture` to see the figures.

mod simulation {
    pub mod bug;
    pub mod coverage;
    pub mod ending;
    pub mod faults;
    pub mod github;
    pub mod host;
    pub mod hub;
    pub mod journal;
    pub mod ledger;
    pub mod rng;
    pub mod run;
    pub mod runner;
    pub mod stage;
    pub mod turn;
    pub mod wire;
    pub mod world;
}

use simulation::bug::Bug;
use simulation::runner::{Plan, run};
use simulation::world::live;

const REPLAY: &str = "cargo test -p doorstep-shared --test simulation -- --exact simulation --nocapture";

#[test]
fn simulation() {
    let plan = Plan::from_env();
    let result = run(&plan, Bug::None);
    let rest_s = result.quiet_after_ms / 1_000;
    println!("worlds: {} events, at rest {rest_s} s after the last fault at the latest", result.events);
    println!("covered: {}", result.seen);
    for (seed, violation) in &result.violations {
        println!("seed {seed}: {violation}");
        println!("    DOORSTEP_SEED={seed} {REPLAY}");
    }
    println!("simulation: {} seeds, {} violations", plan.seeds, result.violations.len());
    assert!(result.violations.is_empty(), "a world went wrong, see above");
    if plan.is_thorough() {
        assert_eq!(result.seen.missing(), Vec::<&str>::new(), "nothing of this ever happened");
    }
}

#[test]
fn a_seed_is_one_world() {
    for seed in 1..=20 {
        let (first, second) = (live(seed, Bug::None, false), live(seed, Bug::None, false));
        assert_eq!(first, second, "seed {seed}");
    }
}

#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs() {
    let plan = Plan::default().until_violation();
    let found = Bug::ALL.into_iter().filter(|bug| is_found(&plan, *bug)).count();
    println!("bugs found {found}/{}", Bug::ALL.len());
    assert_eq!(found, Bug::ALL.len());
}

#[cfg(feature = "planted-bugs")]
fn is_found(plan: &Plan, bug: Bug) -> bool {
    let result = run(plan, bug);
    let first = result.violations.first();
    let how = first.map_or("not found".to_owned(), |(seed, violation)| format!("seed {seed}: {violation}"));
    println!("{bug:?}: {how}");
    first.is_some()
}
