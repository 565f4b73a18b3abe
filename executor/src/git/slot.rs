//! Bringing a release slot to exactly one commit's tree.
//!
//! One pass over the tree, folder by folder: what the slot holds and the tree
//! does not is removed, ignored files and nested `.git` folders included; what
//! is of another type gives way; files whose stamps are those of the slot's
//! index stay; all others are written anew. So a slot that was edited by hand,
//! or half brought forward by a process that died, comes out right as well.
//!
//! libgit2's own checkout is not used: it never looks into a `.git` at any
//! depth, and so cannot remove one, and it compares files through the filters
//! of `.gitattributes`. Bytes are written here as they are in the commit.
//!
//! A file is written by making it new (`O_EXCL`) in a folder that this pass
//! has seen to be a real one: no symlink is written through, no hard link is
//! shared. Nobody else may change the slot meanwhile.
//!
//! The racy file. A change in the same tick of the clock as our own write
//! could keep every stamp. So a written file gets a time of [`BACKDATED`] ago;
//! whoever writes it later, however soon, gives it another one.
//!
//! Nothing is synced: the caller syncs (`syncfs`) before it relies on the slot
//! after a power cut. New files get the modes 0666 and 0777 less the umask. A
//! whole file is in memory while it is written. A submodule is an empty folder.

use super::error::StoreError;
use super::slot_index::{SlotIndex, Stamps, Written};
use super::store::Store;
use super::tree::bad_name;
use git2::{Odb, Oid, Tree};
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, FileType, Metadata};
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// More than the coarsest file time in use (2 s on FAT).
const BACKDATED: Duration = Duration::from_secs(3);
/// What the owner needs in a folder to change it.
const OWNER_ALL: u32 = 0o700;

/// What a checkout did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckedOut {
    /// Files and symlinks that the slot holds now.
    pub files: usize,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files and symlinks that had to be written.
    pub written: usize,
    /// Files, symlinks and whole folders that had to go.
    pub removed: usize,
    /// How long it took.
    pub duration: Duration,
}

impl Store {
    /// Brings the folder `slot` to the tree of `commit`; it is made if it is
    /// missing. One checkout per slot at a time. After an error the slot is
    /// neither the old nor the new commit; the next checkout puts it right.
    ///
    /// The slot's last name names its index, so the slots of one store have
    /// different names. [`Store::check_tree`] is for the caller to ask first.
    pub fn checkout(&self, commit: &str, slot: &Path) -> Result<CheckedOut, StoreError> {
        let started = Instant::now();
        let root = self.commit(commit)?.tree_id();
        let index_path = self.index_path(slot)?;
        make_root(slot)?;
        let mut checkout = Checkout {
            store: self,
            odb: self.repo.odb().map_err(|e| self.damaged(&e))?,
            slot,
            known: SlotIndex::load(&index_path).files,
            index: SlotIndex::default(),
            folders: vec![(PathBuf::new(), root)],
            done: CheckedOut {
                files: 0,
                bytes: 0,
                written: 0,
                removed: 0,
                duration: Duration::ZERO,
            },
        };
        while let Some((path, tree)) = checkout.folders.pop() {
            checkout.folder(&path, tree)?;
        }
        fs::create_dir_all(&self.slots).map_err(StoreError::io("make", &self.slots))?;
        checkout
            .index
            .save(&index_path)
            .map_err(StoreError::io("write", &index_path))?;
        Ok(CheckedOut {
            duration: started.elapsed(),
            ..checkout.done
        })
    }

    fn index_path(&self, slot: &Path) -> Result<PathBuf, StoreError> {
        let nameless = || io::Error::from(io::ErrorKind::InvalidFilename);
        let name = slot
            .file_name()
            .ok_or_else(nameless)
            .map_err(StoreError::io("use as a slot", slot))?;
        let mut name = name.to_owned();
        name.push(".index");
        Ok(self.slots.join(name))
    }
}

/// The slot itself must be a folder, not a symlink to one.
fn make_root(slot: &Path) -> Result<(), StoreError> {
    match fs::symlink_metadata(slot) {
        Ok(meta) if meta.is_dir() => open_up(slot, &meta),
        Ok(_) => Err(StoreError::io("use as a slot", slot)(
            io::ErrorKind::NotADirectory.into(),
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(slot).map_err(StoreError::io("make", slot))
        }
        Err(e) => Err(StoreError::io("look at", slot)(e)),
    }
}

struct Checkout<'a> {
    store: &'a Store,
    odb: Odb<'a>,
    slot: &'a Path,
    known: HashMap<Vec<u8>, Written>,
    index: SlotIndex,
    /// Folders of the tree that are real folders of the slot by now.
    folders: Vec<(PathBuf, Oid)>,
    done: CheckedOut,
}

impl Checkout<'_> {
    fn folder(&mut self, at: &Path, tree: Oid) -> Result<(), StoreError> {
        let tree = self
            .store
            .repo
            .find_tree(tree)
            .map_err(|e| self.store.damaged(&e))?;
        let present = self.clear(at, &tree)?;
        for entry in &tree {
            let name = OsStr::from_bytes(entry.name_bytes());
            let path = at.join(name);
            if let Some(why) = bad_name(entry.name_bytes()) {
                return Err(StoreError::Refused {
                    path: path.display().to_string(),
                    why,
                });
            }
            let there = present.get(name).copied();
            match entry.filemode() {
                0o040_000 => {
                    self.make_folder(&path, there)?;
                    self.folders.push((path, entry.id()));
                }
                0o160_000 => self.empty_folder(&path, there)?,
                0o120_000 => self.link(&path, entry.id(), there)?,
                mode => self.file(&path, entry.id(), mode, there)?,
            }
        }
        Ok(())
    }

    /// Removes what the tree does not name; returns what is left and its type.
    fn clear(
        &mut self,
        at: &Path,
        tree: &Tree<'_>,
    ) -> Result<HashMap<OsString, FileType>, StoreError> {
        let folder = self.slot.join(at);
        let failed = |e| StoreError::io("read", &folder)(e);
        let mut present = HashMap::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            present.insert(entry.file_name(), entry.file_type().map_err(failed)?);
        }
        let mut gone = present.clone();
        for entry in tree {
            gone.remove(OsStr::from_bytes(entry.name_bytes()));
        }
        for (name, kind) in gone {
            self.remove(&folder.join(&name), kind)?;
            present.remove(&name);
        }
        Ok(present)
    }

    fn make_folder(&mut self, path: &Path, there: Option<FileType>) -> Result<(), StoreError> {
        let full = self.slot.join(path);
        match there {
            Some(kind) if kind.is_dir() => {
                let meta = fs::symlink_metadata(&full).map_err(StoreError::io("look at", &full))?;
                return open_up(&full, &meta);
            }
            Some(kind) => self.remove(&full, kind)?,
            None => {}
        }
        fs::create_dir(&full).map_err(StoreError::io("make", &full))
    }

    fn empty_folder(&mut self, path: &Path, there: Option<FileType>) -> Result<(), StoreError> {
        let full = self.slot.join(path);
        if let Some(kind) = there {
            let empty = kind.is_dir()
                && fs::read_dir(&full).is_ok_and(|mut inside| inside.next().is_none());
            if empty {
                return Ok(());
            }
            self.remove(&full, kind)?;
        }
        fs::create_dir(&full).map_err(StoreError::io("make", &full))
    }

    /// Links are few and small; each is compared with the commit itself.
    fn link(&mut self, path: &Path, blob: Oid, there: Option<FileType>) -> Result<(), StoreError> {
        let full = self.slot.join(path);
        let target = self
            .odb
            .read(blob)
            .map_err(|e| self.store.damaged(&e))?
            .data()
            .to_vec();
        let target = OsStr::from_bytes(&target);
        self.done.files += 1;
        if let Some(kind) = there {
            if kind.is_symlink() && fs::read_link(&full).is_ok_and(|now| now.as_os_str() == target)
            {
                return Ok(());
            }
            self.remove(&full, kind)?;
        }
        self.done.written += 1;
        std::os::unix::fs::symlink(target, &full).map_err(StoreError::io("make the symlink", &full))
    }

    fn file(
        &mut self,
        path: &Path,
        blob: Oid,
        mode: i32,
        there: Option<FileType>,
    ) -> Result<(), StoreError> {
        let full = self.slot.join(path);
        let key = path.as_os_str().as_bytes();
        let known = self
            .known
            .remove(key)
            .filter(|known| known.blob == blob && known.mode == mode);
        let mut stamps = None;
        if let Some(kind) = there {
            if let Some(known) = known.filter(|_| kind.is_file()) {
                let meta = fs::symlink_metadata(&full).map_err(StoreError::io("look at", &full))?;
                stamps = Some(Stamps::of(&meta)).filter(|now| *now == known.stamps);
            }
            if stamps.is_none() {
                self.remove(&full, kind)?;
            }
        }
        let stamps = match stamps {
            Some(stamps) => stamps,
            None => self.write(&full, blob, mode)?,
        };
        self.done.files += 1;
        self.done.bytes += stamps.bytes;
        self.index
            .files
            .insert(key.to_vec(), Written { blob, mode, stamps });
        Ok(())
    }

    fn write(&mut self, full: &Path, blob: Oid, mode: i32) -> Result<Stamps, StoreError> {
        let object = self.odb.read(blob).map_err(|e| self.store.damaged(&e))?;
        let mode = if mode & 0o111 != 0 { 0o777 } else { 0o666 };
        let written = || -> io::Result<Metadata> {
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(mode)
                .open(full)?;
            file.write_all(object.data())?;
            file.set_modified(SystemTime::now() - BACKDATED)?;
            file.metadata()
        };
        let meta = written().map_err(StoreError::io("write", full))?;
        self.done.written += 1;
        Ok(Stamps::of(&meta))
    }

    fn remove(&mut self, full: &Path, kind: FileType) -> Result<(), StoreError> {
        self.done.removed += 1;
        if !kind.is_dir() {
            return fs::remove_file(full).map_err(StoreError::io("remove", full));
        }
        match fs::remove_dir_all(full) {
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
                open_up_all(full)?;
                fs::remove_dir_all(full).map_err(StoreError::io("remove", full))
            }
            other => other.map_err(StoreError::io("remove", full)),
        }
    }
}

/// An app may have taken rights from a folder that we must change.
fn open_up(folder: &Path, meta: &Metadata) -> Result<(), StoreError> {
    let mode = meta.permissions().mode();
    if mode & OWNER_ALL == OWNER_ALL {
        return Ok(());
    }
    let permissions = fs::Permissions::from_mode(mode | OWNER_ALL);
    fs::set_permissions(folder, permissions).map_err(StoreError::io("change the mode of", folder))
}

fn open_up_all(folder: &Path) -> Result<(), StoreError> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let failed = |e| StoreError::io("read", &folder)(e);
        let meta = fs::symlink_metadata(&folder).map_err(failed)?;
        open_up(&folder, &meta)?;
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // Of the entry itself, not of what a symlink points at.
            if entry.file_type().map_err(failed)?.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}
