//! What outlives a release: a link in each checkout to a place beside them all.
//!
//! Invariant: what is in `data/` is never removed or written over here. What
//! the commit holds at such a path is its beginning: it is moved to `data/`
//! when there is nothing yet, and gives way to the link when there is. All of
//! it may be done twice. What is absent: taking a copy before a migration.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Puts the links into a checkout that is of one commit and nothing else.
///
/// # Errors
///
/// When the system says so, or a folder on the way is a link in the repository.
pub fn link(slot: &Path, data: &Path, paths: &[String]) -> io::Result<()> {
    for path in paths {
        let (plain, is_folder) = path.strip_suffix('/').map_or((path.as_str(), false), |plain| (plain, true));
        let (here, there) = (slot.join(plain), data.join(plain));
        make_parents(slot, Path::new(plain))?;
        fs::create_dir_all(there.parent().unwrap_or(data))?;
        let is_kept = fs::symlink_metadata(&there).is_ok();
        match fs::symlink_metadata(&here) {
            Ok(_) if !is_kept => fs::rename(&here, &there)?,
            Ok(meta) if meta.is_dir() => fs::remove_dir_all(&here)?,
            Ok(_) => fs::remove_file(&here)?,
            Err(fault) if fault.kind() == io::ErrorKind::NotFound && is_folder && !is_kept => fs::create_dir_all(&there)?,
            // A file that the app has yet to write: a link to nothing.
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
            Err(fault) => return Err(fault),
        }
        std::os::unix::fs::symlink(&there, &here)?;
    }
    Ok(())
}

/// The folders above a path, each a real one: nothing is put elsewhere.
fn make_parents(slot: &Path, path: &Path) -> io::Result<()> {
    let mut folder = PathBuf::from(slot);
    for part in path.parent().into_iter().flat_map(Path::components) {
        folder.push(part);
        match fs::symlink_metadata(&folder) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is no folder in this commit, so {} cannot be kept there", folder.display(), path.display()))),
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => fs::create_dir(&folder)?,
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_app_wrote_outlives_its_release() {
        let dir = tempfile::tempdir().unwrap();
        let (data, paths) = (dir.path().join("data"), ["media/".to_owned(), "var/shop.sqlite3".to_owned(), "seed".to_owned()]);
        for slot in ["0", "1"] {
            let slot = dir.path().join(slot);
            fs::create_dir_all(slot.join("seed")).unwrap();
            fs::write(slot.join("seed/first"), "of the commit").unwrap();
            link(&slot, &data, &paths).unwrap();
            assert!(fs::symlink_metadata(slot.join("media")).unwrap().is_symlink() && slot.join("media").is_dir());
            let seen = fs::read_to_string(slot.join("var/shop.sqlite3")).unwrap_or_default();
            fs::write(slot.join("var/shop.sqlite3"), format!("{seen}x")).unwrap();
            let first = fs::read_to_string(slot.join("seed/first")).unwrap();
            fs::write(slot.join("seed/first"), format!("{first}!")).unwrap();
        }
        assert_eq!(fs::read_to_string(data.join("var/shop.sqlite3")).unwrap(), "xx");
        assert_eq!(fs::read_to_string(data.join("seed/first")).unwrap(), "of the commit!!");
    }

    #[test]
    fn a_link_on_the_way_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let slot = dir.path().join("0");
        fs::create_dir_all(slot.join("real")).unwrap();
        std::os::unix::fs::symlink("real", slot.join("var")).unwrap();
        let fault = link(&slot, &dir.path().join("data"), &["var/db".to_owned()]).unwrap_err();
        assert!(fault.to_string().contains("is no folder in this commit"), "{fault}");
        assert!(fs::read_dir(slot.join("real")).unwrap().next().is_none());
    }
}
