//! Explores a world to its end, or to the first counter-example.

use stateright::{Checker, HasDiscoveries, Model};

use super::rules;
use super::state::Budget;
use super::world::World;
use crate::model::bug::Bug;

const THREADS: usize = 2;

/// The budget of `./test`: about a minute on two cores.
const BUDGET: Budget = Budget { pushes: 2, hub_crashes: 1, host_crashes: 1, losses: 2, delays: 0, failures: 0, renewals: 0 };

/// What an exploration found.
pub struct Found {
    pub states: usize,
    pub unique: usize,
    pub depth: usize,
    pub counter_examples: Vec<(&'static str, String)>,
    pub figures: String,
}

/// `DOORSTEP_MODEL` may widen it: pushes, hub crashes, host crashes, mishaps
/// and failures, as in `2,1,1,3,1`.
pub fn budget() -> Budget {
    let text = std::env::var("DOORSTEP_MODEL").unwrap_or_default();
    let numbers: Vec<u8> = text.split(',').filter_map(|number| number.parse().ok()).collect();
    match numbers[..] {
        [pushes, hub_crashes, host_crashes, losses, delays, failures, renewals] => {
            Budget { pushes, hub_crashes, host_crashes, losses, delays, failures, renewals }
        }
        _ => BUDGET,
    }
}

pub fn explore(budget: Budget, bug: Bug) -> Found {
    let world = World { budget, bug };
    let checker = world.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let told = checker.discoveries().into_iter().map(|(property, path)| {
        let last = path.last_state();
        let how = match (last.broken.clone(), rules::check_ending(last)) {
            (Some((_, how)), _) | (None, Err((_, how))) => how,
            (None, Ok(())) => format!("{last:?}"),
        };
        (property, format!("{how}; after {:?}", path.into_actions()))
    });
    Found {
        counter_examples: told.collect(),
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth: checker.max_depth(),
        figures: format!("budget: {budget:?}"),
    }
}
