//! One run as it was reported: its steps, its log in parts, what is known around it.
//!
//! A log grows at its end only, and each of its rows stands where the ones before
//! it end, counted as in [`run_log`](doorstep_shared::run_log). So a reader who says where it
//! stands is told the rest and nothing twice.

use doorstep_shared::ids::{Cause, JobId};
use doorstep_shared::run_log::log_cost;
use worker::Result;

use super::Hub;
use super::read::job_row;
use crate::store::{number, text};
use crate::view::{DeliveryRow, LogPart, RunPage, RunRow, StepRow};

/// Most of a log in one answer, in bytes; one row more may be in it, of 32 KiB.
const PART_BYTES_MAX: u64 = 256 * 1024;
/// Most rows of a log that are read for one answer.
const PART_ROWS_MAX: u64 = 512;

impl Hub {
    /// A run with its steps.
    pub(super) fn run(&self, id: &str) -> Result<Option<(RunRow, Vec<StepRow>)>> {
        Ok(self.run_and_end(id)?.map(|(run, steps, _)| (run, steps)))
    }

    fn run_and_end(&self, id: &str) -> Result<Option<(RunRow, Vec<StepRow>, u64)>> {
        let rows = self.store()?.rows("SELECT body, log_bytes FROM runs WHERE id = ?", [text(id)])?;
        let Some((run, end)) = rows.first().and_then(|row| Some((row.json(0)?, row.number(1)))) else { return Ok(None) };
        let steps = self.store()?.rows("SELECT body FROM steps WHERE run = ? ORDER BY position", [text(id)])?;
        Ok(Some((run, steps.iter().filter_map(|row| row.json(0)).collect(), end)))
    }

    /// A run's page. Its log is read only where `wants_log` says so.
    pub(super) fn run_page(&self, id: &str, wants_log: impl FnOnce(&RunRow, &[StepRow]) -> bool) -> Result<Option<RunPage>> {
        let Some((run, steps, log_end)) = self.run_and_end(id)? else { return Ok(None) };
        let log = if wants_log(&run, &steps) { Some(self.log(id)?) } else { None };
        let delivery = self.delivery_of(&run)?;
        let hosts = self.hosts_by_name()?;
        let memory = self.memory()?;
        let project = memory.projects.get(&(run.host.clone(), run.project.clone()));
        let job = memory.queue.jobs().find(|job| Some(job.id) == run.job && job.host == run.host);
        Ok(Some(RunPage {
            repo: project.map(|project| project.repo.clone()),
            remote: project.map(|project| project.remote.clone()).unwrap_or_default(),
            live: project.and_then(|project| Some(project.live.as_ref()?.commit.clone())),
            back: project.and_then(|project| project.back.clone()),
            job: job.map(|job| job_row(job, hosts.get(&job.host), None)),
            run,
            steps,
            log,
            log_end,
            delivery,
        }))
    }

    /// A run's whole log, in its colours.
    pub(super) fn log(&self, id: &str) -> Result<Vec<String>> {
        let rows = self.store()?.rows("SELECT body FROM logs WHERE run = ? ORDER BY seq", [text(id)])?;
        Ok(rows.iter().filter_map(|row| row.json::<Vec<String>>(0)).flatten().collect())
    }

    /// What of a run's log comes after a place that an earlier part named, in its
    /// colours.
    pub(super) fn log_part(&self, id: &str, after: u64) -> Result<Option<LogPart>> {
        let rows = self.store()?.rows("SELECT log_bytes FROM runs WHERE id = ?", [text(id)])?;
        let Some(end) = rows.first().map(|row| row.number(0)) else { return Ok(None) };
        let rows = self.store()?.rows("SELECT seq, body FROM logs WHERE run = ? AND seq >= ? ORDER BY seq LIMIT ?", [text(id), number(after), number(PART_ROWS_MAX)])?;
        let mut part = LogPart { lines: Vec::new(), next: end, more: false };
        for row in &rows {
            let mut lines: Vec<String> = row.json(1).unwrap_or_default();
            part.next = row.number(0).saturating_add(log_cost(&lines));
            part.lines.append(&mut lines);
            if part.next.saturating_sub(after) >= PART_BYTES_MAX {
                break;
            }
        }
        part.more = part.next < end;
        Ok(Some(part))
    }

    /// The delivery that a run's job came of: numbers rise, and a delivery's jobs
    /// are numbered right after it.
    fn delivery_of(&self, run: &RunRow) -> Result<Option<String>> {
        let Some(JobId(job)) = run.job.filter(|_| run.cause == Cause::Push) else { return Ok(None) };
        let rows = self.store()?.rows("SELECT body FROM events WHERE id < ? ORDER BY id DESC LIMIT 1", [number(job)])?;
        let delivery = rows.first().and_then(|row| row.json::<DeliveryRow>(0));
        Ok(delivery.filter(|row| row.jobs.contains(&JobId(job))).map(|row| row.delivery_id))
    }
}
