//! Runs: how far each has come, so that a new daemon knows what an old one did.

use anyhow::Result;
use doorstep_shared::ids::{Action, Attempt, Cause, JobId, RunState};
use doorstep_shared::protocol::{Holding, Report};
use doorstep_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::outbox::Numbered;
use super::releases::make_live;
use super::{Journal, KEPT_MAX, Release, grants, outbox};

/// How far a run has come. Each is written before what it names is done, so
/// after a kill "it may have been begun" is all that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// Fetching, verifying, building, syncing: beside the live release.
    Preparing,
    /// The new process is being started beside the old one, and checked.
    Starting,
    /// The old process is being stopped, because the new one wants its place.
    Replacing,
    /// The checks were good; `current` and the proxy are being switched.
    Switching,
    /// The new release is live; the old process is being stopped.
    Retiring,
    /// It ended.
    Ended,
}

impl Point {
    /// The word in the row.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Starting => "starting",
            Self::Replacing => "replacing",
            Self::Switching => "switching",
            Self::Retiring => "retiring",
            Self::Ended => "ended",
        }
    }
}

/// One run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: String,
    /// Its project.
    pub project: String,
    /// What is done.
    pub action: Action,
    /// Why.
    pub cause: Cause,
    /// Its job, unless a person asked here.
    pub job: Option<JobId>,
    /// The attempt of the job.
    pub attempt: Attempt,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// How it ended, or `running`.
    pub state: RunState,
    /// How far it has come.
    pub point: Point,
    /// The release it makes.
    pub release: Option<u64>,
    /// How often it was begun: 1, and 1 more for each daemon that found it open.
    pub begun: u32,
}

impl RunRecord {
    /// The grant behind it.
    #[must_use]
    pub fn holding(&self) -> Option<Holding> {
        self.job.map(|job| Holding { job, attempt: self.attempt })
    }
}

impl Journal {
    /// Writes how far a run has come, with reports about it, in one transaction.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn advance(&self, run: &RunRecord, reports: Vec<Report>) -> Result<Vec<Numbered>> {
        self.transaction(|db| {
            save(db, run)?;
            outbox::post(db, self.keeps_reports.get(), reports)
        })
    }

    /// Writes that this release is live now, with how far the run has come.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn switch(&self, run: &RunRecord, release: &Release, now: Timestamp) -> Result<()> {
        self.transaction(|db| {
            make_live(db, release, now)?;
            // What was deployed is to run, also if somebody had stopped it.
            db.execute("INSERT OR REPLACE INTO wanted (project, running) VALUES (?1, 1)", [&release.project])?;
            save(db, run)
        })
    }

    /// Writes how a run ended: run, grant and report in one transaction.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn end(&self, run: &RunRecord, reports: Vec<Report>) -> Result<Vec<Numbered>> {
        self.transaction(|db| {
            save(db, run)?;
            if let Some(holding) = run.holding() {
                grants::settle(db, holding)?;
            }
            db.execute(
                "DELETE FROM runs WHERE ended IS NOT NULL AND id < (SELECT id FROM runs ORDER BY id DESC LIMIT 1 OFFSET ?1)",
                [KEPT_MAX],
            )?;
            outbox::post(db, self.keeps_reports.get(), reports)
        })
    }

    /// Runs that did not end, oldest first.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn open_runs(&self) -> Result<Vec<RunRecord>> {
        self.runs_where("SELECT body FROM runs WHERE ended IS NULL ORDER BY id", "")
    }

    /// The newest run of a project.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn last_run(&self, project: &str) -> Result<Option<RunRecord>> {
        Ok(self.runs_where("SELECT body FROM runs WHERE project = ?1 ORDER BY id DESC LIMIT 1", project)?.pop())
    }

    fn runs_where(&self, sql: &str, project: &str) -> Result<Vec<RunRecord>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached(sql)?;
        let mut rows = if query.parameter_count() == 0 { query.query([])? } else { query.query([project])? };
        let mut runs = Vec::new();
        while let Some(row) = rows.next()? {
            runs.push(serde_json::from_str(&row.get::<_, String>(0)?)?);
        }
        Ok(runs)
    }
}

fn save(db: &rusqlite::Transaction<'_>, run: &RunRecord) -> Result<()> {
    db.execute(
        "INSERT OR REPLACE INTO runs (id, project, ended, point, begun, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (&run.id, &run.project, run.ended.map(|at| at.0), run.point.as_str(), run.begun, serde_json::to_string(run)?),
    )?;
    Ok(())
}
