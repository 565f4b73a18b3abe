//! The journal: what this host promised, did and has not yet told.
//!
//! One SQLite file with `synchronous=FULL`. A row is written before and after
//! each effect of a run, in the same transaction as the report about it, so
//! that a kill at any moment leaves either "not begun" or "begun" and never a
//! silent change. Nothing here knows what a step does.
//!
//! Limits: the app's output is not here; ended runs and grants are kept up to
//! [`KEPT_MAX`] of each.

mod grants;
mod heads;
mod outbox;
mod processes;
mod releases;
mod runs;
mod wanted;

use std::cell::{Cell, RefCell};
use std::path::Path;

use anyhow::{Context, Result};
use rusqlite::Connection;

use crate::crash;
use crate::disk::{self, Ballast};

#[cfg(test)]
pub(crate) use grants::HELD_MAX;
pub use processes::ProcessRow;
pub use releases::{Release, ReleaseState, to_go_back_to};
pub use runs::{Goal, Point, RunRecord, Told};

/// Ended runs, grants and releases that are kept of each project.
pub const KEPT_MAX: u32 = 200;
/// How long one program waits for another's write; 4 ms is usual.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// Migrations in order; one already carried out is never changed.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, report TEXT NOT NULL);
    CREATE TABLE grants (job INTEGER NOT NULL, attempt INTEGER NOT NULL, body TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job, attempt)) WITHOUT ROWID;
    CREATE TABLE runs (id TEXT PRIMARY KEY, project TEXT NOT NULL, ended INTEGER, point TEXT NOT NULL, begun INTEGER NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
    CREATE INDEX runs_open ON runs (id) WHERE ended IS NULL;
    CREATE TABLE releases (id INTEGER PRIMARY KEY AUTOINCREMENT, project TEXT NOT NULL, state TEXT NOT NULL, body TEXT NOT NULL);
    CREATE INDEX releases_of ON releases (project, id);
    CREATE TABLE processes (pid INTEGER PRIMARY KEY, project TEXT NOT NULL, body TEXT NOT NULL);
    CREATE TABLE wanted (project TEXT PRIMARY KEY, running INTEGER NOT NULL) WITHOUT ROWID;
", "
    CREATE TABLE heads (project TEXT PRIMARY KEY, commit_id TEXT NOT NULL) WITHOUT ROWID;
", "
    CREATE TABLE stopped (project TEXT NOT NULL, service TEXT NOT NULL, PRIMARY KEY (project, service)) WITHOUT ROWID;
"];

/// The journal of one state directory.
pub struct Journal {
    db: RefCell<Connection>,
    identity: RefCell<String>,
    keeps_reports: Cell<bool>,
    is_failing: Cell<bool>,
    /// Was it said already that no more grants are taken?
    is_full: Cell<bool>,
    ballast: Ballast,
}

impl Journal {
    /// Opens it for the daemon and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// When the file cannot be written or is damaged.
    pub fn open(state: &Path) -> Result<Self> {
        let path = state.join("journal.db");
        let ballast = Ballast::new(state);
        ballast.give_up_if_needed();
        let db = Connection::open(&path).with_context(|| format!("{} cannot be opened", path.display()))?;
        let prepare = || -> Result<String> {
            db.pragma_update(None, "journal_mode", "WAL")?;
            db.pragma_update(None, "synchronous", "FULL")?;
            db.busy_timeout(BUSY)?;
            migrate(&db)?;
            let fresh = crate::clock::new_id();
            db.execute("INSERT OR IGNORE INTO meta (key, value) VALUES ('identity', ?1)", [&fresh])?;
            Ok(db.query_row("SELECT value FROM meta WHERE key = 'identity'", [], |row| row.get(0))?)
        };
        let identity = prepare().map_err(|fault| {
            let remedy = remedy(&fault, &path);
            fault.context(remedy)
        })?;
        Ok(Self { db: RefCell::new(db), identity: RefCell::new(identity), keeps_reports: Cell::new(true), is_failing: Cell::new(false), is_full: Cell::new(false), ballast })
    }

    /// Opens it to look only; `None` when there is none yet.
    ///
    /// # Errors
    ///
    /// When the file is there and cannot be read.
    pub fn look(state: &Path) -> Result<Option<Self>> {
        let path = state.join("journal.db");
        if !path.exists() {
            return Ok(None);
        }
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&path, flags).with_context(|| format!("{} cannot be opened", path.display()))?;
        db.busy_timeout(BUSY)?;
        // A first daemon is just making it.
        let schema: usize = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if schema == 0 {
            return Ok(None);
        }
        Ok(Some(Self { db: RefCell::new(db), identity: RefCell::default(), keeps_reports: Cell::new(false), is_failing: Cell::new(false), is_full: Cell::new(false), ballast: Ballast::new(state) }))
    }

    /// Identity of this journal: report numbers count within it.
    pub fn identity(&self) -> String {
        self.identity.borrow().clone()
    }

    /// Gives it a new identity, under which report numbers go on. Processes
    /// that were started under the old one carry that.
    ///
    /// # Errors
    ///
    /// When the journal cannot be written.
    pub fn renew_identity(&self) -> Result<()> {
        let fresh = crate::clock::new_id();
        self.transaction(format_args!("renew_identity"), |db| {
            db.execute("UPDATE meta SET value = ?1 WHERE key = 'identity'", [&fresh])?;
            Ok(())
        })?;
        *self.identity.borrow_mut() = fresh;
        Ok(())
    }

    /// The reserve that lets the journal be written on a full disk.
    pub fn ballast(&self) -> &Ballast {
        &self.ballast
    }

    /// Are reports kept for an edge? Not on a host that has none.
    pub fn keep_reports(&self, keep: bool) {
        self.keeps_reports.set(keep);
    }

    /// One transaction: all that `write` does, or nothing. Each is a place where
    /// a crash is tried, under this label. One that the disk does not take is
    /// tried once more without the ballast: a quota shows only in a write.
    fn transaction<T>(&self, label: std::fmt::Arguments<'_>, write: impl Fn(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        crash::before(label);
        if self.ballast.give_up_if_needed() {
            tracing::warn!("the disk is full: the reserve was given up, so that the journal can be written");
        }
        let mut done = self.attempt(&write);
        if is_refused(&done) && self.ballast.give_up() {
            tracing::warn!("the disk takes no more: the reserve was given up, so that the journal can be written");
            done = self.attempt(&write);
        }
        self.is_failing.set(done.is_err());
        let done = done.context("the journal cannot be written")?;
        crash::after(label);
        Ok(done)
    }

    fn attempt<T>(&self, write: impl Fn(&rusqlite::Transaction<'_>) -> Result<T>) -> Result<T> {
        let mut db = self.db.borrow_mut();
        let transaction = db.transaction()?;
        let done = write(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Did the last write fail, for whatever reason? Only another one tells more.
    pub fn is_failing(&self) -> bool {
        self.is_failing.get()
    }

    /// Can it be written at all? The ballast is given up for that.
    ///
    /// # Errors
    ///
    /// When it cannot.
    pub fn probe(&self) -> Result<()> {
        self.transaction(format_args!("probe"), |db| {
            db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('probe', '')", [])?;
            Ok(())
        })
    }
}

fn is_refused<T>(done: &Result<T>) -> bool {
    done.as_ref().is_err_and(|fault| disk::is_full(&format!("{fault:#}")))
}

/// May what kept the journal from being opened be gone later: no room, a disk
/// that is not there yet, another program's lock?
#[must_use]
pub fn may_pass(fault: &anyhow::Error) -> bool {
    use rusqlite::ErrorCode::{CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, ReadOnly, SystemIoFailure};
    let code = fault.chain().find_map(|cause| cause.downcast_ref::<rusqlite::Error>()).and_then(rusqlite::Error::sqlite_error_code);
    matches!(code, Some(CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | ReadOnly | SystemIoFailure))
}

/// What to do about a journal that is damaged.
fn remedy(fault: &anyhow::Error, path: &Path) -> String {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    let code = fault.chain().find_map(|cause| cause.downcast_ref::<rusqlite::Error>()).and_then(rusqlite::Error::sqlite_error_code);
    if matches!(code, Some(DatabaseCorrupt | NotADatabase)) {
        return format!("{} is damaged; move it away (also its -wal and -shm): the apps run on, and the daemon makes a new one and deploys the heads of the branches", path.display());
    }
    format!("{} cannot be used", path.display())
}

fn migrate(db: &Connection) -> Result<()> {
    let done: usize = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if done > MIGRATIONS.len() {
        anyhow::bail!("it was written by a newer doorstep (schema {done}); this one knows {}", MIGRATIONS.len());
    }
    for (at, statements) in MIGRATIONS.iter().enumerate().skip(done) {
        db.execute_batch(&format!("BEGIN; {statements} PRAGMA user_version = {}; COMMIT;", at + 1))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use tests::run as test_run;
