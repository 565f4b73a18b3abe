//! Processes this host started: how a new daemon finds what an old one left.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Journal;
use crate::systemd::Unit;

/// A process that was started and not seen to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessRow {
    /// Its project.
    pub project: String,
    /// Its process id, which is its group's too.
    pub pid: i32,
    /// Its start time in clock ticks, so that a reused id is not mistaken for it.
    pub start_ticks: u64,
    /// The port it was given.
    pub port: Option<u16>,
    /// The release it runs.
    pub release: u64,
    /// The run that started it beside or in place of another, unless the
    /// supervisor did. Until that run has switched it is not the live one.
    #[serde(default)]
    pub run: Option<String>,
    /// Which of the processes beside the main one it is; `None`: the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub companion: Option<String>,
    /// The unit whose main process it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

impl Journal {
    /// Notes a process.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn process_started(&self, row: &ProcessRow) -> Result<()> {
        self.transaction(format_args!("process_started"), |db| {
            let body = serde_json::to_string(row)?;
            db.execute("INSERT OR REPLACE INTO processes (pid, project, body) VALUES (?1, ?2, ?3)", (row.pid, &row.project, body))?;
            Ok(())
        })
    }

    /// Forgets a process.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn process_ended(&self, pid: i32) -> Result<()> {
        self.transaction(format_args!("process_ended"), |db| {
            db.execute("DELETE FROM processes WHERE pid = ?1", [pid])?;
            Ok(())
        })
    }

    /// Every main process not seen to end.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn processes(&self) -> Result<Vec<ProcessRow>> {
        Ok(self.all_processes()?.into_iter().filter(|row| row.companion.is_none()).collect())
    }

    /// Every process not seen to end that runs beside a main one.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn companions(&self) -> Result<Vec<ProcessRow>> {
        Ok(self.all_processes()?.into_iter().filter(|row| row.companion.is_some()).collect())
    }

    fn all_processes(&self) -> Result<Vec<ProcessRow>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached("SELECT body FROM processes ORDER BY pid")?;
        let rows = query.query_map([], |row| row.get::<_, String>(0))?;
        let mut processes = Vec::new();
        for row in rows {
            match serde_json::from_str(&row?) {
                Ok(process) => processes.push(process),
                // The process is found by its mark and ended; its app is started again.
                Err(fault) => tracing::error!("a process in the journal cannot be read and is passed over: {fault}"),
            }
        }
        Ok(processes)
    }
}
