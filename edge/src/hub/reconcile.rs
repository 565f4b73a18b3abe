//! Reconciling: a host found its branch elsewhere than what it concluded last.
//!
//! The hub makes a job of it, with cause `reconcile`, unless one waits or runs
//! already. What is deployed is still what the host itself fetches. When the
//! history holds no push that ends at this head, GitHub's webhook did not
//! arrive; that is counted beside the refused deliveries.

use doorstep_shared::ids::{Action, Cause, Name};
use doorstep_shared::protocol::ProjectView;
use doorstep_shared::queue::CANCELLED;
use doorstep_shared::source::{self, Named};
use worker::Result;

use super::Hub;
use super::deliver::enqueue_one;
use crate::health::MISSED;
use crate::store::{count_refusal, number, text};
use crate::view::{DeliveryRow, JobRow};

/// Events that are searched for the push, the newest: some weeks of a busy
/// fleet. A host asks again within the hour.
const SEARCHED_MAX: u64 = 1_000;

impl Hub {
    /// A project is behind its branch.
    pub(super) async fn behind(&self, host: &Name, project: &Name, head: &str, first: bool) -> Result<()> {
        let hint = is_commit(head).then(|| head.to_owned());
        self.turn(|memory, turn| {
            let key = (host.clone(), project.clone());
            let has_job = memory.queue.jobs().any(|job| &job.host == host && &job.project == project && job.action == Action::Deploy);
            let Some(view) = memory.projects.get(&key).filter(|_| !has_job) else { return Ok(()) };
            if self.was_cancelled(&key, hint.as_deref())? {
                return Ok(());
            }
            if let Some(head) = hint.as_deref().filter(|_| !first)
                && !self.was_pushed(view, head)?
            {
                turn.write(count_refusal(turn.now, MISSED));
            }
            enqueue_one(host, project, Action::Deploy, Cause::Reconcile, hint, memory, turn);
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

    /// Did GitHub tell about the push that ends at this head? Whatever followed
    /// from it: a push that touches none of `paths` did arrive.
    fn was_pushed(&self, view: &ProjectView, head: &str) -> Result<bool> {
        let rows = self.store()?.rows(
            "SELECT body FROM (SELECT type, body FROM events ORDER BY id DESC LIMIT ?)
             WHERE type = 'push' AND json_extract(body, '$.commit') = ?",
            [number(SEARCHED_MAX), text(head.to_ascii_lowercase())],
        )?;
        Ok(rows.iter().filter_map(|row| row.json::<DeliveryRow>(0)).any(|row| tells_of(&row, view)))
    }
}

/// Is this push one of the project's branch?
fn tells_of(push: &DeliveryRow, view: &ProjectView) -> bool {
    let named = Named { full_name: push.repo.as_deref().unwrap_or_default(), addresses: Vec::new() };
    let branch = push.git_ref.as_deref().and_then(|git_ref| git_ref.strip_prefix("refs/heads/"));
    branch == Some(view.branch.as_str()) && source::same(&view.repo, &named)
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
