//! A disk that fills up: nothing is lost, and everything goes on when there is room.
//!
//! The host's state and its projects are on a small file system of their own,
//! which needs the right to mount one.

#![expect(clippy::unwrap_used, reason = "stories fail by panicking")]

use std::path::{Path, PathBuf};
use std::process::Command;

use doorstep_tests::{App, Edge, GitHub, GitOrigin, Host, Push, WEBHOOK_SECRET, wait};
use serde_json::{Value, json};

/// Size of the small disk, in MiB.
const DISK_MIB: u64 = 48;

/// A file system in memory; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        std::fs::create_dir_all(at).unwrap();
        let size = format!("size={DISK_MIB}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output().unwrap();
        assert!(mounted.status.success(), "a small disk cannot be mounted: {}", String::from_utf8_lossy(&mounted.stderr));
        Self(at.to_owned())
    }

    fn free_mib(&self) -> u64 {
        let stat = rustix::fs::statvfs(&self.0).unwrap();
        (stat.f_bavail * stat.f_frsize) >> 20
    }

    /// Somebody fills it until so little is left.
    fn leave_mib(&self, mib: u64) {
        let path = self.0.join("filler");
        let _ = std::fs::remove_file(&path);
        let bytes = (self.free_mib() - mib) << 20;
        std::fs::write(path, vec![7_u8; usize::try_from(bytes).unwrap()]).unwrap();
    }

    /// Somebody takes all that is left, to the last page.
    fn leave_nothing(&self) {
        use std::io::Write;
        let mut file = std::fs::File::create(self.0.join("glutton")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        for name in ["filler", "glutton"] {
            let _ = std::fs::remove_file(self.0.join(name));
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: what still runs there is ended right after.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

/// A host on a small disk, with everybody around it.
struct Story {
    disk: SmallDisk,
    host: Host,
    origin: GitOrigin,
    edge: Edge,
    github: GitHub,
}

impl Drop for Story {
    fn drop(&mut self) {
        // Before the disk below it goes.
        self.host.end_everything();
    }
}

impl Story {
    /// The first version is live.
    async fn begin() -> Self {
        let (edge, origin) = (Edge::start().await, GitOrigin::new("me/shop"));
        let app = App::bare("1");
        let toml = format!(
            "[project.shop]\nrepo = \"{}\"\ndir = \"{{dir}}/shop\"\n[project.shop.process]\ncommand = {}\n[project.shop.health]\nhttp = \"/health\"\n",
            origin.url(),
            app.command
        );
        let mut host = Host::new("attic", &edge, &toml);
        let disk = SmallDisk::mount(&host.apps());
        let state = host.apps().join("state");
        host.set("DOORSTEP_STATE_DIR", state.to_str().unwrap());
        host.join(&edge).await;
        host.run_online(&edge).await;
        let mut story = Self { disk, host, origin, edge, github: GitHub::new(WEBHOOK_SECRET) };
        let job = story.push(&app).await;
        story.run_of(&job, "succeeded").await;
        story
    }

    async fn push(&mut self, app: &App) -> Value {
        let commit = app.push_to(&self.origin, "a version");
        let delivery = self.github.push("me/shop", Push::to("main").at(&commit).modifies(&["app.py"]));
        let answer = self.edge.deliver(&delivery).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        answer.json()["jobs"][0].clone()
    }

    async fn runs(&self, job: &Value) -> Vec<Value> {
        let runs = self.edge.get("/api/runs?host=attic&project=shop&limit=200").await;
        runs["runs"].as_array().unwrap().iter().filter(|run| run["job"] == *job).cloned().collect()
    }

    async fn run_of(&self, job: &Value, state: &str) -> Value {
        let is_it = |runs: &Vec<Value>| runs.iter().any(|run| run["state"] == state);
        let runs = wait::until(&format!("a run that {state}"), async || self.runs(job).await, is_it).await;
        runs.into_iter().find(|run| run["state"] == state).unwrap()
    }

    async fn live_commit(&mut self) -> Value {
        self.host.status().await["projects"][0]["live"]["commit"].clone()
    }

    async fn parked_when(&mut self, parked: bool) -> String {
        let what = if parked { "the host to park" } else { "the host to go on" };
        let status = self.host.status_when(what, |status| status["parked"].is_string() == parked).await;
        status["parked"].as_str().unwrap_or_default().to_owned()
    }
}

#[tokio::test]
async fn a_full_disk_parks_the_host_and_loses_nothing() {
    let mut story = Story::begin().await;
    let first = story.live_commit().await;
    story.disk.leave_mib(2);
    assert!(story.parked_when(true).await.contains("the disk is full at"));
    let job = story.push(&App::bare("2")).await;
    let refused = story.host.deploy("shop").await;
    assert!(refused.code == Some(1) && refused.stderr.contains("the disk is full"), "{refused:?}");

    // Nothing is left but the reserve; the daemon dies, comes back and keeps its app up.
    story.disk.leave_nothing();
    story.host.restart().await;
    story.parked_when(true).await;
    let pid = story.host.status().await["projects"][0]["process"]["pid"].clone();
    let number = i32::try_from(pid.as_i64().unwrap()).unwrap();
    rustix::process::kill_process(rustix::process::Pid::from_raw(number).unwrap(), rustix::process::Signal::KILL).unwrap();
    let again = |status: &Value| status["projects"][0]["process"]["pid"].is_u64() && status["projects"][0]["process"]["pid"] != pid;
    story.host.status_when("the app to be started again", again).await;
    assert_eq!(story.live_commit().await, first);
    assert_eq!(story.runs(&job).await, Vec::<Value>::new(), "the job waits");

    story.disk.make_room();
    story.parked_when(false).await;
    let run = story.run_of(&job, "succeeded").await;
    assert_eq!(run["attempt"], 1, "{run:#}");
    assert_ne!(story.live_commit().await, first);
}

#[tokio::test]
async fn a_run_that_finds_no_room_is_tried_again_when_there_is() {
    let mut story = Story::begin().await;
    story.disk.leave_mib(12);
    // More than fits, and nothing that packs.
    let noise: String = (0..400_000_u64).map(|n| format!("{:016x}{:016x}", doorstep_shared::time::mix(n), doorstep_shared::time::mix(!n))).collect();
    let job = story.push(&App::bare("2").file("noise", &noise)).await;
    let run = story.run_of(&job, "failed").await;
    assert_eq!(run["failure"]["kind"], json!("disk"), "{run:#}");
    story.disk.make_room();
    story.run_of(&job, "succeeded").await;
}
