//! Every state of a small world: both engines, explored to the end.
//!
//! One host with one project, two pushes, one crash of the hub and one of the
//! host, two losses or duplicates, one run that fails: in every order there
//! is, not in the likely ones.

mod model {
    #[path = "../simulation/bug.rs"]
    pub mod bug;
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
use model::runner::{budget, explore};

#[test]
fn model() {
    let found = explore(budget(), Bug::None);
    for (property, path) in &found.counter_examples {
        println!("`{property}` does not hold: {path}");
    }
    println!("{}", found.figures);
    println!("model: {} states, {} unique, depth {}, {} counter-examples", found.states, found.unique, found.depth, found.counter_examples.len());
    assert!(found.counter_examples.is_empty(), "see above");
}

#[cfg(feature = "planted-bugs")]
#[test]
fn planted_bugs() {
    let found = Bug::ALL.into_iter().filter(|bug| is_found(*bug)).count();
    println!("model bugs found {found}/{}", Bug::ALL.len());
    assert_eq!(found, Bug::ALL.len());
}

#[cfg(feature = "planted-bugs")]
fn is_found(bug: Bug) -> bool {
    let found = explore(budget(), bug);
    let first = found.counter_examples.first();
    let how = first.map_or("not found".to_owned(), |(property, path)| format!("`{property}`: {path}"));
    println!("{bug:?} after {} states: {how}", found.states);
    first.is_some()
}
