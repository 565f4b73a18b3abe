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
use crate::journal::{Release, ReleaseState, to_go_back_to};

/// Slots in rotation: the live one, the previous one, the one that is gone back to
/// when that is of the same commit, the one being built and an older one.
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

/// The slot for a new release: that of an attempt that failed, so that however
/// many fail take one; else one never used; else that of the release that is
/// worth least. Never one that is live, the previous one, or gone back to next.
#[must_use]
pub fn choose_slot(releases: &[Release], current: Option<u32>) -> u32 {
    let live = releases.iter().find(|release| release.state == ReleaseState::Live);
    let next = to_go_back_to(releases, live).map(|release| release.slot);
    let is_needed = |release: &Release| matches!(release.state, ReleaseState::Live | ReleaseState::Previous);
    let taken = |slot: u32| current == Some(slot) || next == Some(slot) || releases.iter().any(|release| release.slot == slot && is_needed(release));
    // Five slots and at most four taken: one is always free.
    (0..SLOTS).filter(|slot| !taken(*slot)).min_by_key(|slot| worth(releases, *slot)).unwrap_or(0)
}

/// How much what a slot holds is worth, and its number among what is worth the
/// same: what can never be gone back to is worth less than an empty slot.
fn worth(releases: &[Release], slot: u32) -> (u8, u64) {
    let Some(held) = releases.iter().filter(|release| release.slot == slot).max_by_key(|release| release.id) else { return (1, 0) };
    let is_kept_again = |other: &Release| other.id > held.id && other.commit == held.commit && other.is_good();
    let worth = match held {
        _ if held.live_since.is_none() => 0,
        _ if !held.is_good() => 2,
        _ if releases.iter().any(is_kept_again) => 3,
        _ => 4,
    };
    (worth, held.id)
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

    fn of(id: u64, slot: u32, state: ReleaseState, commit: &str, live_since: Option<u64>) -> Release {
        Release { commit: commit.into(), live_since: live_since.map(doorstep_shared::time::Timestamp), ..release(id, slot, state) }
    }

    #[test]
    fn what_failed_gives_its_slot_back_before_anything_good_does() {
        use ReleaseState::{Bad, Built, Live, Previous};
        let good = [of(1, 0, Built, "a", Some(1)), of(2, 1, Previous, "b", Some(2)), of(3, 2, Live, "c", Some(3))];
        let with = |more: &[Release]| choose_slot(&[&good[..], more].concat(), Some(2));
        assert_eq!(with(&[]), 3, "a slot that nothing is in");
        assert_eq!(with(&[of(4, 3, Built, "d", None)]), 3, "the next attempt has the slot of the one that failed");
        let failed = [of(4, 3, Bad, "d", None), of(5, 4, Built, "e", None)];
        assert_eq!(with(&failed), 3, "the older of two that failed, and no good one");
        let was_bad = [of(4, 3, Bad, "d", Some(4)), of(5, 4, Built, "e", Some(5))];
        assert_eq!(with(&was_bad), 3, "what was live and found bad before what was good");
    }

    #[test]
    fn rebuilds_of_a_commit_leave_what_can_be_gone_back_to() {
        use ReleaseState::{Built, Live, Previous};
        let all = [of(1, 0, Built, "a", Some(1)), of(2, 1, Built, "b", Some(2)), of(3, 2, Built, "c", Some(3)), of(4, 3, Previous, "c", Some(4)), of(5, 4, Live, "c", Some(5))];
        assert_eq!(choose_slot(&all, Some(4)), 2, "the commit of two others, although older commits are older");
        let last = [of(1, 0, Built, "a", Some(1)), of(2, 1, Previous, "b", Some(2)), of(3, 2, Live, "b", Some(3)), of(4, 3, Built, "b", Some(1)), of(5, 4, Built, "b", Some(2))];
        assert_ne!(choose_slot(&last, Some(2)), 0, "the one commit to go back to");
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
