//! The stop and start steps: only what differs is touched.
//!
//! Containers are stopped by the engine, each with the signal and grace of its
//! own definition, so that this wait is a step of its own; Compose then makes
//! them anew, with the volumes of the old ones. The service behind our proxy is
//! started beside its old container instead, where two of it can be.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use doorstep_shared::ids::{Action, FailureKind, ServiceState};
use futures_util::future::join_all;

use super::super::steps::Wrong;
use super::super::{Fault, Runner};
use super::engine_wrong;
use crate::compose::progress::Progress;
use crate::compose::{Container, Stack, argv, stack, stacks};
use crate::config::{Recreate, Serves};
use crate::journal::{Point, Release};

/// Starting is given up after this: services wait for those they need.
const UP_LIMIT: Duration = Duration::from_mins(30);
/// What every start says: nothing is built or fetched any more.
const UP: [&str; 5] = ["up", "--detach", "--no-build", "--pull", "never"];
/// The same for containers that are made and not started.
const CREATE: [&str; 5] = ["create", "--no-build", "--pull", "never", "--remove-orphans"];
/// How long requests in flight may go on at the old container.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// A stop that took so long was one that had to be killed, or nearly.
const SLOW_STOP: Duration = Duration::from_secs(9);

/// What is done to which service.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    /// Made anew because its definition or its image differs.
    differing: BTreeSet<String>,
    /// Made anew although neither does.
    forced: BTreeSet<String>,
    /// Started beside its old container.
    beside: Option<String>,
}

impl Runner {
    /// Makes the containers those of this stack; true when an old one still runs
    /// beside its successor.
    pub(super) async fn bring(&mut self, release: &Release, stack: &Stack) -> Result<bool, Fault> {
        let containers = match self.containers_now().await {
            Ok(containers) => containers,
            Err(wrong) => return Err(Fault { kind: wrong.kind, ..self.fault("stop", &wrong.message) }),
        };
        let changes = self.changes(stack, &containers);
        self.begin(Point::Replacing, "stop")?;
        let stopped = self.stop_changed(stack, &changes, &containers).await;
        self.end(stopped)?;
        self.begin(Point::Starting, "start")?;
        let started = self.start_changed(release, stack, &changes, &containers).await;
        self.end(started)?;
        Ok(changes.beside.is_some())
    }

    pub(in super::super) async fn containers_now(&self) -> Result<Vec<Container>, Wrong> {
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        engine.containers(&[stacks::label(&self.project.compose_name())]).await.map_err(engine_wrong)
    }

    fn changes(&self, stack: &Stack, containers: &[Container]) -> Changes {
        let settings = self.project.compose.clone().unwrap_or_default();
        let is_rebuild = self.record.action == Action::Rebuild;
        let all = is_rebuild && self.record.service.is_none() && settings.rebuild == Recreate::All;
        let meant = self.record.service.as_ref().filter(|_| is_rebuild).map(ToString::to_string);
        changes_of(stack, containers, all, meant, settings.listen.and(settings.serves.as_ref()))
    }

    async fn stop_changed(&mut self, stack: &Stack, changes: &Changes, containers: &[Container]) -> Result<((), String), Wrong> {
        let is_stopped = |service: &str| changes.beside.as_deref() != Some(service) && (changes.differing.contains(service) || changes.forced.contains(service));
        let gone: Vec<&str> = containers.iter().map(|container| container.service.as_str()).filter(|service| !stack.parts.contains_key(*service)).collect();
        let mut order: Vec<&str> = gone;
        order.dedup();
        order.extend(stack.order.iter().map(String::as_str).filter(|service| is_stopped(service)));
        self.stop_services(&order, containers).await
    }

    /// Stops the containers of these services, one service after the other.
    pub(super) async fn stop_services(&mut self, order: &[&str], containers: &[Container]) -> Result<((), String), Wrong> {
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        let mut told = Vec::new();
        for service in order {
            let running: Vec<&Container> = containers.iter().filter(|container| container.service == *service && container.state != ServiceState::Exited && container.state != ServiceState::Created).collect();
            if running.is_empty() {
                continue;
            }
            let begun = Instant::now();
            for stopped in join_all(running.iter().map(|container| engine.stop(&container.id))).await {
                stopped.map_err(engine_wrong)?;
            }
            let took = begun.elapsed();
            let slow = if took >= SLOW_STOP { ": it does not end when it is asked to, and waits for its stop_grace_period" } else { "" };
            self.say(&format!("service {service} stopped in {} ms{slow}", took.as_millis()));
            told.push(format!("{service} {} ms{slow}", took.as_millis()));
        }
        Ok(((), if told.is_empty() { "nothing had to be stopped".to_owned() } else { told.join(", ") }))
    }

    async fn start_changed(&mut self, release: &Release, stack: &Stack, changes: &Changes, containers: &[Container]) -> Result<((), String), Wrong> {
        let mut progress = Progress::default();
        let forced: Vec<&str> = changes.forced.iter().map(String::as_str).collect();
        if !forced.is_empty() {
            self.up(release.id, stack, &["--no-deps", "--force-recreate"], &forced, &mut progress).await?;
        }
        let Some(beside) = &changes.beside else {
            self.up(release.id, stack, &["--remove-orphans"], &[], &mut progress).await?;
            return Ok(((), progress.words()));
        };
        let others: Vec<&str> = stack.parts.keys().map(String::as_str).filter(|service| service != beside).collect();
        // Compose takes a tenth of a second to find that nothing is to be done.
        if others_differ(stack, changes, beside, containers) {
            self.remove_orphans(stack, containers).await?;
            // Without those that they need, or the one beside would be replaced.
            if !others.is_empty() {
                self.up(release.id, stack, &["--no-deps"], &others, &mut progress).await?;
                self.wait_for_needs(stack, UP_LIMIT).await?;
            }
        }
        let one_more = containers.iter().filter(|container| container.service == *beside).count() + 1;
        let scale = format!("{beside}={one_more}");
        self.up(release.id, stack, &["--no-deps", "--no-recreate", "--scale", &scale], &[beside], &mut progress).await?;
        Ok(((), format!("{}; {beside} beside its old container", progress.words())))
    }

    /// Removes what the model does not name any more; it is stopped already.
    async fn remove_orphans(&self, stack: &Stack, containers: &[Container]) -> Result<(), Wrong> {
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        for gone in containers.iter().filter(|container| !stack.parts.contains_key(&container.service)) {
            engine.remove(&gone.id).await.map_err(engine_wrong)?;
        }
        Ok(())
    }

    /// Has Compose start a release's services, with these options.
    pub(super) async fn up(&mut self, release: u64, stack: &Stack, options: &[&str], services: &[&str], progress: &mut Progress) -> Result<(), Wrong> {
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        let words: Vec<&str> = UP.iter().chain(options).copied().collect();
        let call = argv::verb(&stack.name, &stack::model_file(&dir, release), &words, services);
        let said = self.docker(call, &dir, &stack.env, UP_LIMIT, |line| progress.note(line)).await?;
        said.map_err(|said| said.wrong("up", FailureKind::Health))
    }

    /// Has Compose make a release's containers, and start none.
    pub(super) async fn create(&mut self, release: u64, stack: &Stack) -> Result<(), Wrong> {
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        let call = argv::verb(&stack.name, &stack::model_file(&dir, release), &CREATE, &[]);
        let said = self.docker(call, &dir, &stack.env, UP_LIMIT, |_| {}).await?;
        said.map_err(|said| said.wrong("create", FailureKind::Host))
    }

    /// Where the proxy leads: the container of the service that answers.
    pub(in super::super) async fn upstream_of(&self, stack: &Stack) -> Result<Option<SocketAddr>, Wrong> {
        let Some(serves) = self.proxied() else { return Ok(None) };
        let containers = self.containers_now().await?;
        Ok(stack.address(&serves, &containers))
    }

    pub(super) fn proxied(&self) -> Option<Serves> {
        let compose = self.project.compose.as_ref()?;
        compose.listen.and(compose.serves.clone())
    }

    /// The old container goes once what it has in flight has ended. That must not
    /// depend on a row about it.
    pub(super) async fn retire_beside(&mut self, release: &Release, stack: &Stack) {
        if let Err(fault) = self.begin_anyway(Point::Retiring, "stop") {
            tracing::warn!("{}", fault.message);
        }
        let outcome = match self.engine_is_back().await {
            Ok(()) => self.put_away(stack, Stays::Newest).await,
            Err(wrong) => Err(wrong),
        };
        if let Err(fault) = self.end(outcome) {
            tracing::warn!(project = self.project.name, release = release.id, "an old container is still there: {}", fault.message);
        }
    }

    /// Stops and removes what runs beside the containers of this stack, in
    /// services that have more than they should.
    pub(super) async fn put_away(&mut self, stack: &Stack, stays: Stays) -> Result<((), String), Wrong> {
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        let containers = self.containers_now().await?;
        let mut count = 0;
        for old in surplus(stack, &containers, stays) {
            self.drain(old).await;
            engine.stop(&old.id).await.map_err(engine_wrong)?;
            engine.remove(&old.id).await.map_err(engine_wrong)?;
            count += 1;
        }
        Ok(((), format!("{count} old containers removed")))
    }

    async fn drain(&mut self, old: &Container) {
        let Some(serves) = self.proxied() else { return };
        let Ok(proxy) = self.shared.supervisor.proxy().await else { return };
        // The proxy may have known it by any of them.
        let left = join_all(old.every_address(serves.port).into_iter().map(|address| {
            let proxy = &proxy;
            async move {
                let left = proxy.drain(address, DRAIN_LIMIT).await.unwrap_or(0);
                if left > 0 {
                    let _ = proxy.cut(address).await;
                }
                left
            }
        }));
        let left: usize = left.await.into_iter().sum();
        if left > 0 {
            self.say(&format!("{left} requests were cut after {} s", DRAIN_LIMIT.as_secs()));
        }
    }
}

/// Decides what is done to which service. Pure.
fn changes_of(stack: &Stack, containers: &[Container], all: bool, meant: Option<String>, proxied: Option<&Serves>) -> Changes {
    let of = |service: &str| containers.iter().filter(|container| container.service == service).collect::<Vec<_>>();
    let mut changes = Changes::default();
    for service in stack.differing(containers) {
        let Some(part) = stack.parts.get(service) else { continue };
        // The same definition and not well: half made by an earlier try. It would
        // be left as it is.
        let is_half = of(service).iter().any(|container| part.is_of(container) && !container.is_well());
        if is_half { &mut changes.forced } else { &mut changes.differing }.insert(service.to_owned());
    }
    if all {
        changes.forced.extend(stack.parts.keys().cloned());
    }
    changes.forced.extend(meant.filter(|service| stack.parts.contains_key(service)));
    changes.beside = proxied.map(|serves| serves.service.clone()).filter(|service| can_be_beside(stack, &changes, service, &of(service)));
    if let Some(beside) = &changes.beside {
        changes.forced.remove(beside);
        changes.differing.insert(beside.clone());
    }
    changes
}

/// Can a new container of this service be started beside the one it has? What is
/// half made there is made anew in its place.
fn can_be_beside(stack: &Stack, changes: &Changes, service: &str, containers: &[&Container]) -> bool {
    let runs = containers.iter().any(|container| container.state == ServiceState::Running);
    let is_there = stack.parts.get(service).is_some_and(|part| containers.iter().any(|container| part.is_of(container)));
    let is_whole = containers.iter().all(|container| container.is_well());
    let is_asked_for = changes.forced.contains(service) && is_whole;
    stack.twice && runs && if is_there { is_asked_for } else { changes.differing.contains(service) || is_asked_for }
}

/// Is there anything to do besides the service that is started beside itself?
fn others_differ(stack: &Stack, changes: &Changes, beside: &str, containers: &[Container]) -> bool {
    let is_orphan = |container: &Container| !stack.parts.contains_key(&container.service);
    let others_run = containers.iter().filter(|container| container.service != beside).all(|container| container.state == ServiceState::Running);
    !others_run || changes.differing.iter().any(|service| service != beside) || containers.iter().any(is_orphan)
}

/// Which of the containers that are all as they should be stays, where there are
/// more than there should.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Stays {
    /// What was made last: it takes over.
    Newest,
    /// What was there before: it is gone back to.
    Oldest,
}

/// The containers that are too many for their service; those of its definition
/// are the last to go.
fn surplus<'a>(stack: &Stack, containers: &'a [Container], stays: Stays) -> Vec<&'a Container> {
    let mut too_many = Vec::new();
    for (service, part) in &stack.parts {
        let mut all: Vec<&Container> = containers.iter().filter(|container| container.service == *service).collect();
        all.sort_by_key(|container| container.created);
        if stays == Stays::Newest {
            all.reverse();
        }
        all.sort_by_key(|container| !part.is_of(container));
        too_many.extend(all.into_iter().skip(part.replicas as usize));
    }
    too_many
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::compose::Part;
    use crate::compose::container::tests::container;

    fn stack() -> Stack {
        let part = Part { image: "web:1".into(), id: "sha256:aa".into(), built: None, hash: "h1".into(), replicas: 1 };
        let parts = ["db", "web"].map(|service| (service.to_owned(), part.clone())).into();
        Stack { name: "media".into(), parts, env: BTreeMap::new(), binds: Vec::new(), names: Vec::new(), order: vec!["web".into(), "db".into()], twice: true, awaits: BTreeMap::new() }
    }

    fn set(services: &[&str]) -> BTreeSet<String> {
        services.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_differs_is_touched() {
        let (db, web) = (container("db", ServiceState::Running), container("web", ServiceState::Running));
        let of = |containers: &[Container]| changes_of(&stack(), containers, false, None, None);
        assert_eq!(of(&[db.clone(), web.clone()]), Changes::default());
        let old = Container { definition: "h0".into(), ..web.clone() };
        assert_eq!(of(&[db.clone(), old]), Changes { differing: set(&["web"]), ..Changes::default() });
        let half = Container { state: ServiceState::Created, ..web.clone() };
        assert_eq!(of(&[db.clone(), half]), Changes { forced: set(&["web"]), ..Changes::default() });
        assert_eq!(of(std::slice::from_ref(&db)), Changes { differing: set(&["web"]), ..Changes::default() });
        let meant = changes_of(&stack(), &[db.clone(), web.clone()], false, Some("db".to_owned()), None);
        assert_eq!(meant, Changes { forced: set(&["db"]), ..Changes::default() });
        assert_eq!(changes_of(&stack(), &[db, web], true, None, None).forced, set(&["db", "web"]));
    }

    #[test]
    fn what_the_proxy_leads_to_is_started_beside() {
        let serves = Serves { service: "web".into(), port: 8000 };
        let (db, old) = (container("db", ServiceState::Running), Container { definition: "h0".into(), ..container("web", ServiceState::Running) });
        let of = |stack: &Stack, old: &Container| changes_of(stack, &[db.clone(), old.clone()], false, None, Some(&serves)).beside;
        assert_eq!(of(&stack(), &old), Some("web".to_owned()));
        assert_eq!(of(&Stack { twice: false, ..stack() }, &old), None);
        assert_eq!(of(&stack(), &Container { state: ServiceState::Exited, ..old.clone() }), None, "there is nothing to keep up");
        let new = container("web", ServiceState::Running);
        let both = [db.clone(), old.clone(), new];
        assert_eq!(surplus(&stack(), &both, Stays::Newest).iter().map(|container| container.definition.as_str()).collect::<Vec<_>>(), ["h0"]);
        let only = Changes { differing: set(&["web"]), beside: Some("web".into()), ..Changes::default() };
        assert!(!others_differ(&stack(), &only, "web", &both));
        let orphan = container("gone", ServiceState::Running);
        assert!(others_differ(&stack(), &only, "web", &[db.clone(), orphan]), "what the model does not name any more goes");
        let ended = container("db", ServiceState::Exited);
        assert!(others_differ(&stack(), &only, "web", &[ended]), "what ended is run again, as Compose does");
        assert!(others_differ(&stack(), &Changes { differing: set(&["db", "web"]), ..only }, "web", &both));
        assert!(surplus(&stack(), &[db.clone(), old], Stays::Newest).is_empty(), "the only one is no surplus");
    }

    #[test]
    fn one_that_is_rebuilt_is_started_beside_as_well() {
        let serves = Serves { service: "web".into(), port: 8000 };
        let (db, web) = (container("db", ServiceState::Running), container("web", ServiceState::Running));
        let of = |web: &Container| changes_of(&stack(), &[db.clone(), web.clone()], false, Some("web".to_owned()), Some(&serves));
        assert_eq!(of(&web), Changes { differing: set(&["web"]), beside: Some("web".into()), ..Changes::default() });
        let ill = Container { state: ServiceState::Restarting, ..web.clone() };
        assert_eq!(of(&ill), Changes { forced: set(&["web"]), ..Changes::default() });
        let at = |id: &str, created| Container { id: id.into(), created: Some(doorstep_shared::time::Timestamp(created)), ..web.clone() };
        let both = [at("old", 1), at("new", 2)];
        let gone = |stays| surplus(&stack(), &both, stays).iter().map(|container| container.id.clone()).collect::<Vec<_>>();
        assert_eq!((gone(Stays::Newest), gone(Stays::Oldest)), (vec!["old".to_owned()], vec!["new".to_owned()]));
    }
}
