//! Going back: a release that is built already takes over again.
//!
//! Nothing is fetched or built, so it takes the app's own start and a switch.
//! Invariants: only a release of another commit that was live, was not found bad
//! and still is in its slot is gone back to by itself; what is gone away from is
//! bad from then on, and its commit stays away until there is a new one or a
//! person asks. What is absent: undoing migrations.

use doorstep_shared::ids::{Cause, FailureKind, RunState};

use super::deploy::short;
use super::{Fault, Runner};
use crate::journal::{Goal, Release, ReleaseState, RunRecord, to_go_back_to};
use crate::plan::{Environment, takeover};
use crate::supervisor::owns_port;

/// Runs among which an earlier attempt of a job is looked for: a job is granted
/// twelve times at most, and runs of others may come between.
const ATTEMPTS_LOOKED_AT: usize = 50;

impl Runner {
    /// Makes the release before the live one live again, or the one that was named.
    pub(super) async fn go_back(&mut self) -> Result<(), (Fault, RunState)> {
        if let Some(went) = self.went_already() {
            self.record.commit = Some(went.commit);
            self.say(&format!("an earlier attempt went back to release {}", went.id));
            return Ok(());
        }
        let release = self.release_to_go_back_to().map_err(|fault| (fault, RunState::Refused))?;
        if self.is_stack() {
            let gone = |why: String| Fault { kind: FailureKind::Policy, ..self.fault("rollback", &why) };
            self.can_come_back(&release).await.map_err(|why| (gone(why), RunState::Refused))?;
        }
        self.record.commit = Some(release.commit.clone());
        self.record.release = Some(release.id);
        self.say(&format!("going back to release {} ({} {})", release.id, short(&release.commit), release.subject));
        if self.is_stack() {
            return self.take_over_stack(release).await;
        }
        self.take_over(takeover(self.project.runs(), owns_port(&self.project)), release).await
    }

    fn release_to_go_back_to(&self) -> Result<Release, Fault> {
        let releases = self.shared.journal.releases(&self.project.name).map_err(|fault| self.fault("rollback", &format!("{fault:#}")))?;
        let no = |why: String| Fault { kind: FailureKind::Policy, ..self.fault("rollback", &why) };
        let live = releases.iter().find(|release| release.state == ReleaseState::Live);
        let release = match &self.record.to {
            None => to_go_back_to(&releases, live).ok_or_else(|| no(nothing_to_go_back_to(&releases, live)))?,
            Some(Goal::Release(id)) => named(&releases, *id).map_err(no)?,
            Some(Goal::Commit(commit)) => of_commit(&releases, commit).map_err(no)?,
        };
        let layout = self.shared.supervisor.layout(&self.project);
        if !layout.slot(release.slot).is_dir() {
            return Err(no(format!("release {} is not in its slot any more ({})", release.id, layout.slot(release.slot).display())));
        }
        if self.is_stack() {
            return Ok(release.clone());
        }
        let env = layout.env(release.slot);
        if self.plan(release)?.0.environment != Environment::None && !env.join("bin/python").exists() {
            return Err(no(format!("the environment of release {} is gone ({})", release.id, env.display())));
        }
        Ok(release.clone())
    }

    /// The live release, if an attempt of this job before switched to it and
    /// failed after that: one ask goes back once.
    fn went_already(&self) -> Option<Release> {
        let live = self.shared.journal.live_release(&self.project.name).ok().flatten()?;
        let runs = self.shared.journal.newest_runs(&self.project.name, ATTEMPTS_LOOKED_AT).ok()?;
        went_to(&runs, &self.record, live.id).then_some(live)
    }

    /// Refuses what comes by itself with a commit that was found bad here: its
    /// checks failed, or somebody went back from it.
    pub(super) fn is_quarantined(&self, commit: &str) -> Result<(), Fault> {
        if !matches!(self.record.cause, Cause::Push | Cause::Reconcile | Cause::Replay) {
            return Ok(());
        }
        match self.shared.journal.bad_release_of(&self.project.name, commit).unwrap_or_default() {
            Some(bad) => {
                let why = format!(
                    "{} was bad here as release {}: it failed its checks, or somebody went back from it; push another commit, or ask for it with `doorstep deploy {}`",
                    short(commit),
                    bad.id,
                    self.project.name
                );
                Err(Fault { kind: FailureKind::Policy, ..self.fault("fetch", &why) })
            }
            None => Ok(()),
        }
    }
}

/// Did another attempt of this run's job switch to this release?
fn went_to(runs: &[RunRecord], run: &RunRecord, live: u64) -> bool {
    run.job.is_some() && runs.iter().any(|other| other.job == run.job && other.id != run.id && other.release == Some(live))
}

/// Why there is nothing to go back to, and what a person may name all the same.
fn nothing_to_go_back_to(releases: &[Release], live: Option<&Release>) -> String {
    let is_same = |release: &&Release| release.state != ReleaseState::Live && release.is_good() && live.is_some_and(|live| live.commit == release.commit);
    match releases.iter().rev().find(is_same) {
        Some(same) => format!("there is no earlier good release of another commit to go back to; release {} is of the commit that is live, and `doorstep rollback {} --to {}` goes back to it", same.id, same.project, same.id),
        None => "there is no earlier good release to go back to".to_owned(),
    }
}

/// The release of this number, if it can be gone back to.
fn named(releases: &[Release], id: u64) -> Result<&Release, String> {
    let release = releases.iter().find(|release| release.id == id).ok_or_else(|| format!("there is no release {id}; `doorstep history` shows what there is"))?;
    release.may_come_back().map(|()| release)
}

/// The newest release of a commit that can be gone back to. Of several that
/// cannot, the newest says why.
fn of_commit<'r>(releases: &'r [Release], commit: &str) -> Result<&'r Release, String> {
    let of: Vec<&Release> = releases.iter().rev().filter(|release| release.commit == commit).collect();
    let Some(newest) = of.first() else {
        return Err(format!("no release of {} is known here", short(commit)));
    };
    of.iter().find_map(|release| named(releases, release.id).ok()).map_or_else(|| named(releases, newest.id), Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use doorstep_shared::time::Timestamp;

    fn release(id: u64, state: ReleaseState, was_live: bool) -> Release {
        let live_since = was_live.then_some(Timestamp(id));
        Release { id, project: "shop".into(), commit: format!("{id:040}"), subject: String::new(), slot: 0, state, live_since, was_bad: false }
    }

    #[test]
    fn one_goes_back_to_what_was_good_and_never_forward() {
        use ReleaseState::{Bad, Built, Live, Previous, Pruned};
        let of = |all: &[(ReleaseState, bool)]| {
            let releases: Vec<Release> = (1..).zip(all).map(|(id, (state, was_live))| release(id, *state, *was_live)).collect();
            let live = releases.iter().find(|release| release.state == Live);
            to_go_back_to(&releases, live).map(|release| release.id)
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(Live, true)]), None);
        assert_eq!(of(&[(Built, true), (Previous, true), (Live, true)]), Some(2));
        // After one went back: the newest that was good and is older.
        assert_eq!(of(&[(Built, true), (Built, true), (Live, true), (Bad, true)]), Some(2));
        assert_eq!(of(&[(Built, true), (Live, true), (Built, true), (Bad, true)]), Some(1));
        assert_eq!(of(&[(Pruned, true), (Bad, true), (Built, false), (Live, true)]), None);
    }

    #[test]
    fn one_goes_back_to_another_commit() {
        use ReleaseState::{Bad, Built, Live, Previous};
        let of = |all: &[(&str, ReleaseState)]| {
            let releases: Vec<Release> = (1..).zip(all).map(|(id, (commit, state))| Release { commit: (*commit).to_owned(), ..release(id, *state, true) }).collect();
            let live = releases.iter().find(|release| release.state == Live);
            to_go_back_to(&releases, live).map(|release| release.id)
        };
        assert_eq!(of(&[("a", Built), ("b", Previous), ("b", Live)]), Some(1), "after a rebuild");
        assert_eq!(of(&[("b", Built), ("b", Previous), ("b", Live)]), None);
        assert_eq!(of(&[("a", Built), ("b", Built), ("b", Bad), ("c", Previous), ("c", Live)]), Some(1), "somebody went back from b");
    }

    #[test]
    fn another_attempt_of_a_job_does_not_go_back_once_more() {
        let of = |id: &str, job, release| RunRecord { release: Some(release), ..crate::journal::test_run(id, job) };
        let second = of("b", 7, 2);
        assert!(went_to(&[of("a", 7, 2), second.clone()], &second, 2));
        assert!(!went_to(std::slice::from_ref(&second), &second, 2), "itself, begun again after a crash");
        assert!(!went_to(&[of("a", 7, 1), of("c", 8, 2)], &second, 2));
        let by_hand = RunRecord { job: None, ..second };
        assert!(!went_to(&[RunRecord { job: None, ..of("a", 7, 2) }], &by_hand, 2), "a person who asks twice goes back twice");
    }

    #[test]
    fn a_named_release_must_be_there_and_have_been_live() {
        use ReleaseState::{Bad, Built, Live, Pruned};
        let releases = [release(1, Pruned, true), release(2, Built, false), release(3, Bad, true), release(4, Live, true)];
        let say = |id| named(&releases, id).map(|release| release.id);
        assert_eq!(say(3), Ok(3));
        let of = |id: u64| of_commit(&releases, &format!("{id:040}")).map(|release| release.id);
        assert_eq!(of(3), Ok(3));
        assert!(of(1).unwrap_err().contains("not kept any more") && of(9).unwrap_err().contains("no release of 0000000 is known"));
        for (id, why) in [(1, "not kept any more"), (2, "never live"), (4, "live already"), (5, "no release 5")] {
            assert!(say(id).unwrap_err().contains(why), "{id}");
        }
    }
}
