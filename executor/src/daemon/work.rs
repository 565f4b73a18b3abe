//! What is to be done here: grants checked against the host's file, runs of
//! one project in order, and runs that end before they begin.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::Result;
use doorstep_shared::ids::{Action, Cause, FailureKind, RunState};
use doorstep_shared::protocol::{Failure, Grant, Holding, Report};
use tracing::{error, warn};

use super::reconcile::Asking;
use super::{Daemon, Running, Wake, Work};
use crate::clock;
use crate::disk;
use crate::journal::{Goal, Point, RunRecord};
use crate::run::{Cancel, RETRY_WRITE, Request, Runner, Shared};

impl Daemon {
    /// A stored grant: checked against the host's file, then queued here.
    pub(super) fn accept(&mut self, grant: &Grant) {
        let request = Request { project: grant.project.to_string(), action: grant.action, cause: grant.cause, job: Some((grant.job, grant.attempt)), to: goal(grant), service: grant.service.clone() };
        let allowed = match self.shared.config.projects.get(&request.project) {
            None => Err(format!("{} is not in this host's file", request.project)),
            // A push, heard of or found, is not an ask of the edge: what it starts is this host's own rule.
            Some(_) if grant.action == Action::Deploy && matches!(grant.cause, Cause::Push | Cause::Reconcile) => Ok(()),
            Some(project) if project.remote.allows(grant.action) => Ok(()),
            Some(_) => Err(format!("this host's file does not allow `{}` from the edge", grant.action)),
        };
        match allowed {
            Ok(()) => self.enqueue(request.project.clone(), Work::Fresh { request, id: clock::new_id() }),
            Err(why) => self.refuse(grant, &why),
        }
    }

    fn refuse(&mut self, grant: &Grant, why: &str) {
        let request = Request {
            project: grant.project.to_string(),
            action: grant.action,
            cause: grant.cause,
            job: Some((grant.job, grant.attempt)),
            to: goal(grant),
            service: grant.service.clone(),
        };
        self.conclude(request.record(clock::new_id()), RunState::Refused, FailureKind::Policy, "policy", why);
    }

    /// Ends a run that never began, with a reason.
    fn conclude(&mut self, mut record: RunRecord, state: RunState, kind: FailureKind, step: &str, why: &str) {
        warn!(project = record.project, run.id = record.id, "a run is {state}: {why}");
        let now = clock::wall();
        record.ended = Some(now);
        record.state = state;
        record.point = Point::Ended;
        let failure = Failure { kind, step: step.to_owned(), message: why.to_owned() };
        record.failure = Some(failure.clone());
        let mut reports = Vec::new();
        if let Ok(project) = record.project.parse() {
            reports.push(Report::Started {
                run: record.id.clone(),
                job: record.job,
                attempt: record.attempt,
                project,
                action: record.action,
                cause: record.cause,
                service: record.service.clone(),
                at: record.started,
            });
        }
        reports.push(Report::Outcome {
            run: record.id.clone(),
            job: record.job,
            attempt: record.attempt,
            state,
            failure: Some(failure),
            commit: None,
            at: now,
        });
        let shared = Rc::clone(&self.shared);
        if !end(&shared, &record, &reports) {
            // What is not written has not ended: its grant would be held on.
            tokio::task::spawn_local(async move {
                while !end(&shared, &record, &reports) {
                    tokio::time::sleep(RETRY_WRITE).await;
                }
            });
        }
    }

    pub(super) fn cancel(&mut self, holding: Holding) -> Result<()> {
        if let Some(running) = self.running.values().find(|running| running.holding == Some(holding)) {
            running.cancel.cancel();
            return Ok(());
        }
        let mut resumes = false;
        for waiting in self.waiting.values_mut() {
            waiting.retain(|work| match work {
                Work::Resume { cancel, .. } if work.holding() == Some(holding) => {
                    cancel.cancel();
                    resumes = true;
                    true
                }
                Work::Resume { .. } | Work::Fresh { .. } => work.holding() != Some(holding),
            });
        }
        // An open run settles its grant itself when it ends.
        if resumes { Ok(()) } else { self.shared.journal.drop_grant(holding) }
    }

    /// The edge has nothing to say here any more: what it asked for and was not
    /// begun never will be. Runs that were begun go on to their end.
    pub(super) fn drop_remote_work(&mut self) {
        let is_remote = |work: &Work| matches!(work, Work::Fresh { request, .. } if request.job.is_some());
        let mut dropped = Vec::new();
        for waiting in self.waiting.values_mut() {
            let (remote, other): (VecDeque<Work>, VecDeque<Work>) = waiting.drain(..).partition(is_remote);
            *waiting = other;
            dropped.extend(remote);
        }
        for work in dropped {
            if let Work::Fresh { request, id } = work {
                self.conclude(request.record(id), RunState::Failed, FailureKind::Cancelled, "start", "the edge refuses this host");
            }
        }
    }

    /// The local deploy of a project that has not begun, if there is one.
    pub(super) fn waiting_deploy(&self, project: &str) -> Option<String> {
        let is_local = |work: &Work| match work {
            Work::Fresh { request, id } if request.job.is_none() && request.cause == Cause::Manual => Some(id.clone()),
            Work::Fresh { .. } | Work::Resume { .. } => None,
        };
        self.waiting.get(project)?.iter().find_map(is_local)
    }

    pub(super) fn enqueue(&mut self, project: String, work: Work) {
        self.waiting.entry(project.clone()).or_default().push_back(work);
        self.look_for_room();
        self.start_next(&project);
    }

    pub(super) fn start_next(&mut self, project: &str) {
        if self.running.contains_key(project) || self.parked.is_some() || self.look.is_awaited() || self.asking.get(project).is_some_and(Asking::is_fetching) {
            return;
        }
        let Some(work) = self.waiting.get_mut(project).and_then(VecDeque::pop_front) else { return };
        self.asking.get(project).inspect(|asking| asking.overtake());
        let holding = work.holding();
        let (record, cancel) = match work {
            Work::Fresh { request, id } => (request.record(id), Cancel::default()),
            Work::Resume { record, cancel } => (record, cancel),
        };
        let runner = match Runner::of(Rc::clone(&self.shared), record.clone(), cancel.clone()) {
            Ok(runner) => runner,
            Err(fault) => {
                // Its project left the host's file, or its log cannot be made.
                let why = format!("{fault:#}");
                let kind = if disk::is_full(&why) { FailureKind::Disk } else { FailureKind::Host };
                self.conclude(record, RunState::Failed, kind, "start", &why);
                return self.start_next(project);
            }
        };
        self.running.insert(project.to_owned(), Running { holding, cancel });
        let (wake, project) = (self.shared.wake.clone(), project.to_owned());
        tokio::task::spawn_local(async move {
            runner.run().await;
            let _ = wake.send(Wake::RunEnded(project));
        });
    }
}

/// Writes the end of a run that never began, and tells of it; false when it
/// could not be written.
fn end(shared: &Shared, record: &RunRecord, reports: &[Report]) -> bool {
    // Names are the edge's word: rows of them would have no bound here.
    let is_foreign = !shared.config.projects.contains_key(&record.project) && matches!(shared.journal.run(&record.id), Ok(None));
    let written = if is_foreign { shared.journal.refuse(record, reports.to_vec()) } else { shared.journal.end(record, reports.to_vec()) };
    match written {
        Ok(numbered) => {
            for (seq, report) in numbered {
                let _ = shared.watchers.send(report.clone());
                let _ = shared.wake.send(Wake::Posted { seq, report });
            }
            true
        }
        Err(fault) => {
            error!(run.id = record.id, "a run's end cannot be written yet: {fault:#}");
            false
        }
    }
}

/// What a grant to roll back goes back to, if it says.
fn goal(grant: &Grant) -> Option<Goal> {
    grant.hint_commit.clone().filter(|_| grant.action == Action::Rollback).map(Goal::Commit)
}
