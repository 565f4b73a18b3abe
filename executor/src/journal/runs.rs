//! Runs: how far each has come, so that a new daemon knows what an old one did.

use anyhow::Result;
use doorstep_shared::ids::{Action, Attempt, Cause, FailureKind, JobId, RunState, ServiceName};
use doorstep_shared::protocol::{Failure, Holding, Report};
use doorstep_shared::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::outbox::Numbered;
use super::releases::{make_live, restore_previous};
use super::{Journal, KEPT_MAX, Release, ReleaseState, grants, heads, outbox};

/// How far a run has come. Each is written before what it names is done, so
/// after a kill "it may have been begun" is all that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// It was begun; nothing was touched. Schema 1 wrote `preparing` for this
    /// and for all up to `syncing`.
    #[serde(alias = "preparing")]
    Begun,
    /// Fetching the branch.
    Fetching,
    /// Looking at what was fetched.
    Verifying,
    /// Filling a slot with the commit.
    Building,
    /// Making the release's environment.
    Syncing,
    /// Running what is to be done before the new release starts.
    BeforeSwitch,
    /// The new process is being started.
    Starting,
    /// The new process is being checked, and what was built is being made durable.
    Checking,
    /// The old process is being stopped, because the new one wants its place.
    Replacing,
    /// The checks were good; `current` and the proxy are being switched.
    Switching,
    /// The new release is live; its hooks run and it is watched, and the old
    /// process is kept where both can run.
    Settling,
    /// The new release is live and has settled; the old process is being stopped.
    Retiring,
    /// What is live is being stopped, because somebody asked.
    Stopping,
    /// The run failed, and its row says why; the old release is being put back.
    RollingBack,
    /// It ended.
    Ended,
}

impl Point {
    /// All of them.
    #[cfg(test)]
    pub const ALL: [Self; 15] = [
        Self::Begun,
        Self::Fetching,
        Self::Verifying,
        Self::Building,
        Self::Syncing,
        Self::BeforeSwitch,
        Self::Starting,
        Self::Checking,
        Self::Replacing,
        Self::Switching,
        Self::Settling,
        Self::Retiring,
        Self::Stopping,
        Self::RollingBack,
        Self::Ended,
    ];

    /// The word in the row.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Fetching => "fetching",
            Self::Verifying => "verifying",
            Self::Building => "building",
            Self::Syncing => "syncing",
            Self::BeforeSwitch => "before_switch",
            Self::Starting => "starting",
            Self::Checking => "checking",
            Self::Replacing => "replacing",
            Self::Switching => "switching",
            Self::Settling => "settling",
            Self::Retiring => "retiring",
            Self::Stopping => "stopping",
            Self::RollingBack => "rolling_back",
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
    /// How many of the daemons before this one ended because they were told to:
    /// no fault of the run's.
    #[serde(default)]
    pub forgiven: u32,
    /// What a person wants to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Goal>,
    /// The one service that is meant, of a compose project.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// What of its log was told.
    #[serde(default)]
    pub told: Told,
    /// Steps that ended; the next one's index.
    #[serde(default)]
    pub steps: u16,
    /// The commit, as soon as the fetch knows it.
    #[serde(default)]
    pub commit: Option<String>,
    /// Why it failed: written before anything is put back, so that a new daemon
    /// puts back and does not begin again.
    #[serde(default)]
    pub failure: Option<Failure>,
}

/// What of a run's log the edge was told, in the reports that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// What it counts as there, in bytes.
    pub bytes: u64,
    /// Lines of the file here, up to the last one that was told.
    pub lines: u64,
}

/// What a rollback goes back to, if not to the release before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Goal {
    /// A release of this host, named by a person here.
    Release(u64),
    /// The newest release that is kept of a commit, named on the dashboard.
    Commit(String),
}

impl RunRecord {
    /// Where it stands, in a word. What a person ended has not failed.
    #[must_use]
    pub fn word(&self) -> &'static str {
        let is_cancelled = self.failure.as_ref().is_some_and(|failure| failure.kind == doorstep_shared::ids::FailureKind::Cancelled);
        if is_cancelled { "cancelled" } else { self.state.as_str() }
    }

    /// The grant behind it.
    #[must_use]
    pub fn holding(&self) -> Option<Holding> {
        self.job.map(|job| Holding { job, attempt: self.attempt })
    }

    /// Daemons that died over it, not counting those that were told to end.
    #[must_use]
    pub fn deaths(&self) -> u32 {
        self.begun.saturating_sub(self.forgiven).saturating_sub(1)
    }

    /// The commit that this run settled: it is not to be tried again without a
    /// new commit or a person. A network that failed, or a disk that was full,
    /// says nothing about it.
    fn concluded(&self) -> Option<&str> {
        let is_settled = match self.state {
            RunState::Succeeded | RunState::RolledBack | RunState::Refused => true,
            RunState::Failed => {
                self.failure.as_ref().is_none_or(|failure| !matches!(failure.kind, FailureKind::Network | FailureKind::Disk))
            }
            RunState::Running => false,
        };
        self.commit.as_deref().filter(|_| matches!(self.action, Action::Deploy | Action::Rebuild) && is_settled)
    }
}

impl Journal {
    /// Writes how far a run has come, with reports about it, in one transaction.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn advance(&self, run: &RunRecord, reports: Vec<Report>) -> Result<Vec<Numbered>> {
        self.transaction(format_args!("advance {}", run.point.as_str()), |db| {
            save(db, run)?;
            outbox::post(db, self.keeps_reports.get(), reports.clone())
        })
    }

    /// Writes that this release is live now, with how far the run has come.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn switch(&self, run: &RunRecord, release: &Release, now: Timestamp) -> Result<()> {
        self.transaction(format_args!("switch"), |db| {
            // What somebody goes away from is not to come back by itself.
            let away = if run.action == Action::Rollback { ReleaseState::Bad } else { ReleaseState::Previous };
            make_live(db, release, away, now)?;
            // What was deployed is to run, also if somebody had stopped it.
            db.execute("INSERT OR REPLACE INTO wanted (project, running) VALUES (?1, 1)", [&release.project])?;
            save(db, run)
        })
    }

    /// Writes that the release before this one is live again and this one `away`,
    /// with how far the run has come and why. Returns the one that is live now.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn turn_back(&self, run: &RunRecord, release: &Release, away: ReleaseState, now: Timestamp) -> Result<Option<Release>> {
        self.transaction(format_args!("turn_back"), |db| {
            let previous = restore_previous(db, release, away, now)?;
            save(db, run)?;
            Ok(previous)
        })
    }

    /// Writes how a run ended: run, head, grant and report in one transaction.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn end(&self, run: &RunRecord, reports: Vec<Report>) -> Result<Vec<Numbered>> {
        self.transaction(format_args!("end"), |db| {
            save(db, run)?;
            if let Some(commit) = run.concluded() {
                heads::conclude(db, &run.project, commit)?;
            }
            if let Some(holding) = run.holding() {
                grants::settle(db, holding)?;
            }
            db.execute(
                "DELETE FROM runs WHERE ended IS NOT NULL AND project = ?1 AND id != ?2 AND id < (SELECT id FROM runs WHERE project = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?3)",
                (&run.project, &run.id, KEPT_MAX),
            )?;
            outbox::post(db, self.keeps_reports.get(), reports.clone())
        })
    }

    /// Writes that a run of a project that this host does not have ended before
    /// it began: the grant and the reports, but no run.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn refuse(&self, run: &RunRecord, reports: Vec<Report>) -> Result<Vec<Numbered>> {
        self.transaction(format_args!("refuse"), |db| {
            if let Some(holding) = run.holding() {
                grants::settle(db, holding)?;
            }
            outbox::post(db, self.keeps_reports.get(), reports.clone())
        })
    }

    /// This daemon ends because it was told to: that counts against no run.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn forgive_open_runs(&self) -> Result<()> {
        let open = self.open_runs()?;
        if open.is_empty() {
            return Ok(());
        }
        self.transaction(format_args!("forgive"), |db| {
            for mut run in open.iter().filter(|run| run.forgiven < run.begun).cloned() {
                run.forgiven += 1;
                save(db, &run)?;
            }
            Ok(())
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

    /// The newest runs of a project, at most so many, the newest first.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn newest_runs(&self, project: &str, most: usize) -> Result<Vec<RunRecord>> {
        self.runs_where(&format!("SELECT body FROM runs WHERE project = ?1 ORDER BY id DESC LIMIT {most}"), project)
    }

    /// One run.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read.
    pub fn run(&self, id: &str) -> Result<Option<RunRecord>> {
        Ok(self.runs_where("SELECT body FROM runs WHERE id = ?1", id)?.pop())
    }

    fn runs_where(&self, sql: &str, project: &str) -> Result<Vec<RunRecord>> {
        let db = self.db.borrow();
        let mut query = db.prepare_cached(sql)?;
        let mut rows = if query.parameter_count() == 0 { query.query([])? } else { query.query([project])? };
        let mut runs = Vec::new();
        while let Some(row) = rows.next()? {
            match serde_json::from_str(&row.get::<_, String>(0)?) {
                Ok(run) => runs.push(run),
                // One bad row must not keep the daemon from the others.
                Err(fault) => tracing::error!("a run in the journal cannot be read and is passed over: {fault}"),
            }
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
