//! The apps that are deployed: a light one, and one with the packages that a
//! grown service has. Each answers with its version and its process.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use doorstep_tests::{App, Tools};
use tempfile::TempDir;

use crate::script::as_on_a_host;

/// The app but for its version, as [`App::fastapi`] has it.
const SOURCE: &str = r#"import os
@IMPORTS@
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def root():
    return {"version": "VERSION", "pid": os.getpid()}


@app.get("/health")
def health():
    return {"status": 200}
"#;

/// What the light one needs.
const LIGHT: &str = r#""fastapi", "uvicorn""#;
/// What the heavy one needs: about 70 wheels and 250 MB.
const HEAVY: &str = r#""fastapi", "uvicorn[standard]", "sqlalchemy", "alembic", "pandas", "boto3", "celery[redis]", "httpx",
    "pydantic-settings", "jinja2", "python-multipart", "psycopg[binary]", "requests", "orjson", "cryptography", "pyjwt",
    "structlog", "prometheus-client", "sentry-sdk", "pillow", "beautifulsoup4", "lxml""#;
/// What the heavy one imports when it starts.
const IMPORTS: &str = "import alembic, boto3, bs4, celery, cryptography.fernet, httpx, jinja2, jwt, lxml.etree, orjson, pandas
import PIL.Image, prometheus_client, psycopg, pydantic_settings, requests, sentry_sdk, sqlalchemy.orm, structlog
";
/// Versions of the one dependency that changes: small, pure, needed by both
/// apps, and no two of them need anything else.
const IDNA: [&str; 12] = ["3.11", "3.10", "3.9", "3.8", "3.7", "3.6", "3.5", "3.4", "3.3", "3.2", "3.1", "3.0"];

/// Which app.
#[derive(Clone, Copy, Debug)]
pub enum Weight {
    /// FastAPI alone.
    Light,
    /// About 70 wheels.
    Heavy,
}

/// The app at its versions, which differ in one line, and with locks that
/// differ in one package.
pub struct Versions {
    imports: &'static str,
    /// With each lock; never empty.
    locked: Vec<App>,
    /// Keeps the environment that filled uv's cache.
    _dir: TempDir,
}

impl Versions {
    /// Locks its dependencies, with so many changes of one of them, and brings
    /// all of it into uv's cache.
    pub fn lock(weight: Weight, changes: usize) -> Result<Self> {
        let (needed, imports) = match weight {
            Weight::Light => (LIGHT, ""),
            Weight::Heavy => (HEAVY, IMPORTS),
        };
        if changes >= IDNA.len() {
            bail!("the lock can change {} times, not {changes}", IDNA.len() - 1);
        }
        let dir = tempfile::tempdir()?;
        let mut locked = Vec::new();
        for version in IDNA.iter().take(changes + 1) {
            let app = App::fastapi("0").depending(&format!("{needed}, \"idna=={version}\""));
            app.write(dir.path());
            // Where a lock is, uv changes of it no more than it must.
            uv(dir.path(), &["lock", "--quiet"])?;
            uv(dir.path(), &["sync", "--quiet", "--frozen"])?;
            let lock = std::fs::read_to_string(dir.path().join("uv.lock"))?;
            locked.push(app.file("uv.lock", &lock).file("README.md", "An app.\n"));
        }
        Ok(Self { imports, locked, _dir: dir })
    }

    /// One version, with the first lock.
    pub fn of(&self, version: &str) -> App {
        self.with_lock(version, 0)
    }

    /// One version after this many changes of the lock.
    pub fn with_lock(&self, version: &str, changes: usize) -> App {
        let app = self.locked.get(changes.min(self.locked.len() - 1)).cloned().unwrap_or_else(|| App::fastapi("0"));
        app.file("app.py", &SOURCE.replace("@IMPORTS@\n", self.imports).replace("VERSION", version))
    }

    /// How many packages its lock names.
    pub fn packages(&self) -> usize {
        self.locked.first().map_or(0, |app| app.text("uv.lock").matches("[[package]]").count())
    }
}

/// Runs uv as the script does.
pub fn uv(dir: &Path, args: &[&str]) -> Result<()> {
    let mut command = Command::new(Tools::uv());
    let output = as_on_a_host(command.args(args).current_dir(dir)).output().context("uv does not start")?;
    if !output.status.success() {
        bail!("uv {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
