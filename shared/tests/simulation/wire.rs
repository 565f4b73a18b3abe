//! Connections that misbehave as TCP does: frames of one direction keep their
//! order and may be late; a whole direction may go dark without a word; a
//! close is noticed late, or only by silence. Frames in flight are lost with
//! their connection.

use doorstep_shared::protocol::{ToEdge, ToExecutor, decode, encode};
use doorstep_shared::time::Timestamp;

use super::coverage::Seen;
use super::stage::{Event, Stage};

/// A place in [`Wire`]'s list; never used again.
pub type ConnId = usize;

/// What travels to the hub.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "a frame is the rule and a heartbeat is not kept for long")]
pub enum Up {
    Frame(ToEdge),
    Ping,
}

/// What travels to the host.
#[derive(Clone, Debug)]
pub enum Down {
    Opened,
    Frame(ToExecutor),
    Pong,
}

#[derive(Default)]
struct Pipe {
    dark: bool,
    /// When the last frame arrives; the next may not overtake it.
    clear_at: Timestamp,
}

impl Pipe {
    fn arrival(&mut self, latency_ms: u64, stage: &mut Stage) -> Timestamp {
        let stall_ms = if stage.chance(stage.rates.stall) { stage.rng.between(500, 10_000) } else { 0 };
        let jitter_ms = stage.rng.below(latency_ms + 1);
        self.clear_at = self.clear_at.max(stage.now.plus_ms(latency_ms + jitter_ms + stall_ms));
        self.clear_at
    }
}

struct Conn {
    daemon: usize,
    latency_ms: u64,
    host_open: bool,
    /// The dial is on its way.
    dialing: bool,
    /// The dial arrives nowhere.
    lost: bool,
    /// The hub still reads.
    hub_open: bool,
    /// The hub said its last word; what was on its way to it still arrives.
    hub_ended: bool,
    up: Pipe,
    down: Pipe,
}

/// Which direction goes dark.
#[derive(Clone, Copy, Debug)]
pub enum Dark {
    Up,
    Down,
    Both,
}

/// Every connection there ever was.
#[derive(Default)]
pub struct Wire(Vec<Conn>);

impl Wire {
    /// A daemon dials; what comes of it arrives as events.
    pub fn dial(&mut self, stage: &mut Stage, daemon: usize, reachable: bool) -> ConnId {
        let conn = self.0.len();
        let latency_ms = if stage.chance(500) { stage.rng.between(500, 2_000) } else { stage.rng.between(1, 80) };
        let (up, down) = (Pipe::default(), Pipe::default());
        let (host_open, dialing, lost, hub_open, hub_ended) = (true, false, false, false, false);
        self.0.push(Conn { daemon, latency_ms, host_open, dialing, lost, hub_open, hub_ended, up, down });
        if reachable && !stage.chance(stage.rates.dial_fails) {
            let at = self.0[conn].up.arrival(latency_ms, stage);
            self.0[conn].dialing = true;
            stage.at(at, Event::DialArrives { conn });
        } else if stage.chance(5_000) {
            self.0[conn].lost = true;
            stage.after_ms(latency_ms, Event::HostSeesClose { conn });
        }
        conn
    }

    /// The dial reached the hub.
    pub fn open(&mut self, stage: &mut Stage, conn: ConnId) {
        (self.0[conn].dialing, self.0[conn].hub_open) = (false, true);
        self.send_down(stage, conn, Down::Opened);
    }

    pub fn daemon(&self, conn: ConnId) -> usize {
        self.0[conn].daemon
    }

    pub fn send_up(&mut self, stage: &mut Stage, conn: ConnId, frame: Up) {
        let c = &mut self.0[conn];
        if c.host_open {
            let at = c.up.arrival(c.latency_ms, stage);
            let frame = if stage.encoded { reread_up(frame, stage) } else { frame };
            stage.at(at, Event::ToHub { conn, frame });
        }
    }

    pub fn send_down(&mut self, stage: &mut Stage, conn: ConnId, frame: Down) {
        let c = &mut self.0[conn];
        if c.hub_open && !c.hub_ended {
            let at = c.down.arrival(c.latency_ms, stage);
            let frame = if stage.encoded { reread_down(frame, stage) } else { frame };
            stage.at(at, Event::ToHost { conn, frame });
        }
    }

    /// Is somebody there to take what arrives at the hub now?
    pub fn reaches_hub(&self, conn: ConnId) -> bool {
        self.0[conn].hub_open && !self.0[conn].up.dark
    }

    /// Is somebody there to take what arrives at the host now?
    pub fn reaches_host(&self, conn: ConnId) -> bool {
        self.0[conn].host_open && !self.0[conn].down.dark
    }

    /// The host ends it; the hub hears of it late when nothing gets through.
    pub fn host_closes(&mut self, stage: &mut Stage, conn: ConnId) {
        let c = &mut self.0[conn];
        if !std::mem::take(&mut c.host_open) {
            return;
        }
        let late_ms = if c.up.dark { stage.rng.between(30_000, 300_000) } else { late_ms(stage) };
        let at = c.up.arrival(c.latency_ms + late_ms, stage);
        stage.at(at, Event::HubSeesClose { conn });
    }

    /// The hub says its last word; the host hears of it unless nothing gets through.
    pub fn hub_closes(&mut self, stage: &mut Stage, conn: ConnId) {
        let c = &mut self.0[conn];
        if c.hub_open && !std::mem::replace(&mut c.hub_ended, true) && !c.down.dark {
            let at = c.down.arrival(c.latency_ms, stage);
            stage.at(at, Event::HostSeesClose { conn });
        }
    }

    /// The hub sees the end; false when it knew.
    pub fn hub_sees_close(&mut self, conn: ConnId) -> bool {
        std::mem::take(&mut self.0[conn].hub_open)
    }

    /// The host sees the end and ends it too; false when it knew.
    pub fn host_sees_close(&mut self, stage: &mut Stage, conn: ConnId) -> bool {
        let open = self.0[conn].host_open;
        self.host_closes(stage, conn);
        open
    }

    /// Did the dial arrive nowhere? Then its end may say so.
    pub fn is_lost(&self, conn: ConnId) -> bool {
        self.0[conn].lost
    }

    /// Breaks it; each end is told at its own time, the host sometimes never.
    pub fn cut(&mut self, stage: &mut Stage, conn: ConnId) {
        stage.saw(Seen::Cuts);
        stage.trace(|| format!("cut of connection {conn}"));
        (self.0[conn].up.dark, self.0[conn].down.dark) = (true, true);
        let hub_ms = late_ms(stage);
        stage.after_ms(hub_ms, Event::HubSeesClose { conn });
        if stage.chance(7_000) {
            let host_ms = late_ms(stage);
            stage.after_ms(host_ms, Event::HostSeesClose { conn });
        }
    }

    /// From now on nothing gets through, and nobody is told.
    pub fn darken(&mut self, stage: &mut Stage, conn: ConnId, dark: Dark) {
        stage.saw(Seen::BlackHoles);
        stage.trace(|| format!("connection {conn} goes dark: {dark:?}"));
        let c = &mut self.0[conn];
        c.up.dark |= matches!(dark, Dark::Up | Dark::Both);
        c.down.dark |= matches!(dark, Dark::Down | Dark::Both);
    }

    /// The hub's process ended: every socket of it breaks.
    pub fn drop_all(&mut self, stage: &mut Stage) {
        for conn in 0..self.0.len() {
            self.hub_closes(stage, conn);
            self.0[conn].hub_open = false;
        }
    }

    /// Open at both ends and bright in both directions.
    pub fn works(&self, conn: ConnId) -> bool {
        !self.0[conn].hub_ended && self.reaches_hub(conn) && self.reaches_host(conn)
    }

    /// On how many may the hub still hear something?
    pub fn audible(&self) -> usize {
        self.0.iter().filter(|c| (c.dialing || c.hub_open) && !c.up.dark).count()
    }
}

/// Most closes are noticed at once, some after a minute and a half.
fn late_ms(stage: &mut Stage) -> u64 {
    if stage.chance(2_000) { stage.rng.between(1_000, 90_000) } else { stage.rng.below(50) }
}

fn reread_up(frame: Up, stage: &mut Stage) -> Up {
    let Up::Frame(frame) = frame else { return frame };
    let read = encode(&frame).and_then(|text| decode::<ToEdge>(&text));
    stage.check(read.as_ref().is_ok_and(|read| *read == frame), || format!("{frame:?} was read as {read:?}"));
    Up::Frame(frame)
}

fn reread_down(frame: Down, stage: &mut Stage) -> Down {
    let Down::Frame(frame) = frame else { return frame };
    let read = encode(&frame).and_then(|text| decode::<ToExecutor>(&text));
    stage.check(read.as_ref().is_ok_and(|read| *read == frame), || format!("{frame:?} was read as {read:?}"));
    Down::Frame(frame)
}
