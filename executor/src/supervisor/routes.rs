//! Which address leads to which process: what the supervisor tells the proxy.
//!
//! Invariant: after every run, and whenever the proxy had to be started, each
//! address is pointed at its project's live process once more.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::rc::Rc;

use anyhow::{Context, Result};
use tracing::warn;

use super::{Supervisor, listen_of, local};
use crate::config::Project;
use crate::crash;
use crate::proxy::{ClientError, ProxyClient};

impl Supervisor {
    /// The proxy's client; the proxy is started when it is first needed.
    ///
    /// # Errors
    ///
    /// When it does not start.
    pub async fn proxy(&self) -> Result<&ProxyClient> {
        let start = async {
            let exe = std::env::current_exe().context("this program's path is unknown")?;
            ProxyClient::ensure(&self.state, &exe).await.context("the proxy does not start")
        };
        self.proxy.get_or_try_init(|| start).await
    }

    /// Points the project's address at another; nothing to do without `listen`.
    ///
    /// # Errors
    ///
    /// When the proxy cannot listen there.
    pub async fn route(&self, project: &Project, upstream: Option<SocketAddr>) -> Result<Option<SocketAddr>> {
        let Some(listen) = listen_of(project) else { return Ok(None) };
        let client = self.proxy().await?;
        crash::before(format_args!("effect proxy"));
        let set = match client.set(&project.name, listen, upstream).await {
            // The proxy was ended by somebody; a new one is started.
            Err(ClientError::Unreachable { .. }) => {
                let exe = std::env::current_exe().context("this program's path is unknown")?;
                ProxyClient::ensure(&self.state, &exe).await.context("the proxy does not start")?;
                client.set(&project.name, listen, upstream).await
            }
            other => other,
        };
        crash::after(format_args!("effect proxy"));
        if set.is_ok() {
            self.routed.borrow_mut().insert(project.name.clone(), upstream);
        }
        set.map(Some).with_context(|| format!("the proxy cannot serve {listen}"))
    }

    /// Closes addresses that the host's file does not name any more; a proxy
    /// that nobody needs is ended.
    pub(super) async fn prune_routes(&self) -> Result<()> {
        let left_over = ProxyClient::new(&self.state);
        if left_over.ping().await.is_err() {
            return Ok(());
        }
        let named: Vec<SocketAddr> = self.projects.values().filter_map(listen_of).collect();
        if named.is_empty() {
            return Ok(left_over.stop().await?);
        }
        for route in left_over.list().await? {
            let same = self.projects.get(&route.project).and_then(listen_of) == Some(route.listen);
            if !same {
                left_over.remove(route.listen).await?;
            }
        }
        Ok(())
    }

    /// Sees that the proxy is there and serves every address as it should:
    /// somebody may have ended it, or an address may be free only now.
    /// Projects with a run under way are left to it.
    pub async fn tend_proxy(&self, busy: &BTreeSet<String>) {
        let mine = |project: &&Project| listen_of(project).is_some() && !busy.contains(&project.name);
        let listening: Vec<&Project> = self.projects.values().filter(mine).collect();
        let faulty = !self.unrouted.borrow().is_empty();
        if listening.is_empty() {
            return;
        }
        let is_well = !faulty && ProxyClient::new(&self.state).ping().await.is_ok();
        for project in listening.into_iter().filter(|project| !is_well || self.has_moved(project)) {
            if let Err(fault) = self.route_live(project).await {
                warn!(project = project.name, "the proxy does not serve: {fault:#}");
            }
        }
    }

    /// Does a container have another address than the one that is led to? The
    /// engine gives it one each time it starts.
    fn has_moved(&self, project: &Project) -> bool {
        let is_seen = project.compose.is_some() && self.stacks.fault().is_none();
        is_seen && self.routed.borrow().get(&project.name).copied() != Some(self.stack_address(project))
    }

    /// Has any container that an address leads to another one now?
    #[must_use]
    pub fn has_moved_stacks(&self) -> bool {
        self.projects.values().any(|project| listen_of(project).is_some() && self.has_moved(project))
    }

    /// After a run, whatever happened meanwhile: what should run is started,
    /// and the project's address points at it once more.
    pub async fn route_again(self: &Rc<Self>, project: &str) {
        let Some(project) = self.projects.get(project) else { return };
        self.revive_if_down(project).await;
        if let Err(fault) = self.route_live(project).await {
            warn!(project = project.name, "the proxy does not serve: {fault:#}");
        }
    }

    pub(super) async fn route_live(&self, project: &Project) -> Result<()> {
        let upstream = if project.compose.is_some() { self.stack_address(project) } else { self.live_process(&project.name).and_then(|process| process.port).map(local) };
        let routed = self.route(project, upstream).await;
        let fault = routed.as_ref().err().map(|fault| format!("{fault:#}"));
        let before = match &fault {
            Some(fault) => self.unrouted.borrow_mut().insert(project.name.clone(), fault.clone()),
            None => self.unrouted.borrow_mut().remove(&project.name),
        };
        if before != fault {
            self.changed.notify_one();
        }
        routed.map(|_| ())
    }
}
