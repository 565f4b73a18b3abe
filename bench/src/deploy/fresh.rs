//! The app without a deploy: how long it takes to start where everything is
//! there, and what a fresh environment costs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use doorstep_tests::App;

use super::apps::uv;
use crate::http;
use crate::script::{as_on_a_host, free_address};

/// How long a start may take: what is imported first is compiled first.
const START_MAX: Duration = Duration::from_secs(60);

/// What a fresh environment took, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Fresh {
    /// `uv sync` in an empty folder, with a warm cache.
    pub sync_ms: f64,
    /// The first start in it: spawn → first 200.
    pub start_ms: f64,
}

impl Fresh {
    /// Makes one for this app, and starts it once.
    pub fn make(app: &App) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        app.write(dir.path());
        let begun = Instant::now();
        uv(dir.path(), &["sync", "--quiet", "--frozen"])?;
        let sync_ms = begun.elapsed().as_secs_f64() * 1e3;
        Ok(Self { sync_ms, start_ms: start(dir.path())? })
    }
}

/// Starts the app of a folder beside everything else: spawn → first 200, in
/// milliseconds.
pub fn start(dir: &Path) -> Result<f64> {
    let address = free_address()?;
    let mut command = Command::new(dir.join(".venv/bin/python"));
    command.args(["-m", "uvicorn", "app:app", "--port", &address.port().to_string()]).current_dir(dir);
    as_on_a_host(&mut command).stdout(Stdio::null()).stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().context("the app does not start")?;
    let mut took = None;
    while took.is_none() && begun.elapsed() < START_MAX {
        match http::get(address, "/health") {
            Ok(answer) if answer.status == 200 => took = Some(begun.elapsed().as_secs_f64() * 1e3),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    took.context("the app never answered")
}
