//! Compose projects as the supervisor sees them: the engine keeps them up, and
//! this says how they are.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use doorstep_shared::ids::ProjectState;
use doorstep_shared::protocol::ServiceView;

use super::Supervisor;
use crate::clock;
use crate::compose::{Stack, Stacks, stacks};
use crate::config::Project;
use crate::usage::{self, Usage};

impl Supervisor {
    /// The containers of the compose projects.
    #[must_use]
    pub fn stacks(&self) -> &Rc<Stacks> {
        &self.stacks
    }

    fn live_stack(&self, project: &Project) -> Option<Stack> {
        let live = self.journal.live_release(&project.name).ok().flatten()?;
        Stack::load(self.layout(project).dir(), live.id)
    }

    /// The services of a compose project.
    #[must_use]
    pub fn services(&self, project: &Project) -> Vec<ServiceView> {
        if project.compose.is_none() {
            return Vec::new();
        }
        let images = self.live_stack(project).map_or_else(BTreeMap::new, |stack| stack.images());
        let stopped = self.journal.stopped_services(&project.name).unwrap_or_default();
        self.stacks.services(project, &images, &stopped)
    }

    /// What the containers of each service of a project use together.
    #[must_use]
    pub fn services_usage(&self, project: &str) -> BTreeMap<String, Usage> {
        let mut used: BTreeMap<String, Usage> = BTreeMap::new();
        let Some(project) = self.projects.get(project).filter(|project| project.compose.is_some()) else { return used };
        let now = clock::wall();
        for container in self.stacks.containers(project) {
            let up_ms = container.started.map_or(0, |started| now.ms_since(started));
            let Some(usage) = container.pid.and_then(|pid| usage::of_container(pid, up_ms)) else { continue };
            let sum = used.entry(container.service).or_default();
            sum.processes += usage.processes;
            sum.memory_bytes += usage.memory_bytes;
            sum.cpu_ms += usage.cpu_ms;
            sum.up_ms = sum.up_ms.max(usage.up_ms);
        }
        used
    }

    pub(super) fn stack_state(&self, project: &Project) -> (ProjectState, Option<String>) {
        if self.live_stack(project).is_none() {
            return (ProjectState::Stopped, self.stacks.fault());
        }
        let wanted = self.journal.wants_running(&project.name).unwrap_or(true);
        let unrouted = self.unrouted.borrow().get(&project.name).cloned();
        let (state, reason) = stacks::state(&self.services(project), &stacks::ended(&self.stacks.containers(project)), wanted, self.stacks.fault());
        match (state, unrouted) {
            (ProjectState::Running, Some(why)) => (ProjectState::Degraded, Some(why)),
            (state, _) => (state, reason),
        }
    }

    /// Are all containers of the live release there, and well, but for what a
    /// person stopped?
    #[must_use]
    pub fn stack_is_up(&self, project: &Project) -> bool {
        let containers = self.stacks.containers(project);
        let stopped = self.journal.stopped_services(&project.name).unwrap_or_default();
        self.stacks.fault().is_none() && self.live_stack(project).is_some_and(|stack| stack.differing(&containers).iter().all(|service| stopped.contains(*service) && !stack.has_other(service, &containers)))
    }

    /// Where the proxy leads for a compose project: the container of the live
    /// release that answers, or the newest one that does.
    pub(super) fn stack_address(&self, project: &Project) -> Option<SocketAddr> {
        let serves = project.compose.as_ref()?.serves.as_ref()?;
        let stack = self.live_stack(project)?;
        stack.address(serves, &self.stacks.containers(project))
    }
}
