//! Slots on disk and the link that says which one is live.
//!
//! `<dir>/releases/<slot>` holds a checkout, `<dir>/envs/<slot>` its Python
//! environment, `<dir>/current` links to the live slot. Invariant: `current`
//! is replaced by a rename, never removed, and the folder is synced after, so
//! that it points at a whole release at every moment and after a power cut.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use crate::crash;
use crate::journal::{Release, ReleaseState};

/// Slots in rotation: the live one, the previous one, the one being built and
/// two that keep their environments warm.
pub const SLOTS: u32 = 5;

/// The folders of a project.
#[derive(Clone, Debug)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The layout below a project's `dir`.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The project's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The checkout of a slot.
    #[must_use]
    pub fn slot(&self, slot: u32) -> PathBuf {
        self.dir.join("releases").join(slot.to_string())
    }

    /// The environment of a slot.
    #[must_use]
    pub fn env(&self, slot: u32) -> PathBuf {
        self.dir.join("envs").join(slot.to_string())
    }

    /// What outlives releases.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Makes the folders.
    ///
    /// # Errors
    ///
    /// When the system says so.
    pub fn create(&self) -> io::Result<()> {
        std::fs::create_dir_all(self.dir.join("releases"))?;
        std::fs::create_dir_all(self.data())?;
        std::fs::create_dir_all(self.dir.join("envs"))
    }

    /// Removes a slot's checkout and environment.
    ///
    /// # Errors
    ///
    /// When the system says so.
    pub fn clear(&self, slot: u32) -> io::Result<()> {
        let env = self.env(slot);
        for gone in [std::fs::remove_dir_all(self.slot(slot)), std::fs::remove_file(env.with_extension("stamp")), std::fs::remove_dir_all(&env)] {
            match gone {
                Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Points `current` at a slot, for good.
    ///
    /// # Errors
    ///
    /// When the system says so, or `current` is something that is not ours.
    pub fn switch(&self, slot: u32) -> io::Result<()> {
        let current = self.dir.join("current");
        if std::fs::symlink_metadata(&current).is_ok_and(|meta| !meta.is_symlink()) {
            return Err(io::Error::other(format!("{} is not a link; move it away", current.display())));
        }
        let fresh = self.dir.join(".current.new");
        match std::fs::remove_file(&fresh) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        std::os::unix::fs::symlink(Path::new("releases").join(slot.to_string()), &fresh)?;
        crash::before(format_args!("effect current"));
        std::fs::rename(&fresh, &current)?;
        crash::after(format_args!("effect current"));
        File::open(&self.dir)?.sync_all()
    }

    /// Points `env` at a slot's environment: what a unit of systemd names. It is
    /// moved while nothing reads it, so it need not be moved in one step.
    ///
    /// # Errors
    ///
    /// When the system says so.
    pub fn switch_env(&self, slot: u32) -> io::Result<()> {
        let link = self.dir.join("env");
        match std::fs::remove_file(&link) {
            Err(fault) if fault.kind() != io::ErrorKind::NotFound => return Err(fault),
            _ => {}
        }
        std::os::unix::fs::symlink(Path::new("envs").join(slot.to_string()), link)
    }

    /// Removes `current` again: the first release of all was not switched to.
    ///
    /// # Errors
    ///
    /// When the system says so.
    pub fn forget(&self) -> io::Result<()> {
        std::fs::remove_file(self.dir.join("current"))?;
        File::open(&self.dir)?.sync_all()
    }

    /// The slot that `current` points at.
    #[must_use]
    pub fn current(&self) -> Option<u32> {
        std::fs::read_link(self.dir.join("current")).ok()?.file_name()?.to_str()?.parse().ok()
    }
}

/// The slot for a new release: one never used, else that of the oldest release
/// that is neither live nor previous.
#[must_use]
pub fn choose_slot(releases: &[Release], current: Option<u32>) -> u32 {
    let taken = |slot: u32| {
        current == Some(slot)
            || releases.iter().any(|r| r.slot == slot && matches!(r.state, ReleaseState::Live | ReleaseState::Previous))
    };
    let last_use = |slot: u32| releases.iter().filter(|r| r.slot == slot).map(|r| r.id).max().unwrap_or(0);
    // Five slots and at most three taken: one is always free.
    (0..SLOTS).filter(|slot| !taken(*slot)).min_by_key(|slot| last_use(*slot)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn release(id: u64, slot: u32, state: ReleaseState) -> Release {
        Release { id, project: "shop".into(), commit: "c".into(), subject: String::new(), slot, state, live_since: None, was_bad: false }
    }

    #[test]
    fn a_slot_in_use_is_never_chosen() {
        use ReleaseState::{Bad, Built, Live, Previous};
        assert_eq!(choose_slot(&[], None), 0);
        let all = [release(1, 0, Previous), release(2, 1, Live), release(3, 2, Bad), release(4, 3, Built), release(5, 4, Built)];
        assert_eq!(choose_slot(&all, Some(1)), 2);
        assert_eq!(choose_slot(&all, Some(2)), 3, "what `current` points at is in use whatever the rows say");
    }

    #[test]
    fn current_is_never_missing_while_it_is_switched() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().to_path_buf());
        layout.create().unwrap();
        layout.switch(0).unwrap();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0u32;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    assert!(layout.current().is_some());
                    reads += 1;
                }
                reads
            });
            for i in 0..200 {
                layout.switch(i % 2).unwrap();
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
            assert!(reader.join().unwrap() > 0);
        });
    }

    #[test]
    fn a_folder_called_current_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("current")).unwrap();
        assert!(Layout::new(dir.path().to_path_buf()).switch(0).is_err());
    }
}
