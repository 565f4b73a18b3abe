//! A host compares its branches with what it concluded last: when its link
//! comes up, every ten minutes, and after a sleep. What it finds it tells the
//! hub; when the hub is out of reach for long, it deploys by itself.

use doorstep_shared::ids::{Action, Cause, Name};
use doorstep_shared::link::Link;
use doorstep_shared::protocol::{Grant, ToEdge};
use doorstep_shared::time::Timestamp;

use super::bug::ModelBug;
use super::coverage::Seen;
use super::host::Life;
use super::journal::local_id;
use super::stage::Event;
use super::wire::Up;
use super::world::World;

/// At most one sweep in this time.
const SWEEP_MS_MIN: u64 = 15_000;
/// Time between sweeps, with jitter.
const SWEEP_MS: (u64, u64) = (9 * 60_000, 11 * 60_000);
/// A link that is down for longer does not hold up a deploy.
pub const LOCAL_AFTER_MS: u64 = 120_000;
/// The first version that knows how to say it.
const KNOWS_BEHIND: u16 = 2;

impl World {
    /// Do this host and the hub know what reconciling is?
    pub fn reconciles(&self, h: usize) -> bool {
        self.hosts[h].version >= KNOWS_BEHIND && self.hub.version >= KNOWS_BEHIND
    }

    /// The sweeps of a process that began.
    pub fn plan_sweeps(&mut self, h: usize) {
        let (ms, boot) = (self.stage.rng.between(SWEEP_MS.0, SWEEP_MS.1), self.hosts[h].boot);
        self.stage.after_ms(ms, Event::Sweep { host: h, boot });
        self.stage.after_ms(LOCAL_AFTER_MS, Event::LinkStillDown { host: h, since: self.stage.now });
    }

    /// The time between two sweeps went by.
    pub fn next_sweep(&mut self, h: usize, boot: u32) {
        if self.hosts[h].boot == boot {
            self.sweep(h);
            let ms = self.stage.rng.between(SWEEP_MS.0, SWEEP_MS.1);
            self.stage.after_ms(ms, Event::Sweep { host: h, boot });
        }
    }

    /// The link is down since then, if it did not come up meanwhile.
    pub fn link_still_down(&mut self, h: usize, since: Timestamp) {
        if self.hosts[h].up && self.hosts[h].down_since == since {
            self.sweep(h);
        }
    }

    /// Asks the origins where their branches stand.
    pub fn sweep(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if self.stage.has(ModelBug::ReconcileUnasked) || host.version < KNOWS_BEHIND || !host.up || host.swept_at.plus_ms(SWEEP_MS_MIN) > self.stage.now {
            return;
        }
        host.swept_at = self.stage.now;
        let (ms, boot) = (self.stage.rng.between(30, 3_000), host.boot);
        self.stage.after_ms(ms, Event::SweepEnds { host: h, boot });
    }

    /// The origins answered, unless there is no network.
    pub fn sweep_ends(&mut self, h: usize, boot: u32) -> Life {
        if self.hosts[h].boot != boot || self.hosts[h].outage_until > self.stage.now {
            return Ok(());
        }
        for p in 0..self.hosts[h].projects.len() {
            if self.is_behind(h, p) {
                self.catch_up(h, p)?;
            }
        }
        Ok(())
    }

    /// Is the branch elsewhere than what was concluded, and nobody on it?
    pub fn is_behind(&self, h: usize, p: usize) -> bool {
        let (host, project) = (&self.hosts[h], &self.hosts[h].projects[p]);
        let head = self.stage.branches[project.repo].head().commit;
        let concluded = host.journal.concluded(&project.name).map(|concluded| concluded.commit);
        concluded != Some(head) && !host.journal.is_busy(&project.name)
    }

    fn catch_up(&mut self, h: usize, p: usize) -> Life {
        let host = &self.hosts[h];
        let project = &host.projects[p];
        let (name, repo) = (project.name.clone(), project.repo);
        if self.daemons[h].link.as_ref().is_some_and(Link::is_up) {
            self.stage.saw(Seen::Behind);
            let first = host.journal.concluded(&name).is_none();
            let head = format!("{:040x}", self.stage.branches[repo].head().commit);
            self.stage.trace(|| format!("h{h} says that {name} is behind"));
            self.send(h, Up::Frame(ToEdge::Behind { project: name, head, first }));
            return Ok(());
        }
        if host.down_since.plus_ms(LOCAL_AFTER_MS) > self.stage.now || self.park_if_full(h) {
            return Ok(());
        }
        self.local_run(h, &name)
    }

    /// A run without a job: its reports reach the hub later.
    fn local_run(&mut self, h: usize, project: &Name) -> Life {
        self.stage.saw(Seen::LocalRuns);
        self.stage.trace(|| format!("h{h} deploys {project} by itself"));
        let host = &mut self.hosts[h];
        host.local_runs += 1;
        let grant = Grant {
            job: local_id(host.local_runs),
            attempt: 1,
            project: project.clone(),
            action: Action::Deploy,
            cause: Cause::Reconcile,
            hint_commit: None,
            service: None,
        };
        host.journal.store(grant, true, false);
        self.start_next(h, project)
    }

    /// Is every project of a host where its branch is, or was it tried?
    pub fn is_caught_up(&self, h: usize) -> bool {
        !self.reconciles(h) || (0..self.hosts[h].projects.len()).all(|p| !self.is_behind(h, p))
    }

    /// Is the bug planted that forgets what a deploy came to?
    pub fn forgets_concluded(&self) -> bool {
        self.stage.has(ModelBug::ConcludedForgotten)
    }
}
