//! The bare insert of `bench/insert`, on a workerd of its own with the settings
//! that `doorstep edge` gives to ours.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use doorstep_tests::{Child, Tools, WEBHOOK_SECRET, wait};
use rustix::process::Pid;
use tempfile::TempDir;

const CONFIG: &str = r#"using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [ (name = "main", worker = .main), (name = "disk", disk = (path = "@STORAGE@", writable = true)) ],
  sockets = [ (name = "http", http = (), service = "main") ],
);
const main :Workerd.Worker = (
  modules = [
    (name = "index.js", esModule = embed "index.js"),
    (name = "index_bg.wasm", wasm = embed "index_bg.wasm") ],
  compatibilityDate = "2026-04-01",
  durableObjectNamespaces = [ (className = "Rows", uniqueKey = "bench-rows", enableSql = true) ],
  durableObjectStorage = (localDisk = "disk"),
  bindings = [
    (name = "ROWS", durableObjectNamespace = "Rows"),
    (name = "WEBHOOK_SECRET", fromEnvironment = "WEBHOOK_SECRET") ],
);
"#;

/// A running bare insert.
#[derive(Debug)]
pub struct Insert {
    // Before the folder, in which it writes.
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    _dir: TempDir,
}

impl Insert {
    /// Starts it on a fresh state.
    pub async fn start() -> Result<Self> {
        let built = std::env::var_os("DOORSTEP_BENCH_INSERT_DIR").map(PathBuf::from);
        let built = built.context("DOORSTEP_BENCH_INSERT_DIR is not set: run bench/run, which builds the bare insert and names it")?;
        let dir = tempfile::tempdir()?;
        let storage = dir.path().join("rows");
        std::fs::create_dir(&storage)?;
        for name in ["index.js", "index_bg.wasm"] {
            std::fs::copy(built.join(name), dir.path().join(name)).with_context(|| format!("{name} of the bare insert is missing"))?;
        }
        let config = dir.path().join("workerd.capnp");
        std::fs::write(&config, CONFIG.replace("@STORAGE@", &storage.to_string_lossy()))?;
        let mut command = Command::new(Tools::find().workerd);
        // The control descriptor is stdout: one line says the port.
        command.args(["serve", "--socket-addr=http=127.0.0.1:0", "--control-fd=1"]).arg(&config);
        let child = Child::start("insert", dir.path(), &mut command, &[("WEBHOOK_SECRET", WEBHOOK_SECRET.to_owned())]);
        let said = wait::until("the bare insert to listen", async || child.stdout(), |said| said.ends_with('\n')).await;
        let event: serde_json::Value = serde_json::from_str(said.trim())?;
        let port = event["port"].as_u64().and_then(|port| u16::try_from(port).ok()).context("workerd said no port")?;
        Ok(Self { child, address: SocketAddr::from(([127, 0, 0, 1], port)), _dir: dir })
    }

    /// workerd's process.
    pub fn pid(&self) -> Pid {
        self.child.pid()
    }
}
