//! The page of settings, and what a day cost.
//!
//! The store counts since the hub woke; here that is added to the day's row, at
//! most four times an hour or after much ([`Counts::is_to_be_written`]). What was
//! not written when the hub falls asleep is lost: the page says so.

use doorstep_shared::protocol::{VERSION, VERSION_MIN};
use doorstep_shared::time::Timestamp;
use worker::{Result, console_error};

use super::Hub;
use crate::asker::Asker;
use crate::platform::now;
use crate::quota::{self, Counts};
use crate::store::{Row, Statement, number};
use crate::view::SettingsView;

/// Days that are kept.
const DAYS_KEPT: u64 = 7;

/// What was written of the counts.
#[derive(Clone, Copy, Default)]
pub(super) struct Written {
    counts: Counts,
    /// When, if that is known.
    at: Option<Timestamp>,
}

impl Hub {
    pub(super) fn settings(&self, by: &Asker) -> Result<SettingsView> {
        let today = quota::day(now());
        let unwritten = self.store()?.counts().since(self.written.get().counts);
        Ok(SettingsView {
            sessions: self.sessions(by)?,
            hosts: self.hosts()?,
            today: self.counts_of(today)?.plus(unwritten),
            yesterday: self.counts_of(today.saturating_sub(1))?,
            version: env!("CARGO_PKG_VERSION"),
            wire: (VERSION_MIN, VERSION),
        })
    }

    fn counts_of(&self, day: u64) -> Result<Counts> {
        let rows = self.store()?.rows("SELECT requests, rows_read, rows_written FROM days WHERE day = ?", [number(day)])?;
        let counts = |row: &Row| Counts { requests: row.number(0), rows_read: row.number(1), rows_written: row.number(2) };
        Ok(rows.first().map(counts).unwrap_or_default())
    }

    /// Adds what was counted to the day's row when it is time. That it cannot be
    /// written fails nothing else.
    pub(super) fn count_day(&self) {
        if let Err(fault) = self.try_to_count_day() {
            console_error!("what this day cost was not written: {fault}");
        }
    }

    fn try_to_count_day(&self) -> Result<()> {
        let (store, now) = (self.store()?, now());
        let mut written = self.written.get();
        let at = match written.at {
            Some(at) => at,
            None => Timestamp(store.rows("SELECT coalesce(max(written), 0) FROM days", [])?.first().map_or(0, |row| row.number(0))),
        };
        written.at = Some(at);
        self.written.set(written);
        let counts = store.counts();
        let more = counts.since(written.counts);
        if !more.is_to_be_written(at, now) {
            return Ok(());
        }
        store.commit(vec![Statement::new(
            "INSERT INTO days (day, requests, rows_read, rows_written, written) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (day) DO UPDATE SET
             requests = requests + ?2, rows_read = rows_read + ?3, rows_written = rows_written + ?4, written = ?5",
            [number(quota::day(now)), number(more.requests), number(more.rows_read), number(more.rows_written), number(now.0)],
        )])?;
        self.written.set(Written { counts, at: Some(now) });
        Ok(())
    }

    /// Removes the rows of days that nobody asks for.
    pub(super) fn clean_days(&self) -> Result<()> {
        let oldest = quota::day(now()).saturating_sub(DAYS_KEPT);
        self.store()?.commit(vec![Statement::new("DELETE FROM days WHERE day < ?", [number(oldest)])])
    }
}
