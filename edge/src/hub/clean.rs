//! What is old goes: a bounded number of rows, after the alarm's own work.

use worker::Result;

use super::{Hub, kept::remove_run};
use crate::platform::now;
use crate::store::{Statement, first_number, number, text};

/// History is kept this long: 90 days.
const HISTORY_MS: u64 = 90 * 24 * 3_600 * 1_000;
/// Pushes that were missed are shown for seven days, and kept for one more.
const MISSED_MS: u64 = 8 * 24 * 3_600 * 1_000;
/// Rows of one kind that one clean-up removes, so that it stays short.
const ROWS_MAX: u64 = 5_000;

impl Hub {
    /// Removes what is older than [`HISTORY_MS`], a bounded number of rows.
    pub(super) fn clean_up(&self) -> Result<()> {
        let now = now();
        // Rows that cost nothing where there are none.
        self.store()?.commit(vec![
            Statement::new("DELETE FROM enrollments WHERE ends < ?", [number(now.0)]),
            Statement::new("DELETE FROM tries WHERE ends < ?", [number(now.0)]),
            Statement::new("DELETE FROM missed WHERE found < ?", [number(now.0.saturating_sub(MISSED_MS))]),
        ])?;
        self.clean_sessions()?;
        self.clean_audit()?;
        self.clean_days()?;
        let oldest = first_number(now.0.saturating_sub(HISTORY_MS));
        self.clean_runs(now.0.saturating_sub(HISTORY_MS))?;
        let old = |sql| Statement::new(sql, [number(oldest), number(ROWS_MAX)]);
        self.store()?.commit(vec![
            old("DELETE FROM jobs WHERE live = 0 AND id IN (SELECT id FROM jobs WHERE live = 0 AND id < ? ORDER BY id LIMIT ?)"),
            Statement::new("DELETE FROM refusals WHERE minute < ?", [number(now.0.saturating_sub(HISTORY_MS) / 60_000)]),
        ])?;
        let stale = self.store()?.rows("SELECT 1 FROM events WHERE id < ? LIMIT 1", [number(oldest)])?;
        if stale.is_empty() {
            return Ok(());
        }
        // The first two look through their whole tables, which have no index by
        // time: that is read, which is cheap, once an hour.
        self.store()?.commit(vec![
            old("DELETE FROM deliveries WHERE guid IN (SELECT guid FROM deliveries WHERE event < ? LIMIT ?)"),
            old("DELETE FROM bodies WHERE hash IN (SELECT hash FROM bodies WHERE event < ? LIMIT ?)"),
            old("DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id < ? ORDER BY id LIMIT ?)"),
        ])
    }

    /// Removes runs with their steps and logs. A run's id begins with its time
    /// in 12 hex digits, so the oldest come first; it is its host's word, and a
    /// host that lies finds its limit in [`kept`](crate::kept).
    fn clean_runs(&self, oldest_ms: u64) -> Result<()> {
        let oldest = format!("{oldest_ms:012x}");
        let store = self.store()?;
        let old = store.rows("SELECT id FROM runs WHERE id < ? ORDER BY id LIMIT 50", [text(&oldest)])?;
        for row in &old {
            store.commit(remove_run(row.text(0)).into())?;
        }
        if !old.is_empty() {
            // What is kept of whom is counted again.
            self.memory()?.kept.clear();
            self.outdate_recent(None);
        }
        Ok(())
    }
}
