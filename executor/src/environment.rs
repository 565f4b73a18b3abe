//! A new environment from the last good one, by hard links.
//!
//! A fresh environment costs its files and, at the app's first import, the
//! compiling of every module. A linked one keeps what was compiled; `uv` then
//! brings it to the lock. uv and Python replace files and never write into
//! them, so the old environment does not change. Invariant: the new folder has
//! its name only once it is whole. What is absent: deciding whether it fits.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Scripts longer than this hold no path of ours; uv's are below 1 KiB.
const SCRIPT_BYTES_MAX: u64 = 64 * 1024;
/// Files of one environment; more is not linked, but made anew.
const FILES_MAX: usize = 500_000;

/// Makes `to` from `from`; `to` must not exist.
///
/// # Errors
///
/// When the system says so, such as for two file systems; nothing is left then.
pub fn link(from: &Path, to: &Path) -> io::Result<usize> {
    let fresh = to.with_extension("new");
    remove(&fresh)?;
    let mut files = 0;
    let done = link_folder(from, &fresh, &mut files)
        .and_then(|()| readdress(&fresh.join("bin"), from, to))
        .and_then(|()| fs::rename(&fresh, to));
    if done.is_err() {
        remove(&fresh)?;
    }
    done.map(|()| files)
}

/// Does something installed here name a path below `dir`? An editable package
/// or one from a folder does, in its `.pth` or its `direct_url.json` (PEP 610).
///
/// # Errors
///
/// When the system says so.
pub fn refers_to(env: &Path, dir: &Path) -> io::Result<bool> {
    let name = dir.to_string_lossy().into_owned();
    for python in fs::read_dir(env.join("lib"))? {
        let packages = python?.path().join("site-packages");
        if !packages.is_dir() {
            continue;
        }
        for entry in fs::read_dir(packages)? {
            let path = entry?.path();
            let file = match path.extension().and_then(|ending| ending.to_str()) {
                Some("pth") => path,
                Some("dist-info") => path.join("direct_url.json"),
                _ => continue,
            };
            if fs::read_to_string(file).is_ok_and(|text| text.contains(&name)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Removes a folder, if there is one.
///
/// # Errors
///
/// When the system says so.
pub fn remove(dir: &Path) -> io::Result<()> {
    match fs::remove_dir_all(dir) {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}

fn link_folder(from: &Path, to: &Path, files: &mut usize) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type()?);
        *files += 1;
        if *files > FILES_MAX {
            return Err(io::Error::other(format!("more than {FILES_MAX} files")));
        }
        if kind.is_dir() {
            link_folder(&source, &target, files)?;
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source)?, &target)?;
        } else {
            match fs::hard_link(&source, &target) {
                // The running app replaced a compiled module just now.
                Err(fault) if fault.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
    }
    Ok(())
}

/// Scripts name their environment by its absolute path: in the copy they name
/// the copy. Each is replaced, since its inode belongs to the old one too.
fn readdress(bin: &Path, from: &Path, to: &Path) -> io::Result<()> {
    let (old, new) = (from.to_string_lossy().into_owned(), to.to_string_lossy().into_owned());
    for entry in fs::read_dir(bin)? {
        let path = entry?.path();
        let meta = fs::symlink_metadata(&path)?;
        if !meta.is_file() || meta.len() > SCRIPT_BYTES_MAX {
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if text.contains(&old) {
            fs::remove_file(&path)?;
            fs::write(&path, replace_path(&text, &old, &new))?;
            fs::set_permissions(&path, fs::Permissions::from_mode(meta.permissions().mode()))?;
        }
    }
    Ok(())
}

/// Replaces a path where it ends: `/envs/1` is not the beginning of `/envs/12`.
fn replace_path(text: &str, old: &str, new: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split(old).peekable();
    while let Some(part) = parts.next() {
        out.push_str(part);
        if let Some(after) = parts.peek() {
            let goes_on = after.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
            out.push_str(if goes_on { old } else { new });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_copy_is_whole_and_names_itself() {
        let dir = tempfile::tempdir().unwrap();
        let (one, twelve, two) = (dir.path().join("1"), dir.path().join("12"), dir.path().join("2"));
        fs::create_dir_all(one.join("bin")).unwrap();
        fs::create_dir_all(one.join("lib/deep")).unwrap();
        fs::write(one.join("lib/deep/module.pyc"), "compiled").unwrap();
        let script = format!("#!{}/bin/python\n# not {}/x\n", one.display(), twelve.display());
        fs::write(one.join("bin/serve"), &script).unwrap();
        fs::set_permissions(one.join("bin/serve"), fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("/usr/bin/python3", one.join("bin/python")).unwrap();
        link(&one, &two).unwrap();
        let copied = fs::read_to_string(two.join("bin/serve")).unwrap();
        assert_eq!(copied, format!("#!{}/bin/python\n# not {}/x\n", two.display(), twelve.display()));
        assert_eq!(fs::metadata(two.join("bin/serve")).unwrap().permissions().mode() & 0o777, 0o755);
        assert_eq!(fs::read_to_string(one.join("bin/serve")).unwrap(), script, "the old one is as it was");
        assert_eq!(fs::read(two.join("lib/deep/module.pyc")).unwrap(), b"compiled");
        assert!(two.join("bin/python").is_symlink());
    }

    #[test]
    fn an_editable_package_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let env = dir.path().join("envs/1");
        let packages = env.join("lib/python3.11/site-packages");
        fs::create_dir_all(packages.join("shop-1.dist-info")).unwrap();
        fs::write(packages.join("other.pth"), "import _virtualenv").unwrap();
        assert!(!refers_to(&env, dir.path()).unwrap());
        let url = format!("{{\"url\":\"file://{}/releases/0\"}}", dir.path().display());
        fs::write(packages.join("shop-1.dist-info/direct_url.json"), url).unwrap();
        assert!(refers_to(&env, dir.path()).unwrap());
    }

    #[test]
    fn half_a_copy_is_never_left() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("1"), dir.path().join("2"));
        fs::create_dir(&one).unwrap();
        assert!(link(&one, &two).is_err(), "it has no bin");
        assert!(!two.exists() && !two.with_extension("new").exists());
        assert!(link(&dir.path().join("none"), &two).is_err());
    }
}
