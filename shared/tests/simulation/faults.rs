//! What befalls a world from outside, now and then. Each world knows only
//! some of these.

use doorstep_shared::ids::Action;

use super::coverage::Seen;
use super::host::Life;
use super::rng::Rng;
use super::stage::Event;
use super::wire::Dark;
use super::world::World;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A connection breaks.
    Cut,
    /// A connection swallows everything in one or both directions.
    BlackHole,
    /// A host has no network for a while.
    Outage,
    /// The hub is deployed anew: every socket breaks.
    HubCrash,
    /// The hub's memory is taken.
    Evict,
    /// A daemon is killed.
    Crash,
    /// A host loses its disk's journal.
    JournalLost,
    /// A host's clock jumps ahead.
    Jump,
    /// A host sleeps.
    Sleep,
    /// A second daemon of a host runs for a moment.
    SecondDaemon,
    /// A person cancels a job.
    Cancel,
    /// A person asks for an action.
    Click,
    /// A person clicks and clicks.
    Clicks,
    /// The hub sends a grant twice.
    GrantAgain,
    /// A person redelivers.
    Redeliver,
    /// A person revives a dead job.
    Revive,
    /// The hub is out of reach for every host.
    EdgeAway,
    /// A host's disk is full for a while.
    DiskFull,
    /// A host's disk is copied; later the copy is put back.
    DiskCopy,
    /// A host's power goes.
    PowerCut,
    /// The hub's clock steps back.
    HubClockBack,
    /// A host's wall clock steps back.
    HostClockBack,
}

const ALL: [Fault; 22] = [
    Fault::Cut,
    Fault::BlackHole,
    Fault::Outage,
    Fault::HubCrash,
    Fault::Evict,
    Fault::Crash,
    Fault::JournalLost,
    Fault::Jump,
    Fault::Sleep,
    Fault::SecondDaemon,
    Fault::Cancel,
    Fault::Click,
    Fault::Clicks,
    Fault::GrantAgain,
    Fault::Redeliver,
    Fault::Revive,
    Fault::EdgeAway,
    Fault::DiskFull,
    Fault::DiskCopy,
    Fault::PowerCut,
    Fault::HubClockBack,
    Fault::HostClockBack,
];

impl Fault {
    /// About a third of them.
    pub fn draw(rng: &mut Rng) -> Vec<Self> {
        ALL.into_iter().filter(|_| rng.chance(3_500)).collect()
    }
}

impl World {
    /// One fault happens, and the next is planned.
    pub fn fault(&mut self) -> Life {
        if self.faults.is_empty() {
            return Ok(());
        }
        let pause_ms = self.stage.rng.between(1, 2 * self.fault_every_ms);
        self.stage.after_ms(pause_ms, Event::Fault);
        let (fault, h) = (self.stage.rng.pick(&self.faults), self.stage.rng.index(self.hosts.len()));
        self.stage.trace(|| format!("fault: {fault:?} (host h{h})"));
        match fault {
            Fault::Cut => self.cut(h),
            Fault::BlackHole => self.black_hole(h),
            Fault::Outage => self.outage(h),
            Fault::HubCrash => self.hub.crash(&mut self.stage, &mut self.wire),
            Fault::Evict => self.hub.evict(&mut self.stage),
            Fault::Crash => self.crash(h),
            Fault::JournalLost => self.lose_journal(h),
            Fault::Jump => return self.clock_jumps(h),
            Fault::Sleep => self.sleep(h),
            Fault::SecondDaemon => self.second_daemon(h),
            Fault::Cancel => self.hub.cancel_one(&mut self.stage, &mut self.wire),
            Fault::Click => self.click(1),
            Fault::Clicks => self.click(25),
            Fault::GrantAgain => self.hub.grant_again(&mut self.stage, &mut self.wire),
            Fault::Redeliver => self.redeliver(),
            Fault::Revive => self.hub.revive_one(&mut self.stage, &mut self.wire),
            Fault::EdgeAway => self.edge_goes_away(),
            Fault::DiskFull => self.disk_fills(h),
            Fault::DiskCopy => self.disk_is_copied_or_put_back(h),
            Fault::PowerCut => self.power_cut(h),
            Fault::HubClockBack => self.hub_clock_steps_back(),
            Fault::HostClockBack => self.hosts[h].wall_back_ms += 600_000,
        }
        Ok(())
    }

    fn cut(&mut self, h: usize) {
        if let Some(conn) = self.daemons[h].slot {
            self.wire.cut(&mut self.stage, conn);
        }
    }

    fn black_hole(&mut self, h: usize) {
        if let Some(conn) = self.daemons[h].slot {
            let dark = self.stage.rng.pick(&[Dark::Up, Dark::Down, Dark::Both]);
            self.wire.darken(&mut self.stage, conn, dark);
        }
    }

    fn outage(&mut self, h: usize) {
        self.black_hole(h);
        let ms = self.stage.rng.between(5_000, 180_000);
        self.hosts[h].outage_until = self.stage.now.plus_ms(ms);
    }

    fn edge_goes_away(&mut self) {
        self.stage.saw(Seen::EdgeAway);
        for h in 0..self.hosts.len() {
            self.black_hole(h);
        }
        let ms = self.stage.rng.between(30_000, 8 * 60_000);
        self.edge_away_until = self.stage.now.plus_ms(ms);
    }

    fn power_cut(&mut self, h: usize) {
        let down_ms = self.stage.rng.between(5_000, 60_000);
        self.stops(h, true, down_ms);
    }

    fn hub_clock_steps_back(&mut self) {
        self.stage.saw(Seen::StepsBack);
        let ms = self.stage.rng.between(10, 10_000);
        self.stage.set_hub_clock_back(ms);
    }

    fn clock_jumps(&mut self, h: usize) -> Life {
        self.stage.saw(Seen::Jumps);
        let ms = self.stage.rng.between(1_000, 600_000);
        let told = self.stage.chance(5_000);
        self.jump(h, ms, told)
    }

    fn sleep(&mut self, h: usize) {
        if self.hosts[h].asleep_until > self.stage.now {
            return;
        }
        self.stage.saw(Seen::Sleeps);
        let ms = self.stage.rng.between(5_000, 240_000);
        self.hosts[h].asleep_until = self.stage.now.plus_ms(ms);
        self.stage.after_ms(ms, Event::Wake { host: h });
    }

    fn second_daemon(&mut self, h: usize) {
        if self.hosts[h].up && self.hosts[h].outage_until <= self.stage.now {
            self.begin_second(h);
        }
    }

    fn click(&mut self, times: u64) {
        let target = self.stage.rng.index(self.hub.targets.len());
        for _ in 0..self.stage.rng.between(1, times) {
            let actions = [Action::Deploy, Action::Restart, Action::Fetch, Action::Rebuild];
            let action = self.stage.rng.pick(&actions);
            self.hub.click(&mut self.stage, &mut self.wire, target, action);
        }
    }
}
