//! The images step: everything that a release runs is on this host before
//! anything of the old one is touched.

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use doorstep_shared::ids::{Action, FailureKind};

use super::super::steps::Wrong;
use super::super::{Fault, Runner};
use super::engine_wrong;
use super::resolve::Resolved;
use crate::compose::bonds::Bonds;
use crate::compose::engine::Image;
use crate::compose::model::{Model, Pinned, image_name};
use crate::compose::{Engine, Part, Stack, argv, stack};
use crate::disk::Room;
use crate::git;
use crate::journal::{Point, Release};

/// Pulling and building are given up after this: a large model on a slow line.
const IMAGES_LIMIT: Duration = Duration::from_hours(1);

/// What is known of the images of a release while they are got together.
#[derive(Default)]
struct Got {
    /// By service: the image's identity.
    ids: BTreeMap<String, String>,
    /// By service: how the applied model names it.
    pinned: BTreeMap<String, String>,
    /// By service: what it was built from.
    keys: BTreeMap<String, Option<String>>,
    /// Names of ours.
    names: Vec<String>,
}

impl Runner {
    /// Pulls and builds, and writes down what the release is made of.
    pub(super) async fn images(&mut self, release: &Release, resolved: Resolved) -> Result<(), Fault> {
        self.begin(Point::Syncing, "images")?;
        let outcome = self.got_together(release, resolved).await;
        self.end(outcome)
    }

    async fn got_together(&mut self, release: &Release, resolved: Resolved) -> Result<((), String), Wrong> {
        let Resolved { model, variables } = resolved;
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        self.has_room(&engine).await?;
        let layout = self.shared.supervisor.layout(&self.project);
        let (slot, dir) = (layout.slot(release.slot), layout.dir().to_path_buf());
        let live = self.shared.journal.live_release(&self.project.name).map_err(Wrong::host)?.and_then(|live| Stack::load(&dir, live.id));
        let mut got = Got { keys: build_keys(&dir, &slot, &release.commit, &model).await?, ..Got::default() };
        let to_build = self.to_build(&engine, &model, live.as_ref(), &mut got).await?;
        let to_pull = to_pull(&engine, &model, &got).await?;
        let names: BTreeMap<String, String> = to_build.iter().map(|service| (service.clone(), format!("{}:r{}", image_name(&self.project.name, service), release.id))).collect();
        let build_file = stack::folder(&dir, release.id).join("build.json");
        stack::write(&build_file, model.to_build(&names).to_string().as_bytes()).map_err(Wrong::host)?;
        let compose_name = self.project.compose_name();
        for (words, services) in [(["pull", "--quiet"], &to_pull), (["build", "--quiet"], &to_build)] {
            if services.is_empty() {
                continue;
            }
            // Its output is the run's log: quiet is what Compose says of layers that come.
            let words = if words[0] == "build" { &words[..1] } else { &words[..] };
            let services: Vec<&str> = services.iter().map(String::as_str).collect();
            let call = argv::verb(&compose_name, &build_file, words, &services);
            let said = self.docker(call, &slot, &variables, IMAGES_LIMIT, |_| {}).await?;
            let kind = if words[0] == "build" { FailureKind::Build } else { FailureKind::Source };
            said.map_err(|said| said.wrong(words[0], kind))?;
        }
        let _ = std::fs::remove_file(&build_file);
        self.name_built(&engine, &to_build, &names, &mut got).await?;
        pin(&engine, &model, &mut got).await?;
        self.write_stack(release, &model, variables, got).await?;
        Ok(((), format!("{} built, {} pulled, {} were here", to_build.len(), to_pull.len(), model.services().count() - to_build.len() - to_pull.len())))
    }

    /// Room where the engine keeps its images.
    async fn has_room(&self, engine: &Engine) -> Result<(), Wrong> {
        let Some(root) = engine.root_dir().await.map_err(engine_wrong)? else { return Ok(()) };
        let room = tokio::task::spawn_blocking(move || Room::at(Path::new(&root)).map(|room| room.lacks(1)));
        match room.await.map_err(Wrong::host)? {
            Ok(Some(lacks)) => Err(Wrong { kind: FailureKind::Disk, message: format!("the disk of the Docker engine is full: {lacks}") }),
            // An engine in another place: it will say so itself.
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// The services whose image has to be built; those whose sources are what
    /// the live release's were keep its image.
    async fn to_build(&self, engine: &Engine, model: &Model, live: Option<&Stack>, got: &mut Got) -> Result<Vec<String>, Wrong> {
        let mut to_build = Vec::new();
        for service in model.services().filter(|service| model.is_built(service)) {
            let known = live.and_then(|live| live.parts.get(service)).filter(|part| self.keeps_image(service, part, got));
            match known {
                Some(part) if engine.image(&part.id).await.map_err(engine_wrong)?.is_some() => {
                    got.ids.insert(service.to_owned(), part.id.clone());
                }
                _ => to_build.push(service.to_owned()),
            }
        }
        Ok(to_build)
    }

    fn keeps_image(&self, service: &str, part: &Part, got: &Got) -> bool {
        let is_same = part.built.is_some() && got.keys.get(service) == Some(&part.built);
        match (self.record.action, &self.record.service) {
            // The same commit, and another service is meant.
            (Action::Rebuild, Some(meant)) => meant.as_str() != service,
            (Action::Rebuild, None) => false,
            _ => is_same,
        }
    }

    /// Names what was built by its identity, so that the name says the content.
    async fn name_built(&self, engine: &Engine, built: &[String], names: &BTreeMap<String, String>, got: &mut Got) -> Result<(), Wrong> {
        for service in built {
            let Some(name) = names.get(service) else { continue };
            let image = engine.image(name).await.map_err(engine_wrong)?;
            let image = image.ok_or_else(|| Wrong { kind: FailureKind::Build, message: format!("the build of {service} ended well and left no image") })?;
            got.ids.insert(service.clone(), image.id);
        }
        for (service, id) in &got.ids {
            let (repository, tag) = (image_name(&self.project.name, service), short_id(id));
            engine.tag(id, &repository, tag).await.map_err(engine_wrong)?;
            let name = format!("{repository}:{tag}");
            got.pinned.insert(service.clone(), name.clone());
            got.names.push(name);
        }
        for service in built {
            let name = names.get(service).map(String::as_str).unwrap_or_default();
            engine.untag(name).await.map_err(engine_wrong)?;
        }
        Ok(())
    }

    /// Writes the model that is applied, and what is known of it.
    async fn write_stack(&self, release: &Release, model: &Model, variables: BTreeMap<String, String>, got: Got) -> Result<(), Wrong> {
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        let places = self.places(release, model).await?;
        let settings = self.project.compose.clone().unwrap_or_default();
        let proxied = settings.listen.and(settings.serves.as_ref());
        let repo = self.project.repo.to_string();
        let pinned = Pinned { project: &self.project.name, repo: &repo, images: &got.pinned, places: &places.of, proxied, variables: &variables };
        let (applied, hashes) = model.to_apply(&pinned);
        stack::write(&stack::model_file(&dir, release.id), applied.to_string().as_bytes()).map_err(Wrong::host)?;
        let name = self.project.compose_name();
        let mut parts = BTreeMap::new();
        for service in model.services() {
            let image = model.image(service).unwrap_or_else(|| format!("{name}-{service}"));
            let (Some(id), Some(hash)) = (got.ids.get(service), hashes.get(service)) else {
                return Err(Wrong::host(format!("there is no image for the service {service}")));
            };
            let built = got.keys.get(service).cloned().flatten();
            parts.insert(service.to_owned(), Part { image, id: id.clone(), built, hash: hash.clone(), replicas: model.replicas(service) });
        }
        let order = model.stop_order().into_iter().map(str::to_owned).collect();
        let twice = proxied.is_some_and(|serves| model.can_run_twice(&serves.service, serves.port));
        let awaits = proxied.map(|serves| model.awaits(&serves.service)).unwrap_or_default();
        let stack = Stack { name, parts, env: variables, binds: places.binds, names: got.names, order, twice, awaits, bonds: Bonds::of(model) };
        stack.save(&dir, release.id).map_err(Wrong::host)
    }
}

async fn build_keys(dir: &Path, slot: &Path, commit: &str, model: &Model) -> Result<BTreeMap<String, Option<String>>, Wrong> {
    let (dir, slot, commit, model) = (dir.to_path_buf(), slot.to_path_buf(), commit.to_owned(), model.clone());
    let keys = tokio::task::spawn_blocking(move || {
        let store = git::open_store(&dir).map_err(Wrong::host)?;
        let object_at = |path: &Path| store.object_at(&commit, path).ok().flatten();
        let built = model.services().filter(|service| model.is_built(service));
        Ok(built.map(|service| (service.to_owned(), model.build_key(service, &slot, &object_at))).collect())
    });
    keys.await.map_err(Wrong::host)?
}

/// The services whose image is not here, or that want it pulled each time.
async fn to_pull(engine: &Engine, model: &Model, got: &Got) -> Result<Vec<String>, Wrong> {
    let mut to_pull = Vec::new();
    let built_images: Vec<String> = got.keys.keys().filter_map(|service| model.image(service)).collect();
    for service in model.services().filter(|service| !model.is_built(service)) {
        let Some(image) = model.image(service) else { continue };
        let is_always = matches!(model.pull_policy(service), Some("always" | "daily" | "weekly"));
        let is_built_here = built_images.contains(&image);
        if !is_built_here && (is_always || engine.image(&image).await.map_err(engine_wrong)?.is_none()) {
            to_pull.push(service.to_owned());
        }
    }
    Ok(to_pull)
}

/// Names every image that was not built by its digest, or by its identity where
/// it came from no registry.
async fn pin(engine: &Engine, model: &Model, got: &mut Got) -> Result<(), Wrong> {
    let built: BTreeMap<String, String> = got.keys.keys().filter_map(|service| Some((model.image(service)?, service.clone()))).collect();
    for service in model.services().filter(|service| !model.is_built(service)) {
        let name = model.image(service).unwrap_or_default();
        // Another service of the project builds what this one runs.
        if let Some(builder) = built.get(&name) {
            let (id, pinned) = (got.ids.get(builder).cloned(), got.pinned.get(builder).cloned());
            got.ids.extend(id.map(|id| (service.to_owned(), id)));
            got.pinned.extend(pinned.map(|pinned| (service.to_owned(), pinned)));
            continue;
        }
        let image = engine.image(&name).await.map_err(engine_wrong)?;
        let image = image.ok_or_else(|| Wrong { kind: FailureKind::Source, message: format!("the image {name} of the service {service} is not here, and its pull_policy keeps it from being pulled") })?;
        got.pinned.insert(service.to_owned(), by_digest(&image, &name));
        got.ids.insert(service.to_owned(), image.id);
    }
    Ok(())
}

fn by_digest(image: &Image, name: &str) -> String {
    let repository = |name: &str| name.split('@').next().unwrap_or_default().to_owned();
    let plain = |name: &str| {
        let name = repository(name);
        match name.rsplit_once(':') {
            Some((before, tag)) if !tag.contains('/') => before.to_owned(),
            _ => name,
        }
    };
    let wanted = plain(name);
    let found = image.digests.iter().find(|digest| repository(digest) == wanted).or_else(|| image.digests.first());
    found.cloned().unwrap_or_else(|| image.id.clone())
}

/// The first twelve digits of an image's identity.
fn short_id(id: &str) -> &str {
    doorstep_shared::text::cut(id.strip_prefix("sha256:").unwrap_or(id), 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_pinned_by_digest_where_they_have_one() {
        let image = |digests: &[&str]| Image { id: "sha256:aa".into(), digests: digests.iter().map(ToString::to_string).collect() };
        assert_eq!(by_digest(&image(&[]), "web:1"), "sha256:aa");
        assert_eq!(by_digest(&image(&["other@sha256:11", "redis@sha256:22"]), "redis:7"), "redis@sha256:22");
        assert_eq!(by_digest(&image(&["lan:5000/redis@sha256:22"]), "lan:5000/redis"), "lan:5000/redis@sha256:22");
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
    }
}
