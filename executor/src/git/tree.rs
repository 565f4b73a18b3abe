//! Judging a commit's tree before it is checked out.
//!
//! A refusal is what could reach out of the release or confuse tools in it; a
//! warning is what will not work as its author may expect.

use super::error::StoreError;
use super::links::{Leads, leads, link_leaves};
use super::store::Store;
use git2::Oid;
use std::collections::BTreeMap;

/// More entries than this in one tree are refused. The Linux kernel has about
/// 95,000 files and folders; each costs an inode per slot.
pub const ENTRIES_MAX: usize = 500_000;
/// As Linux's `PATH_MAX`: a longer target cannot be made.
const TARGET_BYTES_MAX: usize = 4096;

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FindingKind {
    /// A symlink whose target, given here, leaves the release.
    LinkLeaves(String),
    /// A name that is `.git` in any case, `.`, `..`, empty, or holds a slash.
    BadName,
    /// The tree has more than [`ENTRIES_MAX`] entries.
    TooManyEntries,
    /// A submodule; its folder will be empty.
    Submodule,
    /// A symlink that leads round in a circle.
    LinkLoops,
}

/// One entry that is worth a word.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path in the tree; bytes that are not UTF-8 are replaced.
    pub path: String,
    /// What it is about.
    pub kind: FindingKind,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = &self.path;
        match &self.kind {
            FindingKind::LinkLeaves(target) => write!(
                f,
                "the symlink {path} leaves the release: it points at {target}"
            ),
            FindingKind::BadName => write!(f, "the name of {path} is not allowed in a release"),
            FindingKind::TooManyEntries => write!(
                f,
                "the commit has more than {ENTRIES_MAX} files and folders"
            ),
            FindingKind::Submodule => write!(
                f,
                "{path} is a submodule, which is not fetched; its folder stays empty"
            ),
            FindingKind::LinkLoops => write!(f, "the symlink {path} leads round in a circle"),
        }
    }
}

/// What a tree is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TreeCheck {
    /// Files, folders, links and submodules.
    pub entries: usize,
    /// Any of these forbids a checkout.
    pub refusals: Vec<Finding>,
    /// These are worth showing.
    pub warnings: Vec<Finding>,
}

/// Why a name must not become a file of a slot.
pub(super) fn bad_name(name: &[u8]) -> Option<&'static str> {
    if name.is_empty() || name == b"." || name == b".." {
        return Some("the name is not one of a file");
    }
    if name.contains(&b'/') || name.contains(&0) {
        return Some("the name holds a slash or a zero byte");
    }
    if name.eq_ignore_ascii_case(b".git") {
        return Some("the name .git is git's own");
    }
    None
}

impl Store {
    /// The identity of what a commit holds at a path inside it, 40 hex digits: of
    /// a folder, a file or, at the empty path, of everything. `None`: nothing.
    ///
    /// # Errors
    ///
    /// When the commit is not in the store, or the store is damaged.
    pub fn object_at(&self, commit: &str, path: &std::path::Path) -> Result<Option<String>, StoreError> {
        let tree = self.commit(commit)?.tree().map_err(|fault| self.damaged(&fault))?;
        if path.as_os_str().is_empty() {
            return Ok(Some(tree.id().to_string()));
        }
        match tree.get_path(path) {
            Ok(entry) => Ok(Some(entry.id().to_string())),
            Err(fault) if fault.code() == git2::ErrorCode::NotFound => Ok(None),
            Err(fault) => Err(self.damaged(&fault)),
        }
    }

    /// Walks the whole tree of a commit and says what is wrong with it.
    pub fn check_tree(&self, commit: &str) -> Result<TreeCheck, StoreError> {
        let root = self.commit(commit)?.tree_id();
        let mut walk = Walk {
            store: self,
            check: TreeCheck::default(),
            links: BTreeMap::new(),
        };
        let mut folders = vec![(Vec::new(), root)];
        while let Some((path, tree)) = folders.pop() {
            walk.folder(&path, tree, &mut folders)?;
            if walk.check.entries > ENTRIES_MAX {
                walk.refuse(&path, FindingKind::TooManyEntries);
                return Ok(walk.check);
            }
        }
        walk.judge_links();
        walk.check.refusals.sort_by(|a, b| a.path.cmp(&b.path));
        walk.check.warnings.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(walk.check)
    }
}

struct Walk<'a> {
    store: &'a Store,
    check: TreeCheck,
    links: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Walk<'_> {
    fn folder(
        &mut self,
        at: &[u8],
        tree: Oid,
        folders: &mut Vec<(Vec<u8>, Oid)>,
    ) -> Result<(), StoreError> {
        let tree = self
            .store
            .repo
            .find_tree(tree)
            .map_err(|e| self.store.damaged(&e))?;
        for entry in &tree {
            self.check.entries += 1;
            let mut path = at.to_vec();
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(entry.name_bytes());
            if bad_name(entry.name_bytes()).is_some() {
                self.refuse(&path, FindingKind::BadName);
                continue;
            }
            match entry.filemode() {
                0o040_000 => folders.push((path, entry.id())),
                0o120_000 => self.link(path, entry.id())?,
                0o160_000 => self.warn(&path, FindingKind::Submodule),
                _ => {}
            }
        }
        Ok(())
    }

    fn link(&mut self, path: Vec<u8>, blob: Oid) -> Result<(), StoreError> {
        let blob = self
            .store
            .repo
            .find_blob(blob)
            .map_err(|e| self.store.damaged(&e))?;
        match blob.size() > TARGET_BYTES_MAX {
            true => self.refuse(
                &path,
                FindingKind::LinkLeaves("a target too long to be one".into()),
            ),
            false => {
                self.links.insert(path, blob.content().to_vec());
            }
        }
        Ok(())
    }

    /// Both by its letters and as the system would follow it: tools do either.
    fn judge_links(&mut self) {
        let links = std::mem::take(&mut self.links);
        for (path, target) in &links {
            let way = leads(path, &links);
            if way == Leads::Outside || link_leaves(path, target) {
                self.refuse(
                    path,
                    FindingKind::LinkLeaves(String::from_utf8_lossy(target).into_owned()),
                );
            } else if way == Leads::Nowhere {
                self.warn(path, FindingKind::LinkLoops);
            }
        }
    }

    fn refuse(&mut self, path: &[u8], kind: FindingKind) {
        let path = String::from_utf8_lossy(path).into_owned();
        self.check.refusals.push(Finding { path, kind });
    }

    fn warn(&mut self, path: &[u8], kind: FindingKind) {
        let path = String::from_utf8_lossy(path).into_owned();
        self.check.warnings.push(Finding { path, kind });
    }
}
