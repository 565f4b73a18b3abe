//! Room on the disk: how much there is, and a reserve for bad days.
//!
//! A disk that is full is a state of the host and no crash. The ballast is a
//! file that only takes up room; it is given up just before the journal would
//! run out of it, so that what failed can still be written down, and laid down
//! again when there is room. What is absent: deciding what waits meanwhile
//! (the daemon), and cleaning up after others.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, StatVfs};

/// Size of the ballast: a run's end with a full log report is below 300 KiB,
/// and the journal's log of changes is folded into its file at 4 MiB.
const BALLAST_BYTES: u64 = 6 * 1024 * 1024;
/// With less than this the ballast is given up.
const GIVE_UP_BELOW: u64 = 2 * 1024 * 1024;
/// No run begins with less room than this, or a twentieth of a smaller disk.
const ROOM_BYTES_MIN: u64 = 64 * 1024 * 1024;
/// No run begins with fewer free inodes than this, or a fiftieth of fewer.
const INODES_MIN: u64 = 2_000;
/// What a small disk must have: the ballast's threshold and a little more.
const ROOM_BYTES_FLOOR: u64 = GIVE_UP_BELOW + 1024 * 1024;

/// Room on one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    bytes: u64,
    bytes_all: u64,
    inodes: u64,
    inodes_all: u64,
}

impl Room {
    /// The room where this path is, or would be.
    ///
    /// # Errors
    ///
    /// When the system does not say.
    pub fn at(path: &Path) -> io::Result<Self> {
        let there = path.ancestors().find(|part| part.exists()).unwrap_or(Path::new("/"));
        Ok(Self::of(&rustix::fs::statvfs(there)?))
    }

    /// Is there room for so many bytes?
    #[must_use]
    pub fn has(&self, bytes: u64) -> bool {
        self.bytes >= bytes
    }

    /// The room without these bytes.
    #[must_use]
    pub fn less(self, bytes: u64) -> Self {
        Self { bytes: self.bytes.saturating_sub(bytes), ..self }
    }

    fn of(stat: &StatVfs) -> Self {
        Self {
            bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            bytes_all: stat.f_blocks.saturating_mul(stat.f_frsize),
            inodes: stat.f_favail,
            inodes_all: stat.f_files,
        }
    }

    /// Why no run can begin here, if so. A host that waits for room begins
    /// again only with `times` as much, so that it does not stop and go.
    pub fn lacks(&self, times: u64) -> Option<String> {
        let bytes_min = ROOM_BYTES_MIN.min(self.bytes_all / 20).max(ROOM_BYTES_FLOOR).saturating_mul(times);
        let inodes_min = INODES_MIN.min(self.inodes_all / 50).saturating_mul(times);
        if self.bytes < bytes_min {
            return Some(format!("{} MiB free of {}", self.bytes >> 20, human(self.bytes_all)));
        }
        // Some file systems have no fixed number of inodes and say 0.
        (self.inodes_all > 0 && self.inodes < inodes_min).then(|| format!("{} inodes free of {}", self.inodes, self.inodes_all))
    }
}

fn human(bytes: u64) -> String {
    match bytes >> 30 {
        0 => format!("{} MiB", bytes >> 20),
        gib => format!("{gib} GiB"),
    }
}

/// The ballast of one state directory.
pub struct Ballast {
    path: PathBuf,
}

impl Ballast {
    /// The ballast of this state directory, laid down or not.
    #[must_use]
    pub fn new(state: &Path) -> Self {
        Self { path: state.join("ballast") }
    }

    /// How much of it is to be laid down yet: what looks like room, and is not.
    #[must_use]
    pub fn missing(&self) -> u64 {
        match std::fs::metadata(&self.path) {
            Ok(file) if file.len() == BALLAST_BYTES => 0,
            Ok(_) | Err(_) => BALLAST_BYTES,
        }
    }

    /// Lays it down if it is not there; the caller knows that there is room.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn lay(&self) -> io::Result<()> {
        if self.missing() == 0 {
            return Ok(());
        }
        let file = File::create(&self.path)?;
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, BALLAST_BYTES) {
            Ok(()) => Ok(()),
            // A file system without it; zeros are better than nothing.
            Err(rustix::io::Errno::OPNOTSUPP) => {
                io::copy(&mut io::Read::take(io::repeat(0), BALLAST_BYTES), &mut &file)?;
                file.sync_all()
            }
            Err(fault) => {
                let _ = std::fs::remove_file(&self.path);
                Err(fault.into())
            }
        }
    }

    /// Gives it up; true when it was there.
    pub fn give_up(&self) -> bool {
        std::fs::remove_file(&self.path).is_ok()
    }

    /// Gives it up when there is hardly any room; true when it was.
    pub fn give_up_if_needed(&self) -> bool {
        let low = Room::at(&self.path).is_ok_and(|room| room.bytes < GIVE_UP_BELOW);
        low && self.give_up()
    }
}

/// Is this what a disk says that takes no more: full, over a quota, read-only
/// all at once, or failing? SQLite has a word of its own for the last two.
pub fn is_full(message: &str) -> bool {
    [
        "No space left on device",
        "os error 28)",
        "database or disk is full",
        "Disk quota exceeded",
        "os error 122)",
        "Read-only file system",
        "readonly database",
        "disk I/O error",
    ]
        .iter()
        .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn a_large_disk_wants_64_mib_and_a_small_one_a_share() {
        let room = |bytes, bytes_all| Room { bytes, bytes_all, inodes: 0, inodes_all: 0 };
        assert_eq!(room(ROOM_BYTES_MIN, 100 * GIB).lacks(1), None);
        assert!(room(ROOM_BYTES_MIN - 1, 100 * GIB).lacks(1).unwrap().contains("63 MiB free of 100 GiB"));
        assert!(room(ROOM_BYTES_MIN, 100 * GIB).lacks(2).is_some());
        assert_eq!(room(16 << 20, 320 << 20).lacks(1), None);
        assert!(room((16 << 20) - 1, 320 << 20).lacks(1).is_some());
        assert!(room(0, 0).lacks(1).is_some());
    }

    #[test]
    fn inodes_count_where_there_is_a_number_of_them() {
        let room = |inodes, inodes_all| Room { bytes: GIB, bytes_all: GIB, inodes, inodes_all };
        assert_eq!(room(0, 0).lacks(1), None);
        assert!(room(1_999, 1_000_000).lacks(1).unwrap().contains("1999 inodes free"));
        assert_eq!(room(2_000, 1_000_000).lacks(1), None);
        assert_eq!(room(20, 1_000).lacks(1), None);
    }

    #[test]
    fn the_ballast_is_laid_down_once_and_takes_its_room() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let ballast = Ballast::new(dir.path());
        ballast.lay().unwrap();
        ballast.lay().unwrap();
        let file = std::fs::metadata(dir.path().join("ballast")).unwrap();
        assert_eq!(file.len(), BALLAST_BYTES);
        assert!(file.blocks() * 512 >= BALLAST_BYTES, "it is not sparse");
        assert!(!ballast.give_up_if_needed(), "there is room");
    }

    #[test]
    fn a_full_disk_is_known_by_its_words() {
        let words = io::Error::from_raw_os_error(28).to_string();
        assert!(is_full(&words), "{words}");
        assert!(is_full("the journal cannot be written: database or disk is full"));
        assert!(!is_full("Permission denied (os error 13)"));
        for code in [122, 30] {
            assert!(is_full(&io::Error::from_raw_os_error(code).to_string()), "{code}");
        }
        assert!(!is_full("a path of 128 parts (os error 2)"));
    }
}
