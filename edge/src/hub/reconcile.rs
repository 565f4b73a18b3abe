//! Reconciling: a host found its branch elsewhere than what it concluded last.
//!
//! The hub makes a job of it, with cause `reconcile`, unless one waits or runs
//! already. What is deployed is still what the host itself fetches. When the
//! history holds no push that ends at this head, GitHub's webhook did not
//! arrive, or is on its way. It counts beside the refused deliveries after
//! [`GRACE_MS`], once for each head of a repository, however many hosts and
//! projects find it and however often.

use doorstep_shared::ids::{Action, Cause, Name};
use doorstep_shared::protocol::{PROJECTS_MAX, ProjectView};
use doorstep_shared::queue::CANCELLED;
use doorstep_shared::source::{self, Named};
use worker::Result;

use super::deliver::{Wanted, enqueue_one};
use super::{Hub, turn::Turn};
use crate::delivery::is_commit;
use crate::store::{Statement, first_number, number, text};
use crate::view::{DeliveryRow, JobRow};

/// Events that are searched for the push, the newest: some weeks of a busy
/// fleet. A host asks again within the hour.
const SEARCHED_MAX: u64 = 1_000;

/// A push that a host found counts as missed when its webhook did not come for
/// so long: GitHub's come within seconds, and 5 minutes later on a bad day.
pub(super) const GRACE_MS: u64 = 5 * 60 * 1_000;
/// Jobs that hosts ask for because they are behind, of one host in an hour: one
/// for each project that it can have. With the 90 days of history these are
/// 90 × 24 × 200 = 432,000 rows of a host that lies about its branches.
const ASKED_PER_HOUR_MAX: u64 = PROJECTS_MAX as u64;
const HOUR_MS: u64 = 3_600 * 1_000;

impl Hub {
    /// A project is behind its branch.
    pub(super) async fn behind(&self, host: &Name, project: &Name, head: &str, first: bool) -> Result<()> {
        let hint = is_commit(head).then(|| head.to_owned());
        self.turn(|memory, turn| {
            let key = (host.clone(), project.clone());
            let has_job = memory.queue.jobs().any(|job| &job.host == host && &job.project == project && job.action == Action::Deploy);
            let Some(view) = memory.projects.get(&key).filter(|_| !has_job) else { return Ok(()) };
            if self.was_cancelled(&key, hint.as_deref())? || self.asks_too_much(host, turn)? {
                return Ok(());
            }
            if let Some(head) = hint.as_deref().filter(|_| !first)
                && !self.was_pushed(view, head)?
            {
                turn.write(miss(view, head, turn));
            }
            enqueue_one(&key, Wanted::deploy(Cause::Reconcile, hint), memory, turn);
            Ok(())
        })
        .await
    }

    /// Did a person cancel the deploy of this very commit? Then it is for a
    /// person, or the next push, to want it again.
    fn was_cancelled(&self, (host, project): &(Name, Name), head: Option<&str>) -> Result<bool> {
        let dead = self.dead_jobs(Some((host, project)))?;
        let cancelled = |job: &JobRow| job.action == Action::Deploy && job.reason.as_deref() == Some(CANCELLED) && job.hint_commit.as_deref() == head;
        Ok(head.is_some() && dead.values().flatten().any(cancelled))
    }

    /// Did this host make so many jobs in this hour that it gets no more?
    fn asks_too_much(&self, host: &Name, turn: &Turn) -> Result<bool> {
        let rows = self.store()?.rows(
            "SELECT count(*) FROM jobs WHERE live IN (0, 1) AND id >= ? AND json_extract(body, '$.host') = ? AND json_extract(body, '$.cause') = 'reconcile'",
            [number(first_number(turn.now.0.saturating_sub(HOUR_MS))), text(host.as_str())],
        )?;
        Ok(rows.first().is_some_and(|row| row.number(0) >= ASKED_PER_HOUR_MAX))
    }

    /// A push came: a host may have found its head before.
    pub(super) fn arrived(&self, push: &DeliveryRow, turn: &mut Turn) -> Result<()> {
        let Some(head) = push.commit.as_deref().filter(|_| push.event_type == "push") else { return Ok(()) };
        let head = head.to_ascii_lowercase();
        for row in self.store()?.rows("SELECT name, repo, branch FROM missed WHERE head = ?", [text(&head)])? {
            if tells_of(push, row.text(1), row.text(2)) {
                turn.write(Statement::new("DELETE FROM missed WHERE head = ? AND name = ?", [text(&head), text(row.text(0))]));
            }
        }
        Ok(())
    }

    /// Did GitHub tell about the push that ends at this head? Whatever followed
    /// from it: a push that touches none of `paths` did arrive.
    fn was_pushed(&self, view: &ProjectView, head: &str) -> Result<bool> {
        let rows = self.store()?.rows(
            "SELECT body FROM (SELECT type, body FROM events ORDER BY id DESC LIMIT ?)
             WHERE type = 'push' AND json_extract(body, '$.commit') = ?",
            [number(SEARCHED_MAX), text(head.to_ascii_lowercase())],
        )?;
        Ok(rows.iter().filter_map(|row| row.json::<DeliveryRow>(0)).any(|row| tells_of(&row, &view.repo, &view.branch)))
    }
}

/// Nobody told of this head, so far.
fn miss(view: &ProjectView, head: &str, turn: &Turn) -> Statement {
    Statement::new(
        "INSERT OR IGNORE INTO missed (head, name, repo, branch, found) VALUES (?, ?, ?, ?, ?)",
        [text(head.to_ascii_lowercase()), text(source::name(&view.repo)), text(&view.repo), text(&view.branch), number(turn.now.0)],
    )
}

/// Is this push one of this repository's branch?
fn tells_of(push: &DeliveryRow, repo: &str, branch: &str) -> bool {
    let named = Named { full_name: push.repo.as_deref().unwrap_or_default(), addresses: Vec::new() };
    let pushed = push.git_ref.as_deref().and_then(|git_ref| git_ref.strip_prefix("refs/heads/"));
    pushed == Some(branch) && source::same(repo, &named)
}
