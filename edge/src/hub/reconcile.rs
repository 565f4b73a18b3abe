//! Reconciling: a host found its branch elsewhere than what it concluded last.
//!
//! The hub makes a job of it, with cause `reconcile`, unless one waits or runs
//! already. What is deployed is still what the host itself fetches.

use doorstep_shared::ids::{Action, Cause, Name};
use worker::Result;

use super::Hub;
use super::deliver::enqueue_one;

impl Hub {
    /// A project is behind its branch.
    pub(super) async fn behind(&self, host: &Name, project: &Name, head: &str, _first: bool) -> Result<()> {
        let hint = is_commit(head).then(|| head.to_owned());
        self.turn(|memory, turn| {
            let is_known = memory.projects.contains_key(&(host.clone(), project.clone()));
            let has_job = memory.queue.jobs().any(|job| &job.host == host && &job.project == project && job.action == Action::Deploy);
            if is_known && !has_job {
                enqueue_one(host, project, Action::Deploy, Cause::Reconcile, hint, memory, turn)?;
            }
            Ok(())
        })
        .await
    }
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
