//! What a run will do, decided before anything is touched. Pure.
//!
//! Acting never decides: the runner carries a [`Plan`] out. After a crash the
//! journal's [`Point`] goes through [`after_crash`], which is the same table
//! that a person finds in ARCHITECTURE.md.

use crate::config::Sync;
use crate::journal::Point;

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
    let takeover = match (facts.has_process, facts.owns_port) {
        (false, _) => Takeover::None,
        (true, true) => Takeover::Beside,
        (true, false) => Takeover::InPlace,
    };
    Plan { environment, takeover }
}

/// What a new daemon does about a run that an old one left open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// Remove what the run started, see that the old release runs, begin again.
    Again,
    /// The checks were good: finish the switch.
    Forward,
    /// Nothing is left to do.
    Nothing,
}

/// Decides from how far the run had come.
#[must_use]
pub fn after_crash(point: Point) -> Recovery {
    match point {
        Point::Preparing | Point::Starting | Point::Replacing => Recovery::Again,
        Point::Switching | Point::Retiring => Recovery::Forward,
        Point::Ended => Recovery::Nothing,
    }
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

    #[test]
    fn only_a_checked_release_goes_forward_after_a_crash() {
        assert_eq!(after_crash(Point::Starting), Recovery::Again);
        assert_eq!(after_crash(Point::Replacing), Recovery::Again);
        assert_eq!(after_crash(Point::Switching), Recovery::Forward);
        assert_eq!(after_crash(Point::Retiring), Recovery::Forward);
    }
}
