//! What the daemon says to the edge of its own accord: who it is, what it
//! holds, how its projects are.

use anyhow::Result;
use doorstep_shared::protocol::{Holding, ProjectView, Report, ToEdge, VERSION, encode, fit, hello_message};
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

    /// Tells the edge how the projects are, if that differs from what it knows,
    /// as soon as the pace lets it.
    pub(super) fn announce(&mut self) {
        self.pace.rest();
        let Some(projects) = self.news() else { return };
        if self.pace.lets(clock::steady().0) {
            self.tell(projects);
        }
    }

    /// The same whatever the pace. It costs none of it: what is told so is told
    /// once for a run or a connection, which write more rows than this.
    pub(super) fn announce_now(&mut self) {
        self.pace.rest();
        if let Some(projects) = self.news() {
            self.tell(projects);
        }
    }

    /// What a run did is told before the report that says so, on the same socket:
    /// an edge that shows a run as ended shows what it made live.
    pub(super) fn announce_before(&mut self, report: &Report) {
        let tells = match report {
            Report::Outcome { .. } => true,
            Report::Step { .. } => self.link.is_up() && self.has_switched(),
            Report::Started { .. } | Report::Log { .. } => false,
        };
        if tells {
            self.announce_now();
        }
    }

    /// Did a run that is under way make another release live than the edge knows of?
    fn has_switched(&self) -> bool {
        let known = |project: &str| self.announced.iter().flatten().find(|view| view.name.as_str() == project)?.live.as_ref().map(|live| live.release);
        let live = |project: &str| self.shared.journal.live_release(project).ok().flatten().map(|live| live.id);
        self.running.keys().any(|project| live(project) != known(project))
    }

    /// How the projects are, if the edge can be told and knows otherwise.
    fn news(&self) -> Option<Vec<ProjectView>> {
        let projects = self.link.is_up().then(|| view::projects(&self.shared, self.parked.as_deref()))?;
        (self.announced.as_ref() != Some(&projects)).then_some(projects)
    }

    fn tell(&mut self, projects: Vec<ProjectView>) {
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
