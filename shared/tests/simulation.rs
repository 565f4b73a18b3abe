//! Both engines against each other, in virtual time.
//!
//! Each seed is a world: a hub around [`queue`](doorstep_shared::queue), one to
//! three hosts around [`link`](doorstep_shared::link), a wire that loses,
//! delays and keeps silent, a GitHub that doubles, reorders, forgets and is
//! pushed to by force, hosts that reconcile, crashes at any effect, power cuts,
//! full disks, disks put back to an older state, evictions, failed writes,
//! clocks that jump either way, second daemons, and people who cancel, revive
//! and click. After every step the invariants hold; when the faults end, every
//! world comes to rest within a bounded time, every job has ended, and the
//! head of the branch is live or its run says why not.
//!
//! Not covered: enrolment and signatures, revoked hosts, jobs of a host that
//! stays away for 14 days (stories of the queue's own tests), frames past the
//! size limits.
//!
//! `--seeds N` says how many worlds, `--seed S` which is the first; with the
//! latter alone, that one world is lived through with a trace.

mod simulation {
    pub mod branch;
    pub mod bug;
    pub mod coverage;
    pub mod disk;
    pub mod ending;
    pub mod faults;
    pub mod github;
    pub mod host;
    pub mod hub;
    pub mod journal;
    pub mod ledger;
    pub mod options;
    pub mod reconcile;
    pub mod release;
    pub mod rng;
    pub mod rows;
    pub mod run;
    pub mod runner;
    pub mod stage;
    pub mod turn;
    pub mod wire;
    pub mod world;
}

use std::process::ExitCode;

use simulation::bug::Bug;
use simulation::options::Options;
use simulation::runner::{Plan, run};
use simulation::world::live;

const REPLAY: &str = "cargo test -p doorstep-shared --test simulation -- --exact simulation --seed";

/// A test, and how it is called.
type Test = (&'static str, fn(&Plan) -> Verdict);
/// What a test says last, and whether it passed.
type Verdict = (bool, String);

/// The simulation comes last: its last line is the last of all.
const TESTS: &[Test] = &[
    ("a_seed_is_one_world", a_seed_is_one_world),
    #[cfg(feature = "planted-bugs")]
    ("planted_bugs", planted_bugs),
    ("simulation", simulation),
];

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("{fault}");
            return ExitCode::from(2);
        }
    };
    let wanted: Vec<&Test> = TESTS.iter().filter(|(name, _)| options.wants(name)).collect();
    if options.list {
        for (name, _) in &wanted {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    carry_out(&wanted, &options.plan)
}

fn carry_out(wanted: &[&Test], plan: &Plan) -> ExitCode {
    let (mut failed, mut last) = (0, String::new());
    for (name, test) in wanted {
        let (passed, verdict) = test(plan);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
        last = verdict;
    }
    let (word, passed) = (if failed == 0 { "ok" } else { "FAILED" }, wanted.len() - failed);
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out", TESTS.len() - wanted.len());
    println!("{last}");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn simulation(plan: &Plan) -> Verdict {
    let result = run(plan, Bug::None);
    let rest_s = result.quiet_after_ms / 1_000;
    println!("worlds: {} events, at rest {rest_s} s after the last fault at the latest", result.events);
    println!("covered: {}", result.seen);
    for (seed, violation) in &result.violations {
        println!("seed {seed}: {violation}");
        println!("    {REPLAY} {seed}");
    }
    let missing = if plan.is_thorough() { result.seen.missing() } else { Vec::new() };
    if !missing.is_empty() {
        println!("nothing of this ever happened: {}", missing.join(", "));
    }
    let last = format!("simulation: {} seeds, {} violations", plan.seeds, result.violations.len());
    (result.violations.is_empty() && missing.is_empty(), last)
}

fn a_seed_is_one_world(_: &Plan) -> Verdict {
    let differs = (1..=20).find(|seed| live(*seed, Bug::None, false) != live(*seed, Bug::None, false));
    let last = differs.map_or("a seed is one world".to_owned(), |seed| format!("seed {seed} is two worlds"));
    println!("{last}");
    (differs.is_none(), last)
}

#[cfg(feature = "planted-bugs")]
fn planted_bugs(_: &Plan) -> Verdict {
    let plan = Plan::until_violation();
    let found = Bug::ALL.into_iter().filter(|bug| is_found(&plan, *bug)).count();
    let last = format!("bugs found {found}/{}", Bug::ALL.len());
    println!("{last}");
    (found == Bug::ALL.len(), last)
}

#[cfg(feature = "planted-bugs")]
fn is_found(plan: &Plan, bug: Bug) -> bool {
    let result = run(plan, bug);
    let first = result.violations.first();
    let how = first.map_or("not found".to_owned(), |(seed, violation)| format!("seed {seed}: {violation}"));
    println!("{bug:?}: {how}");
    first.is_some()
}
