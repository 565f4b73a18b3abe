//! Which services a deploy, a rebuild or a way back makes anew. Pure.
//!
//! Invariant: a service whose containers are what its definition says, and run,
//! is in no set unless somebody asked for it or it lives in a container that is.
//! What is absent: doing it.

use std::collections::BTreeSet;

use doorstep_shared::ids::ServiceState;

use crate::compose::{Container, Stack};
use crate::config::Serves;

/// What is done to which service.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    /// Stopped and made anew.
    pub anew: BTreeSet<String>,
    /// Started beside its old container.
    pub beside: Option<String>,
}

impl Changes {
    /// All services that get a container.
    pub fn touched(&self) -> BTreeSet<String> {
        self.anew.iter().chain(&self.beside).cloned().collect()
    }
}

/// What a run is to make anew besides what differs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    /// Everything.
    pub all: bool,
    /// This service, and no other that is only stopped.
    pub only: Option<&'a str>,
    /// What the proxy leads to.
    pub proxied: Option<&'a Serves>,
    /// What a person stopped, and a way back leaves so.
    pub resting: Option<&'a BTreeSet<String>>,
}

/// Decides what is done to which service.
pub(super) fn changes_of(stack: &Stack, containers: &[Container], asked: Asked<'_>) -> Changes {
    let differing = differing(stack, containers, asked.only);
    let mut forced = forced(stack, asked);
    let proxied = asked.proxied.map(|serves| serves.service.as_str());
    if asked.only.is_none() {
        forced.extend(stack.bonds.restarted_with(&(&differing | &forced)));
    }
    let first: BTreeSet<String> = (&differing | &forced).into_iter().filter(|service| Some(service.as_str()) != proxied).collect();
    forced.extend(stack.bonds.with_inside(&first).difference(&first).cloned());
    let beside = proxied.filter(|service| can_be_beside(stack, containers, service, (&differing, &forced))).map(str::to_owned);
    let mut anew = &differing | &forced;
    if asked.only.is_none() {
        anew.extend(ended(stack, containers));
    }
    match &beside {
        Some(beside) => _ = anew.remove(beside),
        None => anew = stack.bonds.with_inside(&anew),
    }
    Changes { anew, beside }
}

/// The services that are not those of the stack any more, to be put back; of a
/// run about one service, not what is only stopped.
pub(super) fn to_put_back(stack: &Stack, containers: &[Container], asked: Asked<'_>) -> BTreeSet<String> {
    let rests = |service: &String| asked.resting.is_some_and(|resting| resting.contains(service)) && has_its_own(stack, containers, service);
    let mut back = differing(stack, containers, asked.only);
    back.retain(|service| !rests(service));
    if asked.only.is_none() {
        let proxied = asked.proxied.map(|serves| serves.service.as_str());
        let restarted = stack.bonds.restarted_with(&back);
        // What serves goes on, whatever it was to be restarted with.
        back.extend(restarted.into_iter().filter(|service| Some(service.as_str()) != proxied));
    }
    stack.bonds.with_inside(&back)
}

/// Are the containers of this service those of the stack, whether they run or not?
fn has_its_own(stack: &Stack, containers: &[Container], service: &str) -> bool {
    !stack.has_other(service, containers) && containers.iter().any(|container| container.service == service)
}

/// The service, if there is one, and what lives in its containers; or all.
pub(super) fn meant(stack: &Stack, only: Option<&str>) -> BTreeSet<String> {
    match only {
        Some(only) => stack.bonds.with_inside(&[only.to_owned()].into()),
        None => stack.parts.keys().cloned().collect(),
    }
}

fn differing(stack: &Stack, containers: &[Container], only: Option<&str>) -> BTreeSet<String> {
    let meant = meant(stack, only);
    let differing = stack.differing(containers).into_iter();
    differing.filter(|service| meant.contains(*service) || stack.has_other(service, containers)).map(str::to_owned).collect()
}

fn forced(stack: &Stack, asked: Asked<'_>) -> BTreeSet<String> {
    let is_asked = |service: &&String| asked.all || asked.only == Some(service.as_str());
    stack.parts.keys().filter(is_asked).cloned().collect()
}

/// The tasks that ended well: they are run again, as Compose does.
fn ended<'a>(stack: &'a Stack, containers: &'a [Container]) -> impl Iterator<Item = String> + 'a {
    let has_ended = |service: &&String| containers.iter().any(|container| container.service == **service && container.is_done());
    stack.parts.keys().filter(has_ended).cloned()
}

/// Can a new container of this service be started beside the one it has? What is
/// half made there is made anew in its place.
fn can_be_beside(stack: &Stack, containers: &[Container], service: &str, (differing, forced): (&BTreeSet<String>, &BTreeSet<String>)) -> bool {
    let Some(part) = stack.parts.get(service) else { return false };
    let ours: Vec<&Container> = containers.iter().filter(|container| container.service == service).collect();
    let runs = ours.iter().any(|container| container.state == ServiceState::Running);
    let is_there = ours.iter().any(|container| part.is_of(container));
    let is_asked_for = forced.contains(service) && ours.iter().all(|container| container.is_well());
    stack.twice && runs && (is_asked_for || (!is_there && differing.contains(service)))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compose::Part;
    use crate::compose::bonds::Bonds;
    use crate::compose::container::tests::container;

    fn stack() -> Stack {
        let part = Part { image: "web:1".into(), id: "sha256:aa".into(), built: None, hash: "h1".into(), replicas: 1 };
        let parts = ["db", "web"].map(|service| (service.to_owned(), part.clone())).into();
        Stack { name: "media".into(), parts, env: BTreeMap::new(), binds: Vec::new(), names: Vec::new(), order: vec!["web".into(), "db".into()], twice: true, awaits: BTreeMap::new(), bonds: Bonds::default() }
    }

    fn set(services: &[&str]) -> BTreeSet<String> {
        services.iter().map(ToString::to_string).collect()
    }

    fn anew(services: &[&str]) -> Changes {
        Changes { anew: set(services), beside: None }
    }

    fn beside(services: &[&str]) -> Changes {
        Changes { anew: set(services), beside: Some("web".to_owned()) }
    }

    fn web() -> Serves {
        Serves { service: "web".into(), port: 8000 }
    }

    #[test]
    fn only_what_differs_is_touched() {
        let (db, web) = (container("db", ServiceState::Running), container("web", ServiceState::Running));
        let of = |containers: &[Container]| changes_of(&stack(), containers, Asked::default());
        assert_eq!(of(&[db.clone(), web.clone()]), Changes::default());
        let old = Container { definition: "h0".into(), ..web.clone() };
        assert_eq!(of(&[db.clone(), old]), anew(&["web"]));
        let half = Container { state: ServiceState::Created, ..web.clone() };
        assert_eq!(of(&[db.clone(), half]), anew(&["web"]));
        assert_eq!(of(std::slice::from_ref(&db)), anew(&["web"]));
        let ended = Container { state: ServiceState::Exited, exit_code: Some(0), ..db.clone() };
        assert_eq!(of(&[ended, web.clone()]), anew(&["db"]), "what ended is run again, as Compose does");
        assert_eq!(changes_of(&stack(), &[db, web], Asked { all: true, ..Asked::default() }), anew(&["db", "web"]));
    }

    #[test]
    fn one_service_that_is_meant_is_all_that_is_touched() {
        let (db, web) = (container("db", ServiceState::Running), container("web", ServiceState::Running));
        let only = |containers: &[Container]| changes_of(&stack(), containers, Asked { only: Some("db"), ..Asked::default() });
        assert_eq!(only(&[db.clone(), web.clone()]), anew(&["db"]));
        let stopped = Container { state: ServiceState::Exited, exit_code: Some(137), ..web.clone() };
        assert_eq!(only(&[db.clone(), stopped.clone()]), anew(&["db"]), "what a person stopped stays stopped");
        let ended = Container { exit_code: Some(0), ..stopped.clone() };
        assert_eq!(only(&[db.clone(), ended]), anew(&["db"]), "a task is not run again");
        assert_eq!(only(&[db.clone(), Container { definition: "h0".into(), ..web }]), anew(&["db", "web"]), "the containers become those of the release");
        let back = |containers: &[Container]| to_put_back(&stack(), containers, Asked { only: Some("db"), ..Asked::default() });
        assert!(back(&[db.clone(), stopped.clone()]).is_empty());
        assert_eq!(back(&[Container { definition: "h2".into(), ..db }, stopped]), set(&["db"]));
    }

    #[test]
    fn what_rests_is_put_back_only_where_it_is_another() {
        let (db, resting) = (container("db", ServiceState::Running), set(&["web"]));
        let stopped = Container { state: ServiceState::Exited, exit_code: Some(137), ..container("web", ServiceState::Running) };
        let back = |web: &[Container], resting| to_put_back(&stack(), &[std::slice::from_ref(&db), web].concat(), Asked { resting, ..Asked::default() });
        assert_eq!(back(std::slice::from_ref(&stopped), None), set(&["web"]));
        assert!(back(std::slice::from_ref(&stopped), Some(&resting)).is_empty());
        assert_eq!(back(&[Container { definition: "h2".into(), ..stopped }], Some(&resting)), set(&["web"]));
        assert_eq!(back(&[], Some(&resting)), set(&["web"]));
    }

    #[test]
    fn what_is_put_back_is_what_differs() {
        let serves = web();
        let (db, web) = (container("db", ServiceState::Running), container("web", ServiceState::Running));
        let asked = Asked { proxied: Some(&serves), ..Asked::default() };
        let of = |stack: &Stack, containers: &[Container]| to_put_back(stack, containers, asked);
        assert!(of(&stack(), &[db.clone(), web.clone()]).is_empty());
        let ended = Container { state: ServiceState::Exited, exit_code: Some(0), ..db.clone() };
        assert!(of(&stack(), &[ended, web.clone()]).is_empty(), "a task that ended well is not run again");
        let other = Container { definition: "h2".into(), ..db };
        let restarting = Bonds { restarts: [("web".to_owned(), set(&["db"]))].into(), ..Bonds::default() };
        assert_eq!(of(&Stack { bonds: restarting, ..stack() }, &[other.clone(), web.clone()]), set(&["db"]), "what serves goes on");
        let inside = Bonds { inside: [("web".to_owned(), set(&["db"]))].into(), ..Bonds::default() };
        assert_eq!(of(&Stack { bonds: inside, ..stack() }, &[other, web]), set(&["db", "web"]), "it lives in what goes");
    }

    #[test]
    fn what_the_proxy_leads_to_is_started_beside() {
        let serves = web();
        let (db, old) = (container("db", ServiceState::Running), Container { definition: "h0".into(), ..container("web", ServiceState::Running) });
        let asked = Asked { proxied: Some(&serves), ..Asked::default() };
        let of = |stack: &Stack, old: &Container| changes_of(stack, &[db.clone(), old.clone()], asked);
        assert_eq!(of(&stack(), &old), beside(&[]));
        assert_eq!(of(&Stack { twice: false, ..stack() }, &old), anew(&["web"]));
        assert_eq!(of(&stack(), &Container { state: ServiceState::Exited, ..old.clone() }), anew(&["web"]), "there is nothing to keep up");
        let restarts = Bonds { restarts: [("web".to_owned(), set(&["db"]))].into(), ..Bonds::default() };
        let other = Container { definition: "h0".into(), ..db.clone() };
        let same = container("web", ServiceState::Running);
        assert_eq!(changes_of(&stack(), &[other.clone(), same.clone()], asked), anew(&["db"]));
        assert_eq!(changes_of(&Stack { bonds: restarts, ..stack() }, &[other, same], asked), beside(&["db"]), "it is to be restarted with it");
    }

    #[test]
    fn one_that_is_rebuilt_is_started_beside_as_well() {
        let serves = web();
        let (db, web) = (container("db", ServiceState::Running), container("web", ServiceState::Running));
        let of = |web: &Container| changes_of(&stack(), &[db.clone(), web.clone()], Asked { only: Some("web"), proxied: Some(&serves), ..Asked::default() });
        assert_eq!(of(&web), beside(&[]));
        assert_eq!(of(&Container { state: ServiceState::Restarting, ..web }), anew(&["web"]));
    }

    #[test]
    fn what_lives_in_a_container_goes_with_it() {
        let bonds = Bonds { inside: [("db".to_owned(), set(&["web"]))].into(), ..Bonds::default() };
        let stack = Stack { bonds, twice: false, ..stack() };
        let (db, old) = (container("db", ServiceState::Running), Container { definition: "h0".into(), ..container("web", ServiceState::Running) });
        let serves = web();
        for proxied in [None, Some(&serves)] {
            assert_eq!(changes_of(&stack, &[db.clone(), old.clone()], Asked { proxied, ..Asked::default() }), anew(&["db", "web"]));
        }
    }
}
