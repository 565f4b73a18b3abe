//! A release's containers, as they are to be: on disk, so that they can be had
//! again without asking the repository, a registry or a builder.
//!
//! `<dir>/stacks/<release>/` holds `model.json`, which Compose is given, and
//! `stack.json`, what Doorstep knows of it: images by identity, definitions by
//! hash, the environment. For this user alone, since a model holds what the
//! environment says. Invariant: `stack.json` is written last and in one step; a
//! folder without it is no stack.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use doorstep_shared::ids::ServiceState;
use serde::{Deserialize, Serialize};

use super::Container;
use super::bonds::Bonds;
use crate::config::Serves;

/// One service of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Its image as the compose file names it.
    pub image: String,
    /// Its image's identity.
    pub id: String,
    /// What the image was built from; none: it was pulled.
    pub built: Option<String>,
    /// By which hash its definition is known.
    pub hash: String,
    /// How many containers it has.
    pub replicas: u32,
}

impl Part {
    /// Is this container made as this part says?
    #[must_use]
    pub fn is_of(&self, container: &Container) -> bool {
        container.definition == self.hash && container.image_id == self.id
    }
}

/// What a release's containers are made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// What Compose calls the project.
    pub name: String,
    /// The services.
    pub parts: BTreeMap<String, Part>,
    /// What Compose is given as its environment, beyond the daemon's own.
    pub env: BTreeMap<String, String>,
    /// Folders of `binds` that it mounts.
    pub binds: Vec<String>,
    /// Names of ours that its images have.
    pub names: Vec<String>,
    /// The services, what others need last.
    pub order: Vec<String>,
    /// May the service that answers run twice while one takes over?
    pub twice: bool,
    /// What must be well, or have ended well (true), before that service starts.
    #[serde(default)]
    pub awaits: BTreeMap<String, bool>,
    /// What binds its services; it is read in the model.
    #[serde(skip)]
    pub bonds: Bonds,
}

/// The folder of a release's stack.
#[must_use]
pub fn folder(dir: &Path, release: u64) -> PathBuf {
    dir.join("stacks").join(release.to_string())
}

/// The model of a release.
#[must_use]
pub fn model_file(dir: &Path, release: u64) -> PathBuf {
    folder(dir, release).join("model.json")
}

/// Makes a release's folder, empty.
///
/// # Errors
///
/// When the system says so.
pub fn make_folder(dir: &Path, release: u64) -> std::io::Result<PathBuf> {
    let folder = folder(dir, release);
    match std::fs::remove_dir_all(&folder) {
        Err(fault) if fault.kind() != std::io::ErrorKind::NotFound => return Err(fault),
        _ => {}
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

/// Writes a file of a stack, in one step and for good.
///
/// # Errors
///
/// When the system says so.
pub fn write(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    path.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
}

impl Stack {
    /// The stack of a release; `None` when it has none.
    #[must_use]
    pub fn load(dir: &Path, release: u64) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(folder(dir, release).join("stack.json")).ok()?).ok()
    }

    /// Writes it; the model is there already.
    ///
    /// # Errors
    ///
    /// When the system says so.
    pub fn save(&self, dir: &Path, release: u64) -> std::io::Result<()> {
        write(&folder(dir, release).join("stack.json"), &serde_json::to_vec(self)?)
    }

    /// The images of the services, for people, by service.
    #[must_use]
    pub fn images(&self) -> BTreeMap<String, String> {
        self.parts.iter().map(|(service, part)| (service.clone(), part.image.clone())).collect()
    }

    /// The address of the container of this stack that answers, if it runs: the
    /// newest one, while a new one takes over.
    #[must_use]
    pub fn address(&self, serves: &Serves, containers: &[Container]) -> Option<SocketAddr> {
        let part = self.parts.get(&serves.service)?;
        let is_it = |container: &&Container| container.service == serves.service && part.is_of(container) && container.state == ServiceState::Running;
        containers.iter().filter(is_it).max_by_key(|container| container.created)?.address(serves.port)
    }

    /// The same with these services only.
    #[must_use]
    pub fn only(&self, services: &BTreeSet<String>) -> Self {
        let parts = self.parts.iter().filter(|(name, _)| services.contains(*name));
        Self { parts: parts.map(|(name, part)| (name.clone(), part.clone())).collect(), ..self.clone() }
    }

    /// Has this service a container that was made as something else?
    #[must_use]
    pub fn has_other(&self, service: &str, containers: &[Container]) -> bool {
        let is_other = |part: &Part| containers.iter().any(|container| container.service == service && !part.is_of(container));
        self.parts.get(service).is_some_and(is_other)
    }

    /// The services whose containers are not all as they should be, of those that
    /// are there.
    #[must_use]
    pub fn differing<'a>(&'a self, containers: &[Container]) -> Vec<&'a str> {
        let differs = |service: &str, part: &Part| {
            let ours: Vec<&Container> = containers.iter().filter(|container| container.service == service).collect();
            ours.len() != part.replicas as usize || ours.iter().any(|container| !part.is_of(container) || !container.is_well())
        };
        self.parts.iter().filter(|(service, part)| differs(service, part)).map(|(service, _)| service.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::container::tests::container;

    fn stack() -> Stack {
        let part = Part { image: "web:1".into(), id: "sha256:aa".into(), built: None, hash: "h1".into(), replicas: 1 };
        Stack { name: "media".into(), parts: [("web".to_owned(), part)].into(), env: BTreeMap::new(), binds: Vec::new(), names: Vec::new(), order: vec!["web".into()], twice: false, awaits: BTreeMap::new(), bonds: Bonds::default() }
    }

    #[test]
    fn it_is_for_this_user_alone_and_comes_back_as_it_was() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Stack::load(dir.path(), 7), None);
        let made = make_folder(dir.path(), 7).unwrap();
        write(&model_file(dir.path(), 7), b"{}").unwrap();
        assert_eq!(Stack::load(dir.path(), 7), None, "it was not written to its end");
        stack().save(dir.path(), 7).unwrap();
        assert_eq!(Stack::load(dir.path(), 7), Some(stack()));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&made), mode(&made.join("stack.json")), mode(&made.join("model.json"))), (0o700, 0o600, 0o600));
        make_folder(dir.path(), 7).unwrap();
        assert_eq!(Stack::load(dir.path(), 7), None);
    }

    #[test]
    fn what_differs_is_what_is_done_again() {
        let web = container("web", ServiceState::Running);
        assert!(stack().differing(std::slice::from_ref(&web)).is_empty());
        for other in [
            Container { definition: "h2".into(), ..web.clone() },
            Container { image_id: "sha256:bb".into(), ..web.clone() },
            Container { state: ServiceState::Created, ..web.clone() },
            Container { state: ServiceState::Restarting, ..web.clone() },
        ] {
            assert_eq!(stack().differing(&[other]), ["web"]);
        }
        assert_eq!(stack().differing(&[]), ["web"]);
        assert_eq!(stack().differing(&[web.clone(), web]), ["web"]);
    }
}
