//! Rows as views: what pages and `/api` show.

use std::collections::BTreeMap;

use doorstep_shared::ids::{JobState, Name};
use doorstep_shared::protocol::ProjectView;
use doorstep_shared::queue::Job;
use doorstep_shared::time::Timestamp;
use worker::Result;

use super::{Hub, reconcile::GRACE_MS};
use crate::call::RunsQuery;
use crate::followed::Key;
use crate::health::{Counts, Health, MISSED};
use crate::lasting;
use crate::platform::now;
use crate::store::{first_number, number, text};
use crate::view::{DeliveryRow, FleetView, HostView, JobRow, ProjectPage, ProjectRow, RunRow};

/// Rows of one answer.
pub(super) const LIMIT_MAX: u64 = 200;
pub(super) const LIMIT_DEFAULT: u64 = 50;
/// Runs of a bar, see `pages::bars`.
const BARS_MAX: u64 = 30;
/// Older runs among which deploys are looked for.
const DEPLOYS_WITHIN: u64 = 500;
const HOUR_MS: u64 = 3_600 * 1_000;
/// How deliveries fare is counted anew after so long.
const HEALTH_MS: u64 = 10_000;
/// And after so long when a delivery came meanwhile.
const HEALTH_OUTDATED_MS: u64 = 1_000;

/// How deliveries fared a moment ago.
pub(super) struct Known {
    at: Timestamp,
    is_outdated: bool,
    health: Health,
}

impl Known {
    fn is_good(&self, now: Timestamp) -> bool {
        let for_ms = if self.is_outdated { HEALTH_OUTDATED_MS } else { HEALTH_MS };
        // A clock that went back makes it no better.
        self.at <= now && now.ms_since(self.at) < for_ms
    }
}

impl Hub {
    pub(super) fn hosts(&self) -> Result<Vec<HostView>> {
        let mut presence = self.presence();
        let rows = self.store()?.rows("SELECT name, enrolled, last_seen, version FROM hosts WHERE revoked = 0 ORDER BY name", [])?;
        let measured = self.measured.borrow();
        let view = |row: &crate::store::Row| {
            let name: Name = row.text(0).parse().ok()?;
            let stored = Timestamp(row.number(2));
            let present = presence.remove(&name);
            Some(HostView {
                online: present.as_ref().is_some_and(|host| host.online),
                last_seen: Some(present.as_ref().map_or(stored, |host| host.heard_at.max(stored))),
                enrolled: Timestamp(row.number(1)),
                executor_version: row.text(3).to_owned(),
                parked: present.as_ref().and_then(|host| host.parked.clone()),
                round_trip_ms: present.as_ref().and_then(|_| measured.get(&name)?.round_trip_ms),
                started: present.as_ref().and_then(|host| host.started),
                booted: present.and_then(|host| host.booted),
                name,
            })
        };
        Ok(rows.iter().filter_map(view).collect())
    }

    pub(super) fn fleet(&self) -> Result<FleetView> {
        Ok(FleetView { hosts: self.hosts()?, projects: self.project_rows(None)? })
    }

    pub(super) fn project_rows(&self, only: Option<(&Name, &Name)>) -> Result<Vec<ProjectRow>> {
        let hosts = self.hosts_by_name()?;
        let known: Vec<(Name, ProjectView, Vec<JobRow>)> = {
            let memory = self.memory()?;
            let wanted = |host: &Name, name: &Name| only.is_none_or(|(h, n)| h == host && n == name);
            let mut jobs: BTreeMap<(&Name, &Name), Vec<JobRow>> = BTreeMap::new();
            for job in memory.queue.jobs().filter(|job| wanted(&job.host, &job.project)) {
                jobs.entry((&job.host, &job.project)).or_default().push(job_row(job, hosts.get(&job.host), None));
            }
            let projects = memory.projects.iter().filter(|((host, name), _)| wanted(host, name));
            projects.map(|((host, name), view)| (host.clone(), view.clone(), jobs.remove(&(host, name)).unwrap_or_default())).collect()
        };
        let mut dead = self.dead_jobs(only)?;
        known
            .into_iter()
            .map(|(host, view, jobs)| {
                let mut recent = self.recent_runs(&host, &view.name)?;
                let (last_run, trouble) = (recent.first().cloned(), lasting::trouble(&recent).cloned());
                let mut dead = dead.remove(&(host.clone(), view.name.clone())).unwrap_or_default();
                dead.retain(|job| lasting::matters(job, &recent));
                if only.is_none() {
                    dead.truncate(1);
                }
                recent.truncate(BARS_MAX as usize);
                let of = hosts.get(&host);
                Ok(ProjectRow {
                    online: of.is_some_and(|of| of.online),
                    host_last_seen: of.and_then(|of| of.last_seen),
                    dead,
                    host,
                    name: view.name,
                    repo: view.repo,
                    branch: view.branch,
                    state: view.state,
                    reason: view.reason,
                    live: view.live,
                    address: view.address,
                    remote: view.remote,
                    shows_logs: view.shows_logs,
                    services: view.services,
                    behind: view.behind,
                    quarantined: view.quarantined,
                    back: view.back,
                    jobs,
                    last_run,
                    trouble,
                    recent,
                })
            })
            .collect()
    }

    /// The runs of a project's bar, and after them older deploys where those do not
    /// say how the last one went. They are kept in memory until one of them
    /// changes, since a page of many projects would read thousands of rows.
    fn recent_runs(&self, host: &Name, project: &Name) -> Result<Vec<RunRow>> {
        let key = (host.clone(), project.clone());
        if let Some(known) = self.recent.borrow().get(&key) {
            return Ok(known.clone());
        }
        let query = RunsQuery { host: Some(host.to_string()), project: Some(project.to_string()), before: None, limit: Some(BARS_MAX) };
        let mut runs = self.runs(&query)?;
        if let Some(oldest) = runs.last().filter(|_| runs.len() as u64 == BARS_MAX && !lasting::are_decisive(&runs)) {
            let older = self.deploys_before(host, project, &oldest.id)?;
            runs.extend(older);
        }
        self.recent.borrow_mut().insert(key, runs.clone());
        Ok(runs)
    }

    /// Runs of these projects are about to be written; of any, when it is not
    /// known of which. What is read before that is done is read in the same turn.
    pub(super) fn outdate_recent(&self, of: Option<Vec<Key>>) {
        let mut recent = self.recent.borrow_mut();
        match of {
            Some(keys) => keys.iter().for_each(|key| drop(recent.remove(key))),
            None => recent.clear(),
        }
    }

    /// The newest deploys, rebuilds and rollbacks that are older than this run.
    fn deploys_before(&self, host: &Name, project: &Name, run: &str) -> Result<Vec<RunRow>> {
        let rows = self.store()?.rows(
            "SELECT body FROM (SELECT id, body FROM runs WHERE host = ? AND project = ? AND id < ? ORDER BY id DESC LIMIT ?)
             WHERE json_extract(body, '$.action') IN ('deploy', 'rebuild', 'rollback') ORDER BY id DESC LIMIT ?",
            [text(host.as_str()), text(project.as_str()), text(run), number(DEPLOYS_WITHIN), number(BARS_MAX)],
        )?;
        Ok(rows.iter().filter_map(|row| row.json(0)).collect())
    }

    pub(super) fn project_page(&self, host: &Name, project: &Name, before: Option<String>) -> Result<Option<ProjectPage>> {
        let Some(row) = self.project_rows(Some((host, project)))?.pop() else { return Ok(None) };
        let query = RunsQuery { host: Some(host.to_string()), project: Some(project.to_string()), before, limit: Some(LIMIT_DEFAULT + 1) };
        let mut runs = self.runs(&query)?;
        let has_older = runs.len() as u64 > LIMIT_DEFAULT;
        runs.truncate(usize::try_from(LIMIT_DEFAULT).unwrap_or(usize::MAX));
        let older = runs.last().filter(|_| has_older).map(|run| run.id.clone());
        Ok(Some(ProjectPage { project: row, runs, before: query.before, older, used: self.used_of(host, project) }))
    }

    pub(super) fn runs(&self, query: &RunsQuery) -> Result<Vec<RunRow>> {
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        let (host, project) = (query.host.clone().unwrap_or_default(), query.project.clone().unwrap_or_default());
        let rows = self.store()?.rows(
            "SELECT body FROM runs WHERE (?1 = '' OR host = ?1) AND (?2 = '' OR project = ?2) AND (?3 = '' OR id < ?3) ORDER BY id DESC LIMIT ?4",
            [text(host), text(project), text(query.before.clone().unwrap_or_default()), number(limit)],
        )?;
        Ok(rows.iter().filter_map(|row| row.json(0)).collect())
    }

    /// One delivery with its payload.
    pub(super) fn event(&self, guid: &str) -> Result<Option<(DeliveryRow, String)>> {
        let rows = self.store()?.rows(
            "SELECT e.body, e.payload FROM deliveries d JOIN events e ON e.id = d.event WHERE d.guid = ?",
            [text(guid)],
        )?;
        Ok(rows.first().and_then(|row| Some((row.json(0)?, row.text(1).to_owned()))))
    }

    /// How deliveries fare: open to everybody, so it names nothing, and what it
    /// costs does not depend on how often it is asked for.
    pub(super) fn health(&self) -> Result<Health> {
        let now = now();
        let known = self.health.borrow().as_ref().filter(|known| known.is_good(now)).map(|known| known.health.clone());
        if let Some(health) = known {
            return Ok(health);
        }
        let health = self.count_health(now)?;
        *self.health.borrow_mut() = Some(Known { at: now, is_outdated: false, health: health.clone() });
        Ok(health)
    }

    /// A delivery came: what is known of how they fare is not the last word.
    pub(super) fn outdate_health(&self) {
        if let Some(known) = self.health.borrow_mut().as_mut() {
            known.is_outdated = true;
        }
    }

    fn count_health(&self, now: Timestamp) -> Result<Health> {
        let hour = now.0.saturating_sub(HOUR_MS);
        let stored = self.count("SELECT count(*) FROM events WHERE id >= ?", first_number(hour))?;
        let last = self.count("SELECT coalesce(max(id), ?) FROM events", 0)? / 1024;
        let mut counts = Counts::new(stored, (last > 0).then_some(Timestamp(last)));
        let refused = "SELECT code, sum(count) FROM refusals WHERE minute >= ? GROUP BY code";
        for row in self.store()?.rows(refused, [number(hour / 60_000)])? {
            counts.refused(row.text(0), row.number(1));
        }
        counts.refused(MISSED, self.missed_since(now, HOUR_MS)?);
        Ok(counts.judge(now))
    }

    /// Pushes of the last day whose webhook did not arrive.
    pub(super) fn missed_last_day(&self) -> Result<u64> {
        self.missed_since(now(), 24 * HOUR_MS)
    }

    /// Pushes that counted as missed within so many milliseconds before `now`.
    pub(super) fn missed_since(&self, now: Timestamp, ms: u64) -> Result<u64> {
        let until = now.0.saturating_sub(GRACE_MS);
        let rows = self.store()?.rows("SELECT count(*) FROM missed WHERE found > ? AND found <= ?", [number(until.saturating_sub(ms)), number(until)])?;
        Ok(rows.first().map_or(0, |row| row.number(0)))
    }

    fn count(&self, sql: &str, value: u64) -> Result<u64> {
        Ok(self.store()?.rows(sql, [number(value)])?.first().map_or(0, |row| row.number(0)))
    }
}

/// A job as its host makes it look.
pub(super) fn job_row(job: &Job, host: Option<&HostView>, died: Option<Timestamp>) -> JobRow {
    let waits = job.state == JobState::Waiting;
    let is_off = !host.is_some_and(|host| host.online);
    JobRow {
        id: job.id,
        host: job.host.clone(),
        project: job.project.clone(),
        action: job.action,
        service: job.service.clone(),
        cause: job.cause,
        state: job.state,
        attempt: job.attempt,
        failures: job.failures,
        created: job.created,
        reason: job.reason.clone(),
        hint_commit: job.hint_commit.clone(),
        waits_until: (waits && is_off).then(|| job.waits_until()),
        again: (waits && job.failures > 0).then_some(job.not_before),
        parked: host.filter(|_| waits).and_then(|host| host.parked.clone()),
        died,
    }
}
