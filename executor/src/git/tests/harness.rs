//! Repositories made with the real `git` command, and a store to fetch into.

use super::super::*;
use super::serving::{Manners, Server};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=Ann",
            "-c",
            "user.email=ann@example.org",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(["-c", "core.autocrlf=false", "-c", "commit.gpgsign=false"])
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .current_dir(dir)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "git {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A place with an origin (a work tree), a store folder, slots and a runtime.
pub struct World {
    pub dir: TempDir,
    pub runtime: Runtime,
    pub web: Web,
}

impl World {
    pub fn new() -> Self {
        Self::with_limits(WebLimits::default())
    }

    pub fn with_limits(limits: WebLimits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let web = Web::new(runtime.handle().clone(), limits).unwrap();
        let world = Self { dir, runtime, web };
        std::fs::create_dir(world.work()).unwrap();
        git(&world.work(), &["init", "-q"]);
        world
    }

    pub fn work(&self) -> PathBuf {
        self.dir.path().join("site")
    }

    pub fn slot(&self) -> PathBuf {
        self.dir.path().join("slots/a")
    }

    pub fn put(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn commit(&self, subject: &str) -> String {
        git(&self.work(), &["add", "-A", "-f"]);
        git(
            &self.work(),
            &["commit", "-q", "--allow-empty", "-m", subject],
        );
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    /// Commits one file.
    pub fn commit_file(&self, path: &str, text: impl AsRef<[u8]>) -> String {
        self.put(path, text);
        self.commit(&format!("change {path}"))
    }

    pub fn store(&self) -> Store {
        open_store(self.dir.path()).unwrap()
    }

    pub fn local(&self) -> Origin {
        Origin {
            url: self.work().to_str().unwrap().to_owned(),
            token: None,
        }
    }

    pub fn fetch(&self, origin: &Origin, branch: &str) -> Result<Fetched, FetchError> {
        self.store()
            .fetch(&self.web, origin, branch, &soon(), &mut |_| {})
    }

    /// Fetches the origin's main branch from disk and brings the slot to it.
    pub fn deploy(&self) -> CheckedOut {
        let store = self.store();
        let commit = store
            .fetch(&self.web, &self.local(), "main", &soon(), &mut |_| {})
            .unwrap()
            .commit;
        let done = store.checkout(&commit, &self.slot()).unwrap();
        assert_eq!(
            listing(&self.slot()),
            self.expected(&commit),
            "the slot is the commit"
        );
        done
    }

    /// What git itself makes of a commit.
    pub fn expected(&self, commit: &str) -> Vec<String> {
        let clean = tempfile::tempdir().unwrap();
        let work = self.work();
        git(
            clean.path(),
            &["clone", "-q", "--no-checkout", work.to_str().unwrap(), "c"],
        );
        let clone = clean.path().join("c");
        std::fs::create_dir_all(clone.join(".git/info")).unwrap();
        std::fs::write(
            clone.join(".git/info/attributes"),
            "* -text -ident -filter -eol\n",
        )
        .unwrap();
        git(&clone, &["checkout", "-q", "--detach", commit]);
        std::fs::remove_dir_all(clone.join(".git")).unwrap();
        listing(&clone)
    }
}

pub fn bounds(within: Duration) -> Bounds {
    Bounds {
        deadline: Instant::now() + within,
        cancel: Arc::new(AtomicBool::new(false)),
    }
}

pub fn soon() -> Bounds {
    bounds(Duration::from_secs(60))
}

/// Every entry below a folder: path, type, exec bit and content.
pub fn listing(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::PermissionsExt;
    let mut out = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            let meta = std::fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                out.push(format!("{name}/"));
                folders.push(path);
            } else if meta.is_symlink() {
                out.push(format!(
                    "{name} -> {}",
                    std::fs::read_link(&path).unwrap().display()
                ));
            } else {
                let exec = if meta.permissions().mode() & 0o111 != 0 {
                    "*"
                } else {
                    ""
                };
                out.push(format!(
                    "{name}{exec} = {:?}",
                    String::from_utf8_lossy(&std::fs::read(&path).unwrap())
                ));
            }
        }
    }
    out.sort();
    out
}

/// Bytes that do not compress, the same every time.
pub fn noise(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed * 2 + 1;
    let mut step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..bytes.div_ceil(8))
        .flat_map(|_| step())
        .take(bytes)
        .collect()
}

/// What must appear in no text.
pub const SECRET: &str = "ghp_s3cret";

/// A web server for the world, and the world's repository there.
pub fn serve(world: &World, manners: Manners) -> (Server, Origin) {
    let server = Server::start(world.dir.path(), manners);
    let origin = Origin {
        url: server.url("site/.git"),
        token: None,
    };
    (server, origin)
}

pub fn with_token(origin: &Origin, token: &str) -> Origin {
    Origin {
        token: Some(Token::new(token)),
        ..origin.clone()
    }
}
