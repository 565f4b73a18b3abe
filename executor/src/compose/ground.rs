//! Where a path of a compose file leads on this host, and whether a project may
//! go there.
//!
//! A path counts as inside only when both readings of `..` are: by its letters
//! (as Compose cleans it) and through the symlinks that exist (as the kernel
//! walks it). What does not exist yet is read by its letters. Only symlinks are
//! looked at, no contents.
//!
//! Absent: what happens between the look and the mount. A container that may
//! write to a folder can put a symlink there in between.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// As the Linux kernel: more links than this in one path are a loop.
const LINKS_FOLLOWED_MAX: usize = 40;

/// Sockets that are as good as root on the host, with `/run` for `/var/run`.
const SOCKETS: [&str; 7] = [
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/containerd/containerd.sock.ttrpc",
    "/run/docker/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
    "/run/buildkit/buildkitd.sock",
];

/// Folders where an engine keeps sockets and containers.
const STATE: [&str; 8] = [
    "/run/docker",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/run/buildkit",
    "/var/lib/docker",
    "/var/lib/containerd",
    "/var/lib/containers",
];

/// What an engine's socket is called wherever it was moved to.
const SOCKET_NAMES: [&str; 5] = ["docker.sock", "containerd.sock", "podman.sock", "crio.sock", "buildkitd.sock"];

/// The folders a project may reach, with symlinks resolved.
#[derive(Clone, Debug)]
pub(super) struct Ground {
    folders: Vec<PathBuf>,
}

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leads {
    pub reach: Reach,
    pub engine: Engine,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Within the release or a declared folder; where it leads to.
    Inside(PathBuf),
    /// Outside of all; where it leads to.
    Outside(PathBuf),
    /// It cannot be said where.
    Unclear(&'static str),
}

/// What a path has to do with the container engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Engine {
    Nothing,
    /// A folder with its socket or its state, or something called like a socket.
    Holds,
    /// Its socket, at the place where it always is.
    Socket,
}

impl Ground {
    pub(super) fn new(release: &Path, roots: &[PathBuf]) -> Self {
        // A folder that cannot be resolved stays as it was written: nothing
        // that leads elsewhere is inside it.
        let folders = roots.iter().map(PathBuf::as_path).chain([release]);
        Self { folders: folders.map(|folder| follow(folder).unwrap_or_else(|_| folder.to_owned())).collect() }
    }

    /// Follows an absolute path.
    pub(super) fn leads(&self, path: &str) -> Leads {
        if !path.starts_with('/') {
            return unclear("it is not absolute");
        }
        // `docker compose config` doubles each `$`, and reading its output
        // again halves them: the letters may not be those of the disk.
        if path.contains('$') {
            return unclear("it holds a $");
        }
        let lexical = clean(Path::new(path));
        match (follow(&lexical), follow(Path::new(path))) {
            (Ok(by_letters), Ok(by_links)) => self.judge(&lexical, by_letters, by_links),
            (Err(why), _) | (_, Err(why)) => unclear(why),
        }
    }

    fn judge(&self, lexical: &Path, by_letters: PathBuf, by_links: PathBuf) -> Leads {
        let engine = engine(lexical).max(engine(&by_letters)).max(engine(&by_links));
        let reach = match (self.holds(&by_letters), self.holds(&by_links)) {
            (true, true) => Reach::Inside(by_links),
            (false, _) => Reach::Outside(by_letters),
            (true, false) => Reach::Outside(by_links),
        };
        Leads { reach, engine }
    }

    fn holds(&self, path: &Path) -> bool {
        self.folders.iter().any(|folder| path.starts_with(folder))
    }
}

fn unclear(why: &'static str) -> Leads {
    Leads { reach: Reach::Unclear(why), engine: Engine::Nothing }
}

/// Removes `.` and `..` by letters alone.
pub(super) fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                clean.pop();
            }
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) | Component::Normal(_) => clean.push(part),
        }
    }
    clean
}

/// Walks an absolute path as the kernel does, as far as it exists.
fn follow(path: &Path) -> Result<PathBuf, &'static str> {
    let mut here = PathBuf::from("/");
    let mut ahead = parts(path);
    let mut followed = 0;
    while let Some(part) = ahead.pop() {
        if part == ".." {
            here.pop();
            continue;
        }
        let next = here.join(part);
        let Some(target) = link(&next)? else {
            here = next;
            continue;
        };
        followed += 1;
        if followed > LINKS_FOLLOWED_MAX {
            return Err("its symlinks go round in a circle");
        }
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        ahead.extend(parts(&target));
    }
    Ok(here)
}

/// The parts of a path, the last first.
fn parts(path: &Path) -> Vec<OsString> {
    let wanted = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    wanted.rev().map(|part| part.as_os_str().to_owned()).collect()
}

/// The target of a symlink; nothing where there is none.
fn link(path: &Path) -> Result<Option<PathBuf>, &'static str> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_symlink() => fs::read_link(path).map(Some).map_err(|_| "a symlink on its way cannot be read"),
        Ok(_) => Ok(None),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(_) => Err("a folder on its way cannot be looked at"),
    }
}

fn engine(path: &Path) -> Engine {
    let path = match path.strip_prefix("/var/run") {
        Ok(rest) => Path::new("/run").join(rest),
        Err(_) => path.to_owned(),
    };
    if let Ok(rest) = path.strip_prefix("/run/user") {
        return rootless_engine(rest);
    }
    if SOCKETS.iter().any(|socket| path == Path::new(socket)) {
        return Engine::Socket;
    }
    let above = |known: &&str| Path::new(known).starts_with(&path);
    let holds_known = SOCKETS.iter().chain(&STATE).chain(&["/var/run"]).any(above);
    if holds_known || STATE.iter().any(|state| path.starts_with(state)) || is_named_socket(&path) { Engine::Holds } else { Engine::Nothing }
}

/// The same for what is below `/run/user`: `1000/docker.sock`.
fn rootless_engine(rest: &Path) -> Engine {
    let mut parts = rest.components().skip(1).map(Component::as_os_str);
    let Some(first) = parts.next() else {
        return Engine::Holds;
    };
    let below: PathBuf = parts.collect();
    let is_engines = ["docker", "podman", "libpod", "containerd", "buildkit"].iter().any(|name| first.to_string_lossy().starts_with(name));
    match (first == "docker.sock", first == "podman", is_engines) {
        (true, _, _) => Engine::Socket,
        (false, true, _) if below == Path::new("podman.sock") => Engine::Socket,
        (false, _, true) => Engine::Holds,
        (false, _, false) => Engine::Nothing,
    }
}

/// Whether it is called like a socket, or holds something that is.
fn is_named_socket(path: &Path) -> bool {
    let is_named = path.file_name().is_some_and(|name| SOCKET_NAMES.iter().any(|socket| name == *socket));
    is_named || SOCKET_NAMES.iter().any(|socket| fs::symlink_metadata(path.join(socket)).is_ok())
}

/// Whether a text names something that is fetched, as Compose and `BuildKit` read
/// it: an address, `github.com/…` or `user@host:path`. `service:web` looks like
/// one, and is the caller's to know.
pub(super) fn is_remote(text: &str) -> bool {
    let first = text.split('/').next().unwrap_or_default();
    text.contains("://") || text.starts_with("github.com/") || first.contains([':', '@'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_is_found_in_every_spelling() {
        for (path, expected) in [
            ("/run/docker.sock", Engine::Socket),
            ("/var/run/docker.sock", Engine::Socket),
            ("/run/user/1000/docker.sock", Engine::Socket),
            ("/run/user/1000/podman/podman.sock", Engine::Socket),
            ("/run/containerd/containerd.sock", Engine::Socket),
            ("/", Engine::Holds),
            ("/run", Engine::Holds),
            ("/var", Engine::Holds),
            ("/var/run", Engine::Holds),
            ("/var/lib", Engine::Holds),
            ("/var/lib/docker/volumes/x/_data", Engine::Holds),
            ("/run/user", Engine::Holds),
            ("/run/user/1000", Engine::Holds),
            ("/run/user/1000/podman", Engine::Holds),
            ("/run/user/1000/containerd-rootless/x", Engine::Holds),
            ("/run/user/1000/pulse", Engine::Nothing),
            ("/run/docker/plugins/x.sock", Engine::Holds),
            ("/srv/proxy/docker.sock", Engine::Holds),
            ("/run/user/1000/pulse/native", Engine::Nothing),
            ("/run/postgresql", Engine::Nothing),
            ("/srv/shop/data", Engine::Nothing),
            ("/var/lib/postgresql", Engine::Nothing),
            ("/var/lib/dockerish", Engine::Nothing),
        ] {
            assert_eq!(engine(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn what_is_fetched_is_told_from_a_path() {
        for (text, remote) in [
            ("https://example.com/x.yaml", true),
            ("HTTP://example.com/x.yaml", true),
            ("oci://docker.io/me/app:1", true),
            ("docker-image://alpine", true),
            ("git@github.com:me/app.git", true),
            ("host:path/x", true),
            ("github.com/me/app#main:compose.yaml", true),
            ("./github.com/me", false),
            ("sub/a@b:c.yaml", false),
            ("../x.yaml", false),
            ("/srv/a:b", false),
            ("compose.yaml", false),
        ] {
            assert_eq!(is_remote(text), remote, "{text}");
        }
    }

    #[test]
    fn paths_are_cleaned_by_letters() {
        for (path, expected) in [("/a/./b/../c//d/", "/a/c/d"), ("/../..", "/"), ("/a/..", "/"), ("/", "/")] {
            assert_eq!(clean(Path::new(path)), Path::new(expected), "{path}");
        }
    }

    #[test]
    fn a_link_round_and_round_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("b", folder.path().join("a")).unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("b")).unwrap();
        let ground = Ground::new(folder.path(), &[]);
        let leads = ground.leads(folder.path().join("a/x").to_str().unwrap());
        assert_eq!(leads.reach, Reach::Unclear("its symlinks go round in a circle"));
    }

    #[test]
    fn both_readings_of_two_dots_must_stay_inside() {
        let outside = tempfile::tempdir().unwrap();
        let release = tempfile::tempdir().unwrap();
        fs::create_dir_all(outside.path().join("deep")).unwrap();
        std::os::unix::fs::symlink(outside.path().join("deep"), release.path().join("link")).unwrap();
        let ground = Ground::new(release.path(), &[]);
        // By its letters this is `release/x`; the kernel goes to `outside/x`.
        let leads = ground.leads(release.path().join("link/../x").to_str().unwrap());
        assert_eq!(leads.reach, Reach::Outside(follow(outside.path()).unwrap().join("x")));
    }
}
