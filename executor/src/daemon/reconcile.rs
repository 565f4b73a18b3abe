//! Reconciling: is every branch where this host last brought it?
//!
//! At connect, every so often, and after a sleep, each origin is asked for the
//! head of its branch; a head that no deploy here came to an end with is told
//! to the edge, which makes a job of it. With the edge gone for long, the host
//! makes a run of it by itself. Invariants: a head that was concluded, well or
//! not, is never tried again by itself; a project that has work is left alone.
//! A project that follows some `paths` of a large repository is fetched first,
//! to see whether the new commits concern it at all. What is absent: GitHub's
//! API, and deploying.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use doorstep_shared::ids::{Action, Cause};
use doorstep_shared::paths::any_match;
use doorstep_shared::protocol::ToEdge;
use doorstep_shared::time::mix;
use tracing::{debug, info, warn};

use super::{Daemon, Wake, Work};
use crate::clock;
use crate::config::Project;
use crate::git::{self, Bounds, Origin};
use crate::run::{Request, Shared};

/// After a connect the branches are asked for within this time: full jitter,
/// so that a fleet that comes back asks its origins one by one.
const CONNECT_MS_MAX: u64 = 1_000;
/// Two rounds are at least this far apart, however often the link goes.
const BETWEEN_MS_MIN: u64 = 15_000;
/// How long an origin has to answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Changed files that are looked at; with more, the project is deployed.
const CHANGED_MAX: usize = 10_000;
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
pub struct Head {
    /// The commit it is at; nothing when there is no such branch.
    commit: Option<String>,
    /// Do the commits since the one that was concluded last touch the project's
    /// `paths`? In doubt they do.
    concerns: bool,
}

/// The same, or why it is not known; nothing when work overtook the question.
pub type Asked = Result<Option<Head>, String>;

/// How far the question to an origin has come. Only a fetch keeps runs from
/// beginning, since one store is fetched into by one; while it waits for its
/// place among many fetches that may hang, work that arrives puts it off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Waits,
    Overtaken,
    Fetches,
    /// It reads the head alone.
    Reads,
}

/// A question to an origin that is under way.
#[derive(Clone)]
pub(super) struct Asking(Rc<Cell<Turn>>);

impl Asking {
    fn of(project: &Project) -> Self {
        Self(Rc::new(Cell::new(if project.paths.is_empty() { Turn::Reads } else { Turn::Waits })))
    }

    /// Must runs wait for it?
    pub(super) fn is_fetching(&self) -> bool {
        self.0.get() == Turn::Fetches
    }

    /// A run begins.
    pub(super) fn overtake(&self) {
        if self.0.get() == Turn::Waits {
            self.0.set(Turn::Overtaken);
        }
    }

    /// Its place is free; false when a run was first.
    fn begins(&self) -> bool {
        if self.0.get() == Turn::Waits {
            self.0.set(Turn::Fetches);
        }
        self.0.get() != Turn::Overtaken
    }
}

impl Daemon {
    /// Asks the origin of every project that has nothing to do.
    pub(super) fn reconcile(&mut self) {
        if self.identity.is_none() || self.is_revoked || self.parked.is_some() {
            return;
        }
        // This version cannot deploy those that a command builds.
        let can = |project: &&Project| project.command.is_none();
        let idle = |project: &&Project| !self.has_work(&project.name) && !self.asking.contains_key(&project.name);
        let projects: Vec<Project> = self.shared.config.projects.values().filter(can).filter(idle).cloned().collect();
        for project in projects {
            let asking = Asking::of(&project);
            self.asking.insert(project.name.clone(), asking.clone());
            let (shared, wake) = (Rc::clone(&self.shared), self.shared.wake.clone());
            tokio::task::spawn_local(async move {
                let asked = ask(&shared, &project, &asking).await;
                let _ = wake.send(Wake::Head { project: project.name, asked });
            });
        }
    }

    fn has_work(&self, project: &str) -> bool {
        self.running.contains_key(project) || self.waiting.get(project).is_some_and(|waiting| !waiting.is_empty())
    }

    /// An origin answered. What waited for it meanwhile goes first.
    pub(super) fn head_is(&mut self, name: &str, asked: Asked) {
        self.asking.remove(name);
        let has_work = self.has_work(name);
        self.start_next(name);
        self.look_at_branch(name);
        let Ok(project) = name.parse() else { return };
        let (head, concerns) = match asked {
            Ok(Some(Head { commit: Some(head), concerns })) => (head, concerns),
            Ok(None) => return,
            Ok(Some(Head { commit: None, .. })) => return self.origin_fails(name, "its branch is not there"),
            Err(why) => return self.origin_fails(name, &why),
        };
        self.silent_origins.remove(name);
        if has_work {
            return;
        }
        let concluded = match concluded(&self.shared, name) {
            Ok(concluded) if concluded.as_ref() == Some(&head) => return,
            Ok(concluded) => concluded,
            Err(why) => return warn!(project = name, "{why}"),
        };
        if !concerns {
            info!(project = name, "the branch is at {head}, which touches none of the project's paths");
            if let Err(fault) = self.shared.journal.conclude_head(name, &head) {
                warn!(project = name, "{fault:#}");
            }
            return;
        }
        let first = concluded.is_none();
        let now = clock::steady().0;
        if self.link.is_up() && self.link.version() >= 2 {
            info!(project = name, "the branch is at {head}, and no job came for it; the edge is told");
            if let Err(fault) = self.send(&ToEdge::Behind { project, head, first }) {
                warn!(project = name, "{fault:#}");
            }
        } else if self.link.is_up() || self.rounds.is_alone(now) {
            info!(project = name, "the branch is at {head}, and there is no edge to make a job of it; it is deployed from here");
            let request = Request { project: name.to_owned(), action: Action::Deploy, cause: Cause::Reconcile, job: None, to: None, service: None };
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

/// The commit that a deploy here came to an end with last; that of the live
/// release, in a journal of before that was written down.
fn concluded(shared: &Shared, project: &str) -> Result<Option<String>, String> {
    let said = |fault: anyhow::Error| format!("{fault:#}");
    match shared.journal.concluded_head(project).map_err(said)? {
        Some(commit) => Ok(Some(commit)),
        None => Ok(shared.journal.live_release(project).map_err(said)?.map(|live| live.commit)),
    }
}

async fn ask(shared: &Shared, project: &Project, asking: &Asking) -> Asked {
    let _place = shared.fetches.acquire().await.map_err(|fault| fault.to_string())?;
    if !asking.begins() {
        return Ok(None);
    }
    let origin = Origin::of(project, shared.supervisor.vars()).map_err(|fault| format!("{fault:#}"))?;
    let known = concluded(shared, &project.name)?;
    let (web, project, dir) = (shared.web.clone(), project.clone(), shared.supervisor.layout(project).dir().to_path_buf());
    let asked = tokio::task::spawn_blocking(move || {
        let bounds = Bounds { deadline: Instant::now() + ANSWER_MAX, cancel: std::sync::Arc::default() };
        let commit = git::remote_head(&web, &origin, &project.branch, &bounds).map_err(|fault| fault.to_string())?;
        let concerns = match (&commit, &known) {
            (Some(head), Some(known)) if head != known && !project.paths.is_empty() => {
                let touched = || {
                    let store = git::open_store(&dir).ok()?;
                    store.fetch(&web, &origin, &project.branch, &bounds, &mut |_| {}).ok()?;
                    touches(&store, known, head, &project.paths)
                };
                touched().unwrap_or(true)
            }
            _ => true,
        };
        Ok(Some(Head { commit, concerns }))
    });
    asked.await.map_err(|fault| fault.to_string())?
}

/// Does what changed between two commits match a pattern? `None` when that is
/// not known: a commit is gone, or too much changed.
fn touches(store: &git::Store, from: &str, to: &str, patterns: &[String]) -> Option<bool> {
    let changes = store.changed_files(from, to, CHANGED_MAX).ok()?;
    let changed = [&changes.added, &changes.modified, &changes.removed].into_iter().flatten();
    (!changes.truncated).then(|| any_match(patterns, changed.map(String::as_str)))
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
    fn a_question_that_waits_for_its_place_keeps_no_run_waiting() {
        let asking = |turn| Asking(Rc::new(Cell::new(turn)));
        let waits = asking(Turn::Waits);
        assert!(!waits.is_fetching(), "sixteen fetches that hang may be before it");
        waits.overtake();
        assert!(!waits.begins(), "the run fetches into the same store");
        assert!(!waits.is_fetching());
        let first = asking(Turn::Waits);
        assert!(first.begins() && first.is_fetching());
        first.overtake();
        assert!(first.is_fetching(), "a fetch that was begun is waited for");
        let reads = asking(Turn::Reads);
        reads.overtake();
        assert!(reads.begins() && !reads.is_fetching(), "reading the head disturbs nobody");
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
