//! How a commit stands to its branch, as that was fetched last.

use doorstep_shared::paths::any_match;
use git2::{Oid, Sort};

use super::changes::CommitInfo;
use super::error::StoreError;
use super::fetch::ours;
use super::store::Store;

/// Changed files of one commit that are looked at; one with more concerns everybody.
const FILES_MAX: usize = 1_000;

/// What a commit lacks of its branch, and what it has that the branch has not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// Commits of the branch that it lacks.
    pub behind: usize,
    /// Commits that the branch lacks.
    pub ahead: usize,
    /// The newest that it lacks, newest first.
    pub newest: Vec<CommitInfo>,
}

impl Store {
    /// Compares a commit with the branch. Of those that it lacks only commits are
    /// counted that touch a pattern, if there are any; each count ends at `max`,
    /// and at most `shown` are described.
    pub fn behind(&self, commit: &str, branch: &str, patterns: &[String], max: usize, shown: usize) -> Result<Behind, StoreError> {
        let here = self.commit(commit)?.id();
        let found = self.repo.find_reference(&ours(branch)).and_then(|found| found.peel_to_commit());
        let head = found.map_err(|fault| self.damaged(&fault))?.id();
        let mut all = Behind { ahead: self.between(head, here)?.take(max).count(), ..Behind::default() };
        for id in self.between(here, head)? {
            let id = id.map_err(|fault| self.damaged(&fault))?.to_string();
            if !self.concerns(&id, patterns) {
                continue;
            }
            all.behind += 1;
            if all.newest.len() < shown {
                all.newest.push(self.commit_info(&id)?);
            }
            if all.behind == max {
                break;
            }
        }
        Ok(all)
    }

    /// The commits that lead to `to` and not to `from`, newest first.
    fn between(&self, from: Oid, to: Oid) -> Result<git2::Revwalk<'_>, StoreError> {
        let walk = || {
            let mut walk = self.repo.revwalk()?;
            walk.set_sorting(Sort::TOPOLOGICAL | Sort::TIME)?;
            walk.push(to)?;
            walk.hide(from)?;
            Ok(walk)
        };
        walk().map_err(|fault| self.damaged(&fault))
    }

    /// Does a commit touch a pattern, against its first parent? In doubt it does.
    fn concerns(&self, id: &str, patterns: &[String]) -> bool {
        let touches = || {
            let parent = self.commit(id).ok()?.parent_id(0).ok()?.to_string();
            let changes = self.changed_files(&parent, id, FILES_MAX).ok()?;
            let changed = [&changes.added, &changes.modified, &changes.removed].into_iter().flatten();
            (!changes.truncated).then(|| any_match(patterns, changed.map(String::as_str)))
        };
        patterns.is_empty() || touches().unwrap_or(true)
    }
}
