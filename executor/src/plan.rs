//! What a run will do, decided before anything is touched. Pure.
//!
//! Acting never decides: the runner carries a [`Plan`] out. After a crash the
//! journal's [`Point`] goes through [`after_crash`], which is the same table
//! that a person finds in ARCHITECTURE.md.

use crate::config::Sync;
use crate::journal::{Point, ProcessRow, RunRecord};

/// How the release's Python environment is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Nothing says that this is Python.
    None,
    /// `uv sync --locked`: exactly what `uv.lock` says.
    Locked,
    /// `uv sync`: there is no lock, so versions are chosen now.
    Resolved,
    /// `uv lock --upgrade`, then `uv sync`.
    Upgraded,
    /// `uv venv` and `uv pip install -r requirements.txt`.
    Requirements,
    /// The same with `--upgrade`.
    RequirementsUpgraded,
}

/// How the new process takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takeover {
    /// The project has no process.
    None,
    /// The new one runs on a port of its own beside the old one.
    Beside,
    /// The old one is stopped first: both want the same place.
    InPlace,
}

/// What is known when the plan is made.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// The repository has `uv.lock`.
    pub has_lock: bool,
    /// The repository has `pyproject.toml`.
    pub has_pyproject: bool,
    /// The repository has `requirements.txt`.
    pub has_requirements: bool,
    /// What the host's file says of `sync`.
    pub sync: Sync,
    /// The project has a process.
    pub has_process: bool,
    /// The process is told its port, so two can run at once.
    pub owns_port: bool,
}

/// What will be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How the environment is made.
    pub environment: Environment,
    /// How the new process takes over.
    pub takeover: Takeover,
}

/// Decides.
#[must_use]
pub fn plan(facts: &Facts) -> Plan {
    let environment = match (facts.has_pyproject, facts.has_lock, facts.has_requirements, facts.sync) {
        (true, _, _, Sync::Upgrade) => Environment::Upgraded,
        (true, true, _, Sync::Locked) => Environment::Locked,
        (true, false, _, Sync::Locked) => Environment::Resolved,
        (false, _, true, Sync::Locked) => Environment::Requirements,
        (false, _, true, Sync::Upgrade) => Environment::RequirementsUpgraded,
        (false, _, false, _) => Environment::None,
    };
    Plan { environment, takeover: takeover(facts.has_process, facts.owns_port) }
}

/// How a release's process takes over from the one before.
#[must_use]
pub fn takeover(has_process: bool, owns_port: bool) -> Takeover {
    match (has_process, owns_port) {
        (false, _) => Takeover::None,
        (true, true) => Takeover::Beside,
        (true, false) => Takeover::InPlace,
    }
}

/// What a new daemon does about a run that an old one left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Remove what the run started, see that the old release runs, begin again.
    Again,
    /// The checks were good: finish the switch. When what was checked is gone,
    /// the same as `Again`.
    Forward,
    /// The new release is live and not settled: its hooks and its soaking once
    /// more from the start, with the old process kept.
    Settle,
    /// The new release is live: see that it runs, and that nothing else does.
    Finish,
    /// The run failed, and its row says why: finish putting the old release
    /// back, and end the run with that failure. It is not begun again.
    PutBack,
    /// Nothing is left to do.
    Nothing,
}

/// Decides from how far the run had come.
#[must_use]
pub fn after_crash(point: Point) -> Recovery {
    match point {
        Point::Begun
        | Point::Fetching
        | Point::Verifying
        | Point::Building
        | Point::Syncing
        | Point::BeforeSwitch
        | Point::Starting
        | Point::Checking
        | Point::Replacing
        | Point::Stopping => Recovery::Again,
        Point::Switching => Recovery::Forward,
        Point::Settling => Recovery::Settle,
        Point::Retiring => Recovery::Finish,
        Point::RollingBack => Recovery::PutBack,
        Point::Ended => Recovery::Nothing,
    }
}

/// Which of a project's processes may be its live one, the likeliest first:
/// those of the live release. What an open run started counts once it has
/// switched, and before all others then.
#[must_use]
pub fn live_rows<'a>(rows: &'a [ProcessRow], release: u64, open: Option<&RunRecord>) -> Vec<&'a ProcessRow> {
    let is_of_run = |row: &ProcessRow| open.is_some_and(|run| row.run.as_ref() == Some(&run.id));
    let has_switched = open.is_some_and(|run| matches!(after_crash(run.point), Recovery::Settle | Recovery::Finish));
    let mut may_be: Vec<_> = rows.iter().filter(|row| row.release == release && (has_switched || !is_of_run(row))).collect();
    may_be.sort_by_key(|row| !is_of_run(row));
    may_be
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> Facts {
        Facts { has_lock: true, has_pyproject: true, has_requirements: true, sync: Sync::Locked, has_process: true, owns_port: true }
    }

    #[test]
    fn a_lock_is_obeyed() {
        assert_eq!(plan(&facts()).environment, Environment::Locked);
        assert_eq!(plan(&Facts { has_lock: false, ..facts() }).environment, Environment::Resolved);
        assert_eq!(plan(&Facts { sync: Sync::Upgrade, ..facts() }).environment, Environment::Upgraded);
        assert_eq!(plan(&Facts { has_pyproject: false, ..facts() }).environment, Environment::Requirements);
        assert_eq!(plan(&Facts { has_pyproject: false, has_requirements: false, ..facts() }).environment, Environment::None);
    }

    #[test]
    fn two_run_at_once_only_where_each_has_its_port() {
        assert_eq!(plan(&facts()).takeover, Takeover::Beside);
        assert_eq!(plan(&Facts { owns_port: false, ..facts() }).takeover, Takeover::InPlace);
        assert_eq!(plan(&Facts { has_process: false, ..facts() }).takeover, Takeover::None);
    }

    /// Every point, and what follows: a new one fails here until it is thought of.
    #[test]
    fn only_a_checked_release_goes_forward_after_a_crash() {
        let all = Point::ALL.map(|point| (point.as_str(), after_crash(point)));
        let again = ["begun", "fetching", "verifying", "building", "syncing", "before_switch", "starting", "checking", "replacing", "stopping"];
        for (word, recovery) in all {
            let expected = match word {
                "switching" => Recovery::Forward,
                "settling" => Recovery::Settle,
                "retiring" => Recovery::Finish,
                "rolling_back" => Recovery::PutBack,
                "ended" => Recovery::Nothing,
                word => {
                    assert!(again.contains(&word), "{word}");
                    Recovery::Again
                }
            };
            assert_eq!(recovery, expected, "{word}");
        }
        assert_eq!(all.iter().filter(|(_, recovery)| *recovery == Recovery::Again).count(), again.len());
    }

    #[test]
    fn what_an_open_run_started_is_live_once_it_has_switched() {
        let row = |pid, release, run: Option<&str>| ProcessRow { project: "shop".into(), pid, start_ticks: 1, port: None, release, run: run.map(Into::into), companion: None, unit: None };
        let rows = [row(1, 7, None), row(2, 7, Some("r")), row(3, 8, Some("r")), row(4, 7, Some("older"))];
        let pids = |open: Option<&RunRecord>| live_rows(&rows, 7, open).iter().map(|row| row.pid).collect::<Vec<_>>();
        assert_eq!(pids(None), [1, 2, 4]);
        let mut run = crate::journal::test_run("r", 1);
        for point in Point::ALL {
            run.point = point;
            let expected: &[i32] = if matches!(point, Point::Settling | Point::Retiring) { &[2, 1, 4] } else { &[1, 4] };
            assert_eq!(pids(Some(&run)), expected, "{}", point.as_str());
        }
    }
}
