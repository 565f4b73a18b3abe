//! A real executor: a state folder, a `doorstep.toml`, and the binary.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::child::kill_below;
use crate::tools::sqlite;
use crate::{Child, Edge, Ended, Tools, wait};

/// A machine with an executor on it.
#[derive(Debug)]
pub struct Host {
    daemon: Option<Child>,
    /// What daemons before this one said.
    past: Vec<String>,
    tools: Tools,
    name: String,
    environment: Vec<(&'static str, String)>,
    verbs: usize,
    /// The network namespace it is in, unless it is ours.
    space: Option<PathBuf>,
    dir: TempDir,
}

impl Host {
    /// A host whose file says this edge and then `toml`, where `{dir}` stands
    /// for a folder of its own.
    #[must_use]
    pub fn new(name: &str, edge: &Edge, toml: &str) -> Self {
        let (tools, dir) = (Tools::find(), tempfile::tempdir().unwrap());
        let root = dir.path().to_str().unwrap().to_owned();
        for folder in ["state", "logs", "apps"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let environment = vec![
            ("DOORSTEP_CONFIG", format!("{root}/doorstep.toml")),
            ("DOORSTEP_STATE_DIR", format!("{root}/state")),
            ("NO_COLOR", "1".to_owned()),
            // Only what a story pushes is deployed, unless it says otherwise.
            ("DOORSTEP_RECONCILE", "off".to_owned()),
        ];
        let mut host = Self { daemon: None, past: Vec::new(), tools, name: name.to_owned(), environment, verbs: 0, space: None, dir };
        host.put_first_on_path(&Tools::python());
        host.write_config(edge, toml);
        host
    }

    /// Writes its file anew.
    pub fn write_config(&self, edge: &Edge, toml: &str) {
        let text = format!("edge = \"{}\"\n\n{}", edge.url(""), toml.replace("{dir}", self.apps().to_str().unwrap()));
        std::fs::write(self.dir.path().join("doorstep.toml"), text).unwrap();
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder that `{dir}` of its file stands for.
    #[must_use]
    pub fn apps(&self) -> PathBuf {
        self.dir.path().join("apps")
    }

    /// Its state folder.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// One more variable of its environment, for whatever starts from now on.
    pub fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.environment.push((name, value.into()));
    }

    /// Runs another build of the program from now on.
    pub fn use_binary(&mut self, doorstep: &Path) {
        doorstep.clone_into(&mut self.tools.doorstep);
    }

    /// Whatever starts from now on is in this network namespace.
    pub fn live_in(&mut self, space: PathBuf) {
        self.space = Some(space);
    }

    /// The folder of this program comes first in its `PATH`.
    fn put_first_on_path(&mut self, program: &Path) {
        let known = self.environment.iter().rev().find(|(name, _)| *name == "PATH").map(|(_, value)| value.clone());
        let path = known.or_else(|| std::env::var("PATH").ok()).unwrap_or_default();
        self.set("PATH", format!("{}:{path}", program.parent().unwrap_or(Path::new("/")).display()));
    }

    /// Lets apps be built with uv and with what this machine set up for it.
    pub fn with_uv(&mut self) {
        self.put_first_on_path(&Tools::uv());
        for (name, value) in uv_environment() {
            self.set(name, value);
        }
    }

    /// Carries out one verb to its end.
    pub async fn verb(&mut self, args: &[&str]) -> Ended {
        self.begin(args).end().await
    }

    /// Begins one verb, which may go on.
    pub fn begin(&mut self, args: &[&str]) -> Child {
        self.verbs += 1;
        let name = format!("verb-{}-{}", self.verbs, args.first().copied().unwrap_or_default());
        self.start(&name, args)
    }

    /// Enrols it, and panics when that fails.
    pub async fn join(&mut self, edge: &Edge) {
        let (code, name) = (edge.enroll().await, self.name.clone());
        let ended = self.verb(&["join", &edge.url(""), &code, "--name", &name]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
    }

    /// The folder that everything of it is below.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts the daemon.
    pub fn run(&mut self) {
        assert!(self.daemon.is_none(), "the daemon of {} runs", self.name);
        let name = format!("run-{}", self.past.len() + 1);
        self.daemon = Some(self.start(&name, &["run"]));
    }

    /// Starts the daemon and waits until the edge sees it.
    pub async fn run_online(&mut self, edge: &Edge) {
        self.run();
        edge.sees_host(&self.name, true).await;
    }

    /// Waits until the edge sees it, or until it died before that: what an
    /// earlier daemon left to be acknowledged passes points where one may die.
    pub async fn is_seen_or_dead(&mut self, edge: &Edge) {
        let name = self.name.clone();
        let is_seen = async || edge.host(&name).await.is_some_and(|host| host["online"] == true);
        let what = format!("{name} to be online, or dead");
        wait::until(&what, async || self.has_died() || is_seen().await, |is_so| *is_so).await;
    }

    /// Kills the daemon alone, as a crash would; what it started lives on.
    pub async fn kill(&mut self) -> Ended {
        self.signal(Signal::KILL);
        self.ended().await
    }

    /// Asks the daemon to end, and waits for that.
    pub async fn stop(&mut self) -> Ended {
        self.signal(Signal::TERM);
        self.ended().await
    }

    /// Kills the daemon and starts it again.
    pub async fn restart(&mut self) {
        self.kill().await;
        self.run();
    }

    /// What all its daemons said so far, the oldest first.
    #[must_use]
    pub fn words(&self) -> String {
        self.past.iter().cloned().chain(self.daemon.as_ref().map(Child::stderr)).collect()
    }

    /// Asks the proxy of this host something; `None` when there is none.
    pub async fn ask_proxy(&self, request: &Value) -> Option<Value> {
        let stream = UnixStream::connect(self.state().join("proxy.sock")).await.ok()?;
        let mut stream = BufReader::new(stream);
        stream.write_all(format!("{request}\n").as_bytes()).await.ok()?;
        let mut line = String::new();
        wait::soon("the proxy's answer", stream.read_line(&mut line)).await.ok()?;
        serde_json::from_str(&line).ok()
    }

    /// Asks the daemon itself how everything is, which is quicker than a verb;
    /// `None` when it does not answer.
    pub async fn ask_daemon(&self) -> Option<Value> {
        let stream = UnixStream::connect(self.state().join("doorstep.sock")).await.ok()?;
        let mut stream = BufReader::new(stream);
        stream.write_all(b"{\"verb\":\"status\"}\n").await.ok()?;
        let mut line = String::new();
        wait::soon("the daemon's answer", stream.read_line(&mut line)).await.ok()?;
        Some(serde_json::from_str::<Value>(&line).ok()?["end"].take())
    }

    /// What an SQL statement makes of its journal, the first column of each
    /// row: a look inside, or a fault that the next write meets.
    #[must_use]
    pub fn journal(&self, statement: &str) -> Vec<String> {
        sqlite(&self.state().join("journal.db"), statement)
    }

    /// Has the daemon ended by itself? If so, another may be started.
    pub fn has_died(&mut self) -> bool {
        if self.daemon.as_mut().is_some_and(|daemon| daemon.ended().is_some())
            && let Some(daemon) = self.daemon.take()
        {
            self.past.push(daemon.let_go());
        }
        self.daemon.is_none()
    }

    /// Sends the daemon a signal.
    pub fn signal(&self, signal: Signal) {
        self.daemon().signal(signal);
    }

    /// The running daemon.
    #[must_use]
    pub fn daemon(&self) -> &Child {
        self.daemon.as_ref().unwrap_or_else(|| panic!("the daemon of {} does not run", self.name))
    }

    /// `status --json`.
    pub async fn status(&mut self) -> Value {
        let ended = self.verb(&["status", "--json"]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout).unwrap_or_else(|fault| panic!("{fault}: {}", ended.stdout))
    }

    /// Waits until `status --json` is as it should be, and returns it.
    pub async fn status_when(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        wait::until(what, async || self.status().await, is_it).await
    }

    /// `deploy P`.
    pub async fn deploy(&mut self, project: &str) -> Ended {
        self.verb(&["deploy", project]).await
    }

    /// What `logs P` prints.
    pub async fn logs(&mut self, project: &str) -> String {
        let ended = self.verb(&["logs", project]).await;
        assert_eq!(ended.code, Some(0), "{ended:?}");
        ended.stdout
    }

    async fn ended(&mut self) -> Ended {
        let mut daemon = self.daemon.take().unwrap_or_else(|| panic!("the daemon of {} does not run", self.name));
        let ended = daemon.end().await;
        // Dropping it would kill its group, and with it what outlives a daemon.
        self.past.push(daemon.let_go());
        ended
    }

    fn start(&self, name: &str, args: &[&str]) -> Child {
        let mut command = match &self.space {
            Some(space) => {
                // It becomes the program itself.
                let mut command = Command::new("nsenter");
                command.arg(format!("--net={}", space.display())).arg(&self.tools.doorstep);
                command
            }
            None => Command::new(&self.tools.doorstep),
        };
        command.args(args).current_dir(self.dir.path());
        Child::start(name, &self.dir.path().join("logs"), &mut command, &self.environment)
    }
}

impl Host {
    /// Ends the daemon and everything it started, as dropping it does.
    pub fn end_everything(&mut self) {
        // First the daemon, which would start them again; then what it started.
        drop(self.daemon.take());
        if std::thread::panicking()
            && let Some(words) = self.past.last()
        {
            eprintln!("--- the daemon before it\n{words}");
        }
        kill_below(self.dir.path());
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end_everything();
    }
}

/// Variables that make uv use this machine's cache, Python and index settings.
pub(crate) fn uv_environment() -> Vec<(&'static str, String)> {
    let names = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_PYTHON", "SSL_CERT_FILE", "XDG_CONFIG_HOME", "HTTPS_PROXY", "NO_PROXY"];
    let mut all: Vec<_> = names.into_iter().filter_map(|name| Some((name, std::env::var(name).ok()?))).collect();
    if let Ok(home) = std::env::var("HOME") {
        all.push(("UV_CACHE_DIR", std::env::var("UV_CACHE_DIR").unwrap_or(format!("{home}/.cache/uv"))));
    }
    all
}
