//! A real Docker engine of a story's own, with Compose 2.
//!
//! It has a network and a folder of its own, and the story moves into that
//! network, so that stories neither see each other nor this machine's engine. No
//! registry is in reach: the base image is built from this machine's busybox.
//! It needs root, dockerd, docker with Compose 2, iptables and busybox (Linux).

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::net::Alone;
use crate::{Child, SmallDisk, wait};

/// The image that every service of a story begins with: busybox, and no more.
pub const BASE: &str = "base:1";
const BASE_FILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\n";
/// In CI nothing may be left out.
const REQUIRED: &str = "DOORSTEP_DOCKER_REQUIRED";

/// The engine.
#[derive(Debug)]
pub struct Docker {
    engine: Option<Child>,
    disk: Option<SmallDisk>,
    starts: usize,
    /// It goes last: the engine is in it.
    _alone: Alone,
    dir: TempDir,
}

impl Docker {
    /// Starts one; `None`, and a loud line, where that cannot be.
    ///
    /// # Panics
    ///
    /// Where it cannot be and CI says that it must.
    pub async fn start() -> Option<Self> {
        Self::start_on(None).await
    }

    /// [`Docker::start`], with its images on a disk of so many MiB.
    ///
    /// # Panics
    ///
    /// As that does.
    pub async fn start_on(disk_mib: Option<usize>) -> Option<Self> {
        let lacking = ["dockerd", "docker", "iptables", "ip"].into_iter().find(|program| Command::new(program).arg("--version").output().is_err());
        let lacking = lacking.or_else(|| (!Path::new("/bin/busybox").is_file()).then_some("/bin/busybox"));
        let has_compose = Command::new("docker").args(["compose", "version"]).output().is_ok_and(|said| said.status.success());
        if lacking.is_some() || !has_compose || !rustix::process::geteuid().is_root() {
            let why = lacking.map_or("root and docker with Compose 2", |program| program);
            assert!(std::env::var_os(REQUIRED).is_none(), "a Docker engine is required here and cannot be had: {why} is missing");
            eprintln!("SKIPPED: stories of Docker need {why}; `need_docker` of deploy/toolchain.sh says how to have them");
            return None;
        }
        let alone = match Alone::enter() {
            Ok(alone) => alone,
            Err(why) => {
                assert!(std::env::var_os(REQUIRED).is_none(), "a Docker engine is required here and cannot be had: {why}");
                eprintln!("SKIPPED: stories of Docker need a network of their own: {why}");
                return None;
            }
        };
        let dir = tempfile::Builder::new().prefix("dk").tempdir().unwrap();
        std::fs::create_dir(dir.path().join("logs")).unwrap();
        let disk = disk_mib.map(|mib| SmallDisk::mount(&dir.path().join("data"), mib));
        let mut docker = Self { engine: None, disk, starts: 0, _alone: alone, dir };
        docker.up().await;
        docker.make_base();
        Some(docker)
    }

    /// What `DOCKER_HOST` and whatever else finds it.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![("DOCKER_HOST", self.host())];
        all.extend(std::env::var("DOCKER_CONFIG").ok().map(|config| ("DOCKER_CONFIG", config)));
        all
    }

    /// Where it keeps its images.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Where what it starts beside itself may write.
    #[must_use]
    pub fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    /// Leaves so many MiB free where it keeps its images, until the file that
    /// this returns is removed.
    ///
    /// # Panics
    ///
    /// When nothing can be written there.
    #[must_use]
    pub fn fill(&self, left_mib: u64) -> PathBuf {
        let disk = rustix::fs::statvfs(self.root()).unwrap();
        let bytes = (disk.f_bavail * disk.f_frsize).saturating_sub(left_mib << 20);
        let path = self.root().join("full");
        let filled = Command::new("fallocate").arg("--length").arg(bytes.to_string()).arg(&path).status().unwrap();
        assert!(filled.success(), "the disk cannot be filled");
        path
    }

    fn host(&self) -> String {
        format!("unix://{}", self.dir.path().join("docker.sock").display())
    }

    /// Starts the engine, which finds what it had.
    pub async fn up(&mut self) {
        let at = self.dir.path();
        let mut command = Command::new("dockerd");
        command.arg("--host").arg(self.host());
        for (option, file) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            command.arg(option).arg(at.join(file));
        }
        self.starts += 1;
        let engine = Child::start(&format!("dockerd-{}", self.starts), &at.join("logs"), &mut command, &[]);
        self.engine = Some(engine);
        wait::until("the Docker engine", async || self.docker(&["info"]).status.success(), |up| *up).await;
    }

    /// Stops the engine, as an update of the system would; its containers end.
    pub async fn down(&mut self) {
        if let Some(mut engine) = self.engine.take() {
            engine.signal(Signal::TERM);
            engine.end().await;
        }
    }

    /// `docker …`.
    ///
    /// # Panics
    ///
    /// When there is no such program.
    #[must_use]
    pub fn docker(&self, words: &[&str]) -> Output {
        Command::new("docker").args(words).env("DOCKER_HOST", self.host()).output().unwrap()
    }

    /// What `docker …` prints; it must end well.
    ///
    /// # Panics
    ///
    /// When it does not.
    #[expect(clippy::must_use_candidate, reason = "an order says nothing")]
    pub fn said(&self, words: &[&str]) -> String {
        let output = self.docker(words);
        assert!(output.status.success(), "docker {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// `docker inspect` of a container, or of whatever has that name.
    #[must_use]
    pub fn inspect(&self, name: &str) -> Value {
        let all: Value = serde_json::from_str(&self.said(&["inspect", name])).unwrap();
        all[0].clone()
    }

    /// The names of all containers, sorted.
    #[must_use]
    pub fn containers(&self) -> Vec<String> {
        let said = self.said(&["ps", "--all", "--format", "{{.Names}}"]);
        let mut names: Vec<String> = said.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    /// The identity of the container of this name; empty when there is none.
    #[must_use]
    pub fn id(&self, name: &str) -> String {
        let output = self.docker(&["inspect", "--format", "{{.Id}}", name]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn make_base(&self) {
        let context = self.dir.path().join("base");
        std::fs::create_dir(&context).unwrap();
        std::fs::copy("/bin/busybox", context.join("busybox")).unwrap();
        std::fs::write(context.join("Dockerfile"), BASE_FILE).unwrap();
        self.said(&["build", "--quiet", "--tag", BASE, context.to_str().unwrap()]);
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if self.engine.is_some() {
            let ids = self.docker(&["ps", "--all", "--quiet"]).stdout;
            for id in String::from_utf8_lossy(&ids).lines() {
                let _ = self.docker(&["rm", "--force", "--volumes", id]);
            }
        }
        if let Some(engine) = self.engine.take() {
            engine.signal(Signal::TERM);
            engine.ends_within(wait::DEADLINE);
        }
        crate::child::kill_below(self.dir.path());
        drop(self.disk.take());
    }
}
