//! What became of every delivery that was answered 202, by the hub's history.
//!
//! Lost: it has no row, its row names too few jobs, or one of its jobs is
//! still live, or ended neither by its host's outcome nor by a newer job of
//! its project that did. Doubled: two rows of one GUID, too many jobs, or a
//! job that was started twice.

use std::collections::HashMap;

use anyhow::{Context, Result};
use doorstep_shared::ids::JobId;
use doorstep_tests::Edge;

use super::bodies::Bodies;
use super::ledger::Ledger;

/// Rows of one answer of the hub; its own limit.
const PAGE: usize = 200;

/// One row of the history.
#[derive(Clone, Debug)]
pub struct Row {
    number: u64,
    jobs: Vec<JobId>,
}

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Deliveries answered 202.
    pub accepted: usize,
    /// Of these, lost.
    pub lost: usize,
    /// Of the lost, those without a row.
    pub missing: usize,
    /// Effects that happened twice.
    pub doubled: usize,
    /// Jobs that a host carried out.
    pub done: usize,
    /// Jobs that a newer one replaced.
    pub superseded: usize,
}

/// The whole history, as rows of the load's own deliveries.
pub async fn rows(edge: &Edge, bodies: &Bodies) -> Result<Vec<Row>> {
    let (mut rows, mut before) = (Vec::new(), None::<u64>);
    loop {
        let before_it = before.map(|id| format!("&before={id}")).unwrap_or_default();
        let page = edge.get(&format!("/webhooks/github/events?limit={PAGE}{before_it}")).await;
        let events = page["events"].as_array().context("no list of events")?;
        for event in events {
            before = event["id"].as_u64();
            let jobs = event["jobs"].as_array().map(|jobs| jobs.iter().filter_map(|job| job.as_u64().map(JobId)).collect());
            if let Some(number) = event["delivery_id"].as_str().and_then(|guid| bodies.number_of_guid(guid)) {
                rows.push(Row { number, jobs: jobs.unwrap_or_default() });
            }
        }
        if events.len() < PAGE {
            return Ok(rows);
        }
    }
}

/// Jobs that the hub calls live.
pub async fn live_jobs(edge: &Edge) -> Vec<JobId> {
    edge.jobs().await.iter().filter_map(|job| job["id"].as_u64().map(JobId)).collect()
}

/// Compares the rows with what was sent and done.
pub fn judge(rows: &[Row], live: &[JobId], ledger: &Ledger, sent: u64) -> Verdict {
    let mut seen: HashMap<u64, usize> = HashMap::new();
    let mut verdict = Verdict { accepted: ledger.accepted_count(), doubled: ledger.started_twice(), ..Verdict::default() };
    for row in rows {
        *seen.entry(row.number).or_default() += 1;
        verdict.doubled += row.jobs.len().saturating_sub(ledger.followers());
        let newest = ledger.newest(ledger.project_of(row.number));
        let mut is_lost = row.jobs.len() < ledger.followers();
        for job in &row.jobs {
            let run = ledger.run_of(*job);
            if run.is_settled && !live.contains(job) {
                verdict.done += 1;
            } else if run.starts == 0 && !live.contains(job) && newest > *job && ledger.run_of(newest).is_settled {
                verdict.superseded += 1;
            } else {
                is_lost = true;
            }
        }
        verdict.lost += usize::from(is_lost && ledger.is_accepted(row.number));
    }
    verdict.missing = (1..=sent).filter(|number| ledger.is_accepted(*number) && !seen.contains_key(number)).count();
    verdict.lost += verdict.missing;
    verdict.doubled += seen.values().filter(|count| **count > 1).count();
    verdict
}

/// Tells the ledger of every job in the history, for the answers that were cut.
pub fn note(rows: &[Row], ledger: &Ledger) {
    for row in rows {
        ledger.made(row.number, &row.jobs);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Three pushes of one project: the first ran, the second was replaced by the third.
    fn ledger() -> (Ledger, Vec<Row>) {
        let ledger = Ledger::new(3, 1, 1);
        for number in 1..=3 {
            ledger.accepted(number);
            ledger.made(number, &[JobId(number * 10)]);
        }
        for number in [1, 3] {
            ledger.started(Some(number), JobId(number * 10), Instant::now());
            ledger.settled(Some(number), JobId(number * 10));
        }
        let rows = (1..=3).map(|number| Row { number, jobs: vec![JobId(number * 10)] }).collect();
        (ledger, rows)
    }

    #[test]
    fn what_ran_and_what_was_replaced_is_not_lost() {
        let (ledger, rows) = ledger();
        let verdict = judge(&rows, &[], &ledger, 3);
        assert_eq!(verdict, Verdict { accepted: 3, lost: 0, missing: 0, doubled: 0, done: 2, superseded: 1 });
    }

    #[test]
    fn a_missing_row_a_live_job_and_an_unfinished_run_are_lost() {
        let (ledger, rows) = ledger();
        let without = judge(&rows[1..], &[], &ledger, 3);
        assert_eq!((without.lost, without.missing), (1, 1));
        assert_eq!(judge(&rows, &[JobId(20)], &ledger, 3).lost, 1);
        ledger.started(Some(2), JobId(20), Instant::now());
        assert_eq!(judge(&rows, &[], &ledger, 3).lost, 1, "its host never ended it");
        let bare = [rows[0].clone(), rows[2].clone(), Row { number: 2, jobs: Vec::new() }];
        assert_eq!(judge(&bare, &[], &ledger, 3).lost, 1, "no job was made");
    }

    #[test]
    fn a_second_row_a_second_job_and_a_second_start_are_doubled() {
        let (ledger, mut rows) = ledger();
        rows.push(rows[0].clone());
        assert_eq!(judge(&rows, &[], &ledger, 3).doubled, 1);
        rows.pop();
        rows[1].jobs.push(JobId(10));
        assert_eq!(judge(&rows, &[], &ledger, 3).doubled, 1);
        rows[1].jobs.pop();
        ledger.started(Some(1), JobId(10), Instant::now());
        assert_eq!(judge(&rows, &[], &ledger, 3).doubled, 1);
    }
}
