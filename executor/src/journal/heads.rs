//! Heads: the commit of each project's branch that was concluded here last,
//! well or not. It is not tried again without a new commit or a person.

use anyhow::Result;
use rusqlite::{OptionalExtension, Transaction};

use super::Journal;

impl Journal {
    /// The head of a project's branch that was concluded here last.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn concluded_head(&self, project: &str) -> Result<Option<String>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached("SELECT commit_id FROM heads WHERE project = ?1")?;
        Ok(query.query_row([project], |row| row.get(0)).optional()?)
    }

    /// Notes that nothing is to be done for this commit: no path of it concerns
    /// the project.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn conclude_head(&self, project: &str, commit: &str) -> Result<()> {
        self.transaction(format_args!("conclude_head"), |db| conclude(db, project, commit))
    }
}

pub(super) fn conclude(db: &Transaction<'_>, project: &str, commit: &str) -> Result<()> {
    db.execute("INSERT OR REPLACE INTO heads (project, commit_id) VALUES (?1, ?2)", (project, commit))?;
    Ok(())
}
