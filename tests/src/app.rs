//! Sources of small apps to deploy: each answers `/health` and, at `/`, its version.

use std::path::Path;
use std::process::Command;

use crate::host::uv_environment;
use crate::{GitOrigin, Tools, git};

/// Files of an app of [`App::in_parts`], besides its own.
const PARTS: usize = 12;
/// Where [`App::beginning`] puts what it is given.
const FIRST: &str = "# first";

/// An app's files.
#[derive(Clone, Debug)]
pub struct App {
    pub(crate) files: Vec<(String, String)>,
    /// The command that starts it, as a TOML list; `{port}` is for Doorstep.
    pub command: &'static str,
}

const PLAIN: &str = r#"import http.server, json, os, signal, sys

VERSION = "@VERSION@"
HEALTH = 200


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        known = {"/": (200, {"version": VERSION, "pid": os.getpid()}), "/health": (HEALTH, {"status": HEALTH})}
        status, answer = known.get(self.path, (404, {}))
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        print(VERSION, *words[1:], flush=True)


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
# first
print("version", VERSION, "listens", flush=True)
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"#;

/// The same in few imports: it listens some 20 ms after it was started.
const QUICK: &str = r#"import os, signal, socket, sys, _thread

VERSION = "@VERSION@"
HEALTH = 200


def answer(client):
    try:
        path = client.recv(4096).split(b" ")[1]
        status = HEALTH if path == b"/health" else 200
        body = b'{"version": "%s", "pid": %d}' % (VERSION.encode(), os.getpid())
        head = b"HTTP/1.1 %d Well\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        client.sendall(head % (status, len(body)) + body)
    except (OSError, IndexError):
        pass
    finally:
        client.close()


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
# first
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
print("version", VERSION, "listens", flush=True)
while True:
    _thread.start_new_thread(answer, (server.accept()[0],))
"#;

const FASTAPI: &str = r#"# first
from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def root():
    return {"version": "@VERSION@"}


@app.get("/health")
def health():
    return {"status": 200}
"#;

const PYPROJECT: &str = r#"[project]
name = "shop"
version = "0.1.0"
requires-python = ">=3.11"
dependencies = [@DEPENDENCIES@]
"#;

impl App {
    /// An app of Python's standard library alone: nothing to download.
    #[must_use]
    pub fn plain(version: &str) -> Self {
        let source = PLAIN.replace("@VERSION@", version);
        let app = Self { files: vec![("app.py".into(), source)], command: r#"["python", "app.py", "{port}"]"# };
        app.depending("")
    }

    /// The same, but its `/health` answers 500 for ever.
    #[must_use]
    pub fn sick(version: &str) -> Self {
        Self::plain(version).made_sick()
    }

    /// The same, but it ends with an error as soon as it is started.
    #[must_use]
    pub fn crashing(version: &str) -> Self {
        let source = format!("import sys\nsys.exit(\"version {version} cannot start\")\n");
        Self { files: vec![("app.py".into(), source)], ..Self::plain(version) }.depending("")
    }

    /// [`App::plain`] without a `pyproject.toml`: nothing for uv to do.
    #[must_use]
    pub fn bare(version: &str) -> Self {
        Self::plain(version).without("pyproject.toml")
    }

    /// [`App::bare`], but it starts and answers in a few milliseconds.
    #[must_use]
    pub fn quick(version: &str) -> Self {
        let source = QUICK.replace("@VERSION@", version);
        Self { files: vec![("app.py".into(), source)], command: r#"["python", "-S", "-E", "app.py", "{port}"]"# }
    }

    /// [`App::quick`] in many files, which does not start unless all of them
    /// are of its version.
    #[must_use]
    pub fn in_parts(version: &str) -> Self {
        let check = "parts = {open('parts/' + name).read() for name in os.listdir('parts')}\nassert parts == {VERSION}, f'torn: {parts}'";
        (0..PARTS).fold(Self::quick(version), |app, part| app.file(&format!("parts/{part}"), version)).beginning(check)
    }

    /// The same, but its `/health` answers 500 for ever.
    #[must_use]
    pub fn made_sick(mut self) -> Self {
        for (_, text) in &mut self.files {
            *text = text.replace("HEALTH = 200", "HEALTH = 500");
        }
        self
    }

    /// The same, but it carries out this Python before it listens.
    #[must_use]
    pub fn beginning(mut self, python: &str) -> Self {
        for (_, text) in self.files.iter_mut().filter(|(path, _)| path == "app.py") {
            *text = text.replace(FIRST, &format!("{python}\n{FIRST}"));
        }
        self
    }

    /// The same, but it does not listen before this file is there.
    #[must_use]
    pub fn waiting_for(self, gate: &Path) -> Self {
        self.beginning(&format!("import os, time\nwhile not os.path.exists({gate:?}):\n    time.sleep(0.005)"))
    }

    /// A FastAPI app behind uvicorn. It has no `uv.lock` until [`App::locked`].
    #[must_use]
    pub fn fastapi(version: &str) -> Self {
        let source = FASTAPI.replace("@VERSION@", version);
        let command = r#"["python", "-m", "uvicorn", "app:app", "--port", "{port}"]"#;
        Self { files: vec![("app.py".into(), source)], command }.depending(r#""fastapi", "uvicorn""#)
    }

    /// With a `pyproject.toml` that names these packages, as a TOML list's inside.
    #[must_use]
    pub fn depending(self, packages: &str) -> Self {
        self.file("pyproject.toml", &PYPROJECT.replace("@DEPENDENCIES@", packages))
    }

    /// Its `app.py`.
    #[must_use]
    pub fn source(&self) -> &str {
        self.files.iter().find(|(path, _)| path == "app.py").map_or("", |(_, text)| text)
    }

    /// One more file.
    #[must_use]
    pub fn file(mut self, path: &str, text: &str) -> Self {
        self.files.retain(|(known, _)| known != path);
        self.files.push((path.to_owned(), text.to_owned()));
        self
    }

    /// What one of its files holds.
    #[must_use]
    pub fn text(&self, path: &str) -> &str {
        self.files.iter().find(|(known, _)| known == path).map(|(_, text)| text.as_str()).unwrap()
    }

    /// One file less.
    #[must_use]
    pub fn without(mut self, path: &str) -> Self {
        self.files.retain(|(known, _)| known != path);
        self
    }

    /// With the `uv.lock` that `uv lock` makes of it now. It names the index of
    /// this machine, so it is never kept.
    #[must_use]
    pub fn locked(self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        self.write(dir.path());
        let output = Command::new(Tools::uv()).args(["lock", "--quiet"]).envs(uv_environment()).current_dir(dir.path()).output().unwrap();
        assert!(output.status.success(), "uv lock: {}", String::from_utf8_lossy(&output.stderr));
        let lock = std::fs::read_to_string(dir.path().join("uv.lock")).unwrap();
        self.file("uv.lock", &lock)
    }

    /// Writes it into a folder.
    pub fn write(&self, dir: &Path) {
        for (path, text) in &self.files {
            let path = dir.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    /// Commits and pushes it, and nothing besides it, to an origin's `main`;
    /// returns the commit.
    pub fn push_to(&self, origin: &GitOrigin, message: &str) -> String {
        let tracked = git(&origin.work(), &["ls-files"]);
        let is_ours = |path: &str| self.files.iter().any(|(known, _)| known == path);
        let gone = tracked.lines().filter(|path| !is_ours(path)).map(|path| (path, None));
        let files: Vec<_> = self.files.iter().map(|(path, text)| (path.as_str(), Some(text.as_str()))).chain(gone).collect();
        origin.commit(message, &files)
    }
}
