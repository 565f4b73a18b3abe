//! What is old goes: at most once an hour, from the alarm.

use worker::Result;

use super::Hub;
use crate::platform::now;
use crate::store::{Statement, first_number, number};

/// History is kept this long: 90 days.
const HISTORY_MS: u64 = 90 * 24 * 3_600 * 1_000;
/// Rows of one kind that one clean-up removes, so that it stays short.
const ROWS_MAX: u64 = 500;

impl Hub {
    /// Removes what is older than [`HISTORY_MS`], a bounded number of rows.
    pub(super) fn clean_up(&self) -> Result<()> {
        let now = now();
        let oldest = first_number(now.0.saturating_sub(HISTORY_MS));
        let stale = self.store()?.rows("SELECT 1 FROM events WHERE id < ? LIMIT 1", [number(oldest)])?;
        if stale.is_empty() {
            return Ok(());
        }
        let old = |sql| Statement::new(sql, [number(oldest), number(ROWS_MAX)]);
        self.store()?.commit(vec![
            old("DELETE FROM deliveries WHERE guid IN (SELECT guid FROM deliveries WHERE event < ? LIMIT ?)"),
            old("DELETE FROM bodies WHERE hash IN (SELECT hash FROM bodies WHERE event < ? LIMIT ?)"),
            old("DELETE FROM events WHERE id IN (SELECT id FROM events WHERE id < ? ORDER BY id LIMIT ?)"),
            old("DELETE FROM jobs WHERE id IN (SELECT id FROM jobs WHERE live = 0 AND id < ? ORDER BY id LIMIT ?)"),
            Statement::new("DELETE FROM refusals WHERE minute < ?", [number(now.0.saturating_sub(HISTORY_MS) / 60_000)]),
            Statement::new("DELETE FROM enrollments WHERE ends < ?", [number(now.0)]),
            Statement::new("DELETE FROM tries WHERE ends < ?", [number(now.0)]),
        ])
    }
}
