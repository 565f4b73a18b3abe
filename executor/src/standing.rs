//! How each live release stands to its branch, for people.
//!
//! Read from the project's own store once a run has ended or an origin was asked,
//! and remembered; nothing is fetched for it. What is absent: deciding anything
//! by it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use doorstep_shared::protocol::{BEHIND_COMMITS_MAX, BEHIND_COUNT_MAX, BehindView, CommitView, LiveView};
use doorstep_shared::text::{clean_line, cut};
use doorstep_shared::time::Timestamp;
use tracing::debug;

use crate::config::Project;
use crate::git::{self, CommitInfo, StoreError};
use crate::run::Shared;

/// Longest subject and author that are told, in bytes.
const SUBJECT_BYTES_MAX: usize = 120;
const AUTHOR_BYTES_MAX: usize = 60;

/// What is known of a live commit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Standing {
    commit: CommitView,
    behind: Option<BehindView>,
}

/// What is known, by project.
#[derive(Debug, Default)]
pub struct Standings(RefCell<BTreeMap<String, Standing>>);

impl Standings {
    /// Adds what is known of this live release; and how it stands to its branch.
    pub fn describe(&self, project: &str, live: &mut LiveView) -> Option<BehindView> {
        let known = self.0.borrow();
        let standing = known.get(project).filter(|standing| standing.commit.commit == live.commit)?;
        live.author.clone_from(&standing.commit.author);
        live.committed = Some(standing.commit.at);
        standing.behind.clone()
    }

    /// Is this live commit known to be the head of its branch, or ahead of it?
    pub fn is_head(&self, project: &str, live: &str) -> bool {
        let known = self.0.borrow();
        let standing = known.get(project).filter(|standing| standing.commit.commit == live);
        standing.is_some_and(|standing| standing.behind.as_ref().is_none_or(|behind| behind.behind == 0))
    }

    /// Notes it; true when it differs from what was known.
    fn note(&self, project: &str, standing: Standing) -> bool {
        let before = self.0.borrow_mut().insert(project.to_owned(), standing.clone());
        before != Some(standing)
    }
}

/// Looks at a project's store, away from the loop; `changed` is called when what
/// is known is another than before.
pub fn look(shared: &Rc<Shared>, project: &Project, changed: impl FnOnce() + 'static) {
    let Some(live) = shared.journal.live_release(&project.name).ok().flatten() else { return };
    let (shared, project) = (Rc::clone(shared), project.clone());
    let dir = shared.supervisor.layout(&project).dir().to_path_buf();
    tokio::task::spawn_local(async move {
        let name = project.name.clone();
        let found = tokio::task::spawn_blocking(move || {
            let store = git::open_store(&dir)?;
            let commit = view(&store.commit_info(&live.commit)?);
            // A branch that was never fetched, or is another one since.
            let behind = store.behind(&live.commit, &project.branch, &project.paths, BEHIND_COUNT_MAX as usize, BEHIND_COMMITS_MAX).ok();
            Ok::<_, StoreError>(Standing { commit, behind: behind.and_then(behind_view) })
        });
        match found.await {
            Ok(Ok(standing)) => {
                if shared.standings.note(&name, standing) {
                    changed();
                }
            }
            Ok(Err(fault)) => debug!(project = name, "what is live cannot be compared with its branch: {fault}"),
            Err(fault) => debug!(project = name, "{fault}"),
        }
    });
}

fn behind_view(found: git::Behind) -> Option<BehindView> {
    let count = |count: usize| u32::try_from(count).unwrap_or(BEHIND_COUNT_MAX);
    let view = BehindView { behind: count(found.behind), ahead: count(found.ahead), commits: found.newest.iter().map(view).collect() };
    (view.behind > 0 || view.ahead > 0).then_some(view)
}

fn view(info: &CommitInfo) -> CommitView {
    let fit = |text: &str, max| cut(&clean_line(text), max).to_owned();
    CommitView {
        commit: info.id.clone(),
        subject: fit(&info.subject, SUBJECT_BYTES_MAX),
        author: fit(&info.author, AUTHOR_BYTES_MAX),
        at: Timestamp(u64::try_from(info.time_s).unwrap_or(0).saturating_mul(1_000)),
    }
}
