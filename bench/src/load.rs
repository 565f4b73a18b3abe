//! The load: pushes for many projects, over a fleet of connected executors, to
//! the real Worker on workerd with real sockets.
//!
//! One process, one runtime, bounded memory: bodies are made from numbers, and
//! of each delivery only a few words are kept. `bench/README.md` says what each
//! line means. Fails when a delivery was lost or had its effect twice. Absent:
//! real runs (the executors only pretend), and faults, but for `--kill`.

mod bodies;
mod check;
mod cost;
mod fleet;
mod kill;
mod ledger;
mod phases;
mod sender;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// How long the queue may take to come to rest once nothing is sent any more.
const SETTLED_MAX: Duration = Duration::from_secs(300);
/// Files that 1,000 executors need here and in workerd, which inherits the limit.
const FILES_MIN: u64 = 16_384;

/// How much load, and of what kind.
#[derive(Clone, Debug)]
pub struct Options {
    /// Deliveries of the flood.
    pub deliveries: u64,
    /// Projects that they are for, in turn.
    pub projects: usize,
    /// Connected executors.
    pub executors: usize,
    /// Hosts that follow each project: one delivery makes as many jobs.
    pub followers: usize,
    /// Connections of the sender, each with one request on its way.
    pub connections: usize,
    /// How long a run takes.
    pub delay: Duration,
    /// Rounds of the flood; the bare insert takes turns with it.
    pub rounds: u64,
    /// Is the bare insert measured too?
    pub insert: bool,
    /// How long nothing happens.
    pub idle: Duration,
    /// Kill workerd in the middle instead.
    pub kill: bool,
}

const WHOLE: Options = Options {
    deliveries: 50_000,
    projects: 200,
    executors: 1_000,
    followers: 1,
    connections: 64,
    delay: Duration::ZERO,
    rounds: 5,
    insert: true,
    idle: Duration::from_secs(30),
    kill: false,
};

/// What differs with `--quick`.
const QUICK: Options = Options { deliveries: 5_000, executors: 300, rounds: 2, idle: Duration::from_secs(5), ..WHOLE };

/// What differs with `--kill`.
const KILL: Options = Options { deliveries: 2_000, projects: 50, executors: 100, kill: true, ..WHOLE };

/// Reads the words after `load` and does it.
pub async fn run(words: &[String]) -> Result<()> {
    let options = Options::read(words)?;
    raise_the_limit_of_files()?;
    if options.kill { kill::run(&options).await } else { phases::run(&options).await }
}

impl Options {
    /// Deliveries that are sent one at a time, each told with the least.
    fn singles(&self) -> u64 {
        (self.deliveries / 25).clamp(1, 2_000)
    }

    /// The same, each told in full.
    fn histories(&self) -> u64 {
        (self.deliveries / 100).clamp(1, 500)
    }

    fn read(words: &[String]) -> Result<Self> {
        let has = |word: &str| words.iter().any(|given| given == word);
        let mut options = match (has("--kill"), has("--quick")) {
            (true, _) => KILL,
            (false, true) => QUICK,
            (false, false) => WHOLE,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut number = || -> Result<u64> { words.next().and_then(|word| word.parse().ok()).with_context(|| format!("{word} needs a number")) };
            match word.as_str() {
                "--quick" | "--kill" => {}
                "--no-insert" => options.insert = false,
                "--deliveries" => options.deliveries = number()?,
                "--projects" => options.projects = usize::try_from(number()?)?,
                "--executors" => options.executors = usize::try_from(number()?)?,
                "--followers" => options.followers = usize::try_from(number()?)?,
                "--connections" => options.connections = usize::try_from(number()?)?,
                "--delay-ms" => options.delay = Duration::from_millis(number()?),
                other => bail!("load knows --quick, --kill, --no-insert, --deliveries, --projects, --executors, --followers, --connections and --delay-ms, not {other}"),
            }
        }
        options.check()
    }

    fn check(self) -> Result<Self> {
        if self.projects == 0 || self.followers == 0 || self.connections == 0 || self.deliveries < self.rounds {
            bail!("there must be at least one project, follower and connection, and {} deliveries", self.rounds);
        }
        if self.projects > 9_999 || self.projects * self.followers > self.executors || self.executors > 9_999 {
            bail!("{} projects with {} followers each need as many executors, and 9,999 is the most", self.projects, self.followers);
        }
        Ok(self)
    }
}

/// Raises this process's limit of open files, which its children inherit.
fn raise_the_limit_of_files() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES_MIN, |most| most.min(FILES_MIN));
    if limit.current.is_some_and(|current| current < wanted) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).context("the limit of open files cannot be raised")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_over_the_defaults() {
        let read = |text: &str| Options::read(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(read("").unwrap().deliveries, 50_000);
        let options = read("--executors 10 --quick --projects 5 --followers 2").unwrap();
        assert_eq!((options.deliveries, options.executors, options.projects, options.followers), (5_000, 10, 5, 2));
        for bad in ["--deliveries", "--projects x", "--fast", "--projects 0", "--executors 10 --projects 6 --followers 2"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
