//! What the daemon says to the edge of its own accord: who it is, what it
//! holds, how its projects are.

use anyhow::Result;
use doorstep_shared::protocol::{Holding, ToEdge, VERSION, encode, fit, hello_message};
use doorstep_shared::text::cut;
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
            parked: self.parked.as_deref().map(|why| cut(why, view::SUBJECT_BYTES_MAX).to_owned()),
            started: Some(self.started),
            booted: clock::booted(),
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
        self.pace.rest();
        if !self.link.is_up() {
            return;
        }
        let projects = view::projects(&self.shared, self.parked.as_deref());
        if self.announced.as_ref() == Some(&projects) || !self.pace.lets(clock::steady().0) {
            return;
        }
        self.announced = Some(projects.clone());
        if let Err(fault) = self.send(&ToEdge::Projects { projects }) {
            warn!("{fault:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use doorstep_shared::ids::JobId;
    use doorstep_shared::protocol::FRAME_BYTES_MAX;

    use super::*;
    use crate::journal::HELD_MAX;

    /// The projects are bounded as a whole (`view.rs`), so their bytes are added.
    #[test]
    fn the_largest_hello_fits_a_frame() {
        let hello = ToEdge::Hello {
            version: VERSION,
            executor_version: "10.100.1000".into(),
            host: "h".repeat(doorstep_shared::ids::NAME_BYTES_MAX).parse().unwrap(),
            signature: "0".repeat(128),
            journal: crate::clock::new_id(),
            holding: vec![Holding { job: JobId((1 << 53) - 1), attempt: u32::MAX }; HELD_MAX],
            projects: Vec::new(),
            parked: Some("\u{1}".repeat(view::SUBJECT_BYTES_MAX)),
            started: Some(doorstep_shared::time::Timestamp(u64::MAX)),
            booted: Some(doorstep_shared::time::Timestamp(u64::MAX)),
        };
        let bytes = encode(&hello).unwrap().len() + view::VIEWS_BYTES_MAX;
        assert!(bytes <= FRAME_BYTES_MAX, "{bytes}");
    }
}
