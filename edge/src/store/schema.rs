//! The tables, as migrations: forward only, each carried out once.
//!
//! Rows are lean: every row and index entry written is billed.

/// Migrations in order; one already carried out is never changed.
pub const MIGRATIONS: &[&[&str]] = &[FIRST, DEAD_JOBS, JOBS_BY_LIFE, MISSED_PUSHES, PEOPLE];

const FIRST: &[&str] = &[
    // A delivery, by GUID: small rows, so that a look-up reads few pages.
    "CREATE TABLE deliveries (guid TEXT PRIMARY KEY, event INTEGER NOT NULL) WITHOUT ROWID",
    // What it means; `id` is its time × 1,024 plus a counter, so history needs no index.
    // The payload is here and nowhere else, and last, so that history is read without it.
    "CREATE TABLE events (id INTEGER PRIMARY KEY, type TEXT NOT NULL, repo TEXT, body TEXT NOT NULL, payload TEXT NOT NULL)",
    // Bodies seen, by their verified signature, since a GUID is not signed.
    "CREATE TABLE bodies (hash TEXT PRIMARY KEY, event INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE jobs (id INTEGER PRIMARY KEY, live INTEGER NOT NULL, body TEXT NOT NULL)",
    "CREATE INDEX jobs_live ON jobs (id) WHERE live = 1",
    "CREATE TABLE hosts (name TEXT PRIMARY KEY, public_key TEXT NOT NULL, enrolled INTEGER NOT NULL, last_seen INTEGER NOT NULL, version TEXT NOT NULL, journal TEXT NOT NULL, acknowledged INTEGER NOT NULL, revoked INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE projects (host TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (host, name)) WITHOUT ROWID",
    "CREATE TABLE enrollments (handle TEXT PRIMARY KEY, hash TEXT NOT NULL, ends INTEGER NOT NULL, tries INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE tries (who TEXT PRIMARY KEY, count INTEGER NOT NULL, ends INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE refusals (minute INTEGER NOT NULL, code TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (minute, code)) WITHOUT ROWID",
    "CREATE TABLE runs (id TEXT PRIMARY KEY, host TEXT NOT NULL, project TEXT NOT NULL, body TEXT NOT NULL, log_bytes INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID",
    "CREATE INDEX runs_of_project ON runs (host, project, id)",
    "CREATE TABLE steps (run TEXT NOT NULL, position INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run, position)) WITHOUT ROWID",
    "CREATE TABLE logs (run TEXT NOT NULL, seq INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (run, seq)) WITHOUT ROWID",
];

/// When a job died, so that a page finds the dead ones. Only they are in the
/// index, so the others cost no more to write. When the dead of an older build
/// died is not known: they count from when they were enqueued.
const DEAD_JOBS: &[&str] = &[
    "ALTER TABLE jobs ADD COLUMN died INTEGER",
    "UPDATE jobs SET died = id / 1024 WHERE live = 0 AND json_extract(body, '$.state') = 'dead'",
    "CREATE INDEX jobs_dead ON jobs (died) WHERE died IS NOT NULL",
];

/// Live jobs stand together, so finding them needs no index: a job costs one
/// row when it is made and one each time it changes, also when it ends.
const JOBS_BY_LIFE: &[&str] = &[
    "CREATE TABLE jobs_by_life (live INTEGER NOT NULL, id INTEGER NOT NULL, body TEXT NOT NULL, died INTEGER, PRIMARY KEY (live, id)) WITHOUT ROWID",
    "INSERT INTO jobs_by_life (live, id, body, died) SELECT live, id, body, died FROM jobs",
    "DROP TABLE jobs",
    "ALTER TABLE jobs_by_life RENAME TO jobs",
    "CREATE INDEX jobs_dead ON jobs (died) WHERE died IS NOT NULL",
];

/// Heads that hosts found and no push told of, each once, with when it was
/// found first. A push that comes after all takes its row away.
const MISSED_PUSHES: &[&str] = &[
    "CREATE TABLE missed (head TEXT NOT NULL, name TEXT NOT NULL, repo TEXT NOT NULL, branch TEXT NOT NULL, found INTEGER NOT NULL, PRIMARY KEY (head, name)) WITHOUT ROWID",
];

/// Who is signed in, what people did, when somebody guessed last, what a day cost.
/// An entry's `id` is made as an event's is, so history needs no index.
const PEOPLE: &[&str] = &[
    "CREATE TABLE sessions (hash TEXT PRIMARY KEY, created INTEGER NOT NULL, seen INTEGER NOT NULL, ends INTEGER NOT NULL, address TEXT NOT NULL, agent TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE audit (id INTEGER PRIMARY KEY, who TEXT NOT NULL, address TEXT NOT NULL, action TEXT NOT NULL, target TEXT NOT NULL, host TEXT NOT NULL, project TEXT NOT NULL, result TEXT NOT NULL)",
    "ALTER TABLE tries ADD COLUMN last INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE days (day INTEGER PRIMARY KEY, requests INTEGER NOT NULL, rows_read INTEGER NOT NULL, rows_written INTEGER NOT NULL, written INTEGER NOT NULL)",
];
