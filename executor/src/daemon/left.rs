//! Containers of projects that left the host's file: they are told of, and left alone.
//!
//! Invariant: each is named once in a daemon's life, and only when this host
//! itself once deployed it; the engine is not asked when there is no such project.
//! What is absent: ending them. What is in them is for a person to decide.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use doorstep_shared::ids::ServiceState;
use tracing::warn;

use crate::compose::{Container, EngineError, LABEL_PROJECT};
use crate::run::Shared;

/// Pause before an engine that is away is asked again.
const AGAIN: Duration = Duration::from_secs(10);
/// How often it is asked: five minutes, in which a machine has started.
const TRIES_MAX: usize = 30;

/// Says which projects left their containers running, once the engine answers.
pub(super) fn tell(shared: &Rc<Shared>) {
    let mut gone: BTreeSet<String> = shared.journal.project_names().unwrap_or_default().into_iter().collect();
    gone.retain(|name| !shared.config.projects.contains_key(name));
    if gone.is_empty() {
        return;
    }
    let shared = Rc::clone(shared);
    tokio::task::spawn_local(async move {
        let engine = shared.supervisor.stacks().engine();
        for _ in 0..TRIES_MAX {
            match engine.containers(&[LABEL_PROJECT.to_owned()]).await {
                Ok(found) => return left(&found, &gone).iter().for_each(|(name, owner)| say(name, owner)),
                Err(EngineError::Unreachable { .. }) => tokio::time::sleep(AGAIN).await,
                Err(EngineError::Refused(_)) => return,
            }
        }
    });
}

fn say(name: &str, owner: &str) {
    warn!(project = owner, "containers of {owner}, which is not in the host's file any more, still run; `docker compose -p {name} down` ends them and keeps their volumes");
}

/// What Compose calls the projects among these that have containers that run, and
/// what they were called here.
fn left(containers: &[Container], gone: &BTreeSet<String>) -> BTreeMap<String, String> {
    let runs = |container: &&Container| matches!(container.state, ServiceState::Running | ServiceState::Restarting);
    let of = |container: &Container| container.owner.clone().filter(|owner| gone.contains(owner)).map(|owner| (container.compose_project.clone(), owner));
    containers.iter().filter(runs).filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::container::tests::container;

    #[test]
    fn what_left_the_file_and_runs_is_named_once() {
        let owned = |service, state, owner: &str| Container { owner: Some(owner.into()), compose_project: "legacy".into(), ..container(service, state) };
        let gone = BTreeSet::from(["adopted".to_owned()]);
        let (running, exited) = (ServiceState::Running, ServiceState::Exited);
        let all = [owned("web", running, "adopted"), owned("db", running, "adopted"), owned("x", running, "shop"), container("y", running)];
        assert_eq!(left(&all, &gone), BTreeMap::from([("legacy".to_owned(), "adopted".to_owned())]));
        assert!(left(&[owned("web", exited, "adopted")], &gone).is_empty());
    }
}
