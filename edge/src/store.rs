//! The hub's rows in the Durable Object's SQLite.
//!
//! Invariants: a turn's statements are written in one transaction or not at
//! all; the schema changes forward only, read from the `schema` table when the
//! object wakes; rows are lean, since every row and index entry written is
//! billed. Only `exec` and `raw` of the crate are used: its other readers throw
//! exceptions that no Rust code can catch.
//!
//! What is stored as JSON in `body` columns is read back by `serde`; columns
//! of their own exist for what is asked for.

use std::cell::Cell;

use doorstep_shared::ids::{JobId, Name};
use doorstep_shared::protocol::ProjectView;
use doorstep_shared::queue::Job;
use doorstep_shared::time::Timestamp;
use serde::{Serialize, de::DeserializeOwned};
use wasm_bindgen::prelude::*;
use worker::{Error, Result, SqlCursor, SqlStorageValue, State};

use crate::quota::Counts;

mod schema;

use schema::MIGRATIONS;

#[wasm_bindgen]
extern "C" {
    type Transactions;
    #[wasm_bindgen(method, catch, js_name = transactionSync)]
    fn transaction_sync(
        this: &Transactions,
        closure: &mut dyn FnMut() -> std::result::Result<(), JsValue>,
    ) -> std::result::Result<JsValue, JsValue>;
}

/// One statement with its values.
pub struct Statement {
    sql: &'static str,
    values: Vec<SqlStorageValue>,
}

impl Statement {
    /// A statement; values in the order of its question marks.
    pub fn new<const N: usize>(sql: &'static str, values: [SqlStorageValue; N]) -> Self {
        Self { sql, values: values.into() }
    }
}

/// A text value.
pub fn text(value: impl Into<String>) -> SqlStorageValue {
    SqlStorageValue::String(value.into())
}

/// A number; one that JavaScript cannot hold becomes the largest that it can.
pub fn number(value: u64) -> SqlStorageValue {
    const SAFE_MAX: i64 = (1 << 53) - 1;
    SqlStorageValue::Integer(i64::try_from(value).unwrap_or(SAFE_MAX).min(SAFE_MAX))
}

/// A value as JSON text.
pub fn json(value: &impl serde::Serialize) -> Result<SqlStorageValue> {
    Ok(SqlStorageValue::String(serde_json::to_string(value)?))
}

/// One row that was read.
pub struct Row(Vec<SqlStorageValue>);

impl Row {
    /// Column `i` as text; empty when it is something else.
    pub fn text(&self, i: usize) -> &str {
        match self.0.get(i) {
            Some(SqlStorageValue::String(text)) => text,
            _ => "",
        }
    }

    /// Column `i` as a number; 0 when it is something else.
    pub fn number(&self, i: usize) -> u64 {
        match self.0.get(i) {
            Some(SqlStorageValue::Integer(n)) => u64::try_from(*n).unwrap_or(0),
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "numbers below 2^53 that we wrote")]
            Some(SqlStorageValue::Float(f)) => *f as u64,
            _ => 0,
        }
    }

    /// Column `i` from JSON; `None` when a newer build wrote what this one cannot read.
    pub fn json<T: DeserializeOwned>(&self, i: usize) -> Option<T> {
        serde_json::from_str(self.text(i)).ok()
    }
}

/// The store of one hub.
pub struct Store {
    sql: worker::SqlStorage,
    transactions: Transactions,
    usage: Cell<Usage>,
    requests: Cell<u64>,
}

/// What this object cost since it woke, in Cloudflare's units: of rows, what the
/// cursors count, and one for each setting of the alarm.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Usage {
    rows_read: u64,
    rows_written: u64,
    /// Turns that wrote something.
    turns_written: u64,
    alarms_set: u64,
    /// What is stored now.
    database_bytes: u64,
}

impl Store {
    /// Opens it and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// When the storage cannot be written.
    pub fn open(state: &State) -> Result<Self> {
        let raw = state.as_raw().storage().map_err(Error::from)?;
        let store = Self { sql: state.storage().sql(), transactions: JsValue::from(raw).unchecked_into(), usage: Cell::default(), requests: Cell::default() };
        store.migrate()?;
        Ok(store)
    }

    fn migrate(&self) -> Result<()> {
        self.sql.exec("CREATE TABLE IF NOT EXISTS schema (version INTEGER NOT NULL)", None)?;
        let done = self.rows("SELECT max(version) FROM schema", [])?.first().map_or(0, |row| row.number(0));
        for (version, statements) in (1u64..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= done) {
            let mut all: Vec<Statement> = statements.iter().map(|sql| Statement::new(sql, [])).collect();
            all.push(Statement::new("INSERT INTO schema (version) VALUES (?)", [number(version)]));
            self.commit(all)?;
        }
        Ok(())
    }

    /// Reads rows.
    ///
    /// # Errors
    ///
    /// When SQLite says so.
    pub fn rows<const N: usize>(&self, sql: &str, values: [SqlStorageValue; N]) -> Result<Vec<Row>> {
        let values = if N == 0 { None } else { Some(values.into()) };
        let cursor = self.sql.exec(sql, values)?;
        let rows = cursor.raw().map(|row| row.map(Row)).collect();
        self.count(&cursor);
        rows
    }

    /// Writes all of these or none.
    ///
    /// # Errors
    ///
    /// When a statement fails or the storage is full; then nothing was written.
    pub fn commit(&self, statements: Vec<Statement>) -> Result<()> {
        if statements.is_empty() {
            return Ok(());
        }
        let mut statements = Some(statements);
        let outcome = self.transactions.transaction_sync(&mut || {
            for Statement { sql, values } in statements.take().unwrap_or_default() {
                let values = if values.is_empty() { None } else { Some(values) };
                let cursor = self.sql.exec(sql, values).map_err(|fault| JsValue::from_str(&fault.to_string()))?;
                self.count(&cursor);
            }
            Ok(())
        });
        let usage = self.usage.get();
        self.usage.set(Usage { turns_written: usage.turns_written.saturating_add(1), ..usage });
        outcome.map(|_| ()).map_err(Error::from)
    }

    /// What this object cost since it woke.
    pub fn usage(&self) -> Usage {
        Usage { database_bytes: self.sql.database_size() as u64, ..self.usage.get() }
    }

    /// A request came.
    pub fn count_request(&self) {
        self.requests.set(self.requests.get().saturating_add(1));
    }

    /// What was counted since this object woke.
    pub fn counts(&self) -> Counts {
        let Usage { rows_read, rows_written, .. } = self.usage.get();
        Counts { requests: self.requests.get(), rows_read, rows_written }
    }

    /// The alarm was set, which is billed as a written row.
    pub fn count_alarm(&self) {
        let usage = self.usage.get();
        self.usage.set(Usage {
            rows_written: usage.rows_written.saturating_add(1),
            alarms_set: usage.alarms_set.saturating_add(1),
            ..usage
        });
    }

    /// Adds what a statement cost, once all its rows were read. The two
    /// readers of the cursor are plain numbers and do not throw.
    fn count(&self, cursor: &SqlCursor) {
        let usage = self.usage.get();
        self.usage.set(Usage {
            rows_read: usage.rows_read.saturating_add(cursor.rows_read() as u64),
            rows_written: usage.rows_written.saturating_add(cursor.rows_written() as u64),
            ..usage
        });
    }

    /// The jobs that have not ended.
    pub fn live_jobs(&self) -> Result<Vec<Job>> {
        let rows = self.rows("SELECT body FROM jobs WHERE live = 1 ORDER BY id", [])?;
        Ok(rows.iter().filter_map(|row| row.json(0)).collect())
    }

    /// Every project of every host that is not revoked.
    pub fn projects(&self) -> Result<Vec<(Name, ProjectView)>> {
        let rows = self.rows("SELECT host, body FROM projects ORDER BY host, name", [])?;
        Ok(rows.iter().filter_map(|row| Some((row.text(0).parse().ok()?, row.json(1)?))).collect())
    }

    /// The largest number given to a job, an event or an entry of what people did.
    pub fn last_number(&self) -> Result<u64> {
        let rows = self.rows(
            "SELECT max(coalesce((SELECT max(id) FROM jobs WHERE live = 1), 0), coalesce((SELECT max(id) FROM jobs WHERE live = 0), 0), coalesce((SELECT max(id) FROM events), 0), coalesce((SELECT max(id) FROM audit), 0))",
            [],
        )?;
        Ok(rows.first().map_or(0, |row| row.number(0)))
    }
}

/// The statements that write a job's row; one of them at most finds a row to write.
pub fn save_job(job: &Job, now: Timestamp) -> Result<Vec<Statement>> {
    use doorstep_shared::ids::JobState::{Dead, Leased, Waiting};
    let (id, body) = (number(job.id.0), json(job)?);
    if matches!(job.state, Waiting | Leased) {
        let mut statements = Vec::new();
        if job.spared > 0 {
            // It was revived, perhaps just now.
            statements.push(Statement::new("UPDATE jobs SET live = 1, died = NULL WHERE live = 0 AND id = ?", [id.clone()]));
        }
        statements.push(Statement::new(
            "INSERT INTO jobs (live, id, body) VALUES (1, ?, ?) ON CONFLICT (live, id) DO UPDATE SET body = excluded.body",
            [id, body],
        ));
        return Ok(statements);
    }
    let died = if job.state == Dead { number(now.0) } else { SqlStorageValue::Null };
    let ends = "UPDATE jobs SET live = 0, body = ?, died = ? WHERE live = 1 AND id = ?";
    // A job that was never stored alive, or that a person revived in vain.
    let ended = "INSERT INTO jobs (live, id, body, died) VALUES (0, ?1, ?2, ?3) ON CONFLICT (live, id) DO UPDATE SET body = ?2, died = ?3 WHERE body != ?2";
    Ok(vec![
        Statement::new(ends, [body.clone(), died.clone(), id.clone()]),
        Statement::new(ended, [id, body, died]),
    ])
}

/// The statement that counts one delivery under this code, by the minute.
pub fn count_refusal(now: Timestamp, code: &str) -> Statement {
    Statement::new(
        "INSERT INTO refusals (minute, code, count) VALUES (?, ?, 1) ON CONFLICT (minute, code) DO UPDATE SET count = count + 1",
        [number(now.0 / 60_000), text(code)],
    )
}

/// The smallest number made at this time.
pub fn first_number(ms: u64) -> u64 {
    ms.saturating_mul(1024)
}

/// The next number after `last` at this time.
pub fn next_number(last: u64, now_ms: u64) -> u64 {
    first_number(now_ms).max(last.saturating_add(1))
}

/// A number as a job's.
pub fn job_id(number: u64) -> JobId {
    JobId(number)
}
