//! Reports that the edge has not acknowledged.

use anyhow::Result;
use doorstep_shared::ids::JobId;
use doorstep_shared::protocol::{Holding, LOG_BYTES_MAX, Report};
use rusqlite::Transaction;

use super::{Journal, Told};

/// Reports that wait for an edge that is gone, after which log lines are not
/// kept for it any more: about 50 to 200 runs, or a dozen that each print for half
/// an hour.
const LOGS_WAIT_MAX: u64 = 5_000;
/// Bytes of waiting reports after which log lines are not kept either: 16 runs
/// that each said all that a run may.
const LOG_BYTES_WAIT_MAX: u64 = 16 * 1024 * 1024;
/// Waiting reports after which steps are not kept: some 1,500 runs of 10 steps.
const STEPS_WAIT_MAX: u64 = 20_000;
/// Waiting reports after which runs that began here are not told of: one every
/// minute for a week, and their steps before. What the edge asked for is always
/// told, and is at most [`HELD_MAX`](super::grants::HELD_MAX) attempts.
const LOCAL_WAIT_MAX: u64 = 40_000;
/// Runs of which the edge was told that they began, and has to hear the end:
/// one of each project that a host can name, 200.
const OPEN_MAX: u64 = 200;

/// Rows that tell the edge how one of its attempts ended.
const IS_OUTCOME: &str = "json_valid(report) AND report ->> 'kind' = 'outcome' AND report ->> 'job' IS NOT NULL";

/// A report with its number.
pub type Numbered = (u64, Report);

impl Journal {
    /// What the edge has not acknowledged, in order.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn unacknowledged(&self) -> Result<Vec<Numbered>> {
        let db = self.db.borrow();
        let mut query = db.prepare("SELECT seq, report FROM outbox ORDER BY seq")?;
        let rows = query.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
        let mut reports = Vec::new();
        for row in rows {
            let (seq, text) = row?;
            let report = serde_json::from_str(&text).unwrap_or_else(|fault| {
                tracing::error!("report {seq} in the journal cannot be read; its place is told empty: {fault}");
                Report::Log { run: String::new(), lines: Vec::new() }
            });
            reports.push((seq, report));
        }
        Ok(reports)
    }

    /// Attempts whose outcome the edge has not acknowledged, in order. The link
    /// learns of an outcome only some wakes after it was written; an attempt
    /// that neither of them named would be granted again.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn outcomes(&self) -> Result<Vec<Holding>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached(&format!("SELECT report ->> 'job', report ->> 'attempt' FROM outbox WHERE {IS_OUTCOME} ORDER BY seq"))?;
        let rows = query.query_map([], |row| Ok(Holding { job: JobId(row.get(0)?), attempt: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// The highest number that a report of this journal ever had; 0 when none was made.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn last_report(&self) -> Result<u64> {
        let db = self.db.borrow();
        let mut query = db.prepare("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'")?;
        let mut rows = query.query([])?;
        Ok(rows.next()?.map_or(Ok(0), |row| row.get(0))?)
    }

    /// Stores lines of a run's log while a step goes on, and what of it is told
    /// with them: the run has come no further. How often that happens depends on time, so it is a point of its own
    /// for those who try a crash at each.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn tell_lines(&self, run: &str, told: Told, lines: &[Report]) -> Result<Vec<Numbered>> {
        let told = serde_json::to_string(&told)?;
        self.transaction(format_args!("log"), |db| {
            db.execute("UPDATE runs SET body = json_set(body, '$.told', json(?2)) WHERE id = ?1", [run, &told])?;
            post(db, self.keeps_reports.get(), lines.to_vec())
        })
    }

    /// Stores reports; they get the next numbers.
    #[cfg(test)]
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn post(&self, reports: Vec<Report>) -> Result<Vec<Numbered>> {
        self.transaction(format_args!("post"), |db| post(db, self.keeps_reports.get(), reports.clone()))
    }

    /// Forgets what the edge has.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn forget(&self, seq: u64) -> Result<()> {
        self.transaction(format_args!("forget"), |db| {
            db.execute("DELETE FROM outbox WHERE seq <= ?1", [seq])?;
            Ok(())
        })
    }
}

/// Writes reports; one that is not kept has the number 0.
pub(super) fn post(db: &Transaction<'_>, keep: bool, reports: Vec<Report>) -> Result<Vec<Numbered>> {
    let mut insert = db.prepare_cached("INSERT INTO outbox (report) VALUES (?1)")?;
    let mut waiting: u64 = db.query_row("SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM outbox", [], |row| row.get(0))?;
    let mut numbered = Vec::new();
    for report in reports {
        if !keep || !is_kept(&report, waiting, || bytes(db))? {
            numbered.push((0, report));
            continue;
        }
        insert.execute([serde_json::to_string(&report)?])?;
        waiting += 1;
        numbered.push((u64::try_from(db.last_insert_rowid())?, report));
    }
    Ok(numbered)
}

/// Is this report kept beside so many that wait? The bytes are counted only
/// where these could be too many: a log of [`LOG_BYTES_MAX`] of text is at most
/// six times that.
fn is_kept(report: &Report, waiting: u64, bytes: impl Fn() -> Result<u64>) -> Result<bool> {
    Ok(match report {
        Report::Log { .. } => waiting < LOGS_WAIT_MAX && (waiting * 6 * (LOG_BYTES_MAX as u64) < LOG_BYTES_WAIT_MAX || bytes()? < LOG_BYTES_WAIT_MAX),
        Report::Step { .. } => waiting < STEPS_WAIT_MAX,
        Report::Started { job: None, .. } => waiting < LOCAL_WAIT_MAX,
        Report::Outcome { job: None, .. } => waiting < LOCAL_WAIT_MAX + OPEN_MAX,
        Report::Started { .. } | Report::Outcome { .. } => true,
    })
}

fn bytes(db: &Transaction<'_>) -> Result<u64> {
    Ok(db.query_row("SELECT coalesce(sum(octet_length(report)), 0) FROM outbox", [], |row| row.get(0))?)
}

/// Attempts whose outcome is not acknowledged, counted.
pub(super) fn outcomes(db: &Transaction<'_>) -> Result<usize> {
    Ok(db.query_row(&format!("SELECT count(*) FROM outbox WHERE {IS_OUTCOME}"), [], |row| row.get(0))?)
}
