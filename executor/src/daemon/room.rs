//! A host without room on its disk parks: it begins no run, tells the edge so,
//! and goes on when there is room. Nothing is lost meanwhile: grants that were
//! stored wait here, jobs that were not granted wait at the edge. The disks are
//! looked at by a thread, one look at a time: a network file system that hangs
//! must hold up neither heartbeats nor the apps.

use std::path::{Path, PathBuf};

use doorstep_shared::protocol::ToEdge;
use tracing::{info, warn};

use super::{Daemon, Wake};
use crate::clock;
use crate::disk::{self, Room};

/// How much more than the least room a parked host wants before it goes on.
const AGAIN_TIMES: u64 = 2;
/// Runs wait this long for a look at the disks. One that takes longer hangs:
/// what was known before counts until it comes back.
const LOOK_MS_MAX: u64 = 2_000;

/// The look at the disks that is under way, if there is one.
#[derive(Default)]
pub(super) struct Look {
    /// When it is late.
    late_at: Option<u64>,
    is_late: bool,
}

impl Look {
    /// Begins one, unless one is under way; true when it does.
    fn begins(&mut self, now: u64) -> bool {
        let begins = self.late_at.is_none();
        if begins {
            *self = Self { late_at: Some(now + LOOK_MS_MAX), is_late: false };
        }
        begins
    }

    /// Do runs wait for it?
    pub(super) fn is_awaited(&self) -> bool {
        self.late_at.is_some() && !self.is_late
    }

    /// When it is late, if that is ahead.
    pub(super) fn deadline(&self) -> Option<u64> {
        self.late_at.filter(|_| !self.is_late)
    }

    /// Is it late just now? Said once.
    fn turns_late(&mut self, now: u64) -> bool {
        let turns = self.deadline().is_some_and(|at| at <= now);
        self.is_late |= turns;
        turns
    }
}

impl Daemon {
    /// Looks at the disks; the answer wakes the loop. Until then no run begins.
    pub(super) fn look_for_room(&mut self) {
        // A quota, a disk that became read-only, one that fails: only a write tells.
        if self.shared.journal.is_failing()
            && let Err(fault) = self.shared.journal.probe()
        {
            return self.park(Some(format!("{fault:#}")));
        }
        if !self.look.begins(clock::steady().0) {
            return;
        }
        let times = if self.parked.is_some() { AGAIN_TIMES } else { 1 };
        let reserve = self.shared.journal.ballast().missing();
        let dirs = self.shared.config.projects.values().map(|project| self.shared.supervisor.layout(project).dir().to_path_buf());
        let places: Vec<PathBuf> = std::iter::once(self.shared.state.clone()).chain(dirs).collect();
        let wake = self.shared.wake.clone();
        // A thread of its own: it takes no place from others if it hangs.
        let look = move || drop(wake.send(Wake::Room(places.iter().find_map(|place| lacks_room(place, reserve, times)))));
        if let Err(fault) = std::thread::Builder::new().name("room".to_owned()).spawn(look) {
            warn!("the disks cannot be looked at: {fault}");
            self.look = Look::default();
        }
    }

    /// A look at the disks has ended.
    pub(super) fn room_is(&mut self, lacks: Option<String>) {
        self.look = Look::default();
        // What a write said since then weighs more.
        if !self.shared.journal.is_failing() {
            self.park(lacks);
        }
    }

    /// Runs do not wait for a look that hangs.
    pub(super) fn give_up_look(&mut self, now: u64) {
        if self.look.turns_late(now) {
            warn!("a disk does not say how much room it has; a file system hangs");
            self.start_waiting();
        }
    }

    /// Parks, or goes on.
    fn park(&mut self, lacks: Option<String>) {
        let parked = lacks.or_else(|| self.lacks_reserve());
        match (&self.parked, &parked) {
            (None, Some(why)) => warn!("the disk is full, no run begins until there is room: {why}"),
            (Some(_), None) => info!("there is room on the disk again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        // The figures of a parked host change all the time; once is enough.
        if self.parked.is_some() != parked.is_some() {
            self.parked = parked;
            self.say_parked();
            self.announce();
        }
        if self.parked.is_none() {
            self.start_waiting();
        }
    }

    /// Lays the reserve down. Where a quota has no room for it there is none for
    /// a run either, whatever the disk says.
    fn lacks_reserve(&self) -> Option<String> {
        let why = format!("the reserve for a full disk cannot be laid down: {}", self.shared.journal.ballast().lay().err()?);
        if disk::is_full(&why) {
            return Some(why);
        }
        warn!("{why}");
        None
    }

    fn start_waiting(&mut self) {
        let waiting: Vec<String> = self.waiting.keys().cloned().collect();
        for project in waiting {
            self.start_next(&project);
        }
    }

    /// Tells the edge whether this host is parked, if that differs from what it knows.
    pub(super) fn say_parked(&mut self) {
        if !self.link.is_up() || self.told_parked == self.parked.is_some() {
            return;
        }
        self.told_parked = self.parked.is_some();
        if let Err(fault) = self.send(&ToEdge::Parked { reason: self.parked.clone() })
        {
            warn!("{fault:#}");
        }
    }
}

fn lacks_room(place: &Path, reserve: u64, times: u64) -> Option<String> {
    // The reserve may lie on the same disk as a project; then both want it.
    let why = Room::at(place).ok()?.less(reserve).lacks(times)?;
    Some(format!("the disk is full at {}: {why}", place.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_look_at_a_time_and_runs_wait_for_none_that_hangs() {
        let mut look = Look::default();
        assert!(!look.is_awaited());
        assert!(look.begins(5));
        assert!(look.is_awaited());
        assert!(!look.begins(6), "one at a time");
        assert!(!look.turns_late(4 + LOOK_MS_MAX));
        assert_eq!(look.deadline(), Some(5 + LOOK_MS_MAX));
        assert!(look.turns_late(5 + LOOK_MS_MAX));
        assert!(!look.turns_late(6 + LOOK_MS_MAX), "said once");
        assert_eq!((look.is_awaited(), look.deadline()), (false, None));
        assert!(!look.begins(60 * LOOK_MS_MAX), "the thread that hangs stays the only one");
    }
}
