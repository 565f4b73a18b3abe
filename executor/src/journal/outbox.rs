//! Reports that the edge has not acknowledged.

use anyhow::Result;
use doorstep_shared::ids::JobId;
use doorstep_shared::protocol::{Holding, Report};
use rusqlite::Transaction;

use super::Journal;

/// Reports that wait for an edge that is gone, after which log lines are not
/// kept for it any more: about 50 to 200 runs. Steps and outcomes are.
const LOGS_WAIT_MAX: u64 = 5_000;

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
        let mut query = db.prepare_cached(
            "SELECT report ->> 'job', report ->> 'attempt' FROM outbox WHERE json_valid(report) AND report ->> 'kind' = 'outcome' AND report ->> 'job' IS NOT NULL ORDER BY seq",
        )?;
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
    let waiting: u64 = db.query_row("SELECT coalesce(max(seq) - min(seq) + 1, 0) FROM outbox", [], |row| row.get(0))?;
    let mut numbered = Vec::new();
    for report in reports {
        let is_log = matches!(report, Report::Log { .. });
        if !keep || (is_log && waiting >= LOGS_WAIT_MAX) {
            numbered.push((0, report));
            continue;
        }
        insert.execute([serde_json::to_string(&report)?])?;
        numbered.push((u64::try_from(db.last_insert_rowid())?, report));
    }
    Ok(numbered)
}
