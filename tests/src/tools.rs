//! The built programs that stories run; `./test` builds them and says where.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Where the programs are.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Folder of the built Worker (`index.js`, `index_bg.wasm`).
    pub worker: PathBuf,
    /// workerd.
    pub workerd: PathBuf,
    /// The `doorstep` binary.
    pub doorstep: PathBuf,
}

impl Tools {
    /// Finds what an edge and a host need; panics with a sentence when
    /// something is missing.
    #[must_use]
    pub fn find() -> Self {
        let tools =
            Self { worker: named("DOORSTEP_WORKER_DIR"), workerd: named("DOORSTEP_WORKERD"), doorstep: named("DOORSTEP_BIN") };
        let wasm = tools.worker.join("index_bg.wasm");
        assert!(wasm.is_file(), "{} is not there: run ./test, which builds the Worker", wasm.display());
        tools
    }

    /// A build of `doorstep` that kills itself where a story says; apart, since
    /// few stories want it.
    #[must_use]
    pub fn crash_build() -> PathBuf {
        let say = "DOORSTEP_CRASH_BIN does not name a build with crash points: cargo build -p doorstep --features crash-points, and copy target/debug/doorstep";
        let path = std::env::var_os("DOORSTEP_CRASH_BIN").map(PathBuf::from).filter(|path| path.is_file());
        std::path::absolute(path.unwrap_or_else(|| panic!("{say}"))).unwrap()
    }

    /// uv; apart, since most stories need none.
    #[must_use]
    pub fn uv() -> PathBuf {
        named("UV")
    }

    /// A Python interpreter itself, not a version manager's shim of it.
    #[must_use]
    pub fn python() -> PathBuf {
        static PYTHON: OnceLock<PathBuf> = OnceLock::new();
        let ask = || {
            let output = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
            PathBuf::from(String::from_utf8(output.stdout).unwrap().trim())
        };
        PYTHON.get_or_init(ask).clone()
    }
}

/// How many bytes `gzip` makes of these: what a platform that compresses its
/// answers sends, give or take a little.
#[must_use]
pub fn gzipped(bytes: &[u8]) -> usize {
    gzip("-6", bytes).len()
}

/// What was before `gzip` made these of it.
#[must_use]
pub fn gunzipped(bytes: &[u8]) -> Vec<u8> {
    gzip("-d", bytes)
}

fn gzip(how: &str, bytes: &[u8]) -> Vec<u8> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, bytes).unwrap();
    let output = Command::new("gzip").args([how, "-c"]).stdin(std::fs::File::open(file.path()).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What an SQL statement makes of a database, the first column of each row.
pub(crate) fn sqlite(database: &Path, statement: &str) -> Vec<String> {
    const SCRIPT: &str = "import sqlite3, sys\ndb = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)\nfor row in db.execute(sys.argv[2]): print(row[0])";
    let output = Command::new(Tools::python()).args(["-c", SCRIPT]).arg(database).arg(statement).output().unwrap();
    assert!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn named(variable: &str) -> PathBuf {
    let Some(value) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        panic!("{variable} is not set: run ./test, which builds what the stories need and names it");
    };
    let path = PathBuf::from(value);
    assert!(path.exists(), "{variable} names {}, which is not there: run ./test", path.display());
    std::path::absolute(path).unwrap()
}
