//! What should run: of each project whether, and of a compose project which
//! services a person stopped alone. Nothing here starts or stops anything.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Journal;

impl Journal {
    /// Should this project's app run? Yes, until a person stopped it.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn wants_running(&self, project: &str) -> Result<bool> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached("SELECT running FROM wanted WHERE project = ?1")?;
        let mut rows = query.query([project])?;
        Ok(rows.next()?.map_or(Ok(true), |row| row.get(0))?)
    }

    /// Notes whether this project's app should run.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn want_running(&self, project: &str, running: bool) -> Result<()> {
        self.transaction(format_args!("want"), |db| {
            db.execute("INSERT OR REPLACE INTO wanted (project, running) VALUES (?1, ?2)", (project, running))?;
            Ok(())
        })
    }

    /// The services of this project that a person stopped, each for itself.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn stopped_services(&self, project: &str) -> Result<BTreeSet<String>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached("SELECT service FROM stopped WHERE project = ?1")?;
        let rows = query.query_map([project], |row| row.get(0))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Notes which those are now, in place of what was noted before.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn set_stopped_services(&self, project: &str, services: &BTreeSet<String>) -> Result<()> {
        self.transaction(format_args!("stopped_services"), |db| {
            db.execute("DELETE FROM stopped WHERE project = ?1", [project])?;
            for service in services {
                db.execute("INSERT INTO stopped (project, service) VALUES (?1, ?2)", (project, service))?;
            }
            Ok(())
        })
    }
}
