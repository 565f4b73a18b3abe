//! What of a project's last runs and given-up jobs still matters.
//!
//! Pure. Invariant: a deploy that went wrong matters until one has gone well;
//! that something else was done meanwhile hides nothing. What a person cancelled
//! or asked for in vain is on record and matters no more.

use doorstep_shared::ids::{Action, FailureKind, JobState, RunState};
use doorstep_shared::queue::CANCELLED;

use crate::view::{JobRow, RunRow};

/// The newest run that went wrong and was not made good since; runs stand newest
/// first.
#[must_use]
pub fn trouble(runs: &[RunRow]) -> Option<&RunRow> {
    runs.iter().enumerate().find(|(at, run)| went_wrong(run) && !is_made_good(run.action, runs.iter().take(*at))).map(|(_, run)| run)
}

/// Does a dead job still matter, of a project with these runs?
#[must_use]
pub fn matters(dead: &JobRow, runs: &[RunRow]) -> bool {
    if dead.reason.as_deref() == Some(CANCELLED) || dead.state != JobState::Dead {
        return false;
    }
    if let Some(run) = runs.iter().find(|run| run.job == Some(dead.id)) && !went_wrong(run) {
        return false;
    }
    !is_made_good(dead.action, runs.iter().filter(|run| dead.died.is_none_or(|died| run.started >= died)))
}

/// Do these runs say how deploys of the project went last? If not, older ones do.
#[must_use]
pub fn are_decisive(runs: &[RunRow]) -> bool {
    runs.iter().any(|run| is_good(run) && makes_good(Action::Deploy, run.action))
}

/// Was it ended by a person?
#[must_use]
pub fn was_cancelled(run: &RunRow) -> bool {
    run.failure.as_ref().is_some_and(|failure| failure.kind == FailureKind::Cancelled)
}

fn went_wrong(run: &RunRow) -> bool {
    match run.state {
        RunState::Failed | RunState::RolledBack => !was_cancelled(run),
        // Whoever asks for what cannot be done hears it there and then.
        RunState::Refused => is_deploy(run.action),
        RunState::Running | RunState::Succeeded => false,
    }
}

fn is_deploy(action: Action) -> bool {
    matches!(action, Action::Deploy | Action::Rebuild)
}

/// Do these later runs make good what this action did not do?
fn is_made_good<'a>(action: Action, mut later: impl Iterator<Item = &'a RunRow>) -> bool {
    later.any(|run| is_good(run) && makes_good(action, run.action))
}

fn is_good(run: &RunRow) -> bool {
    run.state == RunState::Succeeded && run.service.is_none()
}

fn makes_good(action: Action, later: Action) -> bool {
    match (action, later) {
        // Whoever goes back has seen what was wrong.
        (_, Action::Deploy | Action::Rebuild | Action::Rollback) => true,
        (Action::Restart | Action::Start | Action::Stop, Action::Restart | Action::Start | Action::Stop) => true,
        (action, later) => action == later,
    }
}

#[cfg(test)]
mod tests {
    use doorstep_shared::protocol::Failure;

    use super::*;
    use crate::pages::testing::{a_dead_job, a_job, a_run};

    fn run(action: &str, state: &str) -> RunRow {
        RunRow { action: action.parse().unwrap(), failure: None, ..a_run("r", state) }
    }

    /// What matters of these runs, oldest first: "deploy failed".
    fn told(runs: &[(&str, &str)]) -> String {
        let runs: Vec<RunRow> = runs.iter().rev().map(|(action, state)| run(action, state)).collect();
        trouble(&runs).map_or_else(String::new, |run| format!("{} {}", run.action, run.state))
    }

    #[test]
    fn a_failed_deploy_matters_until_one_has_gone_well() {
        assert_eq!(told(&[("deploy", "failed")]), "deploy failed");
        for later in ["fetch", "restart", "start", "stop"] {
            assert_eq!(told(&[("deploy", "rolled_back"), (later, "succeeded")]), "deploy rolled_back", "{later}");
        }
        for later in ["deploy", "rebuild", "rollback"] {
            assert_eq!(told(&[("deploy", "failed"), (later, "succeeded")]), "", "{later}");
        }
        assert_eq!(told(&[("deploy", "failed"), ("deploy", "running")]), "deploy failed", "not yet");
        assert_eq!(told(&[("deploy", "failed"), ("rollback", "refused")]), "deploy failed", "what could not be done hides nothing");
        assert_eq!(told(&[("deploy", "refused")]), "deploy refused");
        assert_eq!(told(&[("rollback", "refused")]), "");
        assert_eq!(told(&[("start", "failed")]), "start failed");
        assert_eq!(told(&[("start", "failed"), ("restart", "succeeded")]), "");
        assert_eq!(told(&[("fetch", "failed"), ("restart", "succeeded")]), "fetch failed");
        assert_eq!(told(&[("fetch", "failed"), ("fetch", "succeeded")]), "");
    }

    #[test]
    fn only_a_good_deploy_of_the_whole_decides() {
        assert!(are_decisive(&[run("fetch", "succeeded"), run("deploy", "succeeded")]));
        let of_web = RunRow { service: Some("web".parse().unwrap()), ..run("rebuild", "succeeded") };
        assert!(!are_decisive(&[run("fetch", "succeeded"), run("restart", "succeeded"), run("deploy", "failed"), of_web]));
    }

    #[test]
    fn one_service_makes_good_no_whole() {
        let of_web = RunRow { service: Some("web".parse().unwrap()), ..run("rebuild", "succeeded") };
        assert!(trouble(&[of_web, run("deploy", "failed")]).is_some());
    }

    #[test]
    fn what_was_cancelled_does_not_matter() {
        let failure = Failure { kind: FailureKind::Cancelled, step: "build".into(), message: "it was cancelled".into() };
        let cancelled = RunRow { failure: Some(failure), ..run("deploy", "failed") };
        assert!(trouble(std::slice::from_ref(&cancelled)).is_none());
        let dead = JobRow { reason: Some(CANCELLED.into()), ..a_job("deploy", "dead") };
        assert!(!matters(&dead, &[]));
    }

    #[test]
    fn a_dead_job_matters_until_it_was_made_good() {
        let dead = a_dead_job("why");
        let died = dead.died.unwrap();
        let later = |action: &str, state: &str| RunRow { started: died.plus_ms(1), job: None, ..run(action, state) };
        assert!(matters(&dead, &[]) && matters(&dead, &[later("fetch", "succeeded")]) && matters(&dead, &[later("deploy", "failed")]));
        assert!(!matters(&dead, &[later("deploy", "succeeded")]));
        assert!(matters(&dead, &[RunRow { started: doorstep_shared::time::Timestamp(died.0 - 1), ..later("deploy", "succeeded") }]), "that was before");
        let refused = RunRow { job: Some(dead.id), ..run("rollback", "refused") };
        assert!(!matters(&JobRow { action: Action::Rollback, ..dead }, &[refused]), "its run says so");
    }
}
