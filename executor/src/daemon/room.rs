//! A host without room on its disk parks: it begins no run, tells the edge so,
//! and goes on when there is room. Nothing is lost meanwhile: grants that were
//! stored wait here, jobs that were not granted wait at the edge.

use std::path::PathBuf;

use doorstep_shared::protocol::ToEdge;
use tracing::{info, warn};

use super::Daemon;
use crate::disk::Room;

/// How much more than the least room a parked host wants before it goes on.
const AGAIN_TIMES: u64 = 2;

impl Daemon {
    /// Looks at the disks, and parks or goes on.
    pub(super) fn look_for_room(&mut self) {
        let times = if self.parked.is_some() { AGAIN_TIMES } else { 1 };
        let parked = self.lacks_room(times);
        match (&self.parked, &parked) {
            (None, Some(why)) => warn!("the disk is full, no run begins until there is room: {why}"),
            (Some(_), None) => info!("there is room on the disk again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let turned = self.parked.is_some() != parked.is_some();
        // The figures of a parked host change all the time; once is enough.
        if turned {
            self.parked = parked;
            self.say_parked();
            self.announce();
        }
        if self.parked.is_none() {
            if let Err(fault) = self.shared.journal.ballast().lay() {
                warn!("the reserve for a full disk cannot be laid down: {fault}");
            }
            if turned {
                let waiting: Vec<String> = self.waiting.keys().cloned().collect();
                for project in waiting {
                    self.start_next(&project);
                }
            }
        }
    }

    fn lacks_room(&mut self, times: u64) -> Option<String> {
        // A quota, a disk that became read-only, one that fails: only a write tells.
        if self.shared.journal.is_failing()
            && let Err(fault) = self.shared.journal.probe()
        {
            return Some(format!("{fault:#}"));
        }
        let state = self.shared.state.clone();
        let reserve = self.shared.journal.ballast().missing();
        let dirs = self.shared.config.projects.values().map(|project| self.shared.supervisor.layout(project).dir().to_path_buf());
        let places: Vec<PathBuf> = std::iter::once(state).chain(dirs).collect();
        places.iter().find_map(|place| {
            // The reserve may lie on the same disk as a project; then both want it.
            let why = Room::at(place).ok()?.less(reserve).lacks(times)?;
            Some(format!("the disk is full at {}: {why}", place.display()))
        })
    }

    fn say_parked(&mut self) {
        if self.link.is_up()
            && let Err(fault) = self.send(&ToEdge::Parked { reason: self.parked.clone() })
        {
            warn!("{fault:#}");
        }
    }
}
