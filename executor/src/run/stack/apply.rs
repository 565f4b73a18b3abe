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
use super::changes::{Asked, Changes, changes_of};
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
/// The same for some of them.
const AT_REST: [&str; 7] = ["up", "--no-start", "--no-build", "--pull", "never", "--no-deps", "--force-recreate"];
/// How long requests in flight may go on at the old container.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// A stop that took so long was one that had to be killed, or nearly.
const SLOW_STOP: Duration = Duration::from_secs(9);

impl Runner {
    /// Makes the containers those of this stack, and says what it did. An old
    /// container still runs beside its successor, if it was started beside.
    pub(super) async fn bring(&mut self, release: &Release, stack: &Stack) -> Result<Changes, Fault> {
        let containers = match self.containers_now().await {
            Ok(containers) => containers,
            Err(wrong) => return Err(Fault { kind: wrong.kind, ..self.fault("stop", &wrong.message) }),
        };
        let changes = self.changes(stack, &containers);
        self.begin(Point::Replacing, "stop")?;
        let stopped = self.stop_changed(stack, &changes.anew, &containers).await;
        self.end(stopped)?;
        self.begin(Point::Starting, "start")?;
        let started = self.start_changed(release, stack, &changes, &containers).await;
        self.end(started)?;
        Ok(changes)
    }

    pub(in super::super) async fn containers_now(&self) -> Result<Vec<Container>, Wrong> {
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        engine.containers(&[stacks::label(&self.project.compose_name())]).await.map_err(engine_wrong)
    }

    fn changes(&self, stack: &Stack, containers: &[Container]) -> Changes {
        let rebuild = self.project.compose.as_ref().map(|settings| settings.rebuild).unwrap_or_default();
        let all = self.record.action == Action::Rebuild && self.record.service.is_none() && rebuild == Recreate::All;
        let proxied = self.proxied();
        changes_of(stack, containers, Asked { all, only: self.only(), proxied: proxied.as_ref(), ..Asked::default() })
    }

    /// The one service that this run is about, if it is about one.
    pub(super) fn only(&self) -> Option<&str> {
        self.record.service.as_ref().map(|service| service.as_str())
    }

    /// Stops what the model does not name any more, and these services.
    pub(super) async fn stop_changed(&mut self, stack: &Stack, changed: &BTreeSet<String>, containers: &[Container]) -> Result<((), String), Wrong> {
        let mut order: Vec<&str> = containers.iter().map(|container| container.service.as_str()).filter(|service| !stack.parts.contains_key(*service)).collect();
        order.dedup();
        order.extend(stack.order.iter().map(String::as_str).filter(|service| changed.contains(*service)));
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
        self.make_anew(release, stack, &changes.anew, containers, &mut progress).await?;
        let Some(beside) = &changes.beside else { return Ok(((), progress.words())) };
        if !changes.anew.is_empty() {
            self.wait_for(stack, &stack.awaits, UP_LIMIT).await?;
        }
        let one_more = containers.iter().filter(|container| container.service == *beside).count() + 1;
        let scale = format!("{beside}={one_more}");
        self.up(release.id, stack, &["--no-deps", "--no-recreate", "--scale", &scale], &[beside], &mut progress).await?;
        Ok(((), format!("{}; {beside} beside its old container", progress.words())))
    }

    /// Makes these services anew and no other, and removes what the model does not
    /// name any more. Compose is told which: by itself it would make anew what
    /// depends on them, or what was made with other options.
    pub(super) async fn make_anew(&mut self, release: &Release, stack: &Stack, services: &BTreeSet<String>, containers: &[Container], progress: &mut Progress) -> Result<(), Wrong> {
        self.remove_orphans(stack, containers).await?;
        if services.is_empty() {
            return Ok(());
        }
        if self.only().is_none() {
            let mut needs = stack.bonds.needs(services);
            needs.retain(|service, _| !self.rests(service));
            self.wait_for(stack, &needs, UP_LIMIT).await?;
        }
        let names: Vec<&str> = services.iter().map(String::as_str).collect();
        self.up(release.id, stack, &["--no-deps", "--force-recreate"], &names, progress).await
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

    /// Has Compose make these services anew, and start none of them.
    pub(super) async fn make_at_rest(&mut self, release: &Release, stack: &Stack, services: &BTreeSet<String>) -> Result<(), Wrong> {
        let names: Vec<&str> = services.iter().map(String::as_str).collect();
        if names.is_empty() { Ok(()) } else { self.unstarted(release.id, stack, &AT_REST, &names).await }
    }

    /// Has Compose make a release's containers, and start none.
    pub(super) async fn create(&mut self, release: u64, stack: &Stack) -> Result<(), Wrong> {
        self.unstarted(release, stack, &CREATE, &[]).await
    }

    async fn unstarted(&mut self, release: u64, stack: &Stack, words: &[&str], services: &[&str]) -> Result<(), Wrong> {
        let dir = self.shared.supervisor.layout(&self.project).dir().to_path_buf();
        let call = argv::verb(&stack.name, &stack::model_file(&dir, release), words, services);
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
    use crate::compose::bonds::Bonds;
    use crate::compose::container::tests::container;

    #[test]
    fn what_is_too_many_goes_and_the_only_one_does_not() {
        let part = Part { image: "web:1".into(), id: "sha256:aa".into(), built: None, hash: "h1".into(), replicas: 1 };
        let stack = Stack { name: "media".into(), parts: [("web".to_owned(), part)].into(), env: BTreeMap::new(), binds: Vec::new(), names: Vec::new(), order: vec!["web".into()], twice: true, awaits: BTreeMap::new(), bonds: Bonds::default() };
        let web = container("web", ServiceState::Running);
        let old = Container { definition: "h0".into(), ..web.clone() };
        assert!(surplus(&stack, std::slice::from_ref(&old), Stays::Newest).is_empty());
        let both = [old, web.clone()];
        assert_eq!(surplus(&stack, &both, Stays::Newest).iter().map(|container| container.definition.as_str()).collect::<Vec<_>>(), ["h0"]);
        let at = |id: &str, created| Container { id: id.into(), created: Some(doorstep_shared::time::Timestamp(created)), ..web.clone() };
        let both = [at("old", 1), at("new", 2)];
        let gone = |stays| surplus(&stack, &both, stays).iter().map(|container| container.id.clone()).collect::<Vec<_>>();
        assert_eq!((gone(Stays::Newest), gone(Stays::Oldest)), (vec!["old".to_owned()], vec!["new".to_owned()]));
    }
}
