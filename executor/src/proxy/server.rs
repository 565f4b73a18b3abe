//! All routes of a proxy, and what can be asked of them.
//!
//! The invariant: a route has a listener and a task of its own and shares
//! nothing with the others but the number of connections, so setting or
//! removing one never disturbs another. An upstream lives as long as a route
//! or a request holds it; no route leading to it any more closes its idle
//! connections. Nothing is kept on disk: a new proxy is told its routes again.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::info;

use super::listener::{accept, bind};
use super::protocol::{ErrorKind, PROJECT_BYTES_MAX, RouteInfo};
use super::route::{Limits, Route};
use super::upstream::Upstream;

/// Routes of one proxy, so that their list fits in a reply line.
const ROUTES_MAX: usize = 1_024;

/// All routes.
pub struct Proxy {
    limits: Limits,
    tables: Mutex<Tables>,
    connections: Arc<Semaphore>,
}

#[derive(Default)]
struct Tables {
    stopping: bool,
    routes: HashMap<SocketAddr, Served>,
    /// Alive while a route or a request holds it.
    upstreams: HashMap<SocketAddr, Weak<Upstream>>,
}

struct Served {
    route: Arc<Route>,
    accepting: JoinHandle<()>,
}

/// Why a route cannot be set.
#[derive(Debug, Error)]
pub enum SetError {
    #[error("another program listens on {0} already")]
    InUse(SocketAddr),
    #[error("{0} is not an address of this machine")]
    NotAvailable(SocketAddr),
    #[error("the proxy may not listen on {0}: ports below 1024 need root or CAP_NET_BIND_SERVICE")]
    PermissionDenied(SocketAddr),
    #[error("{listen} already serves the project {project}")]
    Taken { listen: SocketAddr, project: String },
    #[error("the proxy has {ROUTES_MAX} routes already")]
    TooManyRoutes,
    #[error("a project name has at most {PROJECT_BYTES_MAX} bytes")]
    LongName,
    #[error("the proxy is stopping")]
    Stopping,
    #[error("cannot listen on {listen}: {source}")]
    Other {
        listen: SocketAddr,
        source: io::Error,
    },
}

impl Proxy {
    /// A proxy without routes. Must live inside a tokio runtime.
    pub fn new(limits: Limits) -> Arc<Self> {
        let connections = Arc::new(Semaphore::new(limits.connections_max));
        Arc::new(Self {
            limits,
            tables: Mutex::default(),
            connections,
        })
    }

    /// Makes a route or switches it. Every request that starts afterwards goes
    /// to `upstream`. Gives back the address, with the port that was chosen if
    /// it was 0.
    pub fn set(
        &self,
        project: &str,
        listen: SocketAddr,
        upstream: Option<SocketAddr>,
    ) -> Result<SocketAddr, SetError> {
        let mut tables = self.tables();
        let route = tables.route(project, listen, self)?;
        let upstream = upstream.map(|address| tables.upstream(address));
        let before = route.switch(upstream.clone());
        if let Some(before) = before {
            tables.retire_unless_used(&before);
        }
        let upstream = upstream.map(|upstream| upstream.address());
        info!(project, listen = %route.listen, ?upstream, "requests now go to another upstream");
        Ok(route.listen)
    }

    /// Waits until `upstream` has nothing in flight, at most `limit`, and says
    /// how much is left.
    pub async fn drain(&self, upstream: SocketAddr, limit: Duration) -> usize {
        match self.known(upstream) {
            Some(upstream) => upstream.drain(limit).await,
            None => 0,
        }
    }

    /// Breaks off what `upstream` has in flight and says how much that was.
    pub fn cut(&self, upstream: SocketAddr) -> usize {
        self.known(upstream).map_or(0, |upstream| upstream.cut())
    }

    /// Stops listening and says whether there was such a route. The address is
    /// free when this is done; requests in flight are finished.
    pub async fn remove(&self, listen: SocketAddr) -> bool {
        let Some(mut served) = self.tables().routes.remove(&listen) else {
            return false;
        };
        served.close().await;
        if let Some(upstream) = served.route.upstream() {
            self.tables().retire_unless_used(&upstream);
        }
        info!(project = served.route.project, %listen, "an address is no longer served");
        true
    }

    /// Every route with its figures, in the order of their addresses.
    pub fn list(&self) -> Vec<RouteInfo> {
        let mut routes: Vec<_> = self
            .tables()
            .routes
            .values()
            .map(|served| served.route.info())
            .collect();
        routes.sort_unstable_by_key(|route| route.listen);
        routes
    }

    /// Frees every address; connections end after the request they are at.
    /// `Closed` knows how to wait for them.
    pub async fn close(&self) -> Closed {
        let mut served = {
            let mut tables = self.tables();
            tables.stopping = true;
            std::mem::take(&mut tables.routes)
        };
        for one in served.values_mut() {
            one.close().await;
        }
        Closed {
            routes: served.into_values().map(|served| served.route).collect(),
        }
    }

    fn known(&self, upstream: SocketAddr) -> Option<Arc<Upstream>> {
        self.tables().upstreams.get(&upstream)?.upgrade()
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a closed proxy still has in flight.
pub struct Closed {
    routes: Vec<Arc<Route>>,
}

impl Closed {
    /// Waits until every connection has ended; false if that took longer than
    /// `limit`.
    pub async fn finish(self, limit: Duration) -> bool {
        let emptied = async {
            for route in &self.routes {
                route.emptied().await;
            }
        };
        timeout(limit, emptied).await.is_ok()
    }
}

impl Tables {
    fn route(
        &mut self,
        project: &str,
        listen: SocketAddr,
        proxy: &Proxy,
    ) -> Result<Arc<Route>, SetError> {
        if self.stopping {
            return Err(SetError::Stopping);
        }
        if let Some(served) = self.routes.get(&listen) {
            let route = &served.route;
            return match route.project == project {
                true => Ok(Arc::clone(route)),
                false => Err(SetError::Taken {
                    listen,
                    project: route.project.clone(),
                }),
            };
        }
        if project.len() > PROJECT_BYTES_MAX {
            return Err(SetError::LongName);
        }
        if self.routes.len() >= ROUTES_MAX {
            return Err(SetError::TooManyRoutes);
        }
        let listener = bind(listen).map_err(|source| SetError::new(listen, source))?;
        let listen = listener
            .local_addr()
            .map_err(|source| SetError::new(listen, source))?;
        let route = Route::new(project.to_owned(), listen, proxy.limits);
        let accepting = accept(Arc::clone(&route), listener, Arc::clone(&proxy.connections));
        let served = Served {
            route: Arc::clone(&route),
            accepting: tokio::spawn(accepting),
        };
        self.routes.insert(listen, served);
        Ok(route)
    }

    fn upstream(&mut self, address: SocketAddr) -> Arc<Upstream> {
        self.upstreams
            .retain(|_, upstream| upstream.strong_count() > 0);
        if let Some(known) = self.upstreams.get(&address).and_then(Weak::upgrade) {
            known.revive();
            return known;
        }
        let upstream = Upstream::new(address);
        self.upstreams.insert(address, Arc::downgrade(&upstream));
        upstream
    }

    fn retire_unless_used(&self, upstream: &Arc<Upstream>) {
        let used = (self.routes.values())
            .filter_map(|served| served.route.upstream())
            .any(|other| Arc::ptr_eq(&other, upstream));
        if !used {
            upstream.retire();
        }
    }
}

impl Served {
    async fn close(&mut self) {
        self.accepting.abort();
        // Aborted or ended, the listener is closed once the task is gone.
        let _ = (&mut self.accepting).await;
        self.route.close();
    }
}

impl SetError {
    fn new(listen: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::InUse(listen),
            io::ErrorKind::AddrNotAvailable => Self::NotAvailable(listen),
            io::ErrorKind::PermissionDenied => Self::PermissionDenied(listen),
            _ => Self::Other { listen, source },
        }
    }

    /// What to call it on the control socket.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::InUse(_) => ErrorKind::AddressInUse,
            Self::NotAvailable(_) => ErrorKind::AddressNotAvailable,
            Self::PermissionDenied(_) => ErrorKind::PermissionDenied,
            Self::Taken { .. } => ErrorKind::Taken,
            Self::TooManyRoutes => ErrorKind::TooManyRoutes,
            Self::LongName => ErrorKind::BadRequest,
            Self::Stopping => ErrorKind::Stopping,
            Self::Other { .. } => ErrorKind::Other,
        }
    }
}
