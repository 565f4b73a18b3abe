//! Where what a container mounts from the checkout lies, so that it outlives it.
//!
//! Slots are used again, and a container may stay for many releases. So what the
//! commit holds is copied to a folder named by its content, which is the same as
//! long as the content is; what the commit does not hold is the container's own
//! data, and lies beside the releases. Invariant: a folder in `binds` is whole,
//! and is never written to here again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use doorstep_shared::ids::FailureKind;

use super::super::Runner;
use super::super::steps::Wrong;
use crate::compose::model::{Model, Mounted};
use crate::git;
use crate::journal::Release;
use crate::release::Layout;

/// Where each mounted path leads, and the folders of `binds` among them.
pub(super) struct Places {
    pub of: BTreeMap<PathBuf, PathBuf>,
    pub binds: Vec<String>,
}

impl Runner {
    /// Finds a place for everything that the model mounts from the checkout.
    pub(super) async fn places(&self, release: &Release, model: &Model) -> Result<Places, Wrong> {
        let layout = self.shared.supervisor.layout(&self.project);
        let mounted = model.mounted(&layout.slot(release.slot));
        let (kept, release) = (self.project.data.clone(), release.clone());
        let found = tokio::task::spawn_blocking(move || find(&layout, &release, mounted, &kept));
        found.await.map_err(Wrong::host)?
    }
}

fn find(layout: &Layout, release: &Release, mounted: BTreeMap<PathBuf, Mounted>, kept: &[String]) -> Result<Places, Wrong> {
    let store = git::open_store(layout.dir()).map_err(Wrong::host)?;
    let slot = layout.slot(release.slot);
    let real_slot = slot.canonicalize().map_err(Wrong::host)?;
    let mut places = Places { of: BTreeMap::new(), binds: Vec::new() };
    for (path, how) in mounted {
        let inside = path.strip_prefix(&slot).unwrap_or(&path).to_path_buf();
        let is_kept = kept.iter().any(|data| inside.starts_with(data.trim_end_matches('/')));
        // The engine would follow a link of the repository, so its target is meant.
        let target = path.canonicalize().ok().filter(|_| !is_kept);
        let place = match target.as_deref().map(|target| target.strip_prefix(&real_slot)) {
            // To where this host lets it go.
            Some(Err(_)) => target.unwrap_or_default(),
            Some(Ok(held)) => match store.object_at(&release.commit, held).map_err(Wrong::host)? {
                Some(object) => {
                    let name = inside.file_name().map_or_else(|| "all".into(), |name| name.to_owned());
                    let (folder, place) = put_in_place(layout, &object, &slot.join(held), Path::new(&name)).map_err(|fault| Wrong::host(format!("{} cannot be put in place: {fault}", inside.display())))?;
                    places.binds.push(folder);
                    place
                }
                None => of_data(layout, &inside, how)?,
            },
            None => of_data(layout, &inside, how)?,
        };
        places.of.insert(path, place);
    }
    places.binds.sort();
    places.binds.dedup();
    Ok(places)
}

/// Copies what the commit holds to the folder that is named by its content.
fn put_in_place(layout: &Layout, object: &str, from: &Path, name: &Path) -> io::Result<(String, PathBuf)> {
    // The object of a file says nothing of its mode.
    let mode = if is_program(from) { "x" } else { "" };
    let folder = format!("{}{mode}", doorstep_shared::text::cut(object, 16));
    let place = layout.dir().join("binds").join(&folder).join(name);
    copy_once(from, &place)?;
    Ok((folder, place))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// A place beside the releases; a folder that is bound is made, as the engine
/// would make it.
fn of_data(layout: &Layout, inside: &Path, how: Mounted) -> Result<PathBuf, Wrong> {
    let place = layout.data().join(inside);
    match how {
        Mounted::Bind => std::fs::create_dir_all(&place).or_else(|fault| if place.exists() { Ok(()) } else { Err(fault) }).map_err(Wrong::host)?,
        Mounted::File if !place.is_file() => {
            let message = format!("a config or secret is read from {}, which the repository does not hold; put it at {}", inside.display(), place.display());
            return Err(Wrong { kind: FailureKind::Source, message });
        }
        Mounted::File => {}
    }
    Ok(place)
}

/// Copies what a commit holds to its place, unless it is there.
fn copy_once(from: &Path, to: &Path) -> io::Result<()> {
    if std::fs::symlink_metadata(to).is_ok() {
        return Ok(());
    }
    let parent = to.parent().unwrap_or(to);
    std::fs::create_dir_all(parent)?;
    let fresh = parent.join(".new");
    remove(&fresh)?;
    copy(from, &fresh)?;
    std::fs::rename(&fresh, to)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let meta = std::fs::symlink_metadata(from)?;
    if meta.is_symlink() {
        return std::os::unix::fs::symlink(std::fs::read_link(from)?, to);
    }
    if meta.is_file() {
        return std::fs::copy(from, to).map(drop);
    }
    std::fs::create_dir(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    std::fs::set_permissions(to, meta.permissions())
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    let gone = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(fault) => Err(fault),
    };
    match gone {
        Err(fault) if fault.kind() != io::ErrorKind::NotFound => Err(fault),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_is_whole_and_made_once() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("conf"), dir.path().join("binds/aa/conf"));
        std::fs::create_dir_all(from.join("sub")).unwrap();
        std::fs::write(from.join("sub/run.sh"), "one").unwrap();
        std::fs::set_permissions(from.join("sub/run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink("sub/run.sh", from.join("link")).unwrap();
        // What a crash left half copied.
        std::fs::create_dir_all(dir.path().join("binds/aa/.new/x")).unwrap();
        copy_once(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("link")).unwrap(), "one");
        assert_eq!(std::fs::metadata(to.join("sub/run.sh")).unwrap().permissions().mode() & 0o777, 0o755);
        std::fs::write(from.join("sub/run.sh"), "two").unwrap();
        copy_once(&from, &to).unwrap();
        assert_eq!(std::fs::read_to_string(to.join("link")).unwrap(), "one");
    }
    /// A slot with a commit that holds a folder, a file, and links.
    fn checked_out(layout: &Layout, mode: i32) -> Release {
        git::open_store(layout.dir()).unwrap();
        let repo = git2::Repository::open_bare(layout.dir().join("repo.git")).unwrap();
        let blob = |text: &str| repo.blob(text.as_bytes()).unwrap();
        let mut real = repo.treebuilder(None).unwrap();
        real.insert("a", blob("one"), 0o100_644).unwrap();
        let real = real.write().unwrap();
        let mut root = repo.treebuilder(None).unwrap();
        root.insert("real", real, 0o040_000).unwrap();
        root.insert("run.sh", blob("exit"), mode).unwrap();
        root.insert("conf", blob("real"), 0o120_000).unwrap();
        root.insert("away", blob("/etc"), 0o120_000).unwrap();
        let tree = repo.find_tree(root.write().unwrap()).unwrap();
        let who = git2::Signature::now("a", "a@b").unwrap();
        let commit = repo.commit(None, &who, &who, "one", &tree, &[]).unwrap().to_string();
        let slot = layout.slot(0);
        std::fs::create_dir_all(slot.join("real")).unwrap();
        std::fs::write(slot.join("real/a"), "one").unwrap();
        std::fs::write(slot.join("run.sh"), "exit").unwrap();
        std::fs::set_permissions(slot.join("run.sh"), std::os::unix::fs::PermissionsExt::from_mode(u32::try_from(mode).unwrap() & 0o777)).unwrap();
        for (link, to) in [("conf", "real"), ("away", "/etc")] {
            let _ = std::os::unix::fs::symlink(to, slot.join(link));
        }
        Release { id: 1, project: "shop".into(), commit, subject: String::new(), slot: 0, state: crate::journal::ReleaseState::Built, live_since: None, was_bad: false }
    }

    #[test]
    fn links_lead_where_the_engine_would_go_and_a_mode_counts() {
        let dir = tempfile::tempdir().unwrap();
        let places = |mode: i32| {
            let layout = Layout::new(dir.path().to_path_buf());
            let release = checked_out(&layout, mode);
            let mounted = ["conf", "conf/a", "away", "run.sh", "new"].map(|path| (layout.slot(0).join(path), Mounted::Bind)).into();
            let found = find(&layout, &release, mounted, &[]).map_err(|wrong| wrong.message).unwrap();
            move |path: &str| found.of[&layout.slot(0).join(path)].clone()
        };
        let plain = places(0o100_644);
        assert_eq!(std::fs::read_to_string(plain("conf").join("a")).unwrap(), "one");
        assert_eq!(std::fs::read_to_string(plain("conf/a")).unwrap(), "one");
        assert!(!std::fs::symlink_metadata(plain("conf")).unwrap().is_symlink());
        assert_eq!(plain("away"), Path::new("/etc"));
        assert!(plain("new").is_dir(), "what nobody holds is a folder of its data");
        let program = places(0o100_755);
        assert_eq!(plain("conf"), program("conf"));
        assert_ne!(plain("run.sh"), program("run.sh"));
        assert!(is_program(&program("run.sh")) && !is_program(&plain("run.sh")));
    }
}
