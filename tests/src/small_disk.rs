//! A small disk: a file system in memory, which needs the right to mount one.

use std::path::{Path, PathBuf};
use std::process::Command;

/// It is unmounted with this value.
#[derive(Debug)]
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of so many MiB, in a folder.
    #[must_use]
    pub fn mount(at: &Path, mib: usize) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output().unwrap();
        assert!(mounted.status.success(), "a small disk cannot be mounted: {}", String::from_utf8_lossy(&mounted.stderr));
        Self(at.to_owned())
    }

    /// It becomes so large.
    pub fn resize(&self, mib: usize) {
        let size = format!("remount,size={mib}m");
        assert!(Command::new("mount").args(["-o", &size]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still runs there is ended right after.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
