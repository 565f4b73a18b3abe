//! One world: a hub, one to three hosts, the wire between them and GitHub,
//! moved by one agenda until everything that began has ended.

use doorstep_shared::ids::Name;
use doorstep_shared::link::SILENCE_MS_MAX;
use doorstep_shared::time::Timestamp;

use super::bug::Bug;
use super::coverage::Coverage;
use super::faults::Fault;
use super::host::{Daemon, Host, Life, Project};
use super::hub::{Hub, Target};
use super::journal::Journal;
use super::stage::{Event, Rates, Stage, T0};
use super::wire::{ConnId, Wire};

/// How long a healed world may take until it is quiet. The longest chain is
/// a retry's wait of 5 minutes, a dial's of 1, a lease of 1, and then the runs
/// of up to 20 jobs of a project, each of some seconds.
const QUIET_WITHIN_MS: u64 = 30 * 60_000;

/// How long a quiet world must stay so: a heartbeat missed twice shows.
const STAYS_QUIET_MS: u64 = 3 * SILENCE_MS_MAX;

/// A POST of GitHub's.
pub struct Delivery {
    pub repo: usize,
    /// What the push made the head.
    pub commit: u64,
    /// The hub said 2xx to it.
    pub accepted: bool,
}

pub struct World {
    pub stage: Stage,
    pub wire: Wire,
    pub hub: Hub,
    pub hosts: Vec<Host>,
    pub daemons: Vec<Daemon>,
    /// The head of each repository's branch, by its place on it.
    pub heads: Vec<u64>,
    pub deliveries: Vec<Delivery>,
    /// POSTs that are still on their way.
    pub posts_under_way: usize,
    pub faults: Vec<Fault>,
    pub fault_every_ms: u64,
    healed_at: Option<Timestamp>,
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
        let repos = stage.rng.between(1, 2) as usize;
        let count = stage.rng.between(1, 3) as usize;
        let hosts: Vec<Host> = (0..count).map(|h| host(&mut stage, h, repos)).collect();
        let faults = Fault::draw(&mut stage.rng);
        let fault_every_ms = stage.rng.pick(&[4_000, 12_000, 40_000]);
        let mut world = Self {
            stage,
            wire: Wire::default(),
            hub: Hub::default(),
            daemons: (0..count).map(Daemon::new).collect(),
            hosts,
            heads: vec![1; repos],
            deliveries: Vec::new(),
            posts_under_way: 0,
            faults,
            fault_every_ms,
            healed_at: None,
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
        let trouble_ms = self.stage.rng.between(3 * 60_000, 10 * 60_000);
        self.stage.after_ms(trouble_ms, Event::Heal);
    }

    fn run(&mut self) {
        while self.stage.violation.is_none() {
            let Some(event) = self.stage.next() else { return };
            self.step(event);
            self.check_runs();
            if let Some(healed_at) = self.healed_at
                && self.comes_to_rest(healed_at)
            {
                self.check_ending();
                return;
            }
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
        let late = now.ms_since(healed_at) > QUIET_WITHIN_MS;
        let unrest = if late { self.unrest() } else { String::new() };
        self.stage.check(quiet || !late, || format!("not quiet in time: {unrest}"));
        false
    }

    fn slots(&self) -> Vec<Option<ConnId>> {
        self.daemons.iter().map(|daemon| daemon.slot).collect()
    }

    fn step(&mut self, event: Event) {
        if let Some(until) = self.sleeps_until(&event) {
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
            Event::SecondDaemonEnds { daemon } => self.end(daemon, false),
            Event::Push => self.push(),
            Event::Webhook { guid } => self.webhook(guid),
            Event::Fault => return self.fault(),
            Event::Heal => self.heal(),
        }
        Ok(())
    }

    /// A sleeping host does nothing; what would happen to it happens when it
    /// wakes, in the same order.
    fn sleeps_until(&self, event: &Event) -> Option<Timestamp> {
        let host = match event {
            Event::ToHost { conn, .. } | Event::HostSeesClose { conn } => self.daemons[self.wire.daemon(*conn)].host,
            Event::Deadline { daemon, .. } | Event::Renew { daemon, .. } | Event::SecondDaemonEnds { daemon } => {
                self.daemons[*daemon].host
            }
            Event::StepEnds { host, .. } | Event::Boot { host } | Event::Wake { host } => *host,
            Event::DialArrives { .. }
            | Event::ToHub { .. }
            | Event::HubSeesClose { .. }
            | Event::Alarm
            | Event::Push
            | Event::Webhook { .. }
            | Event::Fault
            | Event::Heal => return None,
        };
        let until = self.hosts[host].asleep_until;
        (until > self.stage.now).then_some(until)
    }

    fn wake(&mut self, host: usize) -> Life {
        let told = self.stage.chance(7_000);
        if told { self.woke(host) } else { Ok(()) }
    }

    /// Every fault stops; what is broken stays broken until somebody notices.
    fn heal(&mut self) {
        self.stage.trace(|| "the faults end".to_owned());
        self.stage.rates = Rates::default();
        self.faults.clear();
        for host in &mut self.hosts {
            host.outage_until = self.stage.now;
        }
        for d in self.hosts.len()..self.daemons.len() {
            self.end(d, false);
        }
        self.healed_at = Some(self.stage.now);
    }

    pub fn is_healed(&self) -> bool {
        self.healed_at.is_some()
    }

    /// Everything that follows a repository.
    pub fn targets(&self, repo: usize) -> Vec<Target> {
        let of_host = |host: &Host| {
            let mine = host.projects.iter().filter(|project| project.repo == repo);
            mine.map(|project| Target { host: host.name.clone(), project: project.name.clone() }).collect::<Vec<_>>()
        };
        self.hosts.iter().flat_map(of_host).collect()
    }
}

#[expect(clippy::expect_used, reason = "a wrong name is a mistake in this file")]
fn name(text: String) -> Name {
    text.parse().expect("the model's names are names")
}

fn host(stage: &mut Stage, h: usize, repos: usize) -> Host {
    let count = stage.rng.between(1, 2);
    let project = |p, repo| Project { name: name(format!("p{p}")), repo, live: 0 };
    Host {
        name: name(format!("h{h}")),
        projects: (0..count).map(|p| project(p, stage.rng.index(repos))).collect(),
        journal: Journal::new(format!("h{h}-0")),
        lost: Vec::new(),
        up: false,
        boot: 0,
        stops: Vec::new(),
        skew_ms: 0,
        asleep_until: T0,
        outage_until: T0,
    }
}
