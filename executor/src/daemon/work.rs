//! What is to be done here: grants checked against the host's file, runs of
//! one project in order, and runs that end before they begin.

use std::collections::VecDeque;
use std::rc::Rc;

use anyhow::Result;
use doorstep_shared::ids::{Action, Cause, FailureKind, RunState};
use doorstep_shared::protocol::{Failure, Grant, Holding, Report};
use tracing::{error, warn};

use super::{Daemon, Running, Wake, Work};
use crate::clock;
use crate::journal::{Point, RunRecord};
use crate::run::{Cancel, Request, Runner};

impl Daemon {
    /// A stored grant: checked against the host's file, then queued here.
    pub(super) fn accept(&mut self, grant: &Grant) {
        let request = Request { project: grant.project.to_string(), action: grant.action, cause: grant.cause, job: Some((grant.job, grant.attempt)) };
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
        let mut reports = Vec::new();
        if let Ok(project) = record.project.parse() {
            reports.push(Report::Started {
                run: record.id.clone(),
                job: record.job,
                attempt: record.attempt,
                project,
                action: record.action,
                cause: record.cause,
                at: record.started,
            });
        }
        reports.push(Report::Outcome {
            run: record.id.clone(),
            job: record.job,
            attempt: record.attempt,
            state,
            failure: Some(Failure { kind, step: step.to_owned(), message: why.to_owned() }),
            commit: None,
            at: now,
        });
        match self.shared.journal.end(&record, reports) {
            Ok(numbered) => {
                for (seq, report) in numbered {
                    let _ = self.shared.watchers.send(report.clone());
                    let _ = self.shared.wake.send(Wake::Posted { seq, report });
                }
            }
            Err(fault) => error!("{fault:#}"),
        }
    }

    pub(super) fn cancel(&mut self, holding: Holding) -> Result<()> {
        if let Some(running) = self.running.values().find(|running| running.holding == Some(holding)) {
            running.cancel.cancel();
            return Ok(());
        }
        for waiting in self.waiting.values_mut() {
            waiting.retain(|work| work.holding() != Some(holding));
        }
        self.shared.journal.drop_grant(holding)
    }

    pub(super) fn enqueue(&mut self, project: String, work: Work) {
        self.waiting.entry(project.clone()).or_default().push_back(work);
        self.look_for_room();
        self.start_next(&project);
    }

    pub(super) fn start_next(&mut self, project: &str) {
        if self.running.contains_key(project) || self.parked.is_some() || self.asking.get(project) == Some(&true) {
            return;
        }
        let Some(work) = self.waiting.get_mut(project).and_then(VecDeque::pop_front) else { return };
        let (cancel, holding) = (Cancel::default(), work.holding());
        let record = match work {
            Work::Fresh { request, id } => request.record(id),
            Work::Resume(record) => record,
        };
        let runner = match Runner::of(Rc::clone(&self.shared), record.clone(), cancel.clone()) {
            Ok(runner) => runner,
            Err(fault) => {
                // Its project left the host's file, or its log cannot be made.
                self.conclude(record, RunState::Failed, FailureKind::Host, "start", &format!("{fault:#}"));
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
