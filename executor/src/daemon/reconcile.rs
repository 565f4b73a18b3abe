//! Reconciling: is every branch where this host last brought it?
//!
//! At connect, every so often, and after a sleep, each origin is asked for the
//! head of its branch; a head that no deploy here came to an end with is told
//! to the edge, which makes a job of it. With the edge gone for long, the host
//! makes a run of it by itself. Invariants: a head that was concluded, well or
//! not, is never tried again by itself; a project that has work is left alone.
//! What is absent: GitHub's API, and fetching.

use std::time::{Duration, Instant};

use doorstep_shared::ids::{Action, Cause};
use doorstep_shared::protocol::ToEdge;
use doorstep_shared::time::mix;
use tracing::{debug, info, warn};

use super::{Daemon, Wake, Work};
use crate::clock;
use crate::config::Project;
use crate::git::{self, Bounds, Origin};
use crate::run::Request;

/// After a connect the branches are asked for within this time: full jitter,
/// so that a fleet that comes back asks its origins one by one.
const CONNECT_MS_MAX: u64 = 1_000;
/// Two rounds are at least this far apart, however often the link goes.
const BETWEEN_MS_MIN: u64 = 15_000;
/// How long an origin has to answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// The edge is gone for this long before a host deploys by itself: a Worker
/// that is deployed anew is back within seconds.
const ALONE_AFTER_MS: u64 = 60_000;

/// When the branches are asked for next.
pub struct Rounds {
    every_ms: Option<u64>,
    next_at: Option<u64>,
    last_at: Option<u64>,
    /// Since when there is no link.
    alone_since: u64,
    seed: u64,
}

impl Rounds {
    /// No round is due before the first connect, or before the edge was away for long.
    pub fn new(every: Option<Duration>, now: u64, seed: u64) -> Self {
        let every_ms = every.map(|every| u64::try_from(every.as_millis()).unwrap_or(u64::MAX));
        Self { every_ms, next_at: every_ms.map(|every| now + every.min(ALONE_AFTER_MS)), last_at: None, alone_since: now, seed }
    }

    /// When the next round is due, if ever.
    pub fn deadline(&self) -> Option<u64> {
        self.next_at
    }

    /// The link came up, or the host woke: soon, but not too often.
    pub fn soon(&mut self, now: u64) {
        let Some(every) = self.every_ms else { return };
        let earliest = self.last_at.map_or(now, |last| last + BETWEEN_MS_MIN.min(every));
        let at = earliest.max(now) + self.random(CONNECT_MS_MAX.min(every));
        self.next_at = Some(self.next_at.map_or(at, |next| next.min(at)));
    }

    /// Is a round due? Then the next is a tenth before or after its time.
    pub fn is_due(&mut self, now: u64) -> bool {
        let (Some(every), true) = (self.every_ms, self.next_at.is_some_and(|at| at <= now)) else { return false };
        self.last_at = Some(now);
        self.next_at = Some(now + every - every / 10 + self.random(every / 5));
        true
    }

    /// The link went.
    pub fn link_went(&mut self, now: u64) {
        self.alone_since = now;
    }

    fn is_alone(&self, now: u64) -> bool {
        now.saturating_sub(self.alone_since) >= ALONE_AFTER_MS.min(self.every_ms.unwrap_or(ALONE_AFTER_MS))
    }

    fn random(&mut self, ms_max: u64) -> u64 {
        self.seed = mix(self.seed);
        self.seed % (ms_max + 1)
    }
}

/// What an origin said of its branch.
pub type Head = Result<Option<String>, String>;

impl Daemon {
    /// Asks the origin of every project that has nothing to do.
    pub(super) fn reconcile(&mut self) {
        if self.identity.is_none() || self.refused.is_some() || self.parked.is_some() {
            return;
        }
        for project in self.shared.config.projects.values().filter(|project| !self.has_work(&project.name)) {
            if project.compose.is_some() || project.command.is_some() {
                continue; // This version cannot deploy them.
            }
            let (shared, wake, project) = (std::rc::Rc::clone(&self.shared), self.shared.wake.clone(), project.clone());
            tokio::task::spawn_local(async move {
                let head = match shared.fetches.acquire().await {
                    Ok(_place) => ask(&shared.web, shared.supervisor.vars(), &project).await,
                    Err(fault) => Err(fault.to_string()),
                };
                let _ = wake.send(Wake::Head { project: project.name, head });
            });
        }
    }

    fn has_work(&self, project: &str) -> bool {
        self.running.contains_key(project) || self.waiting.get(project).is_some_and(|waiting| !waiting.is_empty())
    }

    /// An origin answered.
    pub(super) fn head_is(&mut self, name: &str, head: Head) {
        let Ok(project) = name.parse() else { return };
        let head = match head {
            Ok(Some(head)) => head,
            Ok(None) => return self.origin_fails(name, "its branch is not there"),
            Err(why) => return self.origin_fails(name, &why),
        };
        self.silent_origins.remove(name);
        if self.has_work(name) {
            return;
        }
        let (concluded, live) = match (self.shared.journal.concluded_head(name), self.shared.journal.live_release(name)) {
            (Ok(concluded), Ok(live)) => (concluded, live.map(|live| live.commit)),
            (Err(fault), _) | (_, Err(fault)) => return warn!(project = name, "{fault:#}"),
        };
        let first = concluded.is_none() && live.is_none();
        if concluded.or(live).as_ref() == Some(&head) {
            return;
        }
        let now = clock::steady().0;
        if self.link.is_up() && self.link.version() >= 2 {
            info!(project = name, "the branch is at {head}, and no job came for it; the edge is told");
            if let Err(fault) = self.send(&ToEdge::Behind { project, head, first }) {
                warn!(project = name, "{fault:#}");
            }
        } else if self.link.is_up() || self.rounds.is_alone(now) {
            info!(project = name, "the branch is at {head}, and there is no edge to make a job of it; it is deployed from here");
            let request = Request { project: name.to_owned(), action: Action::Deploy, cause: Cause::Reconcile, job: None };
            self.enqueue(name.to_owned(), Work::Fresh { request, id: clock::new_id() });
        }
    }

    /// Said once until it answers again.
    fn origin_fails(&mut self, project: &str, why: &str) {
        if self.silent_origins.insert(project.to_owned()) {
            warn!(project, "its origin cannot be asked for its branch: {why}");
        } else {
            debug!(project, "its origin cannot be asked for its branch: {why}");
        }
    }
}

async fn ask(web: &git::Web, vars: &crate::config::Vars, project: &Project) -> Head {
    let origin = Origin::of(project, vars).map_err(|fault| format!("{fault:#}"))?;
    let (web, branch) = (web.clone(), project.branch.clone());
    let bounds = Bounds { deadline: Instant::now() + ANSWER_MAX, cancel: std::sync::Arc::default() };
    let asked = tokio::task::spawn_blocking(move || git::remote_head(&web, &origin, &branch, &bounds));
    asked.await.map_err(|fault| fault.to_string())?.map_err(|fault| fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds() -> Rounds {
        Rounds::new(Some(Duration::from_secs(600)), 0, 7)
    }

    #[test]
    fn rounds_come_every_ten_minutes_and_a_tenth_around_it() {
        let mut rounds = rounds();
        let mut now = rounds.deadline().unwrap();
        for _ in 0..100 {
            assert!(rounds.is_due(now));
            let next = rounds.deadline().unwrap();
            assert!((540_000..=660_000).contains(&(next - now)), "{}", next - now);
            assert!(!rounds.is_due(next - 1));
            now = next;
        }
    }

    #[test]
    fn a_connect_brings_one_soon_and_a_link_that_flaps_not_too_often() {
        let mut rounds = rounds();
        rounds.soon(5_000);
        let first = rounds.deadline().unwrap();
        assert!((5_000..=6_000).contains(&first));
        assert!(rounds.is_due(first));
        for ms in 1..100 {
            rounds.soon(first + ms);
        }
        let second = rounds.deadline().unwrap();
        assert!(second - first >= BETWEEN_MS_MIN && second - first <= BETWEEN_MS_MIN + CONNECT_MS_MAX + 100);
    }

    #[test]
    fn none_are_due_when_they_are_off() {
        let mut rounds = Rounds::new(None, 0, 7);
        rounds.soon(5);
        assert_eq!(rounds.deadline(), None);
        assert!(!rounds.is_due(u64::MAX));
    }

    #[test]
    fn a_host_acts_alone_only_after_a_while() {
        let mut rounds = rounds();
        rounds.link_went(1_000);
        assert!(!rounds.is_alone(1_000 + ALONE_AFTER_MS - 1));
        assert!(rounds.is_alone(1_000 + ALONE_AFTER_MS));
    }
}
