//! Grants that were stored: what this host holds, and what it has settled.

use anyhow::Result;
use doorstep_shared::protocol::{Grant, Holding};
use rusqlite::Transaction;

use super::{Journal, KEPT_MAX, outbox};

/// Attempts that are held at once, or have ended and are not acknowledged: the
/// edge grants one of a project at a time, so these are 5 for each of the most
/// projects that a host can name. All of them fit in a hello beside the
/// projects: 1,000 of at most 47 bytes.
pub const HELD_MAX: usize = 1_000;

impl Journal {
    /// Stores a grant; false when this attempt was stored before, or too many
    /// are held: then the edge grants it again later.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn store_grant(&self, grant: &Grant) -> Result<bool> {
        self.transaction(format_args!("store_grant"), |db| {
            let held: usize = db.query_row("SELECT count(*) FROM grants WHERE settled = 0", [], |row| row.get(0))?;
            let is_full = held + outbox::outcomes(db)? >= HELD_MAX;
            if is_full && !self.is_full.replace(true) {
                tracing::warn!("{HELD_MAX} attempts are held or not acknowledged; no more are taken until some are");
            }
            if is_full {
                return Ok(false);
            }
            self.is_full.set(false);
            let body = serde_json::to_string(grant)?;
            let fresh = db.execute(
                "INSERT OR IGNORE INTO grants (job, attempt, body) VALUES (?1, ?2, ?3)",
                (grant.job.0, grant.attempt, body),
            )?;
            Ok(fresh == 1)
        })
    }

    /// Grants not settled, oldest first.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn held_grants(&self) -> Result<Vec<Grant>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached("SELECT body FROM grants WHERE settled = 0 ORDER BY job, attempt")?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        let mut grants = Vec::new();
        for row in rows {
            match serde_json::from_str(&row?) {
                Ok(grant) => grants.push(grant),
                // Nobody renews it, so it is granted again.
                Err(fault) => tracing::error!("a grant in the journal cannot be read and is passed over: {fault}"),
            }
        }
        Ok(grants)
    }

    /// Settles a grant without a run: it was cancelled before it began.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn drop_grant(&self, holding: Holding) -> Result<()> {
        self.transaction(format_args!("drop_grant"), |db| settle(db, holding))
    }
}

pub(super) fn settle(db: &Transaction<'_>, holding: Holding) -> Result<()> {
    db.execute("UPDATE grants SET settled = 1 WHERE job = ?1 AND attempt = ?2", (holding.job.0, holding.attempt))?;
    db.execute(
        "DELETE FROM grants WHERE settled = 1 AND job < (SELECT job FROM grants ORDER BY job DESC LIMIT 1 OFFSET ?1)",
        [KEPT_MAX],
    )?;
    Ok(())
}
