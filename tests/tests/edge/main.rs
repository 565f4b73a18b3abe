//! Stories of the edge: the built Worker on workerd, with fakes of GitHub and
//! of executors around it.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

mod access;
mod audit;
mod cost;
mod enrolment;
mod guessing;
mod history;
mod jobs;
mod limits;
mod missed;
mod pages;
mod queue;
mod refused;
mod reports;
mod services;
mod sessions;
mod silent;
mod tabs;

use std::sync::{Arc, Weak};

use doorstep_tests::Edge;
use tokio::sync::Mutex;

/// An edge that several stories use at once, each with hosts and repositories
/// of its own. It ends with the last story that holds it.
async fn shared_edge() -> Arc<Edge> {
    static SHARED: Mutex<Weak<Edge>> = Mutex::const_new(Weak::new());
    let mut shared = SHARED.lock().await;
    if let Some(edge) = shared.upgrade() {
        return edge;
    }
    let edge = Arc::new(Edge::start().await);
    *shared = Arc::downgrade(&edge);
    edge
}
