//! Heads: the commit that a project's last concluded deploy was about.

use anyhow::Result;

use super::Journal;

impl Journal {
    /// The commit that is not to be tried again without a person or a push.
    pub fn concluded_head(&self, _project: &str) -> Result<Option<String>> {
        Ok(None)
    }

    /// Notes that nothing is to be done for this commit: no path of it concerns
    /// the project.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn conclude_head(&self, project: &str, commit: &str) -> Result<()> {
        self.transaction(|db| {
            db.execute("INSERT OR REPLACE INTO heads (project, commit_id) VALUES (?1, ?2)", (project, commit))?;
            Ok(())
        })
    }
}
