//! Runs: the steps a host carries out for a grant, each an effect and then a
//! row with its report. A run that was under way when the process died goes
//! on at its step under the same attempt, so effects must bear repetition.
//!
//! What a deploy deploys is the head of the branch when it fetches, never the
//! hint. One run at a time and project; the others wait in the journal.

use doorstep_shared::ids::{Action, FailureKind, Name, RunState, StepState};
use doorstep_shared::link::{self, WINDOW};
use doorstep_shared::protocol::{Failure, Grant, Holding, Report};
use doorstep_shared::time::Timestamp;

use super::coverage::Seen;
use super::host::{Life, Project};
use super::journal::{Held, Phase};
use super::stage::Event;
use super::world::World;

const DEPLOY: &[&str] = &["fetch", "build", "switch", "check"];
const OTHER: &[&str] = &["act"];

fn steps(action: Action) -> &'static [&'static str] {
    if action == Action::Deploy { DEPLOY } else { OTHER }
}

/// What can go wrong at a step.
fn failures(step: &str) -> &'static [FailureKind] {
    match step {
        "fetch" => &[FailureKind::Network, FailureKind::Network, FailureKind::Source, FailureKind::Policy],
        "build" => &[FailureKind::Build, FailureKind::Host],
        "check" => &[FailureKind::Health, FailureKind::Cancelled],
        _ => &[FailureKind::Host],
    }
}

impl World {
    /// Starts the oldest stored grant of a project that is free.
    pub fn start_next(&mut self, h: usize, project: &Name) -> Life {
        let Some(holding) = self.hosts[h].journal.next(project) else { return Ok(()) };
        let journal = &mut self.hosts[h].journal;
        let Some(held) = journal.get(holding) else { return Ok(()) };
        held.phase = Phase::Running;
        let started = started(&held.grant, self.stage.now);
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

    pub fn schedule_step(&mut self, h: usize, holding: Holding) {
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
        let (plan, step, project) = (steps(held.grant.action), held.step, held.grant.project.clone());
        if let Some(kind) = held.failure {
            return self.fail(h, holding, kind);
        }
        let Some(name) = plan.get(step) else { return self.finish(h, holding, None) };
        if self.hosts[h].stops.contains(&holding) {
            return self.fail(h, holding, FailureKind::Cancelled);
        }
        self.effect(h, holding, &project, name);
        self.may_die(h)?;
        if self.stage.chance(self.stage.rates.run_fails) {
            let kind = self.stage.rng.pick(failures(name));
            return self.fail(h, holding, kind);
        }
        self.log(h)?;
        self.step_done(h, holding, step, name)?;
        if step + 1 == plan.len() {
            return self.finish(h, holding, None);
        }
        self.schedule_step(h, holding);
        Ok(())
    }

    /// What a step does to the world; doing it twice is doing it once.
    fn effect(&mut self, h: usize, holding: Holding, project: &Name, step: &str) {
        let host = &mut self.hosts[h];
        let Some(project) = host.projects.iter_mut().find(|p| p.name == *project) else { return };
        let Some(held) = host.journal.get(holding) else { return };
        match step {
            "fetch" => held.commit = Some(self.heads[project.repo]),
            "switch" => switch(project, held),
            _ => {}
        }
    }

    fn step_done(&mut self, h: usize, holding: Holding, step: usize, name: &str) -> Life {
        let journal = &mut self.hosts[h].journal;
        let Some(held) = journal.get(holding) else { return Ok(()) };
        held.step = step + 1;
        let report = Report::Step {
            run: String::new(),
            index: step as u16,
            name: name.to_owned(),
            state: StepState::Succeeded,
            at: self.stage.now,
            duration_ms: None,
            detail: String::new(),
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
    fn fail(&mut self, h: usize, holding: Holding, kind: FailureKind) -> Life {
        let host = &mut self.hosts[h];
        let Some(held) = host.journal.get(holding) else { return Ok(()) };
        held.failure = Some(kind);
        let (previous, name) = (held.previous, held.grant.project.clone());
        self.may_die(h)?;
        let project = self.hosts[h].projects.iter_mut().find(|project| project.name == name);
        if let (Some(project), Some(previous)) = (project, previous) {
            self.stage.saw(Seen::Rollbacks);
            project.live = previous;
        }
        self.may_die(h)?;
        self.finish(h, holding, Some(kind))
    }

    /// The outcome is a row and a report in one; then the next of the project.
    fn finish(&mut self, h: usize, holding: Holding, failure: Option<FailureKind>) -> Life {
        let journal = &mut self.hosts[h].journal;
        let Some(held) = journal.get(holding) else { return Ok(()) };
        let project = held.grant.project.clone();
        let report = outcome(held, failure, self.stage.now);
        let seq = journal.settle(holding, report.clone());
        let outcomes = journal.outcomes[&holding];
        self.stage.check(outcomes == 1, || format!("{holding:?} ended {outcomes} times"));
        self.stage.trace(|| format!("h{h} ends {holding:?}: {failure:?}"));
        self.hosts[h].stops.retain(|stopped| *stopped != holding);
        self.post(h, seq, report)?;
        self.start_next(h, &project)
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
                Ok(())
            }
        }
    }

    /// At most one run of a project is under way.
    pub fn check_runs(&mut self) {
        for host in &self.hosts {
            for project in &host.projects {
                let running = |held: &&Held| held.grant.project == project.name && held.phase == Phase::Running;
                let runs = host.journal.held().iter().filter(running).count();
                self.stage.check(runs <= 1, || format!("{runs} runs of {} on {}", project.name, host.name));
            }
        }
    }
}

fn switch(project: &mut Project, held: &mut Held) {
    held.previous.get_or_insert(project.live);
    if let Some(commit) = held.commit {
        project.live = commit;
    }
}

fn started(grant: &Grant, at: Timestamp) -> Report {
    Report::Started {
        run: String::new(),
        job: Some(grant.job),
        attempt: grant.attempt,
        project: grant.project.clone(),
        action: grant.action,
        cause: grant.cause,
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
        job: Some(held.grant.job),
        attempt: held.grant.attempt,
        state,
        failure: failure.map(told),
        commit: held.commit.map(|commit| commit.to_string()),
        at,
    }
}
