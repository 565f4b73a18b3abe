//! What can happen next in a state, and what must hold in each.
//!
//! Steps are as small as a crash can tell apart. A few are joined or put
//! first, where nobody could see the difference: a dial with its challenge, a
//! run's start with its fetch (a run that begins again fetches as a step of
//! its own), the end of a connection with its being noticed, a write that
//! fails with the frame it was for. A crash in the middle of a turn is a crash
//! before it or after it whose frames are lost.

use doorstep_shared::ids::{FailureKind, JobState};
use doorstep_shared::link;
use doorstep_shared::time::Timestamp;
use stateright::{Model, Property};

use super::coverage::{Coverage, Seen};
use super::host::{is_over, is_running, may_begin_again};
use super::hub::alarm;
use super::rules;
use super::scene::Scene;
use super::state::{Budget, Conn, Delivery, Host, Hub, HubEnd, Phase, Rule, State, Up};
use crate::model::bug::Bug;

/// Connections that one end at least has not left: the one in the host's hand
/// and an older one that the hub still believes in.
const CONNS_MAX: usize = 2;

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Push,
    /// A POST arrives.
    Post(usize),
    /// A POST is lost, or its write fails.
    PostFails(usize),
    /// A POST arrives that arrived before, or that was lost and is sent again.
    PostAgain(usize),
    Reconcile(usize),
    HubHears(usize),
    HubHearsFirst(usize),
    HubWriteFails(usize),
    HubSeesClose(usize),
    HubCrashes,
    Rings,
    /// A renewal comes too late, and the lease ends under a live host.
    RingsLate,
    HostHears(usize),
    HostSeesClose,
    HostCrashes,
    Boots {
        again: bool,
    },
    Dials,
    GivesUp,
    Wakes,
    Renews,
    Cut(usize),
    Start(usize),
    Fetch(usize),
    Switch(usize),
    Settle(usize),
    Fail(usize, FailureKind),
    PutBack(usize),
}

/// The model: where it begins, and what is wrong with it.
pub struct World {
    pub budget: Budget,
    pub bug: Bug,
    pub seen: Coverage,
}

impl World {
    fn scene(&self, state: &State) -> Scene {
        Scene { state: state.clone(), bug: self.bug, seen: 0 }
    }

    /// Does nothing happen by itself any more?
    fn is_quiet(&self, state: &State) -> bool {
        let mut steps = Vec::new();
        notices(state, &mut steps);
        self.course(state, &mut steps);
        steps.is_empty()
    }

    fn ends_well(&self, state: &State) -> bool {
        let deployed = state.head > 0 && state.host.live == state.head;
        self.seen.add(if deployed { Seen::Rest.bit() } else { 0 });
        rules::check_ending(state).is_ok()
    }

    /// What happens by itself, sooner or later.
    fn course(&self, state: &State, steps: &mut Vec<Step>) {
        let first = steps.len();
        let posted = (0..state.deliveries.len()).filter(|d| state.deliveries[*d].posted);
        steps.extend(posted.map(Step::Post));
        for (c, conn) in state.conns.iter().enumerate() {
            if !conn.up.is_empty() && !overtakes(state, c) {
                steps.push(Step::HubHears(c));
            }
            connection(c, conn, steps);
        }
        daemon(state, steps);
        runs(state, steps);
        if rings(state, steps.len() == first) {
            steps.push(Step::Rings);
        }
    }

    /// What may happen, as long as the budget lasts.
    fn faults(&self, state: &State, steps: &mut Vec<Step>) {
        let left = state.left;
        if left.pushes > 0 {
            steps.push(Step::Push);
        }
        for (d, delivery) in state.deliveries.iter().enumerate() {
            if !delivery.posted && delivery.job.is_none() && !delivery.reconciled {
                steps.push(Step::Reconcile(d));
            }
        }
        if left.losses > 0 {
            losses(state, steps);
        }
        if left.delays > 0 {
            delays(state, steps);
        }
        if left.hub_crashes > 0 {
            steps.push(Step::HubCrashes);
        }
        if left.host_crashes > 0 && state.host.daemon.is_some() {
            steps.push(Step::HostCrashes);
        }
        if left.renewals > 0 && may_renew(state) {
            steps.push(Step::Renews);
        }
        if left.failures > 0 && state.host.daemon.is_some() {
            failures(state, steps);
        }
    }
}

/// A hello that comes before the older connection's: a dial takes several
/// round trips, so the older one was held up on its way, which is a mishap.
fn overtakes(state: &State, c: usize) -> bool {
    state.conns[..c].iter().any(|older| older.hub == HubEnd::Open && !older.up.is_empty())
}

/// An end notices that a connection is over. Nothing else is looked at before:
/// until then the host says things to nobody, as it does while it waits for
/// its next dial; and a hub that does not believe in a socket does not look.
fn notices(state: &State, steps: &mut Vec<Step>) {
    for (c, conn) in state.conns.iter().enumerate() {
        let ended = conn.cut || conn.hub == HubEnd::Gone || matches!(conn.hub, HubEnd::Ending { .. });
        if conn.host_open && conn.down.is_empty() && ended {
            steps.extend([Step::HostSeesClose, Step::GivesUp]);
        }
        if is_over_for_hub(conn) && matches!(conn.hub, HubEnd::Open | HubEnd::Ending { .. }) {
            steps.push(Step::HubSeesClose(c));
        }
    }
}

fn is_over_for_hub(conn: &Conn) -> bool {
    conn.cut || (!conn.host_open && conn.up.is_empty())
}

fn connection(c: usize, conn: &Conn, steps: &mut Vec<Step>) {
    if matches!(conn.hub, HubEnd::Peer { .. }) && is_over_for_hub(conn) {
        steps.push(Step::HubSeesClose(c));
    }
    if !conn.down.is_empty() {
        steps.push(Step::HostHears(c));
        if conn.hub == HubEnd::Gone {
            steps.push(Step::HostSeesClose);
        }
    }
}

fn daemon(state: &State, steps: &mut Vec<Step>) {
    let dialled = state.conns.iter().any(|conn| conn.host_open);
    if dialled || state.conns.len() >= CONNS_MAX {
        return;
    }
    if state.host.daemon.is_some() {
        steps.push(Step::Dials);
        return;
    }
    steps.push(Step::Boots { again: false });
    if state.host.runs.iter().any(may_begin_again) {
        steps.push(Step::Boots { again: true });
    }
}

fn runs(state: &State, steps: &mut Vec<Step>) {
    let Some(daemon) = &state.host.daemon else { return };
    let running = state.host.runs.iter().position(is_running);
    let Some(r) = running else {
        let next = state.host.runs.iter().position(|run| run.phase == Phase::Stored);
        steps.extend(next.map(Step::Start));
        return;
    };
    let run = &state.host.runs[r];
    let stopped = daemon.stops.contains(&run.held);
    steps.push(match (run.failure, run.phase) {
        // Also of a run that had switched and began again.
        (Some(_), phase) if run.previous.is_some() && phase != Phase::PutBack => Step::PutBack(r),
        (Some(_), _) => Step::Settle(r),
        (None, _) if stopped => Step::Fail(r, FailureKind::Cancelled),
        (None, Phase::Started) => Step::Fetch(r),
        (None, Phase::Fetched) => Step::Switch(r),
        (None, _) => Step::Settle(r),
    });
}

/// The alarm rings. The end of a lease whose host is there and holds it is
/// a renewal that came too late, which is a mishap, unless nothing else is to come.
fn rings(state: &State, nothing_else: bool) -> bool {
    let Some(at) = alarm(state) else { return false };
    nothing_else || !ends_lease(state, at) || !state.conns.iter().any(|conn| matches!(conn.hub, HubEnd::Peer { .. }))
}

fn ends_lease(state: &State, at: Timestamp) -> bool {
    state.hub.rows.iter().any(|row| row.0.state == JobState::Leased && row.0.lease_until <= at)
}

fn losses(state: &State, steps: &mut Vec<Step>) {
    for (d, delivery) in state.deliveries.iter().enumerate() {
        steps.push(if delivery.posted { Step::PostFails(d) } else { Step::PostAgain(d) });
    }
    for (c, conn) in state.conns.iter().enumerate() {
        if !conn.up.is_empty() {
            steps.push(Step::HubWriteFails(c));
        }
        if !conn.cut {
            steps.push(Step::Cut(c));
        }
    }
}

fn delays(state: &State, steps: &mut Vec<Step>) {
    for (c, conn) in state.conns.iter().enumerate() {
        if !conn.up.is_empty() && overtakes(state, c) {
            steps.push(Step::HubHearsFirst(c));
        }
    }
    let up = state.host.daemon.as_ref().is_some_and(|daemon| daemon.link.is_up());
    if up && state.conns.len() < CONNS_MAX {
        steps.push(Step::Wakes);
    }
    if alarm(state).is_some() && !rings(state, false) {
        steps.push(Step::RingsLate);
    }
}

fn failures(state: &State, steps: &mut Vec<Step>) {
    for (r, run) in state.host.runs.iter().enumerate().filter(|(_, run)| run.failure.is_none()) {
        match run.phase {
            Phase::Started | Phase::Fetched => steps.push(Step::Fail(r, FailureKind::Network)),
            Phase::Switched => steps.push(Step::Fail(r, FailureKind::Health)),
            Phase::Stored | Phase::PutBack | Phase::Settled { .. } | Phase::Forgotten | Phase::Lost => {}
        }
    }
}

/// One renewal is under way at most: a second one says nothing new.
fn may_renew(state: &State) -> bool {
    let up = state.host.daemon.as_ref().is_some_and(|daemon| daemon.link.is_up());
    let quiet = state.conns.iter().any(|conn| conn.host_open && !conn.up.iter().any(|up| matches!(up, Up::Renew(_))));
    up && quiet && state.host.runs.iter().any(|run| !is_over(run))
}

impl Model for World {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let (hub, host) = (Hub::default(), Host::default());
        let (deliveries, conns) = (Vec::new(), Vec::new());
        vec![State { left: self.budget, head: 0, deliveries, hub, conns, host, broken: None }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.broken.is_none() {
            notices(state, steps);
            if steps.is_empty() {
                self.course(state, steps);
                self.faults(state, steps);
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut scene = self.scene(state);
        scene.pay(step);
        scene.take(step);
        scene.state.tidy();
        self.seen.add(scene.seen);
        Some(scene.state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one lease and one waiting deploy", |_, s: &State| rules::is_alone(s)),
            Property::always("an attempt starts, ends and is obeyed once", |_, s: &State| {
                rules::starts_once(s) && keeps(s, Rule::Attempts)
            }),
            Property::always("an accepted delivery has its job", |_, s: &State| {
                rules::is_stored(s) && keeps(s, Rule::Accepted)
            }),
            Property::always("memory equals rows", |_, s: &State| keeps(s, Rule::Memory)),
            Property::always("nothing older is granted", |_, s: &State| keeps(s, Rule::Newest)),
            Property::always("what is done was carried out", |_, s: &State| keeps(s, Rule::CarriedOut)),
            Property::always("the wire is used in order", |_, s: &State| keeps(s, Rule::Wire)),
            Property::always("at rest every job has ended", |world: &Self, s: &State| {
                s.broken.is_some() || !world.is_quiet(s) || world.ends_well(s)
            }),
        ]
    }
}

fn keeps(state: &State, rule: Rule) -> bool {
    !state.broken.as_ref().is_some_and(|(broken, _)| *broken == rule)
}

impl Scene {
    /// Takes a step's price from the budget.
    fn pay(&mut self, step: Step) {
        let left = &mut self.state.left;
        let purse = match step {
            Step::Push => &mut left.pushes,
            Step::HubCrashes => &mut left.hub_crashes,
            Step::HostCrashes => &mut left.host_crashes,
            Step::Fail(_, FailureKind::Network | FailureKind::Health) => &mut left.failures,
            Step::PostFails(_) | Step::PostAgain(_) | Step::HubWriteFails(_) | Step::Cut(_) => &mut left.losses,
            Step::HubHearsFirst(_) | Step::RingsLate | Step::Wakes => &mut left.delays,
            Step::Renews => &mut left.renewals,
            Step::Post(_)
            | Step::Reconcile(_)
            | Step::HubHears(_)
            | Step::HubSeesClose(_)
            | Step::Rings
            | Step::HostHears(_)
            | Step::HostSeesClose
            | Step::Boots { .. }
            | Step::Dials
            | Step::GivesUp
            | Step::Start(_)
            | Step::Fetch(_)
            | Step::Switch(_)
            | Step::Settle(_)
            | Step::Fail(..)
            | Step::PutBack(_) => return,
        };
        *purse = purse.saturating_sub(1);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Push => self.push(),
            Step::Post(d) => self.hub_is_posted(d, false),
            Step::PostFails(d) => self.hub_is_posted(d, true),
            Step::PostAgain(d) => self.hub_is_posted(d, false),
            Step::Reconcile(d) => self.reconcile(d),
            Step::HubHears(c) | Step::HubHearsFirst(c) => self.hub_hears(c, false),
            Step::HubWriteFails(c) => self.hub_hears(c, true),
            Step::HubSeesClose(c) => self.hub_sees_close(c),
            Step::HubCrashes => self.hub_crashes(),
            Step::Rings | Step::RingsLate => self.ring(),
            Step::HostHears(c) => self.host_hears(c),
            Step::HostSeesClose => self.host_sees_close(),
            Step::HostCrashes => self.crash(),
            Step::Boots { again } => {
                self.saw_if(Seen::BegunAgain, again);
                self.boot(again);
            }
            Step::Dials => self.dials(),
            Step::GivesUp => self.gives_up(),
            Step::Wakes => self.input(link::Input::Woke),
            Step::Renews => self.send_up(Up::Renew(self.holding())),
            Step::Cut(c) => self.cut(c),
            Step::Start(r) => self.start(r),
            Step::Fetch(r) => self.fetch(r),
            Step::Switch(r) => self.switch(r),
            Step::Settle(r) => self.settle(r),
            Step::Fail(r, kind) => self.fail(r, kind),
            Step::PutBack(r) => self.put_back(r),
        }
    }

    fn push(&mut self) {
        self.state.head += 1;
        let commit = self.state.head;
        self.state.deliveries.push(Delivery { commit, posted: true, accepted: false, job: None, reconciled: false });
    }
}
