//! A scenario in a real browser: `node tests/browser/NAME.mjs`, and the words
//! that go between it and its story.
//!
//! The script asks for what only the story can do by a line on its stdout that
//! begins with `@`, such as `@push 2 held`; the story does it and writes one line
//! of answer to the script's stdin. Every other line is for people: it is printed
//! and kept. The script's end says how it went: 0 is well. Invariant: the script
//! ends with the value that stands for it, and its browser with the script, whose
//! pipe it holds. Absent: what pages look like, which scripts alone know.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use doorstep_tests::PASSWORD;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// How long a whole scenario may take: some ten times what it takes.
const LIMIT: Duration = Duration::from_secs(180);
/// In CI nothing may be left out.
const REQUIRED: &str = "DOORSTEP_BROWSER_REQUIRED";
/// A browser keeps two cores busy, so there is one at a time.
static TURN: Mutex<()> = Mutex::const_new(());

/// The browser of this machine; `None`, and a loud line, where there is none.
pub fn chromium() -> Option<PathBuf> {
    let named = std::env::var_os("DOORSTEP_CHROMIUM").map(PathBuf::from).filter(|path| path.is_file());
    if named.is_none() {
        assert!(std::env::var_os(REQUIRED).is_none(), "a browser is required here: DOORSTEP_CHROMIUM names none");
        eprintln!("SKIPPED: stories of the dashboard in a browser need Chromium; `need_chromium` of deploy/toolchain.sh says how to have it");
    }
    named
}

struct Script {
    child: Child,
    answers: ChildStdin,
    lines: UnboundedReceiver<String>,
    /// Its home, with the browser's profile in it.
    _home: TempDir,
}

impl Script {
    fn start(name: &str, chromium: &Path, environment: &[(&str, String)]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser").join(format!("{name}.mjs"));
        let kept = ["PATH", "DOORSTEP_SCREENSHOTS", "LANG"];
        let mut child = Command::new("node")
            .arg(script)
            .env_clear()
            .envs(kept.into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            .envs([("HOME", home.path()), ("TMPDIR", home.path()), ("DOORSTEP_CHROMIUM", chromium)])
            .env("DOORSTEP_PASSWORD", PASSWORD)
            .envs(environment.iter().map(|(name, value)| (*name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|fault| panic!("node does not start: {fault}"));
        let (said, lines) = unbounded_channel();
        let (answers, out) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        std::thread::spawn(move || out.lines().map_while(Result::ok).all(|line| said.send(line).is_ok()));
        Self { child, answers, lines, _home: home }
    }

    async fn go_on(&mut self, mut act: impl AsyncFnMut(&[&str]) -> String) -> Vec<String> {
        let mut said = Vec::new();
        while let Some(line) = self.lines.recv().await {
            let Some(words) = line.strip_prefix('@') else {
                println!("{line}");
                said.push(line);
                continue;
            };
            let words: Vec<&str> = words.split(' ').collect();
            let answer = act(&words).await;
            // One that has ended says why by its end.
            let _ = writeln!(self.answers, "{answer}");
        }
        said
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a scenario to its end, and returns what it printed. `act` carries out
/// what the script asks for, and says what there is to say about it.
pub async fn run(name: &str, chromium: &Path, environment: &[(&str, String)], act: impl AsyncFnMut(&[&str]) -> String) -> Vec<String> {
    let _turn = TURN.lock().await;
    let mut script = Script::start(name, chromium, environment);
    let said = tokio::time::timeout(LIMIT, script.go_on(act)).await;
    let said = said.unwrap_or_else(|_| panic!("{name}.mjs did not end within {LIMIT:?}"));
    let status = script.child.wait().unwrap();
    assert!(status.success(), "{name}.mjs: {status}; its words stand above");
    said
}
