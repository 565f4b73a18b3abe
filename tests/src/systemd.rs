//! A real service manager of systemd, for units that a story writes.
//!
//! It is a user manager in a mount namespace of its own, where `/run` says that
//! systemd runs; so it needs no systemd as process 1, and touches nothing of
//! the machine's. It needs systemd and the right to make namespaces (Linux).

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::{Child, wait};

const MANAGER: &str = "/lib/systemd/systemd";
const SCRIPT: &str = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/system && exec \"$1\" --user --log-target=console";

/// The manager.
#[derive(Debug)]
pub struct Systemd {
    _manager: Child,
    dir: TempDir,
}

impl Systemd {
    /// Starts one; `None`, and a loud line, where that cannot be.
    pub async fn start() -> Option<Self> {
        let may = Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success());
        if !may || !Path::new(MANAGER).is_file() {
            eprintln!("SKIPPED: units of systemd need {MANAGER} and the right to make namespaces");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for folder in ["run", "config/systemd/user", "logs"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let environment = [("XDG_RUNTIME_DIR", dir.path().join("run")), ("XDG_CONFIG_HOME", dir.path().join("config"))];
        let environment = environment.map(|(name, path)| (name, path.to_str().unwrap().to_owned()));
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", SCRIPT, "sh", MANAGER]);
        let manager = Child::start("systemd", &dir.path().join("logs"), &mut command, &environment);
        let started = Self { _manager: manager, dir };
        wait::until("systemd to take orders", async || started.systemctl(&["show", "--property", "Version"]), |said| said.starts_with("Version=")).await;
        Some(started)
    }

    /// What finds it, as the value of `XDG_RUNTIME_DIR`.
    #[must_use]
    pub fn runtime_dir(&self) -> String {
        self.dir.path().join("run").to_str().unwrap().to_owned()
    }

    /// A name for a unit. Managers of one machine share its control groups,
    /// which have the names of the units in them, so no two stories may have
    /// one name.
    #[must_use]
    pub fn unit(&self) -> String {
        let own = self.dir.path().file_name().unwrap_or_default().to_string_lossy().replace('.', "");
        format!("shop-{own}.service")
    }

    /// Writes a unit's file anew, or takes it away.
    pub fn write(&self, unit: &str, text: Option<&str>) {
        let path: PathBuf = self.dir.path().join("config/systemd/user").join(unit);
        match text {
            Some(text) => std::fs::write(path, text).unwrap(),
            None => std::fs::remove_file(path).unwrap(),
        }
        self.systemctl(&["daemon-reload"]);
    }

    /// What `systemctl --user` prints.
    #[expect(clippy::must_use_candidate, reason = "an order says nothing")]
    pub fn systemctl(&self, words: &[&str]) -> String {
        let output = Command::new("systemctl").arg("--user").args(words).env("XDG_RUNTIME_DIR", self.runtime_dir()).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The main process of a unit; 0 when it does not run.
    #[must_use]
    pub fn main_pid(&self, unit: &str) -> u64 {
        self.systemctl(&["show", "--value", "--property", "MainPID", unit]).parse().unwrap_or_default()
    }
}
