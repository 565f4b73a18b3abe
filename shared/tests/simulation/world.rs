//! One world: a hub, one to three hosts, the wire between them and GitHub,
//! moved by one agenda until everything that began has ended.

use std::collections::BTreeMap;

use doorstep_shared::ids::Name;
use doorstep_shared::link::SILENCE_MS_MAX;
use doorstep_shared::protocol::VERSION;
use doorstep_shared::queue::RUN_MS_MAX;
use doorstep_shared::time::{Timestamp, mix};

use super::branch::Branch;
use super::bug::{Bug, ModelBug};
use super::coverage::{Coverage, Seen};
use super::faults::Fault;
use super::host::{Daemon, Host, Life};
use super::hub::{Hub, Target, first_journal};
use super::journal::Journal;
use super::release::Project;
use super::stage::{Event, Rates, Stage, T0};
use super::wire::{ConnId, Wire};

/// How long a healed world may take until it is quiet. The longest chain is
/// a sweep of 11 minutes, a retry's wait of 5, a dial's of 1, a lease of 1, and
/// then the runs of up to 20 jobs of a project, each of some seconds.
const QUIET_WITHIN_MS: u64 = 40 * 60_000;

/// How long a quiet world must stay so: a heartbeat missed twice shows.
const STAYS_QUIET_MS: u64 = 3 * SILENCE_MS_MAX;

/// A POST of GitHub's.
pub struct Delivery {
    pub repo: usize,
    /// When in the branch's life its push was.
    pub moment: u64,
    /// The hub said 2xx to it.
    pub accepted: bool,
}

pub struct World {
    pub stage: Stage,
    pub wire: Wire,
    pub hub: Hub,
    pub hosts: Vec<Host>,
    pub daemons: Vec<Daemon>,
    /// The newest push of each repository that a webhook told of.
    pub heard: Vec<u64>,
    pub edge_away_until: Timestamp,
    pub deliveries: Vec<Delivery>,
    /// POSTs that are still on their way.
    pub posts_under_way: usize,
    pub faults: Vec<Fault>,
    pub fault_every_ms: u64,
    healed_at: Option<Timestamp>,
    /// Some steps may hang.
    hangs: bool,
    /// Since when all is quiet, and on which connections.
    quiet: Option<(Timestamp, Vec<Option<ConnId>>)>,
}

/// How a world ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Ending {
    pub violation: Option<String>,
    pub seen: Coverage,
    pub events: u64,
    /// From the end of all faults to quiet.
    pub quiet_after_ms: u64,
}

/// Lives through one world.
pub fn live(seed: u64, bug: Bug, traced: bool) -> Ending {
    let mut world = World::new(seed, bug, traced);
    world.run();
    let healed_at = world.healed_at.unwrap_or(world.stage.now);
    let quiet_after_ms = world.quiet.map_or(0, |(since, _)| since.ms_since(healed_at));
    Ending { violation: world.stage.violation, seen: world.stage.seen, events: world.stage.events, quiet_after_ms }
}

impl World {
    fn new(seed: u64, bug: Bug, traced: bool) -> Self {
        let mut stage = Stage::new(seed, bug, traced);
        let repos = stage.rng.between(1, 2);
        stage.branches = (0..repos).map(|repo| Branch::new(mix(seed ^ repo), &stage.rates)).collect();
        let count = stage.rng.between(1, 3) as usize;
        let hosts: Vec<Host> = (0..count).map(|h| host(&mut stage, h)).collect();
        let targets = hosts.iter().flat_map(targets).collect();
        let version = if stage.chance(1_000) { VERSION - 1 } else { VERSION };
        if version < VERSION {
            stage.saw(Seen::OldHubs);
        }
        for _ in hosts.iter().filter(|host| host.version < VERSION) {
            stage.saw(Seen::OldHosts);
        }
        let faults = Fault::draw(&mut stage.rng);
        let fault_every_ms = stage.rng.pick(&[4_000, 12_000, 40_000]);
        let mut world = Self {
            heard: vec![0; stage.branches.len()],
            stage,
            wire: Wire::default(),
            hub: Hub::new(version, targets),
            daemons: (0..count).map(Daemon::new).collect(),
            hosts,
            edge_away_until: T0,
            deliveries: Vec::new(),
            posts_under_way: 0,
            faults,
            fault_every_ms,
            healed_at: None,
            hangs: false,
            quiet: None,
        };
        world.open();
        world
    }

    fn open(&mut self) {
        for host in 0..self.hosts.len() {
            let ms = self.stage.rng.below(20_000);
            self.stage.after_ms(ms, Event::Boot { host });
        }
        self.stage.after_ms(1_000, Event::Push);
        self.stage.after_ms(self.fault_every_ms, Event::Fault);
        let most_ms = self.stage.rng.pick(&[2 * 60_000, 5 * 60_000, 10 * 60_000]);
        let trouble_ms = self.stage.rng.between(60_000, most_ms);
        self.stage.after_ms(trouble_ms, Event::Heal);
    }

    fn run(&mut self) {
        while self.stage.violation.is_none() {
            let Some(event) = self.stage.next() else { return };
            let host = self.host_of(&event);
            self.step(host, event);
            self.check_step(host);
            if let Some(healed_at) = self.healed_at
                && self.comes_to_rest(healed_at)
            {
                self.check_ending();
                return;
            }
        }
    }

    /// What must hold after every step.
    fn check_step(&mut self, host: Option<usize>) {
        let Some(h) = host else { return };
        self.check_runs(h);
        for d in 0..self.daemons.len() {
            self.check_silence(d);
        }
    }

    /// A healed world gets quiet in time and stays quiet for a while, on the same connections.
    fn comes_to_rest(&mut self, healed_at: Timestamp) -> bool {
        let (quiet, now) = (self.is_quiet(), self.stage.now);
        if let Some((since, slots)) = &self.quiet {
            let same = self.slots() == *slots;
            self.stage.check(quiet && same, || "a quiet world got restless by itself".to_owned());
            return now.ms_since(*since) >= STAYS_QUIET_MS;
        }
        if quiet {
            self.quiet = Some((now, self.slots()));
        }
        let hangs_ms = if self.hangs { RUN_MS_MAX + QUIET_WITHIN_MS } else { 0 };
        let late = now.ms_since(healed_at) > QUIET_WITHIN_MS + hangs_ms;
        let unrest = if late { self.unrest() } else { String::new() };
        self.stage.check(quiet || !late, || format!("not quiet in time: {unrest}"));
        false
    }

    fn slots(&self) -> Vec<Option<ConnId>> {
        self.daemons.iter().map(|daemon| daemon.slot).collect()
    }

    fn step(&mut self, host: Option<usize>, event: Event) {
        // A sleeping host does nothing; what would happen to it happens when it
        // wakes, in the same order.
        let until = host.map(|host| self.hosts[host].asleep_until);
        if let Some(until) = until.filter(|until| *until > self.stage.now) {
            self.stage.at(until, event);
            return;
        }
        // A crash ends what the host was doing, nothing else.
        let _died = self.happen(event);
    }

    fn happen(&mut self, event: Event) -> Life {
        let (stage, wire, hub) = (&mut self.stage, &mut self.wire, &mut self.hub);
        match event {
            Event::DialArrives { conn } => hub.opened(stage, wire, conn),
            Event::ToHub { conn, frame } => {
                if wire.reaches_hub(conn) {
                    hub.frame(stage, wire, conn, frame);
                }
            }
            Event::HubSeesClose { conn } => {
                if wire.hub_sees_close(conn) {
                    hub.closed(stage, wire, conn);
                }
            }
            Event::Alarm => hub.ring(stage, wire),
            Event::ToHost { conn, frame } => return self.host_hears(conn, frame),
            Event::HostSeesClose { conn } => return self.host_sees_close(conn),
            Event::Deadline { daemon, at } => return self.deadline(daemon, at),
            Event::Renew { daemon, conn } => self.renew(daemon, conn),
            Event::StepEnds { host, boot, holding } => return self.step_ends(host, boot, holding),
            Event::Boot { host } => return self.boot(host),
            Event::Wake { host } => return self.wake(host),
            Event::Sweep { host, boot } => self.next_sweep(host, boot),
            Event::SweepEnds { host, boot } => return self.sweep_ends(host, boot),
            Event::LinkStillDown { host, since } => self.link_still_down(host, since),
            Event::DiskCheck { host, boot } => return self.disk_check(host, boot),
            Event::SecondDaemonEnds { daemon } => self.end(daemon, false),
            Event::Push => self.push(),
            Event::Webhook { guid } => self.webhook(guid),
            Event::Fault => return self.fault(),
            Event::Heal => self.heal(),
        }
        Ok(())
    }

    /// Whom it happens to.
    fn host_of(&self, event: &Event) -> Option<usize> {
        Some(match event {
            Event::ToHost { conn, .. } | Event::HostSeesClose { conn } => self.daemons[self.wire.daemon(*conn)].host,
            Event::Deadline { daemon, .. } | Event::Renew { daemon, .. } | Event::SecondDaemonEnds { daemon } => {
                self.daemons[*daemon].host
            }
            Event::StepEnds { host, .. }
            | Event::Boot { host }
            | Event::Wake { host }
            | Event::Sweep { host, .. }
            | Event::SweepEnds { host, .. }
            | Event::LinkStillDown { host, .. }
            | Event::DiskCheck { host, .. } => *host,
            Event::DialArrives { .. }
            | Event::ToHub { .. }
            | Event::HubSeesClose { .. }
            | Event::Alarm
            | Event::Push
            | Event::Webhook { .. }
            | Event::Fault
            | Event::Heal => return None,
        })
    }

    fn wake(&mut self, host: usize) -> Life {
        self.sweep(host);
        let told = self.stage.chance(7_000);
        if told { self.woke(host) } else { Ok(()) }
    }

    /// Every fault stops; what is broken stays broken until somebody notices.
    fn heal(&mut self) {
        self.stage.trace(|| "the faults end".to_owned());
        self.hangs = self.stage.rates.hang > 0;
        self.stage.rates = Rates::default();
        self.edge_away_until = self.stage.now;
        self.faults.clear();
        for host in &mut self.hosts {
            (host.outage_until, host.full_until) = (self.stage.now, self.stage.now);
        }
        for d in self.hosts.len()..self.daemons.len() {
            self.end(d, false);
        }
        self.healed_at = Some(self.stage.now);
    }

    pub fn is_healed(&self) -> bool {
        self.healed_at.is_some()
    }
}

/// Everything of a host that follows a repository.
fn targets(host: &Host) -> Vec<Target> {
    let of = |project: &Project| Target { host: host.name.clone(), project: project.name.clone(), repo: project.repo };
    host.projects.iter().map(of).collect()
}

#[expect(clippy::expect_used, reason = "a wrong name is a mistake in this file")]
fn name(text: String) -> Name {
    text.parse().expect("the model's names are names")
}

fn host(stage: &mut Stage, h: usize) -> Host {
    let count = stage.rng.between(1, 2);
    let repos = stage.branches.len();
    let name_of_host = name(format!("h{h}"));
    Host {
        projects: (0..count).map(|p| Project::new(name(format!("p{p}")), stage.rng.index(repos))).collect(),
        journal: Journal::new(first_journal(&name_of_host), stage.has(ModelBug::NotSynced)),
        name: name_of_host,
        lost: Vec::new(),
        identities: 0,
        copy: None,
        put_back: false,
        doubled: false,
        boots_unheard: None,
        unsure: false,
        version: if stage.chance(1_500) { VERSION - 1 } else { VERSION },
        up: false,
        boot: 0,
        stops: Vec::new(),
        skew_ms: 0,
        wall_back_ms: 0,
        full_until: T0,
        parked: false,
        told_parked: false,
        to_forget: 0,
        down_since: Timestamp(u64::MAX),
        swept_at: Timestamp(0),
        local_runs: 0,
        kills: BTreeMap::new(),
        asleep_until: T0,
        outage_until: T0,
    }
}
