//! The config step: which model the compose files come to, and whether this
//! host lets them have it. Nothing is applied, pulled or built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorstep_shared::ids::{FailureKind, RunState};

use super::super::Runner;
use super::super::steps::Wrong;
use super::{Failed, engine_wrong};
use crate::compose::model::{MODEL_BYTES_MAX, Model};
use crate::compose::permission::Refusal;
use crate::compose::policy::{self, Bounds};
use crate::compose::{Container, LABEL_PROJECT, argv, files, stack, stacks};
use crate::config::Compose;
use crate::journal::{Point, Release};

/// Resolving reads files of the checkout: seconds at most.
const CONFIG_LIMIT: Duration = Duration::from_mins(2);

/// Refusals that are told in full.
const REFUSALS_MAX: usize = 100;
/// Longest compose file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A model that this host lets the project have.
pub(super) struct Resolved {
    pub model: Model,
    pub variables: BTreeMap<String, String>,
}

impl Runner {
    /// Resolves the model of a checkout and looks at what it asks for.
    pub(super) async fn resolve(&mut self, release: &Release) -> Result<Resolved, Failed> {
        self.begin(Point::Building, "config").map_err(super::failed)?;
        let outcome = self.resolved(release).await;
        let is_refused = outcome.as_ref().is_err_and(|wrong| wrong.kind == FailureKind::Policy);
        let state = if is_refused { RunState::Refused } else { RunState::Failed };
        self.end(outcome).map_err(|fault| (fault, state))
    }

    async fn resolved(&mut self, release: &Release) -> Result<(Resolved, String), Wrong> {
        let settings = self.project.compose.clone().unwrap_or_default();
        let layout = self.shared.supervisor.layout(&self.project);
        let slot = layout.slot(release.slot);
        self.is_ours_alone(&settings).await?;
        self.can_listen(&settings).await?;
        let source = |message: String| Wrong { kind: FailureKind::Source, message };
        let files = argv::files(&settings, &slot).map_err(source)?;
        let variables = self.stack_variables(&release.commit)?;
        let inside = files.first().and_then(|file| file.parent()).map_or_else(|| slot.clone(), |parent| slot.join(parent));
        self.files_may(&settings, &files, &inside, &variables, release)?;
        let named: Vec<PathBuf> = files.iter().map(|file| slot.join(file)).collect();
        let folder = stack::make_folder(layout.dir(), release.id).map_err(|fault| Wrong::host(format!("what the release is made of cannot be written: {fault}")))?;
        let out = folder.join("resolved.json");
        let call = argv::config(&self.project.compose_name(), &settings, &named, &out);
        let said = self.docker(call, &inside, &variables, CONFIG_LIMIT, |_| {}).await?;
        said.map_err(|said| said.wrong("config", FailureKind::Source))?;
        let model = read(&out).map_err(source)?;
        self.model_may(&settings, &model, release)?;
        if let Some(serves) = &settings.serves
            && !model.services().any(|service| service == serves.service)
        {
            return Err(source(format!("`serves` of the host's file names {}, and the compose files have no such service", serves.service)));
        }
        let detail = format!("{} services from {}", model.services().count(), words(&files));
        Ok((Resolved { model, variables }, detail))
    }

    /// Containers of this name, or of this project under another name, that this
    /// release must not take for its own.
    async fn is_ours_alone(&mut self, settings: &Compose) -> Result<(), Wrong> {
        let name = self.project.compose_name();
        let engine = std::rc::Rc::clone(self.shared.supervisor.stacks().engine());
        let named = engine.containers(&[stacks::label(&name)]).await.map_err(engine_wrong)?;
        let owned = engine.containers(&[LABEL_PROJECT.to_owned()]).await.map_err(engine_wrong)?;
        let policy = |message| Wrong { kind: FailureKind::Policy, message };
        if let Some(foreign) = named.iter().find(|container| container.owner.as_ref() != Some(&self.project.name)) {
            match &foreign.owner {
                Some(owner) if self.shared.config.projects.contains_key(owner) => return Err(policy(format!("the containers called `{name}` belong to the project {owner}; give one of the two another name: name = \"…\" in [project.{}.compose]", self.project.name))),
                _ if settings.adopt => self.say(&format!("the containers called `{name}` ({}) are taken over", foreign.working_dir)),
                Some(owner) => return Err(policy(format!("the containers called `{name}` were those of the project {owner}, which has left the host's file; with adopt = \"yes\" in [project.{}.compose] they are taken over, with their volumes", self.project.name))),
                None => return Err(policy(format!("containers called `{name}` were started by somebody else, in {}; with adopt = \"yes\" in [project.{}.compose] they are taken over, with their volumes, or give this one another name: name = \"…\"", foreign.working_dir, self.project.name))),
            }
        }
        // What is live here, or has containers, was not called otherwise before.
        let is_of_us = |container: &Container| container.owner.as_ref() == Some(&self.project.name);
        let is_first = !owned.iter().any(is_of_us) && self.shared.journal.live_release(&self.project.name).map_err(Wrong::host)?.is_none();
        match owned.iter().find(|container| container.compose_project != name && (is_of_us(container) || (is_first && self.has_left(container)))) {
            Some(moved) => Err(policy(self.moved(moved))),
            None => Ok(()),
        }
    }

    /// Is the address that the proxy is to have published by a container of this
    /// project? Both cannot have it, and nothing was touched yet.
    async fn can_listen(&self, settings: &Compose) -> Result<(), Wrong> {
        let Some(listen) = settings.listen else { return Ok(()) };
        let containers = self.containers_now().await?;
        let Some(holder) = containers.iter().find(|container| container.publishes(listen)) else { return Ok(()) };
        let (holder, project) = (&holder.name, &self.project.name);
        let message = format!("{listen} is published by the container {holder} of this project, and `listen` gives it to the proxy; to go behind the proxy: `doorstep stop {project}`, then `doorstep deploy {project}`");
        Err(Wrong { kind: FailureKind::Policy, message })
    }

    /// Is this a container of a project of the same origin that is not in the
    /// host's file any more?
    fn has_left(&self, container: &Container) -> bool {
        let owner = container.owner.as_deref().unwrap_or_default();
        !self.shared.config.projects.contains_key(owner) && container.owner_repo.as_deref() == Some(&self.project.repo.to_string())
    }

    /// What to do about containers that may be this project's, under another name.
    fn moved(&self, container: &Container) -> String {
        let (name, under) = (&self.project.name, &container.compose_project);
        let owner = container.owner.as_deref().filter(|owner| owner != name);
        let whose = owner.map_or_else(|| "containers of this project".to_owned(), |owner| format!("containers of the project {owner} of the same repository, which is not in the host's file any more,"));
        let go_on = owner.map_or_else(String::new, |owner| format!("if this is what was called {owner}, "));
        format!("{whose} run under the name `{under}`; {go_on}set name = \"{under}\" in [project.{name}.compose] to go on with them and their volumes, or take them down with `docker compose -p {under} down`")
    }

    /// What the files name before they are resolved.
    fn files_may(&mut self, settings: &Compose, files: &[PathBuf], folder: &Path, variables: &BTreeMap<String, String>, release: &Release) -> Result<(), Wrong> {
        let roots = self.roots(settings);
        let slot = self.real_slot(release)?;
        let env_file = std::fs::read_to_string(folder.join(".env")).unwrap_or_default();
        let (of_file, _) = crate::config::dotenv(&env_file);
        let name = self.project.compose_name();
        let variable = |asked: &str| match asked {
            "COMPOSE_PROJECT_NAME" => Some(name.clone()),
            asked => variables.get(asked).cloned().or_else(|| of_file.iter().find(|(name, _)| name == asked).map(|(_, value)| value.clone())),
        };
        let source = files::Source { bounds: Bounds { release: &slot, roots: &roots, allow: &settings.allow }, read: &read_bounded, variable: &variable };
        let files: Vec<PathBuf> = files.iter().map(|file| slot.join(file)).collect();
        self.refused(&files::look(&files, source).refusals)
    }

    /// What the resolved model asks of this host.
    fn model_may(&mut self, settings: &Compose, model: &Model, release: &Release) -> Result<(), Wrong> {
        let (roots, slot) = (self.roots(settings), self.real_slot(release)?);
        let bounds = Bounds { release: &slot, roots: &roots, allow: &settings.allow };
        self.refused(&policy::check(model.value(), &bounds))
    }

    /// Folders outside a release that a project may mount from.
    fn roots(&self, settings: &Compose) -> Vec<PathBuf> {
        let data = self.shared.supervisor.layout(&self.project).data();
        std::iter::once(data.canonicalize().unwrap_or(data)).chain(settings.binds.iter().cloned()).collect()
    }

    fn real_slot(&self, release: &Release) -> Result<PathBuf, Wrong> {
        self.shared.supervisor.layout(&self.project).slot(release.slot).canonicalize().map_err(Wrong::host)
    }

    fn refused(&mut self, refusals: &[Refusal]) -> Result<(), Wrong> {
        let Some(first) = refusals.first() else { return Ok(()) };
        for refusal in refusals.iter().skip(1).take(REFUSALS_MAX) {
            self.say(&refusal.to_string());
        }
        let more = if refusals.len() > 1 { format!(" (and {} more, in the log)", refusals.len() - 1) } else { String::new() };
        Err(Wrong { kind: FailureKind::Policy, message: format!("{first}{more}") })
    }
}

fn read(path: &Path) -> Result<Model, String> {
    let size = std::fs::metadata(path).map_err(|fault| format!("what Compose resolved is not there: {fault}"))?.len();
    if size > MODEL_BYTES_MAX {
        return Err(format!("the resolved model has {size} bytes; at most {MODEL_BYTES_MAX} are read"));
    }
    let text = std::fs::read(path).map_err(|fault| fault.to_string())?;
    // It holds what the environment says, and the model that is applied is another.
    let _ = std::fs::remove_file(path);
    Model::parse(&text)
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let size = std::fs::metadata(path)?.len();
    if size > FILE_BYTES_MAX {
        return Err(std::io::Error::other(format!("it has {size} bytes; at most {FILE_BYTES_MAX} are read")));
    }
    std::fs::read_to_string(path)
}

fn words(files: &[PathBuf]) -> String {
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}
