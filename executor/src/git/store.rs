//! The project's bare object store, `<dir>/repo.git`.
//!
//! A store is made beside its place and renamed into it, so a store that is in
//! its place was once complete. What is in its place and is not a sound store
//! is reported and left alone.

use super::error::{StoreError, clean};
use git2::{Commit, Oid, Repository, RepositoryInitOptions};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// An open object store. It can be sent to another thread, not shared; opening
/// one more is cheap.
pub struct Store {
    pub(super) repo: Repository,
    /// Where the slots' stat caches are.
    pub(super) slots: PathBuf,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("path", &self.repo.path())
            .finish()
    }
}

/// Opens the store at `<dir>/repo.git`, and makes it if there is none. `dir`
/// and its parents are made as well.
pub fn open_store(dir: &Path) -> Result<Store, StoreError> {
    super::prepare().map_err(StoreError::git("set up libgit2"))?;
    let path = dir.join("repo.git");
    match fs::symlink_metadata(&path) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => create(dir, &path)?,
        Err(e) => return Err(StoreError::io("look at", &path)(e)),
    }
    let repo = open(&path).map_err(|why| StoreError::Corrupt {
        path: path.clone(),
        why,
    })?;
    Ok(Store {
        repo,
        slots: path.join("slots"),
    })
}

fn create(dir: &Path, path: &Path) -> Result<(), StoreError> {
    // What an earlier attempt left here was never a store.
    let new = dir.join("repo.git.new");
    fs::create_dir_all(dir).map_err(StoreError::io("make", dir))?;
    if fs::symlink_metadata(&new).is_ok() {
        fs::remove_dir_all(&new).map_err(StoreError::io("remove", &new))?;
    }
    let mut options = RepositoryInitOptions::new();
    // Templates would bring hooks and settings of the host.
    options
        .bare(true)
        .no_reinit(true)
        .external_template(false)
        .initial_head("doorstep");
    Repository::init_opts(&new, &options).map_err(StoreError::git("make the object store"))?;
    let slots = new.join("slots");
    fs::create_dir(&slots).map_err(StoreError::io("make", &slots))?;
    fs::rename(&new, path).map_err(StoreError::io("rename", &new))
}

fn open(path: &Path) -> Result<Repository, String> {
    let said = |e: git2::Error| clean(e.message());
    if !fs::symlink_metadata(path).is_ok_and(|m| m.is_dir()) {
        return Err("it is not a folder".into());
    }
    let repo = Repository::open_bare(path).map_err(said)?;
    if !repo.is_bare() {
        return Err("it is not a bare repository".into());
    }
    for folder in ["objects/pack", "refs"] {
        if !path.join(folder).is_dir() {
            return Err(format!("it has no folder {folder}"));
        }
    }
    repo.config().and_then(|mut c| c.snapshot()).map_err(said)?;
    check_refs(&repo)?;
    Ok(repo)
}

/// A power cut may leave an empty ref or one whose objects are gone. libgit2's
/// own list leaves out refs that it cannot read, so the files are looked at.
fn check_refs(repo: &Repository) -> Result<(), String> {
    let mut folders = vec![repo.path().join("refs")];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_none_or(|end| end != "lock") {
                check_ref(repo, &path)?;
            }
        }
    }
    Ok(())
}

fn check_ref(repo: &Repository, file: &Path) -> Result<(), String> {
    let name = file
        .strip_prefix(repo.path())
        .unwrap_or(file)
        .to_string_lossy();
    let commit = repo
        .find_reference(&name)
        .and_then(|reference| reference.peel_to_commit());
    commit
        .map(|_| ())
        .map_err(|e| clean(&format!("{name} cannot be read: {}", e.message())))
}

impl Store {
    /// Finds a commit by its full id.
    pub(super) fn commit(&self, commit: &str) -> Result<Commit<'_>, StoreError> {
        let none = || StoreError::NoSuchCommit {
            commit: clean(commit),
        };
        // libgit2 pads short ids with zeros instead of refusing them.
        if commit.len() != 40 {
            return Err(none());
        }
        let id = Oid::from_str(commit).map_err(|_| none())?;
        self.repo.find_commit(id).map_err(|e| match e.code() {
            git2::ErrorCode::NotFound => none(),
            _ => self.damaged(&e),
        })
    }

    /// An object that must be there could not be read.
    pub(super) fn damaged(&self, error: &git2::Error) -> StoreError {
        StoreError::Corrupt {
            path: self.repo.path().to_owned(),
            why: clean(error.message()),
        }
    }
}
