//! Jobs as people see and change them: the list, cancel, revive.
//!
//! Invariant: a job is changed by the queue and by nothing else; here is only
//! asked whether it can be. What is absent: changing what a job does.

use std::collections::BTreeMap;

use doorstep_shared::ids::{Action, Cause, JobId, JobState, Name};
use doorstep_shared::queue::{Input, Job};
use doorstep_shared::time::Timestamp;
use worker::{Response, Result};

use super::{Hub, Memory};
use super::read::{LIMIT_DEFAULT, LIMIT_MAX, job_row};
use crate::asker::Asker;
use crate::audit::Deed;
use crate::call::{Client, JobsQuery};
use crate::platform::now;
use crate::reply::{self, refused};
use crate::store::{Row, number, text};
use crate::view::{HostView, JobRow};

/// Dead jobs are shown for so long: 7 days.
const DEAD_SHOWN_MS: u64 = 7 * 24 * 3_600 * 1_000;
/// Dead jobs that are read for one page.
const DEAD_MAX: u64 = 200;
/// Rows that one question looks at, so that a filter which fits nothing does
/// not keep the hub busy; the answer says where to go on.
const SCAN_MAX: u64 = 5_000;

/// Why a job cannot be made or changed: status, code, sentence.
pub(super) type No = (u16, &'static str, String);

impl Hub {
    /// `GET /api/jobs`: newest first. `before` is what to ask with for more.
    pub(super) fn jobs(&self, query: &JobsQuery) -> Result<serde_json::Value> {
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        let before = query.before.unwrap_or(u64::MAX);
        let rows = self.store()?.rows(
            "SELECT id, body, died FROM (
                 SELECT * FROM (SELECT * FROM jobs WHERE live = 1 AND id < ?1 ORDER BY id DESC LIMIT ?2)
                 UNION ALL SELECT * FROM (SELECT * FROM jobs WHERE live = 0 AND id < ?1 ORDER BY id DESC LIMIT ?2)
                 ORDER BY id DESC LIMIT ?2)
             WHERE (?3 = '' OR json_extract(body, '$.state') = ?3) AND (?4 = '' OR json_extract(body, '$.host') = ?4)
             AND (?5 = '' OR json_extract(body, '$.project') = ?5) ORDER BY id DESC LIMIT ?6",
            [
                number(before),
                number(SCAN_MAX),
                text(query.state.clone().unwrap_or_default()),
                text(query.host.clone().unwrap_or_default()),
                text(query.project.clone().unwrap_or_default()),
                number(limit),
            ],
        )?;
        let next = if rows.len() as u64 == limit {
            rows.last().map(|row| row.number(0))
        } else {
            let last = "SELECT id FROM (SELECT id FROM jobs WHERE live = 1 AND id < ?1 UNION ALL SELECT id FROM jobs WHERE live = 0 AND id < ?1)
                 ORDER BY id DESC LIMIT 1 OFFSET ?2";
            self.store()?.rows(last, [number(before), number(SCAN_MAX - 1)])?.first().map(|row| row.number(0))
        };
        let hosts = self.hosts_by_name()?;
        let jobs: Vec<JobRow> = rows.iter().filter_map(|row| shown(row, &hosts)).collect();
        Ok(serde_json::json!({"jobs": jobs, "before": next}))
    }

    /// The jobs that died lately, newest first, by host and project.
    pub(super) fn dead_jobs(&self, only: Option<(&Name, &Name)>) -> Result<BTreeMap<(Name, Name), Vec<JobRow>>> {
        let (host, project) = only.map_or(("", ""), |(host, project)| (host.as_str(), project.as_str()));
        let rows = self.store()?.rows(
            "SELECT id, body, died FROM jobs WHERE died >= ?1 AND (?2 = '' OR json_extract(body, '$.host') = ?2)
             AND (?3 = '' OR json_extract(body, '$.project') = ?3) ORDER BY died DESC LIMIT ?4",
            [number(now().0.saturating_sub(DEAD_SHOWN_MS)), text(host), text(project), number(DEAD_MAX)],
        )?;
        let mut dead: BTreeMap<(Name, Name), Vec<JobRow>> = BTreeMap::new();
        for job in rows.iter().filter_map(|row| shown(row, &BTreeMap::new())) {
            dead.entry((job.host.clone(), job.project.clone())).or_default().push(job);
        }
        Ok(dead)
    }

    pub(super) fn hosts_by_name(&self) -> Result<BTreeMap<Name, HostView>> {
        Ok(self.hosts()?.into_iter().map(|host| (host.name.clone(), host)).collect())
    }

    /// A person wants a job gone.
    pub(super) async fn cancel(&self, id: JobId, by: &Asker, client: Client) -> Result<Response> {
        let job = match self.to_cancel(id)? {
            Ok(job) => job,
            Err(no) => return self.refuse(by, &self.deed("cancel", id)?, client, no).await,
        };
        let deed = deed("cancel", id, Some(&job));
        let asked = self.turn(|memory, turn| {
            turn.queue(memory, Input::Cancel { job: id });
            turn.audit(memory, by, &deed, "cancelled");
            Ok(())
        });
        asked.await?;
        changed(client, &job)
    }

    /// A person wants a dead job to be tried again.
    pub(super) async fn revive(&self, id: JobId, by: &Asker, client: Client) -> Result<Response> {
        let job = match self.to_revive(id)? {
            Ok(job) => job,
            Err(no) => return self.refuse(by, &self.deed("revive", id)?, client, no).await,
        };
        let deed = deed("revive", id, Some(&job));
        let asked = self.turn(|memory, turn| {
            let cause = cause_of_revived(&job, memory);
            turn.queue(memory, Input::Revive(Job { cause, ..job.clone() }));
            turn.audit_job(memory, by, &deed, id);
            Ok(())
        });
        asked.await?;
        // The queue has the last word: so many jobs of a project and no more.
        match self.stored_job(id)? {
            Some(Job { state: JobState::Dead, reason, .. }) => refused(client, 409, "busy", &reason.unwrap_or_default()),
            _ => changed(client, &job),
        }
    }

    fn deed(&self, action: &str, id: JobId) -> Result<Deed> {
        Ok(deed(action, id, self.stored_job(id)?.as_ref()))
    }

    fn to_cancel(&self, id: JobId) -> Result<std::result::Result<Job, No>> {
        if let Some(job) = self.memory()?.queue.jobs().find(|job| job.id == id) {
            return Ok(Ok(job.clone()));
        }
        Ok(Err(match self.stored_job(id)? {
            Some(job) => (409, "ended", format!("this job has ended: it is {}", job.state)),
            None => unknown(),
        }))
    }

    fn to_revive(&self, id: JobId) -> Result<std::result::Result<Job, No>> {
        let Some(job) = self.stored_job(id)? else { return Ok(Err(unknown())) };
        if job.state != JobState::Dead {
            let message = format!("only a dead job can be tried again; this one is {}", job.state);
            return Ok(Err((409, "not_dead", message)));
        }
        let host = "SELECT 1 FROM hosts WHERE name = ? AND revoked = 0";
        if self.store()?.rows(host, [text(job.host.as_str())])?.is_empty() {
            return Ok(Err((409, "revoked", format!("{} was revoked; nothing of it will run again", job.host))));
        }
        let newer = self.memory()?.queue.jobs().find(|other| replaces(other, &job)).map(|other| other.id);
        Ok(match newer {
            Some(newer) => Err((409, "superseded", format!("job {newer} waits to do the same and is newer"))),
            None => Ok(job),
        })
    }

    pub(super) fn stored_job(&self, id: JobId) -> Result<Option<Job>> {
        Ok(self.store()?.rows("SELECT body FROM jobs WHERE live IN (0, 1) AND id = ?", [number(id.0)])?.first().and_then(|row| row.json(0)))
    }
}

/// A person wants it now: a host that found its commit bad tries it again only
/// for one. Where the host's file lets nobody here ask, it stays what it was.
fn cause_of_revived(job: &Job, memory: &Memory) -> Cause {
    let project = memory.projects.get(&(job.host.clone(), job.project.clone()));
    if project.is_some_and(|project| project.remote.contains(&job.action)) { Cause::Dashboard } else { job.cause }
}

fn deed(action: &str, id: JobId, job: Option<&Job>) -> Deed {
    Deed::of_job(action, id, job.map(|job| (&job.host, &job.project)))
}

/// Would the queue let `job` give way to `other` at once?
fn replaces(other: &Job, job: &Job) -> bool {
    let is_deploy = |job: &Job| job.action == Action::Deploy;
    is_deploy(other) && is_deploy(job) && other.state == JobState::Waiting && other.id > job.id
        && (&other.host, &other.project) == (&job.host, &job.project)
}

fn shown(row: &Row, hosts: &BTreeMap<Name, HostView>) -> Option<JobRow> {
    let job: Job = row.json(1)?;
    let died = Some(row.number(2)).filter(|died| *died > 0).map(Timestamp);
    Some(job_row(&job, hosts.get(&job.host), died))
}

fn unknown() -> No {
    (404, "not_found", "no job has this number".to_owned())
}

fn changed(client: Client, job: &Job) -> Result<Response> {
    match client {
        Client::Api => reply::json(202, &serde_json::json!({"job": job.id})),
        Client::Page => reply::redirect(&format!("/projects/{}/{}", job.host, job.project), None),
    }
}
