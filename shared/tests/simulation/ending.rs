//! What must be true of a world that came to rest.

use doorstep_shared::ids::{Action, JobState};
use doorstep_shared::link::Link;
use doorstep_shared::queue::Job;

use super::host::Host;
use super::journal::Journal;
use super::hub::Stored;
use super::release::Project;
use super::rows::wanted_at;
use super::world::World;

impl World {
    /// Nothing is under way, and nobody waits for anything.
    pub fn is_quiet(&self) -> bool {
        let hosts_rest = || (0..self.hosts.len()).all(|h| self.is_at_rest(h));
        let nobody_else = || self.wire.audible() == self.hosts.len();
        self.posts_under_way == 0 && self.hub.live().next().is_none() && hosts_rest() && nobody_else()
    }

    fn is_at_rest(&self, h: usize) -> bool {
        let (host, daemon) = (&self.hosts[h], &self.daemons[h]);
        let agreed = |conn| self.wire.works(conn) && self.hub.socket_of(&host.name) == Some(conn);
        let connected = daemon.slot.is_some_and(agreed);
        let link_rests = daemon.link.as_ref().is_some_and(|link| link.is_up() && link.unacknowledged() == 0);
        // What a sleep held up happens in the instant of waking.
        let awake = host.up && host.asleep_until < self.stage.now;
        awake && connected && link_rests && host.journal.is_settled() && !host.parked && self.is_caught_up(h)
    }

    /// What keeps a world from being quiet.
    pub fn unrest(&self) -> String {
        let jobs = self.hub.live().map(|job| format!("job {} {} attempt {}", job.id, job.state, job.attempt));
        let hosts = (0..self.hosts.len()).filter(|h| !self.is_at_rest(*h)).map(|h| {
            let (host, daemon) = (&self.hosts[h], &self.daemons[h]);
            let up = daemon.link.as_ref().is_some_and(Link::is_up);
            let works = daemon.slot.is_some_and(|conn| self.wire.works(conn));
            let settled = host.journal.is_settled();
            let (name, daemon, parked, behind) = (&host.name, host.up, host.parked, !self.is_caught_up(h));
            format!(
                "{name}: daemon {daemon}, link up {up}, wire works {works}, journal settled {settled}, parked {parked}, behind {behind}"
            )
        });
        jobs.chain(hosts).collect::<Vec<_>>().join("; ")
    }

    /// Checks the promise, once the world is quiet.
    pub fn check_ending(&mut self) {
        self.check_jobs();
        self.check_deliveries();
        for h in 0..self.hosts.len() {
            self.check_reports(h);
            self.check_attempts(h);
            for p in 0..self.hosts[h].projects.len() {
                self.check_live(h, p);
            }
        }
    }

    /// Every job ended; a superseded one gave way to a newer deploy.
    fn check_jobs(&mut self) {
        for job in self.hub.rows.all() {
            let reasoned = job.state == JobState::Done || job.reason.is_some();
            self.stage.check(reasoned, || format!("job {} is {} without a reason", job.id, job.state));
            if job.state == JobState::Superseded {
                let newer = |other: &Job| other.id > job.id && is_deploy_of(other, job);
                let good = job.action == Action::Deploy && self.hub.rows.all().any(newer);
                self.stage.check(good, || format!("job {} gave way to nothing", job.id));
            }
        }
    }

    /// An accepted delivery has its jobs, one for each project.
    fn check_deliveries(&mut self) {
        for (guid, delivery) in self.deliveries.iter().enumerate().filter(|(_, delivery)| delivery.accepted) {
            let wanted = self.hub.targets.iter().filter(|target| target.repo == delivery.repo).count();
            let jobs = self.hub.jobs_of(guid).unwrap_or_default();
            let rows: Vec<&Job> = jobs.iter().filter_map(|id| self.hub.rows.get(*id)).collect();
            let stored = rows.len();
            self.stage.check(stored == wanted, || format!("delivery {guid} has {stored} jobs of {wanted}"));
            let early = rows.iter().any(|job| wanted_at(job) < delivery.moment);
            self.stage.check(!early, || format!("delivery {guid} came before its push"));
        }
    }

    /// The hub stored what the host said, in its order, without gap or double.
    fn check_reports(&mut self, h: usize) {
        let host = &self.hosts[h];
        let version = host.version.min(self.hub.version);
        // A journal that was put back says something else under the same name.
        let said = |id: &str, stored: &Stored| {
            let journals = host.lost.iter().chain([&host.journal]);
            journals.filter(|journal| journal.id == id).any(|journal| journal.says(stored, version))
        };
        for journal in host.lost.iter().chain([&host.journal]) {
            let right = self.hub.stored_of(&journal.id).is_none_or(|stored| said(&journal.id, stored));
            self.stage.check(right || host.unsure, || format!("journal {} is stored wrongly", journal.id));
        }
        let stored = self.hub.stored(&host.journal.id);
        let said = if self.hub.stored_of(&host.journal.id).is_some() { host.journal.last_report() } else { 0 };
        self.stage.check(said == stored, || format!("{} made {said} reports and {stored} are stored", host.name));
    }

    /// Each attempt started at most once, and ended once if it started.
    fn check_attempts(&mut self, h: usize) {
        let host = &self.hosts[h];
        let check = |journal: &Journal, lost: bool| {
            journal.starts.iter().find_map(|(holding, starts)| {
                let outcomes = journal.outcomes.get(holding).copied().unwrap_or(0);
                let right = *starts <= 1 && (outcomes == 1 || (lost && outcomes == 0));
                (!right).then(|| format!("{holding:?} started {starts} times and ended {outcomes} times"))
            })
        };
        let wrong = host.lost.iter().find_map(|journal| check(journal, true)).or_else(|| check(&host.journal, false));
        self.stage.check(wrong.is_none(), || wrong.unwrap_or_default());
    }

    /// What is live is at least as new as the branch was when a deploy that
    /// was carried out was wanted; so after the newest accepted push it is the
    /// head, unless that deploy is dead and says why. Where both ends know what
    /// reconciling is, it is the head whatever GitHub told, or the run that
    /// tried the head says why not.
    fn check_live(&mut self, h: usize, p: usize) {
        let (host, project) = (&self.hosts[h], &self.hosts[h].projects[p]);
        let deploys = || self.hub.rows.all().filter(|job| is_deploy_for(job, host, project));
        let done = deploys().filter(|job| job.state == JobState::Done).map(wanted_at).max().unwrap_or(0);
        let (live, head) = (project.live(), self.stage.branches[project.repo].head());
        let moment = live.map_or(0, |live| live.moment);
        // A disk that was put back is behind what was done once.
        self.stage.check((moment >= done || host.put_back) && moment <= head.moment, || {
            format!("{} of {} runs {live:?}; {done} was deployed, the head is {head:?}", project.name, host.name)
        });
        // The newest deploy is never superseded: it is carried out or dead.
        let newest = deploys().max_by_key(|job| job.id);
        let ended = newest.is_none_or(|job| matches!(job.state, JobState::Done | JobState::Dead));
        self.stage.check(ended, || format!("the newest deploy of {} gave way", project.name));
        let at_head = live.is_some_and(|live| live.commit == head.commit);
        let pushed_head = newest.filter(|job| job.state == JobState::Done && wanted_at(job) == head.moment);
        let fair = pushed_head.is_none() || at_head || host.put_back;
        self.stage.check(fair, || format!("{} is not at its head", project.name));
        let why_not = host.journal.concluded(&project.name).filter(|last| last.commit == head.commit);
        let says_why = why_not.is_some_and(|last| last.failure.is_some());
        let kept = at_head || says_why || !self.reconciles(h);
        self.stage.check(kept, || format!("{} of {} was left behind: {live:?}, {head:?}", project.name, host.name));
    }
}

fn is_deploy_of(other: &Job, job: &Job) -> bool {
    other.action == Action::Deploy && other.host == job.host && other.project == job.project
}

fn is_deploy_for(job: &Job, host: &Host, project: &Project) -> bool {
    job.action == Action::Deploy && job.host == host.name && job.project == project.name
}
