//! What the engine runs of the configured projects, live.
//!
//! The engine's own event stream says when to look at a container again, so
//! nothing polls; while the engine is away it is dialled now and then, and what
//! was known last is shown with that fault. Containers of projects that nobody
//! configured are never asked about. What is absent: acting on any of it.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::EventMessage;
use doorstep_shared::ids::{ProjectState, ServiceState};
use doorstep_shared::protocol::ServiceView;
use doorstep_shared::time::Timestamp;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tracing::{info, warn};

use super::{Container, Engine, EngineError, container};
use crate::clock;
use crate::config::Project;

/// First wait before the engine is dialled again; doubles each time.
const AGAIN_MS: u64 = 500;
/// Longest wait.
const AGAIN_MS_MAX: u64 = 15_000;

/// The containers of the configured compose projects.
pub struct Stacks {
    engine: Rc<Engine>,
    /// What Compose calls each project.
    names: Vec<String>,
    seen: RefCell<BTreeMap<String, Container>>,
    fault: RefCell<Option<String>>,
    /// When the engine was lost, since when what was seen may not be so.
    lost_at: Cell<Option<Timestamp>>,
    was_seen: Cell<bool>,
    changed: Rc<Notify>,
}

impl Stacks {
    /// The stacks of these projects; nothing is asked before [`Stacks::watch`].
    #[must_use]
    pub fn new<'a>(projects: impl Iterator<Item = &'a Project>, changed: Rc<Notify>) -> Self {
        let names = projects.filter(|project| project.compose.is_some()).map(Project::compose_name).collect();
        Self { engine: Rc::new(Engine::of_environment()), names, seen: RefCell::default(), fault: RefCell::new(Some("the Docker engine has not been asked yet".to_owned())), lost_at: Cell::default(), was_seen: Cell::default(), changed }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Rc<Engine> {
        &self.engine
    }

    /// Watches from now on, if there is anything to watch.
    pub fn watch(self: &Rc<Self>) {
        if self.names.is_empty() {
            return;
        }
        let this = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let mut wait_ms = AGAIN_MS;
            loop {
                let before = this.fault.borrow().is_some();
                let Err(fault) = this.follow().await;
                if this.fault.borrow().is_none() || before != this.fault.borrow().is_some() {
                    wait_ms = AGAIN_MS;
                }
                this.is_lost(&fault);
                tokio::time::sleep(Duration::from_millis(wait_ms)).await;
                wait_ms = (wait_ms * 2).min(AGAIN_MS_MAX);
            }
        });
    }

    /// Follows the engine's events until they end.
    async fn follow(&self) -> Result<std::convert::Infallible, EngineError> {
        // Events of the past second are said again: none is lost between the two.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs().saturating_sub(1);
        let events = self.engine.events(since).await?;
        self.look_at_all().await?;
        self.lost_at.set(None);
        self.was_seen.set(true);
        if self.fault.replace(None).is_some() {
            info!("the Docker engine at {} is watched", self.engine.host());
        }
        self.changed.notify_one();
        tokio::pin!(events);
        while let Some(event) = events.next().await {
            match event {
                Ok(event) => self.look(event).await?,
                Err(fault) => return Err(self.engine.lost(&fault)),
            }
        }
        Err(self.engine.lost(&"its events ended"))
    }

    fn is_lost(&self, fault: &EngineError) {
        self.engine.forget();
        self.lost_at.set(self.lost_at.get().or_else(|| Some(clock::wall())));
        let said = fault.to_string();
        if self.fault.replace(Some(said.clone())).as_ref() != Some(&said) {
            warn!("{said}");
            self.changed.notify_one();
        }
    }

    async fn look_at_all(&self) -> Result<(), EngineError> {
        let mut seen = BTreeMap::new();
        for name in &self.names {
            let found = self.engine.containers(&[label(name)]).await?;
            seen.extend(found.into_iter().map(|container| (container.id.clone(), container)));
        }
        self.seen.replace(seen);
        Ok(())
    }

    async fn look(&self, event: EventMessage) -> Result<(), EngineError> {
        let Some(actor) = event.actor else { return Ok(()) };
        let attributes = actor.attributes.unwrap_or_default();
        let is_ours = attributes.get("com.docker.compose.project").is_some_and(|name| self.names.contains(name));
        let Some(id) = actor.id.filter(|_| is_ours) else { return Ok(()) };
        let found = self.engine.container(&id).await?;
        let before = match found.clone() {
            Some(container) => self.seen.borrow_mut().insert(id, container),
            None => self.seen.borrow_mut().remove(&id),
        };
        if before != found {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// The containers of a project, as they were seen last. Those that somebody
    /// else started under the same name are not its own.
    #[must_use]
    pub fn containers(&self, project: &Project) -> Vec<Container> {
        let name = project.compose_name();
        let is_ours = |container: &&Container| container.compose_project == name && container.owner.as_ref() == Some(&project.name);
        self.seen.borrow().values().filter(is_ours).cloned().collect()
    }

    /// Why the engine is not watched now, if so.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        self.fault.borrow().clone()
    }

    /// The services of a project, for pages; `images` are those of its live release,
    /// and `stopped` are those that a person stopped. Before the engine was heard
    /// there are none.
    #[must_use]
    pub fn services(&self, project: &Project, images: &BTreeMap<String, String>, stopped: &BTreeSet<String>) -> Vec<ServiceView> {
        if !self.was_seen.get() {
            return Vec::new();
        }
        let shown = project.compose.as_ref().and_then(|compose| compose.services.as_deref());
        let containers = self.containers(project);
        let mut services = container::services(containers.iter(), images, shown);
        for service in &mut services {
            service.stopped = stopped.contains(service.name.as_str());
            service.known_until = self.lost_at.get();
        }
        services
    }
}

/// What containers of a project carry.
#[must_use]
pub fn label(compose_name: &str) -> String {
    format!("com.docker.compose.project={compose_name}")
}

/// Services that ended well and should not have ended, as somebody may have
/// stopped them.
#[must_use]
pub fn ended(containers: &[Container]) -> BTreeSet<String> {
    let is_ended = |container: &&Container| container.state == ServiceState::Exited && container.exit_code == Some(0) && !container.is_done();
    containers.iter().filter(is_ended).map(|container| container.service.clone()).collect()
}

/// How a project is, of whose live release these services are. Pure.
#[must_use]
pub fn state(services: &[ServiceView], ended: &BTreeSet<String>, wanted: bool, fault: Option<String>) -> (ProjectState, Option<String>) {
    let is_up = |view: &&ServiceView| view.state == ServiceState::Running;
    let (up, all) = (services.iter().filter(is_up).count(), services.len());
    let at_rest = services.iter().filter(|view| view.rests()).count();
    let ill = services.iter().find_map(|view| ailment(view, ended));
    match (wanted, fault) {
        (_, Some(fault)) => (ProjectState::Degraded, Some(fault)),
        (false, None) if up == 0 => (ProjectState::Stopped, None),
        (false, None) => (ProjectState::Degraded, Some(format!("{up} of {all} services run, although it was stopped"))),
        (true, None) if all > 0 && at_rest == all => (ProjectState::Stopped, None),
        (true, None) if ill.is_none() => (ProjectState::Running, None),
        (true, None) if up == 0 => (ProjectState::Failing, ill),
        (true, None) => (ProjectState::Degraded, ill),
    }
}

/// What is wrong with a service, in a sentence.
fn ailment(view: &ServiceView, ended: &BTreeSet<String>) -> Option<String> {
    use doorstep_shared::ids::ContainerHealth::Unhealthy;
    if view.rests() {
        return None;
    }
    let code = view.exit_code.map_or_else(String::new, |code| format!(" with {code}"));
    let what = match (view.state, view.health) {
        (ServiceState::Running, Some(Unhealthy)) => "is unhealthy".to_owned(),
        (ServiceState::Running, _) => return None,
        (ServiceState::Exited, _) if view.exit_code == Some(0) && ended.contains(view.name.as_str()) => "has ended".to_owned(),
        (ServiceState::Exited, _) if view.exit_code == Some(0) => return None,
        (ServiceState::Exited | ServiceState::Dead, _) => format!("exited{code}"),
        (ServiceState::Restarting, _) => format!("ended{code} and is started again and again"),
        (ServiceState::Paused, _) => "is paused".to_owned(),
        (ServiceState::Created, _) => "was not started".to_owned(),
        (ServiceState::Absent, _) => "has no container".to_owned(),
    };
    Some(format!("service {} {what}", view.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::container::tests::container;

    fn services(states: &[(&str, ServiceState)]) -> Vec<ServiceView> {
        let containers: Vec<Container> = states.iter().filter(|(_, state)| *state != ServiceState::Absent).map(|(name, state)| container(name, *state)).collect();
        let images = states.iter().map(|(name, _)| ((*name).to_owned(), String::new())).collect();
        container::services(containers.iter(), &images, None)
    }

    #[test]
    fn a_project_is_as_well_as_its_services() {
        use ServiceState::{Absent, Exited, Restarting, Running};
        let of = |states: &[(&str, ServiceState)], wanted| state(&services(states), &BTreeSet::new(), wanted, None);
        assert_eq!(of(&[("init", Exited), ("web", Running)], true), (ProjectState::Running, None));
        let (degraded, why) = of(&[("db", Running), ("web", Restarting)], true);
        assert_eq!((degraded, why.as_deref()), (ProjectState::Degraded, Some("service web ended and is started again and again")));
        assert_eq!(of(&[("web", Absent)], true), (ProjectState::Failing, Some("service web has no container".to_owned())));
        assert_eq!(of(&[("web", Absent)], false), (ProjectState::Stopped, None));
        assert_eq!(of(&[("web", Running)], false).0, ProjectState::Degraded);
        let gone = Some("the engine is gone".to_owned());
        assert_eq!(state(&services(&[("web", Running)]), &BTreeSet::new(), true, gone.clone()), (ProjectState::Degraded, gone));
    }

    #[test]
    fn what_a_person_stopped_is_not_missed() {
        use ServiceState::{Exited, Running};
        let of = |states: &[(&str, ServiceState)], stopped: &[&str]| {
            let mut services = services(states);
            services.iter_mut().for_each(|view| {
                view.exit_code = Some(137);
                view.stopped = stopped.contains(&view.name.as_str());
            });
            state(&services, &BTreeSet::new(), true, None)
        };
        assert_eq!(of(&[("db", Running), ("web", Exited)], &[]), (ProjectState::Degraded, Some("service web exited with 137".to_owned())));
        assert_eq!(of(&[("db", Running), ("web", Exited)], &["web"]), (ProjectState::Running, None));
        assert_eq!(of(&[("db", Running), ("web", Running)], &["web"]), (ProjectState::Running, None), "somebody started it");
        assert_eq!(of(&[("db", Exited), ("web", Exited)], &["web"]), (ProjectState::Failing, Some("service db exited with 137".to_owned())));
        assert_eq!(of(&[("db", Exited), ("web", Exited)], &["db", "web"]), (ProjectState::Stopped, None));
    }

    #[test]
    fn what_should_run_and_ended_well_is_missed() {
        let mut web = container("web", ServiceState::Exited);
        let of = |web: &Container| {
            let all = [container("db", ServiceState::Running), web.clone()];
            let images = ["db", "web"].map(|name| (name.to_owned(), String::new())).into();
            state(&container::services(all.iter(), &images, None), &ended(&all), true, None)
        };
        assert_eq!(of(&web).0, ProjectState::Running, "a service that runs once");
        web.restarts_always = true;
        assert_eq!(of(&web), (ProjectState::Degraded, Some("service web has ended".to_owned())));
    }
}
