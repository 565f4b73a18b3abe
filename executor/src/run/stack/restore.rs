//! Putting the containers of the live release back, whatever they are now.
//!
//! Nothing of the repository, a registry or a builder is asked: the model, the
//! images and the environment of the live release are on this host. It may be
//! done twice, and is not cut short by a cancel. Only an engine that stays away
//! keeps it from being done, and that is waited for.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::super::steps::Wrong;
use super::super::{Fault, Runner};
use super::apply::Stays;
use super::changes::{Asked, meant, to_put_back};
use super::engine_wrong;
use crate::compose::progress::Progress;
use crate::compose::{Container, LABEL_PROJECT, Stack, stack};
use crate::health::Verdict;
use crate::journal::{Point, Release};

/// An engine that was restarted is back within seconds, after an update of the
/// system within minutes.
const ENGINE_LIMIT: Duration = Duration::from_mins(10);
/// How often it is looked for.
const ENGINE_AGAIN: Duration = Duration::from_secs(1);

impl Runner {
    /// Did the run come so far that containers may not be those of the live release?
    pub(in super::super) fn touched_containers(&self) -> bool {
        matches!(self.record.point, Point::Replacing | Point::Starting | Point::Checking | Point::Switching | Point::Stopping | Point::RollingBack)
    }

    /// Makes the containers those of the live release, and sees that they are well.
    pub(in super::super) async fn restore_stack(&mut self) -> Result<(), Fault> {
        self.restoring = true;
        let restored = self.restored().await;
        self.restoring = false;
        restored.map_err(|wrong| self.fault("recover", &wrong.message))
    }

    async fn restored(&mut self) -> Result<(), Wrong> {
        self.engine_is_back().await?;
        let live = self.shared.journal.live_release(&self.project.name).map_err(Wrong::host)?;
        // One of before it became a compose project has no containers.
        let live = live.filter(|live| stack::folder(self.shared.supervisor.layout(&self.project).dir(), live.id).is_dir());
        let Some(live) = live else { return self.take_down().await };
        let stack = self.stack_of(&live).map_err(|fault| Wrong { kind: fault.kind, message: fault.message })?;
        if !self.shared.journal.wants_running(&self.project.name).map_err(Wrong::host)? {
            return self.stopped_again(&live, &stack).await;
        }
        match self.brought_back(&live, &stack, false).await {
            Ok(()) => Ok(()),
            Err(wrong) => {
                self.say(&format!("{}; every container is made anew", wrong.message));
                self.brought_back(&live, &stack, true).await
            }
        }
    }

    /// It had been stopped: what the run started goes to rest again, and what a
    /// start will find are the containers of the live release.
    async fn stopped_again(&mut self, live: &Release, stack: &Stack) -> Result<(), Wrong> {
        let containers = self.containers_now().await?;
        let order: Vec<&str> = stack.order.iter().map(String::as_str).chain(containers.iter().map(|container| container.service.as_str()).filter(|service| !stack.parts.contains_key(*service))).collect();
        self.stop_services(&order, &containers).await?;
        if containers.iter().all(|container| stack.parts.get(&container.service).is_some_and(|part| part.is_of(container))) {
            return Ok(());
        }
        self.put_away(stack, Stays::Oldest).await?;
        self.create(live.id, stack).await
    }

    async fn brought_back(&mut self, live: &Release, stack: &Stack, anew: bool) -> Result<(), Wrong> {
        self.put_away(stack, Stays::Oldest).await?;
        let containers = self.containers_now().await?;
        let proxied = self.proxied();
        let resting = self.resting();
        let differing = to_put_back(stack, &containers, Asked { only: self.only(), proxied: proxied.as_ref(), resting: Some(&resting), ..Asked::default() });
        let services = if anew { self.all_but_what_serves(live, stack, &differing).await } else { differing };
        let meant = meant(stack, self.only());
        self.stop_changed(stack, &(&services | &(&resting & &meant)), &containers).await?;
        self.make_at_rest(live, stack, &(&services & &resting)).await?;
        self.make_anew(live, stack, &(&services - &resting), &containers, &mut Progress::default()).await?;
        let up = &meant - &resting;
        if let Verdict::Unwell(why) = self.stack_verdict(live, &stack.only(&up)).await {
            return Err(Wrong { kind: doorstep_shared::ids::FailureKind::Health, message: why });
        }
        let upstream = self.upstream_of(stack).await?;
        self.shared.supervisor.route(&self.project, upstream).await.map_err(Wrong::host)?;
        Ok(())
    }

    /// Everything that the run was about, but for the service behind the proxy
    /// while that answers well.
    async fn all_but_what_serves(&self, live: &Release, stack: &Stack, differing: &BTreeSet<String>) -> BTreeSet<String> {
        let mut all = meant(stack, self.only());
        let Some(serves) = self.proxied().filter(|serves| !differing.contains(&serves.service)) else { return all };
        let serving = stack.only(&[serves.service.clone()].into());
        if let Verdict::Well(_) = self.stack_verdict(live, &serving).await {
            all.remove(&serves.service);
        }
        all
    }

    /// There is no release to go back to: what this run made goes. Volumes stay, and
    /// so do containers of before it, of which the journal does not know any more.
    async fn take_down(&mut self) -> Result<(), Wrong> {
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        let owned = format!("{LABEL_PROJECT}={}", self.project.name);
        let is_of_run = |container: &Container| container.created.is_none_or(|created| created >= self.record.started);
        let all = engine.containers(&[owned]).await.map_err(engine_wrong)?;
        for container in all.into_iter().filter(is_of_run) {
            engine.stop(&container.id).await.map_err(engine_wrong)?;
            engine.remove(&container.id).await.map_err(engine_wrong)?;
        }
        Ok(())
    }

    /// Waits for an engine that is away.
    pub(super) async fn engine_is_back(&mut self) -> Result<(), Wrong> {
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        let begun = Instant::now();
        let mut said = false;
        loop {
            let Err(fault) = engine.ping().await else { return Ok(()) };
            if begun.elapsed() >= ENGINE_LIMIT {
                return Err(engine_wrong(fault));
            }
            if !std::mem::replace(&mut said, true) {
                self.say(&format!("{fault}; waiting for it, at most {} minutes", ENGINE_LIMIT.as_secs() / 60));
            }
            tokio::time::sleep(ENGINE_AGAIN).await;
        }
    }
}
