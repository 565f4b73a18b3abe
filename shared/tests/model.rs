//! Every state of a small world: the real queue and the real link, explored
//! to the end by `stateright`, in every order there is and not in the likely
//! ones. What [`simulation`](../simulation.rs) does at random in large worlds,
//! this does exhaustively in a small one.
//!
//! One host with one project. A step is a frame that arrives, an effect or a
//! row of a run, a deadline, or something that goes wrong; of the latter each
//! world has a budget (`model/runner.rs`). Clocks are abstract: the hub's
//! moves only to its alarm, the host's only to the deadline of its link, both
//! at any speed, so nothing here rests on how long something takes. Equal
//! situations are one state (`model/state.rs`): stored times count from now,
//! reports from the oldest that matters, and the past of what ended is
//! forgotten.
//!
//! Always: the properties of `model/world.rs`. At rest, when nothing happens
//! by itself any more: every job has ended, what was pushed last is live or
//! its job says why, and no report is under way.
//!
//! Not covered: more hosts or projects, actions other than a deploy, a person
//! who cancels, a host away for 14 days, a journal that is lost, two daemons
//! of one host, frames past a window or a size, and a proof that the
//! course of things cannot go round for ever (walks at random never do).
//!
//! A counter-example is printed as the steps that lead to it. `DOORSTEP_MODEL`
//! widens the budget for a run by hand: `DOORSTEP_MODEL=2,1,1,2,1,1,1`.

mod model {
    #[expect(dead_code, reason = "the simulation plants all of them")]
    #[path = "../simulation/bug.rs"]
    pub mod bug;
    pub mod coverage;
    pub mod host;
    pub mod hub;
    pub mod input;
    pub mod rules;
    pub mod runner;
    pub mod scene;
    pub mod state;
    pub mod world;
}

use model::bug::Bug;
use model::coverage::Seen;
use model::runner::{EVERYTHING, Found, budgets, explore, walk};

const WALKS: u64 = 20_000;

#[test]
fn model() {
    let mut all = Found { missing: Seen::ALL.to_vec(), ..Found::default() };
    for budget in budgets() {
        let found = explore(budget, Bug::None);
        println!("{} states, {} unique, depth {}: {budget:?}", found.states, found.unique, found.depth);
        all.add(found);
    }
    for counter_example in &all.counter_examples {
        println!("{counter_example}");
    }
    let (states, unique, depth) = (all.states, all.unique, all.depth);
    println!("model: {states} states, {unique} unique, depth {depth}, {} counter-examples", all.counter_examples.len());
    assert!(all.counter_examples.is_empty(), "something does not always hold, see above");
    if cfg!(feature = "planted-bugs") && budgets().len() > 1 {
        assert_eq!(all.missing, [], "nothing of this ever happened");
    }
}

/// The course of things does not go round for ever.
#[test]
fn walks_come_to_an_end() {
    let mut longest = 0;
    for seed in 1..=WALKS {
        longest = longest.max(walk(seed, EVERYTHING).unwrap_or_else(|how| panic!("seed {seed}: {how}")));
    }
    println!("model: {WALKS} walks, the longest of {longest} steps");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs() {
    let found = Bug::OF_THE_MODEL.into_iter().filter(|bug| is_found(*bug)).count();
    println!("model bugs found {found}/{}", Bug::OF_THE_MODEL.len());
    assert_eq!(found, Bug::OF_THE_MODEL.len());
}

#[cfg(feature = "planted-bugs")]
fn is_found(bug: Bug) -> bool {
    let found = explore(model::runner::BUGS, bug);
    let first = found.counter_examples.first();
    println!("{bug:?}, {} states: {}", found.states, first.map_or("not found", String::as_str));
    first.is_some()
}
