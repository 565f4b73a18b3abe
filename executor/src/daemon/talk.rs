//! What the daemon says to the edge of its own accord: who it is, what it
//! holds, how its projects are.

use anyhow::Result;
use doorstep_shared::protocol::{Holding, ToEdge, VERSION, encode, fit, hello_message};
use tracing::warn;

use super::{Daemon, view};
use crate::clock;

impl Daemon {
    pub(super) fn hello(&mut self, nonce: &str) -> Result<()> {
        let Some(identity) = &self.identity else { return Ok(()) };
        let projects = view::projects(&self.shared, self.parked.as_deref());
        let hello = ToEdge::Hello {
            version: VERSION,
            executor_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: identity.host.clone(),
            signature: identity.sign(&hello_message(&identity.host, nonce))?,
            journal: self.shared.journal.identity(),
            holding: self.holding()?,
            projects: projects.clone(),
            parked: self.parked.clone(),
        };
        self.announced = Some(projects);
        self.told_parked = self.parked.is_some();
        self.send(&hello)
    }

    pub(super) fn holding(&self) -> Result<Vec<Holding>> {
        let grants = self.shared.journal.held_grants()?;
        let under_way = grants.iter().map(|grant| Holding { job: grant.job, attempt: grant.attempt });
        Ok(under_way.chain(self.shared.journal.outcomes()?).collect())
    }

    pub(super) fn renew(&mut self) {
        self.renew_at = Some(clock::steady().0 + self.lease_ms / 3);
        match self.holding() {
            Ok(holding) if holding.is_empty() => {}
            Ok(holding) => {
                if let Err(fault) = self.send(&ToEdge::Renew { holding }) {
                    warn!("{fault:#}");
                }
            }
            Err(fault) => warn!("{fault:#}"),
        }
    }

    pub(super) fn send(&self, frame: &ToEdge) -> Result<()> {
        if let Some(socket) = &self.socket {
            let Some(frame) = fit(frame.clone(), self.link.version()) else { return Ok(()) };
            socket.send(encode(&frame)?);
        }
        Ok(())
    }

    /// Tells the edge how the projects are, if that differs from what it knows.
    pub(super) fn announce(&mut self) {
        if !self.link.is_up() {
            return;
        }
        let projects = view::projects(&self.shared, self.parked.as_deref());
        if self.announced.as_ref() == Some(&projects) {
            return;
        }
        self.announced = Some(projects.clone());
        if let Err(fault) = self.send(&ToEdge::Projects { projects }) {
            warn!("{fault:#}");
        }
    }
}
