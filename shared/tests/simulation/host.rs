//! A host's daemon: the link engine's shell, around a journal that outlives
//! it. The process may die between any two effects; nothing but the journal
//! and what is live survives.
//!
//! A second daemon of the same host is a process that lost the journal to the
//! first: it holds a copy from the moment it began, dials, says hello and
//! renews, and can store nothing.

use std::collections::BTreeMap;

use doorstep_shared::ids::{FailureKind, Name};
use doorstep_shared::link::{self, HEARTBEAT_MS, Link, SILENCE_MS_MAX, WINDOW};
use doorstep_shared::protocol::{Grant, Holding, Report, ToEdge, ToExecutor, VERSION, fit};
use doorstep_shared::time::Timestamp;

use super::bug::ModelBug;
use super::coverage::Seen;
use super::journal::{Held, Journal};
use super::reconcile::LOCAL_AFTER_MS;
use super::release::Project;
use super::stage::{Event, T0};
use super::wire::{ConnId, Dark, Down, Up};
use super::world::World;

/// Processes that may begin one run; one more gives it up.
pub const BEGUN_MAX: u32 = 3;

/// The process died: whatever was under way ends here.
pub struct Died;
/// What everything returns that a crash may cut short.
pub type Life = Result<(), Died>;

/// A machine.
pub struct Host {
    pub name: Name,
    pub projects: Vec<Project>,
    pub journal: Journal,
    /// Journals of disks that were lost, or put back to an older state.
    pub lost: Vec<Journal>,
    /// How many identities its journals had.
    pub identities: usize,
    /// A copy of its disk, and whether one was ever put back.
    pub copy: Option<Box<(Journal, Vec<Project>)>>,
    pub put_back: bool,
    /// Processes since the last copy was put back that never had a link, and
    /// whether one after them could no longer tell what was sent.
    pub boots_unheard: Option<u32>,
    pub unsure: bool,
    /// A second daemon ran, so the hub may know what the first never sent.
    pub doubled: bool,
    /// The version of the protocol its program speaks.
    pub version: u16,
    pub up: bool,
    /// Counts processes, so that a dead one's timers are known.
    pub boot: u32,
    /// Attempts that somebody wants stopped; memory only.
    pub stops: Vec<Holding>,
    /// How far its steady clock runs ahead.
    pub skew_ms: u64,
    /// How far its wall clock was set back.
    pub wall_back_ms: u64,
    /// Its disk is full until then; what it noticed, and what it said last.
    pub full_until: Timestamp,
    pub parked: bool,
    pub told_parked: bool,
    /// Reports up to here can be forgotten when there is room.
    pub to_forget: u64,
    /// Since when its link is down, by its daemon's life.
    pub down_since: Timestamp,
    pub swept_at: Timestamp,
    /// How many runs it wanted by itself.
    pub local_runs: u64,
    /// How often a run killed its daemon.
    pub kills: BTreeMap<Holding, u32>,
    pub asleep_until: Timestamp,
    pub outage_until: Timestamp,
}

/// A process that dials; number n < hosts is the true one of host n.
pub struct Daemon {
    pub host: usize,
    pub link: Option<Link>,
    pub slot: Option<ConnId>,
    /// A second daemon's view of the journal.
    pub copy: Option<(String, Vec<Holding>)>,
    renew_ms: u64,
    wake_at: Option<Timestamp>,
    /// When something came on its socket.
    pub answered_at: Timestamp,
}

impl Daemon {
    pub fn new(host: usize) -> Self {
        Self { host, link: None, slot: None, copy: None, renew_ms: 0, wake_at: None, answered_at: T0 }
    }
}

impl World {
    /// The daemon starts, and goes on with what its journal says.
    pub fn boot(&mut self, h: usize) -> Life {
        let host = &mut self.hosts[h];
        if host.up {
            return Ok(());
        }
        host.up = true;
        host.boot += 1;
        host.down_since = self.stage.now;
        host.boots_unheard = host.boots_unheard.map(|boots| boots + 1);
        host.unsure |= host.boots_unheard.is_some_and(|boots| boots > 1);
        let outbox = host.journal.outbox();
        self.stage.trace(|| format!("h{h} boots with {} reports to send", outbox.len()));
        self.park_if_full(h);
        self.plan_sweeps(h);
        self.begin(h, outbox)?;
        for project in self.names_of_projects(h) {
            self.resume(h, &project)?;
            self.start_next(h, &project)?;
        }
        Ok(())
    }

    /// A run that was under way goes on, or begins again, under its attempt.
    fn resume(&mut self, h: usize, project: &Name) -> Life {
        let journal = &mut self.hosts[h].journal;
        let Some(holding) = journal.running(project).map(Held::holding) else { return Ok(()) };
        self.stage.saw(Seen::Resumes);
        let begun = if self.stage.has(ModelBug::PoisonForgotten) { 1 } else { journal.begin(holding) };
        // A failure that was decided before is carried through, not decided anew.
        if begun > BEGUN_MAX && journal.get(holding).is_some_and(|held| held.failure.is_none()) {
            self.stage.saw(Seen::Poisoned);
            return self.fail(h, holding, FailureKind::Crash);
        }
        if self.stage.chance(3_000) {
            self.stage.saw(Seen::Reruns);
            self.hosts[h].journal.rerun(holding);
        }
        self.schedule_step(h, holding);
        Ok(())
    }

    /// Gives a daemon a fresh link and lets it dial.
    fn begin(&mut self, d: usize, outbox: Vec<(u64, Report)>) -> Life {
        let last = self.hosts[self.daemons[d].host].journal.last_report();
        let link = Link::new(self.stage.rng.next(), outbox).with_last_report(last);
        self.daemons[d].link = Some(self.stage.bug().plant_in_link(link));
        self.daemons[d].wake_at = None;
        self.input(d, link::Input::Start)
    }

    /// A second daemon starts beside the first.
    pub fn begin_second(&mut self, h: usize) {
        let journal = &self.hosts[h].journal;
        let mut daemon = Daemon::new(h);
        daemon.copy = Some((journal.id.clone(), journal.holding()));
        let outbox = journal.outbox();
        let d = self.daemons.len();
        self.daemons.push(daemon);
        self.hosts[h].doubled = true;
        self.stage.saw(Seen::SecondDaemons);
        self.stage.trace(|| format!("h{h} has a second daemon, d{d}"));
        let life_ms = self.stage.rng.between(2_000, 90_000);
        self.stage.after_ms(life_ms, Event::SecondDaemonEnds { daemon: d });
        // Only the first daemon's process dies of a crash.
        let _lives = self.begin(d, outbox);
    }

    /// The process of a daemon is gone; the kernel closes its socket, or
    /// nobody does when the power went.
    pub fn end(&mut self, d: usize, power_cut: bool) {
        self.daemons[d].link = None;
        if let Some(conn) = self.daemons[d].slot.take() {
            if power_cut {
                self.wire.darken(&mut self.stage, conn, Dark::Both);
            }
            self.wire.host_closes(&mut self.stage, conn);
        }
    }

    /// The daemon dies and is started again after a while.
    pub fn crash(&mut self, h: usize) {
        let power_cut = self.stage.chance(2_000);
        let down_ms = if self.stage.chance(3_000) { self.stage.rng.between(20_000, 180_000) } else { 500 };
        self.stops(h, power_cut, down_ms);
    }

    /// The daemon dies, perhaps with its machine, for so long.
    pub fn stops(&mut self, h: usize, power_cut: bool, down_ms: u64) {
        if !self.hosts[h].up {
            return;
        }
        self.stage.saw(Seen::Crashes);
        self.stage.trace(|| format!("h{h} crashes"));
        let host = &mut self.hosts[h];
        host.up = false;
        host.boot += 1;
        host.stops.clear();
        (host.parked, host.told_parked) = (false, false);
        host.journal.crash();
        if power_cut {
            self.stage.saw(Seen::PowerCuts);
            host.journal.power_cut();
        }
        self.end(h, power_cut);
        self.stage.after_ms(down_ms, Event::Boot { host: h });
    }

    /// A place where the process may die.
    pub fn may_die(&mut self, h: usize) -> Life {
        if self.stage.chance(self.stage.rates.crash) {
            self.crash(h);
            return Err(Died);
        }
        Ok(())
    }

    /// Hands an input to a daemon's link and carries out what follows.
    pub fn input(&mut self, d: usize, input: link::Input) -> Life {
        let now = self.host_now(d);
        let Some(link) = self.daemons[d].link.as_mut() else { return Ok(()) };
        let outputs = link.handle(input, now);
        for output in outputs {
            self.carry_out(d, output)?;
        }
        let torn = self.daemons[d].slot.is_none() && self.daemons[d].link.as_ref().is_some_and(Link::is_up);
        self.stage.check(!torn, || format!("d{d} is up without a socket"));
        self.note_link(d);
        self.schedule_deadline(d);
        Ok(())
    }

    /// Since when is the link down? After a while the host goes on alone.
    fn note_link(&mut self, d: usize) {
        if d >= self.hosts.len() {
            return;
        }
        let up = self.daemons[d].link.as_ref().is_some_and(Link::is_up);
        let host = &mut self.hosts[d];
        if up {
            (host.down_since, host.boots_unheard) = (Timestamp(u64::MAX), None);
        } else if host.down_since == Timestamp(u64::MAX) {
            host.down_since = self.stage.now;
            self.stage.after_ms(LOCAL_AFTER_MS, Event::LinkStillDown { host: d, since: self.stage.now });
        }
    }

    fn carry_out(&mut self, d: usize, output: link::Output) -> Life {
        let h = self.daemons[d].host;
        let second = self.daemons[d].copy.is_some();
        match output {
            link::Output::Dial => {
                let reachable = self.hosts[h].outage_until.max(self.edge_away_until) <= self.stage.now;
                let conn = self.wire.dial(&mut self.stage, d, reachable);
                self.stage.check(self.daemons[d].slot.is_none(), || format!("d{d} dials with a socket in its hand"));
                self.daemons[d].slot = Some(conn);
            }
            link::Output::Authenticate { nonce } => self.hello(d, nonce),
            link::Output::Send(frame) if second => self.send(d, Up::Frame(frame)),
            link::Output::Send(frame) => {
                self.may_die(h)?;
                self.check_window(h, &frame);
                self.send(d, Up::Frame(frame));
            }
            link::Output::Outrun { .. } if second => {}
            link::Output::Outrun { acknowledged } => self.outrun(h, acknowledged),
            link::Output::Ping => self.send(d, Up::Ping),
            link::Output::Hangup { reason } => {
                self.stage.trace(|| format!("d{d} hangs up: {reason}"));
                if let Some(conn) = self.daemons[d].slot.take() {
                    self.wire.host_closes(&mut self.stage, conn);
                }
            }
            link::Output::Up { lease_ms } => {
                self.stage.trace(|| format!("d{d} is up"));
                self.daemons[d].renew_ms = lease_ms / 3;
                self.schedule_renewal(d);
                if !second {
                    self.tell_parked(h);
                    self.sweep(h);
                }
            }
            link::Output::Refused { message, .. } => {
                self.stage.check(false, || format!("d{d} was refused for good: {message}"));
            }
            link::Output::Watched { .. } | link::Output::Measured => self.stage.check(false, || format!("d{d} is watched by nobody")),
            // A second daemon has no journal to write to.
            link::Output::Granted(_) | link::Output::Cancelled(_) | link::Output::Forget { .. } if second => {}
            link::Output::Granted(grant) => return self.granted(h, grant),
            link::Output::Cancelled(holding) => return self.stop(h, holding),
            link::Output::Forget { seq } => {
                self.may_die(h)?;
                self.forget(h, seq);
            }
        }
        Ok(())
    }

    fn check_window(&mut self, h: usize, frame: &ToEdge) {
        if let ToEdge::Report { seq, .. } = frame {
            let in_flight = self.hosts[h].journal.in_flight(*seq, self.hosts[h].to_forget);
            self.stage.check(in_flight <= WINDOW as u64, || format!("h{h} has {in_flight} reports in flight"));
        }
    }

    fn hello(&mut self, d: usize, nonce: String) {
        let host = &self.hosts[self.daemons[d].host];
        let second = self.daemons[d].copy.is_some();
        let (journal, holding) = match &self.daemons[d].copy {
            Some(copy) => copy.clone(),
            None => (host.journal.id.clone(), host.journal.holding()),
        };
        let parked = if second || !host.parked { None } else { Some("the disk is full".to_owned()) };
        let is_parked = parked.is_some();
        let hello = ToEdge::Hello {
            version: VERSION,
            executor_version: String::new(),
            host: host.name.clone(),
            signature: nonce,
            journal,
            holding,
            projects: Vec::new(),
            parked,
            started: None,
            booted: None,
        };
        self.send(d, Up::Frame(hello));
        if !second {
            self.hosts[d].told_parked = is_parked;
        }
    }

    /// The version that a daemon's connection speaks.
    pub fn spoken(&self, d: usize) -> u16 {
        let by_link = self.daemons[d].link.as_ref().map_or(VERSION, Link::version);
        by_link.min(self.hosts[self.daemons[d].host].version)
    }

    pub fn send(&mut self, d: usize, frame: Up) {
        let Some(conn) = self.daemons[d].slot else { return };
        let frame = match frame {
            Up::Frame(frame) => fit(frame, self.spoken(d)).map(Up::Frame),
            Up::Ping => Some(Up::Ping),
        };
        if let Some(frame) = frame {
            self.wire.send_up(&mut self.stage, conn, frame);
        }
    }

    /// A grant came: stored first, carried out when the project is free.
    fn granted(&mut self, h: usize, grant: Grant) -> Life {
        let holding = Holding { job: grant.job, attempt: grant.attempt };
        if self.hosts[h].journal.knows(holding) {
            return Ok(());
        }
        self.may_die(h)?;
        if self.park_if_full(h) {
            // Nobody renews it, so it is granted again when there is room.
            self.stage.saw(Seen::GrantsWithoutRoom);
            return Ok(());
        }
        let project = grant.project.clone();
        let volatile = self.stage.has(ModelBug::GrantNotJournaled);
        self.hosts[h].journal.store(grant, false, volatile);
        self.may_die(h)?;
        for older in self.hosts[h].journal.older(holding) {
            self.stop(h, older)?;
        }
        self.start_next(h, &project)
    }

    /// A frame, or the news of an open socket.
    pub fn host_hears(&mut self, conn: ConnId, frame: Down) -> Life {
        let d = self.wire.daemon(conn);
        if self.daemons[d].slot != Some(conn) || !self.wire.reaches_host(conn) {
            return Ok(());
        }
        let is_answer = matches!(frame, Down::Opened | Down::Pong | Down::Frame(ToExecutor::Welcome { .. } | ToExecutor::Acknowledge { .. }));
        if is_answer {
            self.daemons[d].answered_at = self.stage.now;
        }
        match frame {
            Down::Opened => self.input(d, link::Input::Opened),
            Down::Frame(frame) => self.input(d, link::Input::Frame(frame)),
            Down::Pong => self.input(d, link::Input::Pong),
        }
    }

    /// The socket ended, or the dial failed.
    pub fn host_sees_close(&mut self, conn: ConnId) -> Life {
        let d = self.wire.daemon(conn);
        if !self.wire.host_sees_close(&mut self.stage, conn) || self.daemons[d].slot != Some(conn) {
            return Ok(());
        }
        self.daemons[d].slot = None;
        if self.wire.is_lost(conn) && self.stage.chance(5_000) {
            self.stage.saw(Seen::Unreachable);
            return self.input(d, link::Input::Unreachable { reason: "no answer".to_owned() });
        }
        self.input(d, link::Input::Closed { reason: "closed".to_owned() })
    }

    /// The link's deadline came, unless it was moved meanwhile.
    pub fn deadline(&mut self, d: usize, at: Timestamp) -> Life {
        if self.daemons[d].wake_at != Some(at) {
            return Ok(());
        }
        self.daemons[d].wake_at = None;
        let now = self.host_now(d);
        let due = self.daemons[d].link.as_ref().and_then(Link::deadline).is_some_and(|at| at <= now);
        if due { self.input(d, link::Input::Tick) } else { self.rest(d) }
    }

    fn rest(&mut self, d: usize) -> Life {
        self.schedule_deadline(d);
        Ok(())
    }

    fn schedule_deadline(&mut self, d: usize) {
        let skew_ms = self.hosts[self.daemons[d].host].skew_ms;
        let daemon = &mut self.daemons[d];
        let Some(deadline) = daemon.link.as_ref().and_then(Link::deadline) else { return };
        let at = Timestamp(deadline.0.saturating_sub(skew_ms)).max(self.stage.now);
        if daemon.wake_at.is_none_or(|set| at < set || set < self.stage.now) {
            daemon.wake_at = Some(at);
            self.stage.at(at, Event::Deadline { daemon: d, at });
        }
    }

    fn schedule_renewal(&mut self, d: usize) {
        if let Some(conn) = self.daemons[d].slot {
            self.stage.after_ms(self.daemons[d].renew_ms, Event::Renew { daemon: d, conn });
        }
    }

    /// A third of a lease went by on this connection.
    pub fn renew(&mut self, d: usize, conn: ConnId) {
        if self.daemons[d].slot != Some(conn) {
            return;
        }
        let holding = match &self.daemons[d].copy {
            Some((_, holding)) => holding.clone(),
            None => self.hosts[self.daemons[d].host].journal.holding(),
        };
        if !holding.is_empty() {
            self.send(d, Up::Frame(ToEdge::Renew { holding }));
        }
        self.schedule_renewal(d);
    }

    /// The host's clock jumps ahead; it may or may not tell the link.
    pub fn jump(&mut self, h: usize, ms: u64, told: bool) -> Life {
        self.hosts[h].skew_ms += ms;
        if told { self.woke(h) } else { self.rest(h) }
    }

    /// The link hears that the host woke, and does not wait any longer.
    pub fn woke(&mut self, h: usize) -> Life {
        self.input(h, link::Input::Woke)?;
        let daemon = &self.daemons[h];
        let waits = daemon.link.is_some() && daemon.slot.is_none();
        self.stage.check(!waits, || format!("d{h} woke and does not dial"));
        Ok(())
    }

    /// A link that gets no answer for two heartbeats and a tick is down.
    pub fn check_silence(&mut self, d: usize) {
        let daemon = &self.daemons[d];
        let answered_at = daemon.answered_at.max(self.hosts[daemon.host].asleep_until);
        let silent_ms = self.stage.now.ms_since(answered_at);
        let believed = daemon.link.as_ref().is_some_and(Link::is_up) && silent_ms > SILENCE_MS_MAX + HEARTBEAT_MS;
        self.stage.check(!believed, || format!("d{d} is up and got no answer for {silent_ms} ms"));
    }

    fn host_now(&self, d: usize) -> Timestamp {
        self.stage.now.plus_ms(self.hosts[self.daemons[d].host].skew_ms)
    }

    pub fn names_of_projects(&self, h: usize) -> Vec<Name> {
        self.hosts[h].projects.iter().map(|project| project.name.clone()).collect()
    }
}
