//! What people ask projects to do: one of them, one service of it, or all that
//! a host has.
//!
//! Invariant: nothing is enqueued that the host's file, as it was announced,
//! does not allow; nor, for one service, while the host speaks a version that
//! would do it to the whole project. What was queued before such a host came
//! back is withheld from it and ends with a reason. The host decides again by
//! its own file.

use doorstep_shared::ids::{Action, Cause, FailureKind, JobId, JobState, Name, ServiceName};
use doorstep_shared::protocol::{GO_BACK_TO_VERSION, Grant, Holding, ProjectView, SERVICE_VERSION};
use doorstep_shared::queue::{Input, Job, Verdict};
use worker::{Response, Result};

use super::deliver::{Wanted, enqueue_one};
use super::jobs::No;
use super::sockets::version_of;
use super::{Hub, Memory, turn::Turn};
use crate::ask::{Ask, Back, policy, takes_service};
use crate::asker::Asker;
use crate::audit::{self, Deed};
use crate::call::Client;
use crate::followed::Key;
use crate::pages::{self, Viewer};
use crate::platform::now;
use crate::reply::{self, refused};
use crate::view::AskedAll;
use crate::services;

impl Hub {
    /// A person asks a project, or one service of it, for an action.
    pub(super) async fn act(&self, by: &Asker, key: &Key, ask: Ask, (client, back): (Client, Back)) -> Result<Response> {
        let mut deed = Deed::of_project(ask.action, key, ask.service.as_ref()).to_commit(ask.commit.as_deref());
        if let Some(no) = self.refuse_ask(key, &ask)? {
            // A page of a project that nobody announced is no use.
            deed.project = deed.project.filter(|_| no.0 != 404);
            return self.refuse(by, &deed, client, no).await;
        }
        let Ask { action, service, commit } = ask;
        let wanted = Wanted { action, cause: Cause::Dashboard, hint_commit: commit, service };
        let asked = self.turn(|memory, turn| {
            let job = enqueue_one(key, wanted, memory, turn);
            turn.audit_job(memory, by, &deed, job);
            Ok(job)
        });
        let job = asked.await?;
        // The queue has the last word: so many jobs of a project and no more.
        if let Some(Job { state: JobState::Dead, reason, .. }) = self.stored_job(job)? {
            return refused(client, 409, "busy", &reason.unwrap_or_default());
        }
        let (host, project) = key;
        match (client, back) {
            (Client::Api, _) => reply::json(202, &serde_json::json!({"job": job, "host_online": self.is_online(host)})),
            (Client::Page, back) => reply::redirect(&back.path(host, project), None),
        }
    }

    fn refuse_ask(&self, key: &Key, ask: &Ask) -> Result<Option<No>> {
        let (host, action) = (&key.0, ask.action);
        let memory = self.memory()?;
        let Some(project) = memory.projects.get(key) else {
            return Ok(Some((404, "not_found", "no host announced a project of this name".to_owned())));
        };
        if !project.remote.contains(&action) {
            let line = policy(project.name.as_str(), &project.remote, project.shows_logs, &[action]);
            return Ok(Some((403, "not_allowed", format!("the file of {host} does not allow `{action}` from here; this would: {line}"))));
        }
        if ask.commit.is_some() && action != Action::Rollback {
            return Ok(Some((400, "commit_not_allowed", format!("`{action}` takes no commit: a host deploys what its branch has"))));
        }
        if ask.commit.is_some() && self.is_older_than(host, GO_BACK_TO_VERSION) {
            return Ok(Some((409, "host_too_old", format!("the doorstep on {host} is too old to go back to a commit; update it, or roll back to what was live before"))));
        }
        let Some(service) = &ask.service else { return Ok(None) };
        if !takes_service(action) {
            return Ok(Some((400, "service_not_allowed", format!("`{action}` is for a whole project; a service can be restarted, stopped, started and rebuilt"))));
        }
        if self.is_older_than(host, SERVICE_VERSION) {
            return Ok(Some((409, "host_too_old", format!("the doorstep on {host} is too old to act on one service; update it, or ask the whole project"))));
        }
        Ok((!has_service(project, service)).then(|| {
            let message = format!("{} on {host} has no service `{service}`; {}", key.1, services::names(&project.services));
            (404, "unknown_service", message)
        }))
    }

    /// Is the doorstep that is connected for this host older than a version of
    /// the wire? One that is away may be updated until it comes back.
    fn is_older_than(&self, host: &Name, version: u16) -> bool {
        self.peer(host).is_some_and(|peer| version_of(&peer) < version)
    }

    /// What a grant says that this host would pass over, and so do another thing.
    fn would_miss(&self, host: &Name, grant: &Grant) -> Option<&'static str> {
        if grant.service.is_some() && self.is_older_than(host, SERVICE_VERSION) {
            return Some("act on one service");
        }
        let names_commit = grant.action == Action::Rollback && grant.hint_commit.is_some();
        (names_commit && self.is_older_than(host, GO_BACK_TO_VERSION)).then_some("go back to a commit")
    }

    /// Takes back every grant of a turn of which its host would do another thing
    /// than is meant. Each time a job ends, so this does too.
    pub(super) fn withhold(&self, memory: &mut Memory, turn: &mut Turn) {
        while let Some((host, grant)) = turn.take_grant(|host, grant| self.would_miss(host, grant).is_some()) {
            let what = self.would_miss(&host, &grant).unwrap_or("do this");
            let reason = format!("the doorstep on {host} is too old to {what}");
            let verdict = Verdict::Failed { kind: FailureKind::Policy, reason };
            turn.queue(memory, Input::Settle { host, holding: Holding { job: grant.job, attempt: grant.attempt }, verdict });
        }
    }

    /// A person asks every project of a host that has services.
    pub(super) async fn act_all(&self, by: &Asker, host: &Name, action: Action, client: Client) -> Result<Response> {
        let deed = Deed::new(action.as_str(), &format!("all projects with services on {host}"));
        let (allowed, not_allowed) = self.with_services(host, action)?;
        if allowed.is_empty() && not_allowed.is_empty() {
            let no = (404, "not_found", "no project with services is known of a host of this name".to_owned());
            return self.refuse(by, &deed, client, no).await;
        }
        let asked = self.turn(|memory, turn| {
            let wanted = || Wanted { action, cause: Cause::Dashboard, hint_commit: None, service: None };
            let mut ask = |project: Name| (enqueue_one(&(host.clone(), project.clone()), wanted(), memory, turn), project);
            let asked: Vec<(JobId, Name)> = allowed.into_iter().map(&mut ask).collect();
            let queued: Vec<JobId> = asked.iter().map(|(job, _)| *job).filter(|job| !turn.was_turned_away(*job)).collect();
            turn.audit(memory, by, &deed, &audit::queued(&queued));
            Ok(asked)
        });
        let mut view = AskedAll { host: host.clone(), action, host_online: self.is_online(host), jobs: vec![], queued: vec![], not_allowed, busy: vec![] };
        for (job, project) in asked.await? {
            if self.was_turned_away(job)? {
                view.busy.push(project);
            } else {
                view.jobs.push(job);
                view.queued.push(project);
            }
        }
        match client {
            Client::Api => reply::json(202, &view),
            Client::Page => reply::page(200, pages::asked_all(&view, Viewer { now: now(), form_token: &by.form_token })),
        }
    }

    /// The projects of a host that have services: those that allow the action, and the others.
    fn with_services(&self, host: &Name, action: Action) -> Result<(Vec<Name>, Vec<Name>)> {
        let memory = self.memory()?;
        let with = memory.projects.iter().filter(|((of, _), project)| of == host && !project.services.is_empty());
        let (allowed, others): (Vec<_>, Vec<_>) = with.partition(|(_, project)| project.remote.contains(&action));
        let names = |projects: Vec<(&Key, &ProjectView)>| projects.into_iter().map(|((_, name), _)| name.clone()).collect();
        Ok((names(allowed), names(others)))
    }

    fn was_turned_away(&self, job: JobId) -> Result<bool> {
        if self.memory()?.queue.jobs().any(|known| known.id == job) {
            return Ok(false);
        }
        Ok(self.stored_job(job)?.is_some_and(|job| job.state == JobState::Dead))
    }
}

fn has_service(project: &ProjectView, service: &ServiceName) -> bool {
    project.services.iter().any(|known| &known.name == service)
}
