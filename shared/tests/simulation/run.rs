//! Runs: the steps a host carries out for a grant, each an effect and then a
//! row with its report. A run that was under way when the process died goes
//! on at its step under the same attempt, so effects must bear repetition.
//!
//! What a deploy deploys is the head of the branch when it fetches, never the
//! hint. One run at a time and project; the others wait in the journal. A
//! commit that is known to be bad is deployed again for a person only.

use doorstep_shared::ids::{Action, Cause, FailureKind, Name, RunState, StepState};
use doorstep_shared::link::{self, WINDOW};
use doorstep_shared::protocol::{Failure, Holding, Report};
use doorstep_shared::time::Timestamp;

use super::branch::Head;
use super::bug::ModelBug;
use super::coverage::Seen;
use super::host::{BEGUN_MAX, Died, Life};
use super::journal::{Concluded, Held, Phase, local_id};
use super::release::Project;
use super::stage::Event;
use super::world::World;

const DEPLOY: &[&str] = &["fetch", "build", "check", "switch", "watch"];
const OTHER: &[&str] = &["act"];

fn steps(action: Action) -> &'static [&'static str] {
    if action == Action::Deploy { DEPLOY } else { OTHER }
}

/// What can go wrong at a step.
fn failures(step: &str) -> &'static [FailureKind] {
    match step {
        "fetch" => &[FailureKind::Network, FailureKind::Network, FailureKind::Source, FailureKind::Policy],
        "build" => &[FailureKind::Build, FailureKind::Host],
        "check" | "watch" => &[FailureKind::Health, FailureKind::Cancelled],
        _ => &[FailureKind::Host],
    }
}

impl World {
    /// Starts the oldest stored grant of a project that is free.
    pub fn start_next(&mut self, h: usize, project: &Name) -> Life {
        let Some(holding) = self.hosts[h].journal.next(project) else { return Ok(()) };
        if self.park_if_full(h) {
            return Ok(());
        }
        let (at, moment) = (self.wall(h), self.moment_of(h, project));
        let journal = &mut self.hosts[h].journal;
        journal.begin(holding);
        let Some(held) = journal.get(holding) else { return Ok(()) };
        held.began_at = moment;
        let started = started(held, at);
        let starts = journal.starts.entry(holding).or_default();
        *starts += 1;
        let starts = *starts;
        self.stage.check(starts == 1, || format!("{holding:?} started {starts} times"));
        self.stage.saw(Seen::Runs);
        self.stage.trace(|| format!("h{h} starts {holding:?} of {project}"));
        let seq = self.hosts[h].journal.append(started.clone());
        self.schedule_step(h, holding);
        self.post(h, seq, started)
    }

    /// The journal has a report; the link gets it if the process lives on.
    fn post(&mut self, h: usize, seq: u64, report: Report) -> Life {
        self.may_die(h)?;
        self.input(h, link::Input::Post { seq, report })
    }

    /// Where the branch of a project stands.
    fn moment_of(&self, h: usize, name: &Name) -> u64 {
        let project = self.hosts[h].projects.iter().find(|project| project.name == *name);
        project.map_or(0, |project| self.stage.branches[project.repo].head().moment)
    }

    /// What the host's wall clock says, for people.
    fn wall(&self, h: usize) -> Timestamp {
        Timestamp(self.stage.now.0.saturating_sub(self.hosts[h].wall_back_ms))
    }

    pub fn schedule_step(&mut self, h: usize, holding: Holding) {
        if self.stage.chance(self.stage.rates.hang) && !is_local(holding) {
            self.stage.saw(Seen::Hangs);
            return;
        }
        let slow = self.stage.chance(self.stage.rates.slow_step);
        let ms = if slow { self.stage.rng.between(30_000, 150_000) } else { self.stage.rng.between(50, 6_000) };
        let boot = self.hosts[h].boot;
        self.stage.after_ms(ms, Event::StepEnds { host: h, boot, holding });
    }

    /// The time that a step takes is over: its effect, its row, its report.
    pub fn step_ends(&mut self, h: usize, boot: u32, holding: Holding) -> Life {
        if self.hosts[h].boot != boot {
            return Ok(());
        }
        let Some(held) = self.hosts[h].journal.get(holding).filter(|held| held.phase == Phase::Running) else {
            return Ok(());
        };
        let (plan, step) = (steps(held.grant.action), held.step);
        if let Some(kind) = held.failure {
            return self.fail(h, holding, kind);
        }
        let Some(name) = plan.get(step) else { return self.finish(h, holding, None) };
        if self.hosts[h].stops.contains(&holding) {
            return self.fail(h, holding, FailureKind::Cancelled);
        }
        let came = self.effect(h, holding, name)?;
        self.may_die(h)?;
        if self.park_if_full(h) {
            self.stage.saw(Seen::DiskFailures);
            return self.fail(h, holding, FailureKind::Disk);
        }
        let came = if self.stage.chance(self.stage.rates.run_fails) {
            Came::Failed(self.stage.rng.pick(failures(name)))
        } else {
            came
        };
        if let Came::Failed(kind) = came {
            return self.fail(h, holding, kind);
        }
        self.log(h)?;
        self.step_done(h, holding, step, name)?;
        if step + 1 == plan.len() || came == Came::NothingToDo {
            return self.finish(h, holding, None);
        }
        self.schedule_step(h, holding);
        Ok(())
    }

    /// What a step does to the world; doing it twice is doing it once.
    fn effect(&mut self, h: usize, holding: Holding, step: &str) -> Result<Came, Died> {
        Ok(match step {
            "fetch" => self.fetch(h, holding),
            "build" => self.build(h, holding)?,
            "check" => self.look(h, holding),
            "switch" => self.switch(h, holding)?,
            _ => Came::Well,
        })
    }

    /// The run and its project.
    fn at_work(&mut self, h: usize, holding: Holding) -> Option<(&mut Held, &mut Project)> {
        let host = &mut self.hosts[h];
        let held = host.journal.get(holding)?;
        let project = host.projects.iter_mut().find(|project| project.name == held.grant.project)?;
        Some((held, project))
    }

    /// The head of the branch is fetched, and nothing else.
    fn fetch(&mut self, h: usize, holding: Holding) -> Came {
        let host = &mut self.hosts[h];
        let Some(held) = host.journal.get(holding) else { return Came::Well };
        let Some(project) = host.projects.iter_mut().find(|p| p.name == held.grant.project) else { return Came::Well };
        let branch = &self.stage.branches[project.repo];
        let hint = held.grant.hint_commit.as_deref().and_then(|moment| moment.parse().ok());
        let head = match hint {
            Some(moment) if self.stage.has(ModelBug::HintFollowed) => Head { moment, commit: branch.commit_at(moment) },
            _ => branch.head(),
        };
        held.target = Some(head);
        if held.grant.action != Action::Deploy || is_by_person(held.grant.cause) {
            return Came::Well;
        }
        let name = project.name.clone();
        if held.undo.is_none() && project.live().is_some_and(|live| live.commit == head.commit) {
            project.still_live(head);
            self.stage.saw(Seen::LiveAlready);
            return Came::NothingToDo;
        }
        if host.journal.is_bad(&name, head.commit) && !self.stage.has(ModelBug::QuarantineIgnored) {
            self.stage.saw(Seen::Quarantined);
            return Came::Failed(FailureKind::Health);
        }
        Came::Well
    }

    /// A slot is filled beside what serves.
    fn build(&mut self, h: usize, holding: Holding) -> Result<Came, Died> {
        let early = self.stage.has(ModelBug::PreviousPruned);
        let Some((held, project)) = self.at_work(h, holding) else { return Ok(Came::Well) };
        let Some(head) = held.target else { return Ok(Came::Well) };
        // What serves is never built over.
        let free = held.release.filter(|number| project.current != Some(*number));
        let number = free.unwrap_or_else(|| project.next_number());
        held.release = Some(number);
        let (name, repo, by_person) = (project.name.clone(), project.repo, is_by_person(held.grant.cause));
        project.begin_build(number, head);
        if early {
            project.forget_previous();
        }
        self.check_worth(h, holding, &name, head, by_person);
        if self.stage.branches[repo].is_poison(head.commit) {
            return self.dies_of(h, holding);
        }
        self.may_die(h)?;
        if let Some((_, project)) = self.at_work(h, holding) {
            project.end_build(number);
        }
        Ok(Came::Well)
    }

    /// A commit that was found bad here is built again for people only.
    fn check_worth(&mut self, h: usize, holding: Holding, name: &Name, head: Head, by_person: bool) {
        let known_bad = self.hosts[h].journal.is_bad(name, head.commit);
        self.stage.check(by_person || !known_bad, || format!("{holding:?} builds commit {}, known to be bad", head.commit));
    }

    fn dies_of(&mut self, h: usize, holding: Holding) -> Result<Came, Died> {
        self.stage.saw(Seen::Kills);
        let kills = self.hosts[h].kills.entry(holding).or_default();
        *kills += 1;
        let kills = *kills;
        // A copy of the disk that was put back does not know what happened since.
        let fair = kills <= BEGUN_MAX || self.hosts[h].put_back;
        self.stage.check(fair, || format!("{holding:?} killed its daemon {kills} times"));
        self.crash(h);
        Err(Died)
    }

    /// The new release is looked at on a port of its own.
    fn look(&mut self, h: usize, holding: Holding) -> Came {
        let Some((held, project)) = self.at_work(h, holding) else { return Came::Well };
        let (Some(head), Some(number)) = (held.target, held.release) else { return Came::Well };
        let repo = project.repo;
        if self.stage.branches[repo].is_sick(head.commit) {
            return Came::Failed(FailureKind::Health);
        }
        if let Some((_, project)) = self.at_work(h, holding) {
            project.passed(number);
        }
        Came::Well
    }

    /// The link `current` is moved by one rename, after a row says from where.
    fn switch(&mut self, h: usize, holding: Holding) -> Result<Came, Died> {
        let unlink = self.stage.has(ModelBug::UnlinkThenSymlink);
        let Some((held, project)) = self.at_work(h, holding) else { return Ok(Came::Well) };
        held.undo.get_or_insert(project.current);
        if unlink {
            project.current = None;
        }
        self.may_die(h)?;
        if let Some((held, project)) = self.at_work(h, holding) {
            project.current = held.release;
            let (began_at, repo, live) = (held.began_at, project.repo, project.live());
            let branch = &self.stage.branches[repo];
            let was_head = |live: Head| live.moment >= began_at && branch.commit_at(live.moment) == live.commit;
            let right = live.is_some_and(was_head);
            self.stage.check(right, || format!("{holding:?} deployed {live:?}; the branch was at {began_at} when it began"));
        }
        Ok(Came::Well)
    }

    fn step_done(&mut self, h: usize, holding: Holding, step: usize, name: &str) -> Life {
        let at = self.wall(h);
        let journal = &mut self.hosts[h].journal;
        let Some(held) = journal.get(holding) else { return Ok(()) };
        held.step = step + 1;
        let report = Report::Step {
            run: String::new(),
            index: step as u16,
            name: name.to_owned(),
            state: StepState::Succeeded,
            at,
            duration_ms: None,
            detail: String::new(),
            commit: None,
        };
        let seq = journal.append(report.clone());
        self.post(h, seq, report)
    }

    /// Some steps have much to say: more than the link has in flight.
    fn log(&mut self, h: usize) -> Life {
        if !self.stage.chance(self.stage.rates.chatty_step) {
            return Ok(());
        }
        self.stage.saw(Seen::LongLogs);
        for _ in 0..WINDOW + 20 {
            let report = Report::Log { run: String::new(), lines: Vec::new() };
            let seq = self.hosts[h].journal.append(report.clone());
            self.post(h, seq, report)?;
        }
        Ok(())
    }

    /// Notes the failure, puts back what was live, and says so.
    pub fn fail(&mut self, h: usize, holding: Holding, kind: FailureKind) -> Life {
        let host = &mut self.hosts[h];
        let Some(held) = host.journal.get(holding) else { return Ok(()) };
        held.failure = Some(kind);
        if let (Some(head), FailureKind::Health | FailureKind::Crash) = (held.target, kind) {
            let name = held.grant.project.clone();
            host.journal.mark_bad(name, head.commit);
        }
        self.may_die(h)?;
        let forgets = self.stage.has(ModelBug::RollbackForgotten);
        if let Some((held, project)) = self.at_work(h, holding)
            && let Some(before) = held.undo.filter(|_| !forgets)
        {
            project.current = before;
            self.stage.saw(Seen::Rollbacks);
        }
        self.may_die(h)?;
        self.finish(h, holding, Some(kind))
    }

    /// The outcome is a row and a report in one; then the next of the project.
    fn finish(&mut self, h: usize, holding: Holding, failure: Option<FailureKind>) -> Life {
        let at = self.wall(h);
        let forgets = self.forgets_concluded();
        let Some((held, project)) = self.at_work(h, holding) else { return Ok(()) };
        // A run ends with the new release live or with the old one.
        let right = held.undo.is_none_or(|before| project.current == if failure.is_none() { held.release } else { before });
        match (failure, held.undo) {
            (None, Some(before)) => project.keep(before),
            (None, None) => {}
            (Some(_), _) => project.clear(held.release),
        }
        let (report, name, is_deploy) = (outcome(held, failure, at), project.name.clone(), held.grant.action == Action::Deploy);
        let concluded = held.target.filter(|_| is_deploy && failure != Some(FailureKind::Network));
        let journal = &mut self.hosts[h].journal;
        let seq = journal.settle(holding, report.clone());
        if let Some(head) = concluded.filter(|_| !forgets) {
            journal.conclude(name.clone(), Concluded { commit: head.commit, failure });
        }
        let outcomes = journal.outcomes[&holding];
        self.stage.check(right, || format!("{holding:?} ended with {failure:?} and the wrong release is live"));
        self.stage.check(outcomes == 1, || format!("{holding:?} ended {outcomes} times"));
        self.stage.trace(|| format!("h{h} ends {holding:?}: {failure:?}"));
        self.hosts[h].stops.retain(|stopped| *stopped != holding);
        self.post(h, seq, report)?;
        self.start_next(h, &name)
    }

    /// Somebody wants an attempt stopped: at once if it waits, at its next
    /// step if it runs.
    pub fn stop(&mut self, h: usize, holding: Holding) -> Life {
        let host = &mut self.hosts[h];
        match host.journal.get(holding).map(|held| held.phase) {
            None | Some(Phase::Settled { .. }) => Ok(()),
            Some(Phase::Stored) => self.finish(h, holding, Some(FailureKind::Cancelled)),
            Some(Phase::Running) => {
                host.stops.push(holding);
                // What it runs is killed, so the step ends now, hung or not.
                let boot = host.boot;
                self.stage.after_ms(50, Event::StepEnds { host: h, boot, holding });
                Ok(())
            }
        }
    }

    /// At most one run of a project is under way, and what serves is whole.
    pub fn check_runs(&mut self, h: usize) {
        let host = &self.hosts[h];
        for project in &host.projects {
            let running = |held: &&Held| held.phase == Phase::Running && held.grant.project == project.name;
            let runs = host.journal.held().iter().filter(running).count();
            self.stage.check(runs <= 1, || format!("{runs} runs of {} on {}", project.name, host.name));
            let wrong = project.wrong();
            self.stage.check(wrong.is_none(), || format!("on {}: {}", host.name, wrong.unwrap_or_default()));
        }
    }
}

/// What came of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Came {
    Well,
    /// What is wanted is live.
    NothingToDo,
    Failed(FailureKind),
}

/// A person who asks for a deploy wants one; an event wants the commit live.
fn is_by_person(cause: Cause) -> bool {
    match cause {
        Cause::Dashboard | Cause::Manual => true,
        Cause::Push | Cause::Reconcile | Cause::Replay => false,
    }
}

fn is_local(holding: Holding) -> bool {
    holding.job >= local_id(0)
}

fn started(held: &Held, at: Timestamp) -> Report {
    let grant = &held.grant;
    Report::Started {
        run: String::new(),
        job: (!held.local).then_some(grant.job),
        attempt: grant.attempt,
        project: grant.project.clone(),
        action: grant.action,
        cause: grant.cause,
        service: None,
        at,
    }
}

fn outcome(held: &Held, failure: Option<FailureKind>, at: Timestamp) -> Report {
    let state = match failure {
        None => RunState::Succeeded,
        Some(FailureKind::Health) => RunState::RolledBack,
        Some(FailureKind::Policy) => RunState::Refused,
        Some(_) => RunState::Failed,
    };
    let told = |kind| Failure { kind, step: String::new(), message: format!("{kind}") };
    Report::Outcome {
        run: String::new(),
        job: (!held.local).then_some(held.grant.job),
        attempt: held.grant.attempt,
        state,
        failure: failure.map(told),
        commit: held.target.map(|head| head.commit.to_string()),
        at,
    }
}
