//! Reports that the edge has not acknowledged.

use anyhow::Result;
use doorstep_shared::protocol::Report;
use rusqlite::Transaction;

use super::Journal;

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
            reports.push((seq, serde_json::from_str(&text)?));
        }
        Ok(reports)
    }

    /// Stores reports; they get the next numbers.
    #[cfg(test)]
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn post(&self, reports: Vec<Report>) -> Result<Vec<Numbered>> {
        self.transaction(|db| post(db, reports))
    }

    /// Forgets what the edge has.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn forget(&self, seq: u64) -> Result<()> {
        self.transaction(|db| {
            db.execute("DELETE FROM outbox WHERE seq <= ?1", [seq])?;
            Ok(())
        })
    }
}

pub(super) fn post(db: &Transaction<'_>, reports: Vec<Report>) -> Result<Vec<Numbered>> {
    let mut insert = db.prepare_cached("INSERT INTO outbox (report) VALUES (?1)")?;
    let mut numbered = Vec::new();
    for report in reports {
        insert.execute([serde_json::to_string(&report)?])?;
        numbered.push((u64::try_from(db.last_insert_rowid())?, report));
    }
    Ok(numbered)
}
