//! Restart, stop and start of a compose project or of one of its services.
//!
//! Nothing is resolved, built or pulled: the live release's own model says what
//! there is. That one service of several was stopped is remembered (`rest`).

use std::net::SocketAddr;
use std::rc::Rc;

use doorstep_shared::ids::FailureKind;

use super::super::steps::Wrong;
use super::super::{Fault, Runner};
use super::{Failed, failed};
use crate::compose::Stack;
use crate::compose::progress::Progress;
use crate::journal::{Point, Release};

impl Runner {
    /// The live release, what it is made of, and the services that are meant.
    fn meant(&self, step: &str) -> Result<(Release, Stack, Vec<String>), Fault> {
        let refused = |why: &str| Fault { kind: FailureKind::Policy, ..self.fault(step, why) };
        let live = self.shared.journal.live_release(&self.project.name).map_err(|fault| self.fault(step, &format!("{fault:#}")))?;
        let live = live.ok_or_else(|| refused("nothing is live yet; deploy first"))?;
        let stack = self.stack_of(&live)?;
        let Some(service) = &self.record.service else {
            let all = stack.order.clone();
            return Ok((live, stack, all));
        };
        if !stack.parts.contains_key(service.as_str()) {
            let names: Vec<&str> = stack.parts.keys().map(String::as_str).collect();
            return Err(refused(&format!("the live release has no service {service}; it has {}", names.join(", "))));
        }
        let one = vec![service.to_string()];
        Ok((live, stack, one))
    }

    /// Stops what is meant and starts it again.
    pub(in super::super) async fn restart_stack(&mut self) -> Result<(), Failed> {
        let (live, stack, services) = self.meant("restart").map_err(failed)?;
        self.about(&live);
        self.wake(&stack).map_err(failed)?;
        let outcome = match self.begin(Point::Replacing, "stop") {
            Ok(()) => {
                let stopped = self.stopped(&services).await;
                self.end(stopped)
            }
            Err(fault) => return Err(failed(fault)),
        };
        if let Err(fault) = outcome {
            return Err(self.put_back(None, None, fault).await);
        }
        match self.started(&live, &stack, &services).await {
            Ok(()) => Ok(()),
            Err(fault) => Err(self.put_back(None, None, fault).await),
        }
    }

    /// Stops what is meant; the whole project stays stopped until it is started.
    pub(in super::super) async fn stop_stack(&mut self) -> Result<(), Fault> {
        let (live, _, services) = self.meant("stop")?;
        self.about(&live);
        self.begin(Point::Stopping, "stop")?;
        if self.record.service.is_none() {
            self.want(false)?;
            if let Err(fault) = self.shared.supervisor.route(&self.project, None).await {
                tracing::warn!("{fault:#}");
            }
        } else {
            self.lay_to_rest()?;
        }
        let stopped = self.stopped(&services).await;
        self.end(stopped)
    }

    /// Starts what is meant, and makes what is missing.
    pub(in super::super) async fn start_stack(&mut self) -> Result<(), Fault> {
        let (live, stack, services) = self.meant("start")?;
        self.about(&live);
        if let Some(listen) = self.taken_by(&stack) {
            let why = format!("the live release publishes {listen} by itself, and `listen` gives it to the proxy; `doorstep deploy {}` puts it behind the proxy", self.project.name);
            return Err(Fault { kind: FailureKind::Policy, ..self.fault("start", &why) });
        }
        self.wake(&stack)?;
        self.started(&live, &stack, &services).await
    }

    /// The address of the proxy, if a release's own containers would take it.
    fn taken_by(&self, stack: &Stack) -> Option<SocketAddr> {
        let listen = self.project.compose.as_ref()?.listen?;
        stack.bonds.publishes(listen).then_some(listen)
    }

    fn about(&mut self, live: &Release) {
        self.record.commit = Some(live.commit.clone());
        self.record.release = Some(live.id);
    }

    async fn stopped(&mut self, services: &[String]) -> Result<((), String), Wrong> {
        let containers = self.containers_now().await?;
        let order: Vec<&str> = services.iter().map(String::as_str).collect();
        self.stop_services(&order, &containers).await
    }

    async fn started(&mut self, live: &Release, stack: &Stack, services: &[String]) -> Result<(), Fault> {
        self.begin(Point::Starting, "start")?;
        let started = self.start_again(live, stack, services).await;
        self.end(started)?;
        // Of one service only that one is asked after: others may be stopped.
        let checked = stack.only(&services.iter().cloned().collect());
        self.check_stack(live, &checked).await?;
        let upstream = self.upstream_of(stack).await.map_err(|wrong| self.fault("start", &wrong.message))?;
        let routed = self.shared.supervisor.route(&self.project, upstream).await;
        routed.map(drop).map_err(|fault| self.fault("start", &format!("{fault:#}")))
    }

    /// Starts these containers as they are; what is not of the release is made anew.
    async fn start_again(&mut self, live: &Release, stack: &Stack, services: &[String]) -> Result<((), String), Wrong> {
        let containers = self.containers_now().await?;
        let has_other = services.iter().any(|service| stack.has_other(service, &containers));
        let mut options = vec![if has_other { "--force-recreate" } else { "--no-recreate" }];
        let mut names = Vec::new();
        if self.only().is_some() {
            options.push("--no-deps");
            names.extend(services.iter().map(String::as_str));
        }
        let mut progress = Progress::default();
        self.up(live.id, stack, &options, &names, &mut progress).await?;
        Ok(((), progress.words()))
    }

    /// Is everything that a release is made of still on this host, and would it
    /// leave the proxy its address?
    pub(in super::super) async fn can_come_back(&self, release: &Release) -> Result<(), String> {
        let stack = self.stack_of(release).map_err(|fault| fault.message)?;
        if let Some(listen) = self.taken_by(&stack) {
            return Err(format!("release {} publishes {listen} by itself, and `listen` gives it to the proxy; without `listen` in doorstep.toml it can be gone back to", release.id));
        }
        let engine = Rc::clone(self.shared.supervisor.stacks().engine());
        for (service, part) in &stack.parts {
            if engine.image(&part.id).await.map_err(|fault| fault.to_string())?.is_none() {
                return Err(format!("the image of the service {service} ({}) was removed from this host", part.image));
            }
        }
        Ok(())
    }
}
