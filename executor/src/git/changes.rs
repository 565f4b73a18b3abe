//! Looking at commits without checking them out.

use super::error::StoreError;
use super::store::Store;
use git2::{Delta, DiffOptions, ObjectType};
use std::path::Path;

/// A commit as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// 40 hexadecimal digits.
    pub id: String,
    /// First line of the message; bytes that are not UTF-8 are replaced.
    pub subject: String,
    /// Name of the author, without the address.
    pub author: String,
    /// When it was committed, seconds since 1970.
    pub time_s: i64,
}

/// What differs between two commits. Paths are sorted; bytes that are not
/// UTF-8 are replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Only in the newer commit.
    pub added: Vec<String>,
    /// In both, with other content, mode or type.
    pub modified: Vec<String>,
    /// Only in the older commit.
    pub removed: Vec<String>,
    /// There are more than were asked for.
    pub truncated: bool,
}

impl Store {
    /// Describes a commit.
    pub fn commit_info(&self, commit: &str) -> Result<CommitInfo, StoreError> {
        let commit = self.commit(commit)?;
        let author = String::from_utf8_lossy(commit.author().name_bytes()).into_owned();
        let subject = commit.summary_bytes().unwrap_or_default();
        Ok(CommitInfo {
            id: commit.id().to_string(),
            subject: String::from_utf8_lossy(subject).into_owned(),
            author,
            time_s: commit.time().seconds(),
        })
    }

    /// Lists up to `max` files that differ. A renamed file is one removed and
    /// one added.
    pub fn changed_files(&self, from: &str, to: &str, max: usize) -> Result<Changes, StoreError> {
        let tree = |commit| self.commit(commit)?.tree().map_err(|e| self.damaged(&e));
        let (from, to) = (tree(from)?, tree(to)?);
        let mut options = DiffOptions::new();
        options
            .include_typechange(true)
            .skip_binary_check(true)
            .ignore_submodules(false);
        let diff = self
            .repo
            .diff_tree_to_tree(Some(&from), Some(&to), Some(&mut options))
            .map_err(|e| self.damaged(&e))?;
        let mut changes = Changes {
            truncated: diff.deltas().len() > max,
            ..Changes::default()
        };
        for delta in diff.deltas().take(max) {
            let file = if delta.status() == Delta::Deleted {
                delta.old_file()
            } else {
                delta.new_file()
            };
            let path = String::from_utf8_lossy(file.path_bytes().unwrap_or_default()).into_owned();
            match delta.status() {
                Delta::Added => changes.added.push(path),
                Delta::Deleted => changes.removed.push(path),
                _ => changes.modified.push(path),
            }
        }
        Ok(changes)
    }

    /// Reads one file of a commit. `None` when there is no plain file at
    /// `path` (nothing, a folder, a symlink or a submodule).
    #[cfg_attr(not(test), expect(dead_code, reason = "the plan will look into a commit before its checkout"))]
    pub fn read_file(
        &self,
        commit: &str,
        path: &str,
        bytes_max: usize,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let tree = self.commit(commit)?.tree().map_err(|e| self.damaged(&e))?;
        let entry = match tree.get_path(Path::new(path)) {
            Ok(entry) => entry,
            Err(e) if e.code() == git2::ErrorCode::NotFound => return Ok(None),
            Err(e) => return Err(self.damaged(&e)),
        };
        if !matches!(entry.filemode(), 0o100_644 | 0o100_755 | 0o100_664) {
            return Ok(None);
        }
        let odb = self.repo.odb().map_err(|e| self.damaged(&e))?;
        // The size first: a huge file is not unpacked only to be refused.
        let (bytes, kind) = odb.read_header(entry.id()).map_err(|e| self.damaged(&e))?;
        if kind != ObjectType::Blob {
            return Ok(None);
        }
        if bytes > bytes_max {
            return Err(StoreError::TooLarge {
                path: path.to_owned(),
                bytes,
                bytes_max,
            });
        }
        let object = odb.read(entry.id()).map_err(|e| self.damaged(&e))?;
        Ok(Some(object.data().to_vec()))
    }
}
