//! A host's disk: full for a while, or put back to an older state.
//!
//! A full disk takes no new row, so a grant cannot be stored and a run cannot
//! begin or go on. A ballast leaves room to write how a run ended. The host
//! says that it is parked, and says so again when there is room.

use doorstep_shared::link::Link;
use doorstep_shared::protocol::ToEdge;

use super::coverage::Seen;
use super::host::Life;
use super::journal::Journal;
use super::bug::ModelBug;
use super::stage::Event;
use super::wire::Up;
use super::world::World;

/// A parked host looks for room this often.
const LOOK_MS: u64 = 10_000;

impl World {
    /// No room? Then the host is parked, and the caller writes nothing.
    pub fn park_if_full(&mut self, h: usize) -> bool {
        let host = &mut self.hosts[h];
        if host.full_until <= self.stage.now {
            return false;
        }
        if !host.parked {
            host.parked = true;
            self.stage.saw(Seen::Parks);
            self.stage.trace(|| format!("h{h} is parked"));
            self.stage.after_ms(LOOK_MS, Event::DiskCheck { host: h, boot: host.boot });
            self.tell_parked(h);
        }
        true
    }

    /// Says whether this host is parked, if the hub was told otherwise.
    pub fn tell_parked(&mut self, h: usize) {
        let up = self.daemons[h].link.as_ref().is_some_and(Link::is_up);
        let host = &mut self.hosts[h];
        if up && host.told_parked != host.parked {
            host.told_parked = host.parked;
            let reason = host.parked.then(|| "the disk is full".to_owned());
            self.send(h, Up::Frame(ToEdge::Parked { reason }));
        }
    }

    /// Is there room again?
    pub fn disk_check(&mut self, h: usize, boot: u32) -> Life {
        let host = &mut self.hosts[h];
        if host.boot != boot || !host.parked {
            return Ok(());
        }
        if host.full_until > self.stage.now {
            self.stage.after_ms(LOOK_MS, Event::DiskCheck { host: h, boot });
            return Ok(());
        }
        host.parked = false;
        host.journal.forget(host.to_forget);
        self.stage.trace(|| format!("h{h} has room again"));
        if !self.stage.has(ModelBug::RoomUntold) {
            self.tell_parked(h);
        }
        for project in self.names_of_projects(h) {
            self.start_next(h, &project)?;
        }
        Ok(())
    }

    /// The hub has these reports.
    pub fn forget(&mut self, h: usize, seq: u64) {
        let full = self.park_if_full(h);
        let host = &mut self.hosts[h];
        host.to_forget = host.to_forget.max(seq);
        if !full {
            host.journal.forget(seq);
        }
    }

    pub fn disk_fills(&mut self, h: usize) {
        self.stage.saw(Seen::FullDisks);
        let ms = self.stage.rng.between(5_000, 240_000);
        self.hosts[h].full_until = self.stage.now.plus_ms(ms);
    }

    /// Copies the disk, or puts an older copy back.
    pub fn disk_is_copied_or_put_back(&mut self, h: usize) {
        // Now and then only: it takes a machine.
        if !self.reconciles(h) || !self.stage.chance(3_000) {
            return;
        }
        let host = &mut self.hosts[h];
        let Some(copy) = host.copy.take() else {
            if !self.daemons[h].link.as_ref().is_some_and(Link::is_up) {
                return;
            }
            host.copy = Some(Box::new((host.journal.clone(), host.projects.clone())));
            return;
        };
        if !host.up || host.asleep_until > self.stage.now {
            return;
        }
        self.stage.saw(Seen::PutBack);
        self.stage.trace(|| format!("the disk of h{h} is put back"));
        for d in self.hosts.len()..self.daemons.len() {
            if self.daemons[d].host == h {
                self.end(d, true);
            }
        }
        // Longer than anything can be on its way.
        self.stops(h, true, 60_000);
        let host = &mut self.hosts[h];
        let (journal, projects) = *copy;
        host.lost.push(std::mem::replace(&mut host.journal, journal));
        (host.projects, host.put_back, host.boots_unheard) = (projects, true, Some(0));
        (host.to_forget, host.full_until) = (0, self.stage.now);
    }

    pub fn lose_journal(&mut self, h: usize) {
        // Now and then only: it takes a disk.
        if !self.stage.chance(2_000) {
            return;
        }
        self.stage.saw(Seen::JournalsLost);
        self.crash(h);
        let fresh = self.fresh_journal(h);
        let host = &mut self.hosts[h];
        host.lost.push(std::mem::replace(&mut host.journal, fresh));
        (host.copy, host.to_forget) = (None, 0);
    }

    fn fresh_journal(&mut self, h: usize) -> Journal {
        let unsynced = self.stage.has(ModelBug::NotSynced);
        let host = &mut self.hosts[h];
        host.identities += 1;
        Journal::new(format!("{}-{}", host.name, host.identities), unsynced)
    }

    /// The hub knows reports that this journal never made: it gets a new name.
    pub fn outrun(&mut self, h: usize, acknowledged: u64) {
        let host = &mut self.hosts[h];
        let fair = host.put_back || host.doubled;
        self.stage.check(fair, || format!("h{h} is told of reports up to {acknowledged} that it never made"));
        self.stage.saw(Seen::Outruns);
        self.stage.trace(|| format!("the journal of h{h} gets a new name"));
        host.identities += 1;
        // What it said under its old name stays said.
        host.lost.push(host.journal.clone());
        host.journal.id = format!("{}-{}", host.name, host.identities);
        host.boots_unheard = None;
        host.copy = None;
    }
}
