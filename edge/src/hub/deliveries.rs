//! Deliveries as people look at them: how they fared, what became of their jobs.
//!
//! Counting a week of them reads up to 20,000 rows, so where there are many it is
//! done at most once in a minute, whoever looks.

use doorstep_shared::ids::{JobId, Name};
use doorstep_shared::queue::Job;
use doorstep_shared::time::Timestamp;
use worker::{Response, Result};

use super::Hub;
use super::read::{LIMIT_DEFAULT, LIMIT_MAX};
use crate::call::EventsQuery;
use crate::fares::{DAY_MS, Fares, LOOKED_AT_MAX, Share, Unbelieved, WEEK_MS, longest_silence};
use crate::health::Counts;
use crate::platform::now;
use crate::store::{first_number, number, text};
use crate::view::{DeliveriesView, DeliveryPage, DeliveryRow, FollowedJob};
use crate::pages::{self, Viewer};
use crate::reply;

/// How deliveries fared is counted anew after so long.
const FARES_MS: u64 = 60_000;
/// So many rows cost nothing to count.
const CHEAP_MAX: u64 = 2_000;
/// Rows that one question looks at, so that a filter which fits nothing does not
/// keep the hub busy; the answer says where to go on.
const SCAN_MAX: u64 = 5_000;

impl Hub {
    /// The history, newest first, and what to ask for with `before` for more.
    pub(super) fn events(&self, query: &EventsQuery) -> Result<(Vec<DeliveryRow>, Option<u64>)> {
        let limit = query.limit.unwrap_or(LIMIT_DEFAULT).clamp(1, LIMIT_MAX);
        let before = query.before.unwrap_or(u64::MAX);
        let given = |field: &Option<String>| text(field.clone().unwrap_or_default());
        let rows = self.store()?.rows(
            "SELECT id, body FROM (SELECT id, type, repo, body FROM events WHERE id < ?1 ORDER BY id DESC LIMIT ?2)
             WHERE (?3 = '' OR type = ?3) AND (?4 = '' OR repo = ?4) AND (?5 = '' OR json_extract(body, '$.status') = ?5)
             AND (?6 = '' OR instr(lower(type || ' ' || coalesce(repo, '') || ' ' || coalesce(json_extract(body, '$.ref'), '') || ' '
             || coalesce(json_extract(body, '$.commit'), '') || ' ' || json_extract(body, '$.delivery_id')), lower(?6)) > 0)
             ORDER BY id DESC LIMIT ?7",
            [number(before), number(SCAN_MAX), given(&query.event_type), given(&query.repo), given(&query.status), given(&query.search), number(limit)],
        )?;
        let next = if rows.len() as u64 == limit { rows.last().map(|row| row.number(0)) } else { self.last_scanned(before)? };
        Ok((rows.iter().filter_map(|row| row.json(1)).collect(), next))
    }

    /// Where a question ended that looked at as many rows as it may.
    fn last_scanned(&self, before: u64) -> Result<Option<u64>> {
        let rows = self.store()?.rows("SELECT id FROM events WHERE id < ? ORDER BY id DESC LIMIT 1 OFFSET ?", [number(before), number(SCAN_MAX - 1)])?;
        Ok(rows.first().map(|row| row.number(0)))
    }

    pub(super) fn deliveries_page(&self, query: EventsQuery) -> Result<DeliveriesView> {
        let (rows, older) = self.events(&query)?;
        let jobs: Vec<JobId> = rows.iter().flat_map(|row| row.jobs.iter().copied()).collect();
        Ok(DeliveriesView { jobs: self.followed_jobs(&jobs)?, rows, older, query, fares: self.fares()?, missed_last_day: self.missed_last_day()? })
    }

    pub(super) fn delivery_page(&self, guid: &str) -> Result<Option<DeliveryPage>> {
        let Some((row, payload)) = self.event(guid)? else { return Ok(None) };
        Ok(Some(DeliveryPage { jobs: self.followed_jobs(&row.jobs)?, row, payload }))
    }

    /// What became of these jobs, with the newest run of each: a run begins after
    /// its job was made, give or take what the clocks of edge and host differ.
    pub(super) fn followed_jobs(&self, jobs: &[JobId]) -> Result<Vec<FollowedJob>> {
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        let rows = self.store()?.rows(
            "SELECT j.body, (SELECT r.body FROM (SELECT id, body FROM runs WHERE host = json_extract(j.body, '$.host')
                 AND project = json_extract(j.body, '$.project') AND id >= printf('%012x', j.id / 1024 - 60000) ORDER BY id LIMIT 250) r
                 WHERE json_extract(r.body, '$.job') = j.id ORDER BY r.id DESC LIMIT 1)
             FROM jobs j WHERE j.live IN (0, 1) AND j.id IN (SELECT value FROM json_each(?)) ORDER BY j.id",
            [crate::store::json(&jobs)?],
        )?;
        let followed = |row: &crate::store::Row| {
            let job: Job = row.json(0)?;
            Some(FollowedJob { id: job.id, host: job.host, project: job.project, state: job.state, run: row.json(1) })
        };
        Ok(rows.iter().filter_map(followed).collect())
    }

    fn fares(&self) -> Result<Fares> {
        let now = now();
        let known = *self.fares.borrow();
        if let Some((_, fares)) = known.filter(|(at, _)| *at <= now && now.ms_since(*at) < FARES_MS) {
            return Ok(fares);
        }
        let fares = self.count_fares(now)?;
        *self.fares.borrow_mut() = Some((now, fares));
        Ok(fares)
    }

    fn count_fares(&self, now: Timestamp) -> Result<Fares> {
        let week = first_number(now.0.saturating_sub(WEEK_MS));
        let rows = self.store()?.rows("SELECT id / 1024 FROM events WHERE id >= ? ORDER BY id DESC LIMIT ?", [number(week), number(LOOKED_AT_MAX)])?;
        let newest_first: Vec<Timestamp> = rows.iter().map(|row| Timestamp(row.number(0))).collect();
        let share = |ms: u64| self.share(&newest_first, now, ms);
        Ok(Fares { day: share(DAY_MS)?, week: share(WEEK_MS)?, silence: longest_silence(&newest_first, now), unbelieved: self.unbelieved(now)? })
    }

    fn unbelieved(&self, now: Timestamp) -> Result<Option<Unbelieved>> {
        let since = now.0.saturating_sub(DAY_MS) / 60_000;
        let rows = self.store()?.rows("SELECT coalesce(sum(count), 0), coalesce(max(minute), 0) FROM refusals WHERE minute >= ? AND code IN ('signature_wrong', 'signature_missing')", [number(since)])?;
        let unbelieved = rows.first().map(|row| Unbelieved { count: row.number(0), last: Timestamp(row.number(1).saturating_mul(60_000)) });
        Ok(unbelieved.filter(|unbelieved| unbelieved.count > 0))
    }

    /// A delivery came. Where counting all of them is cheap that is done for the
    /// next who looks.
    pub(super) fn outdate_fares(&self) {
        self.fares.borrow_mut().take_if(|(_, fares)| fares.week.stored <= CHEAP_MAX);
    }

    fn share(&self, newest_first: &[Timestamp], now: Timestamp, ms: u64) -> Result<Share> {
        let since = now.0.saturating_sub(ms);
        let stored = newest_first.iter().take_while(|at| at.0 >= since).count() as u64;
        let mut counts = Counts::new(stored, newest_first.first().copied());
        for row in self.store()?.rows("SELECT code, sum(count) FROM refusals WHERE minute >= ? GROUP BY code", [number(since / 60_000)])? {
            counts.refused(row.text(0), row.number(1));
        }
        Ok(Share { stored, refused: counts.failed(now), missed: self.missed_since(now, ms)? })
    }

    /// A person had a delivery run again: where to look for what follows.
    pub(super) fn replayed(&self, jobs: &[JobId], viewer: Viewer<'_>) -> Result<Response> {
        let of: Vec<(Name, Name)> = self.followed_jobs(jobs)?.into_iter().map(|job| (job.host, job.project)).collect();
        match of.as_slice() {
            [] => reply::page(409, pages::notice("Nothing follows from it", "No project follows what this delivery is about, as things are now. It was looked at again and nothing was queued.", viewer)),
            [(host, project)] => reply::redirect(&format!("/projects/{host}/{project}"), None),
            _ => reply::redirect("/", None),
        }
    }
}
