//! Explores a world to its end, or to the first counter-example.

use doorstep_shared::time::mix;
use stateright::{Checker, HasDiscoveries, Model};

use super::coverage::{Coverage, Seen};
use super::rules;
use super::state::{Budget, State};
use super::world::{Step, World};
use crate::model::bug::Bug;

const THREADS: usize = 2;

/// Two pushes, one crash of each end, two losses or duplicates.
const LOSSES: Budget =
    Budget { pushes: 2, hub_crashes: 1, host_crashes: 1, losses: 2, delays: 0, failures: 0, renewals: 0 };
/// The first of it, in a second.
const CRASHES: Budget =
    Budget { pushes: 2, hub_crashes: 1, host_crashes: 1, losses: 0, delays: 0, failures: 0, renewals: 0 };
/// A run that fails and things that come at a bad time.
const DELAYS: Budget =
    Budget { pushes: 2, hub_crashes: 0, host_crashes: 1, losses: 0, delays: 1, failures: 1, renewals: 0 };
/// Late renewals.
const RENEWALS: Budget =
    Budget { pushes: 2, hub_crashes: 0, host_crashes: 0, losses: 1, delays: 0, failures: 1, renewals: 1 };
/// Enough for each planted bug to show.
#[cfg(feature = "planted-bugs")]
pub const BUGS: Budget =
    Budget { pushes: 2, hub_crashes: 0, host_crashes: 1, losses: 1, delays: 1, failures: 1, renewals: 0 };

/// All at once, for walks at random.
pub const EVERYTHING: Budget =
    Budget { pushes: 3, hub_crashes: 2, host_crashes: 2, losses: 3, delays: 3, failures: 2, renewals: 3 };
/// No walk is near as long unless it goes in a circle; the longest that was
/// seen took 90 steps.
const WALK_STEPS_MAX: usize = 1_000;

/// What an exploration found.
#[derive(Default)]
pub struct Found {
    pub states: usize,
    pub unique: usize,
    pub depth: usize,
    pub counter_examples: Vec<String>,
    /// What no state of it had.
    pub missing: Vec<Seen>,
}

impl Found {
    pub fn add(&mut self, other: Self) {
        self.states += other.states;
        self.unique += other.unique;
        self.depth = self.depth.max(other.depth);
        self.counter_examples.extend(other.counter_examples);
        self.missing.retain(|seen| other.missing.contains(seen));
    }
}

/// What is explored: `DOORSTEP_MODEL` may say so in seven numbers, as in
/// `2,1,1,2,1,1,1`: pushes, crashes of the hub and of the host, losses or
/// duplicates, delays, runs that fail, renewals.
pub fn budgets() -> Vec<Budget> {
    let text = std::env::var("DOORSTEP_MODEL").unwrap_or_default();
    let numbers: Vec<u8> = text.split(',').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [pushes, hub_crashes, host_crashes, losses, delays, failures, renewals] => {
            vec![Budget { pushes, hub_crashes, host_crashes, losses, delays, failures, renewals }]
        }
        _ if cfg!(feature = "planted-bugs") => vec![LOSSES, DELAYS, RENEWALS],
        // Beside the unit tests, where nothing is optimised.
        _ => vec![CRASHES, RENEWALS],
    }
}

/// States of a world with a planted bug; most show within a few thousand, the
/// last one within 600,000. One that shows later is not found.
const STATES_MAX: usize = 3_000_000;

/// Explores a world to its end, or to its first counter-example.
pub fn explore(budget: Budget, bug: Bug) -> Found {
    let world = World { budget, bug, seen: Coverage::default() };
    let mut checker = world.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
    if bug != Bug::None {
        checker = checker.target_state_count(STATES_MAX);
    }
    let checker = checker.spawn_bfs().join();
    let told = checker.discoveries().into_iter().map(|(property, path)| {
        let how = explain(path.last_state());
        tell(property, &how, &path.into_actions())
    });
    Found {
        counter_examples: told.collect(),
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        missing: checker.model().seen.missing(),
    }
}

fn explain(last: &State) -> String {
    let at_rest = || rules::check_ending(last).err();
    last.broken.clone().or_else(at_rest).map_or(String::new(), |(_, how)| how)
}

fn tell(property: &str, how: &str, steps: &[Step]) -> String {
    let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
    format!("not always: {property}: {how}\n    {}", steps.join(", "))
}

/// Steps at random until nothing is left to do; how many they were, or what
/// went wrong.
pub fn walk(seed: u64, budget: Budget) -> Result<usize, String> {
    let world = World { budget, bug: Bug::None, seen: Coverage::default() };
    let (mut states, mut bits, mut steps) = (world.init_states(), seed, Vec::new());
    for taken in 0..WALK_STEPS_MAX {
        let Some(state) = states.pop() else { break };
        world.actions(&state, &mut steps);
        bits = mix(bits);
        let Some(step) = steps.get(bits as usize % steps.len().max(1)).copied() else {
            let how = explain(&state);
            return if how.is_empty() { Ok(taken) } else { Err(how) };
        };
        states.extend(world.next_state(&state, step));
        steps.clear();
    }
    Err(format!("no rest after {WALK_STEPS_MAX} steps"))
}
