//! What the demo runs: an edge, an executor, a repository on a Git server, a
//! GitHub that signs, and a folder for all of it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use doorstep_tests::{Child, Ended, GitHub, GitOrigin, Tools, git};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::clean_up;
use crate::hub::Hub;
use crate::seen::{NotSeen, Seen, ensure, until};

/// Name of the host.
pub const HOST: &str = "attic";
/// Name of the project.
pub const PROJECT: &str = "shop";
/// The repository, as GitHub calls it.
pub const REPO: &str = "me/shop";

/// Ports that are taken when they are free; any other will do.
const EDGE_PORT: u16 = 8787;
const APP_PORT: u16 = 8000;
const READY: &str = "doorstep edge is ready at ";
const READY_LIMIT: Duration = Duration::from_secs(30);
const END_LIMIT: Duration = Duration::from_secs(20);
const VERB_LIMIT: Duration = Duration::from_secs(30);
/// Resolving asks the package index.
const LOCK_LIMIT: Duration = Duration::from_secs(120);

const TOML: &str = include_str!("../../app/doorstep.toml");
/// Variables of whoever runs the demo that its programs must not see.
const WITHHELD: [&str; 6] =
    ["WEBHOOK_SECRET", "DASHBOARD_PASSWORD", "SESSION_KEY", "API_TOKEN", "METRICS_TOKEN", "VIRTUAL_ENV"];

/// Everything that runs, and where.
pub struct Stage {
    daemon: Option<Child>,
    edge: Option<Child>,
    /// Programs that ended. Dropping one kills its group, and the daemon's may
    /// have members that outlive it.
    past: Vec<Child>,
    verbs: usize,
    edge_url: String,
    listen: SocketAddr,
    secrets: Secrets,
    tools: Tools,
    /// The repository.
    pub origin: GitOrigin,
    /// Whoever signs the deliveries.
    pub github: GitHub,
    home: TempDir,
}

/// Made anew for each demo.
struct Secrets {
    webhook: String,
    password: String,
    api_token: String,
}

impl Stage {
    /// A folder, an empty repository on its server, and nothing else yet.
    pub fn new() -> Self {
        let home = tempfile::Builder::new().prefix("doorstep-demo-").tempdir().unwrap();
        for folder in ["edge", "state", "srv", "logs", "lock", "tmp"] {
            std::fs::create_dir(home.path().join(folder)).unwrap();
        }
        let secrets = Secrets { webhook: random(32), password: random(8), api_token: random(32) };
        let origin = GitOrigin::new(REPO);
        // So that a person can commit and push there by hand.
        for (name, value) in [
            ("user.name", "You"),
            ("user.email", "you@example.org"),
            ("branch.main.remote", "origin"),
            ("branch.main.merge", "refs/heads/main"),
        ] {
            git(&origin.work(), &["config", name, value]);
        }
        Self {
            daemon: None,
            edge: None,
            past: Vec::new(),
            verbs: 0,
            edge_url: String::new(),
            listen: free_address(APP_PORT),
            github: GitHub::new(&secrets.webhook),
            secrets,
            tools: Tools::find(),
            origin,
            home,
        }
    }

    /// The app's address.
    pub fn app_url(&self) -> String {
        format!("http://{}/", self.listen)
    }

    /// The edge's address.
    pub fn edge_url(&self) -> &str {
        &self.edge_url
    }

    /// The dashboard's password.
    pub fn password(&self) -> &str {
        &self.secrets.password
    }

    /// Starts the edge and waits until it says where it listens.
    pub async fn start_edge(&mut self) -> Seen<Hub> {
        let environment = [
            ("WEBHOOK_SECRET", self.secrets.webhook.clone()),
            ("DASHBOARD_PASSWORD", self.secrets.password.clone()),
            ("API_TOKEN", self.secrets.api_token.clone()),
            ("DOORSTEP_WORKER_DIR", self.tools.worker.to_str().unwrap().to_owned()),
            ("DOORSTEP_WORKERD", self.tools.workerd.to_str().unwrap().to_owned()),
        ];
        let state = self.home.path().join("edge");
        let port = free_address(EDGE_PORT).port().to_string();
        let mut command = Command::new(&self.tools.doorstep);
        command.args(["edge", "--port", &port, "--state"]).arg(&state).current_dir(&state);
        let edge = self.edge.insert(Child::start("edge", &self.home.path().join("logs"), &mut command, &environment));
        let line = until("the edge to be ready", READY_LIMIT, async || {
            let ended = edge.ended();
            ensure(ended.is_none(), || "the edge to be ready; it ended instead".to_owned())?;
            Ok(edge.stdout().lines().find_map(|line| line.strip_prefix(READY).map(str::to_owned)))
        });
        self.edge_url = line.await?;
        Ok(Hub::new(&self.edge_url, &self.secrets.api_token))
    }

    /// Enrols the host, and writes its file.
    pub async fn enroll(&mut self, hub: &Hub) -> Seen<()> {
        let toml = TOML
            .replace("@EDGE@", &self.edge_url)
            .replace("@REPO@", &self.origin.url())
            .replace("@DIR@", self.home.path().join("srv").to_str().unwrap())
            .replace("@LISTEN@", &self.listen.to_string());
        std::fs::write(self.config(), toml).unwrap();
        let (code, url) = (hub.enroll().await?, self.edge_url.clone());
        self.verb(&["join", &url, &code, "--name", HOST]).await.map(|_| ())
    }

    /// Starts the daemon and waits until the edge sees it.
    pub async fn start_daemon(&mut self, hub: &Hub) -> Seen<()> {
        let mut command = self.doorstep();
        command.arg("run");
        self.daemon = Some(self.start("run", &mut command));
        until("the executor to be online", READY_LIMIT, async || {
            ensure(self.has_daemon(), || "the executor to be online; it ended instead".to_owned())?;
            Ok(hub.is_online(HOST).await?.then_some(()))
        })
        .await
    }

    /// Stops the daemon; what it started goes on.
    pub async fn stop_daemon(&mut self) -> Seen<()> {
        let Some(daemon) = self.daemon.take() else { return Ok(()) };
        let ended = stop_child("the end of the executor", daemon, &mut self.past).await?;
        ensure(ended.code == Some(0), || format!("the executor's exit with 0; it was {:?}", ended.code))
    }

    /// Does the daemon run?
    pub fn has_daemon(&mut self) -> bool {
        self.daemon.as_mut().is_some_and(|daemon| daemon.ended().is_none())
    }

    /// Does the edge run?
    pub fn has_edge(&mut self) -> bool {
        self.edge.as_mut().is_some_and(|edge| edge.ended().is_none())
    }

    /// The project in `doorstep status --json`.
    pub async fn status(&mut self) -> Seen<Value> {
        let ended = self.verb(&["status", "--json"]).await?;
        let status: Value = serde_json::from_str(&ended.stdout).unwrap_or_default();
        let projects = status["projects"].as_array().cloned().unwrap_or_default();
        let project = projects.into_iter().find(|project| project["name"] == PROJECT);
        project.ok_or_else(|| NotSeen::new(format!("the project in `doorstep status --json`: {status}")))
    }

    /// The `uv.lock` of a `pyproject.toml`, made now: a lock names its index.
    pub async fn lock(&mut self, pyproject: &str) -> Seen<String> {
        let dir = self.home.path().join("lock");
        std::fs::write(dir.join("pyproject.toml"), pyproject).unwrap();
        let mut command = Command::new(Tools::uv());
        command.args(["lock", "--quiet"]).current_dir(&dir);
        let child = self.start("uv-lock", &mut command);
        self.finish("uv lock", child, LOCK_LIMIT).await?;
        std::fs::read_to_string(dir.join("uv.lock")).map_err(|fault| NotSeen::new(format!("uv.lock ({fault})")))
    }

    /// The last words of what runs.
    pub fn last_words(&self) -> String {
        let running = self.edge.iter().chain(&self.daemon).chain(self.past.last());
        running.map(Child::last_words).collect::<Vec<_>>().join("\n")
    }

    /// Stops everything and removes the folder. Whatever is left then is killed,
    /// and was not seen to end, if it should have.
    pub async fn stop(mut self, is_at_rest: bool) -> Seen<()> {
        let app = if self.has_daemon() { self.status().await.ok() } else { None };
        let app = app.and_then(|project| i32::try_from(project["process"]["pid"].as_i64()?).ok());
        let daemon = self.stop_daemon().await;
        let app = match app {
            Some(pid) => clean_up::end_group("the end of the app", pid).await,
            None => Ok(()),
        };
        let proxy = clean_up::end_proxy(&self.home.path().join("state")).await;
        let edge = match self.edge.take() {
            Some(edge) => stop_child("the end of the edge", edge, &mut self.past).await.map(|_| ()),
            None => Ok(()),
        };
        let killed = clean_up::sweep(self.home.path());
        std::fs::remove_dir_all(self.home.path()).map_err(|fault| NotSeen::new(format!("the removal of the demo's folder ({fault})")))?;
        daemon.and(app).and(proxy).and(edge)?;
        ensure(killed.is_empty() || !is_at_rest, || format!("the end of these processes, which were killed now: {}", killed.join(", ")))
    }

    async fn verb(&mut self, args: &[&str]) -> Seen<Ended> {
        self.verbs += 1;
        let mut command = self.doorstep();
        command.args(args);
        let verb = args.first().copied().unwrap_or_default();
        let child = self.start(&format!("{verb}-{}", self.verbs), &mut command);
        self.finish(&format!("doorstep {verb}"), child, VERB_LIMIT).await
    }

    async fn finish(&mut self, what: &str, mut child: Child, within: Duration) -> Seen<Ended> {
        let ended = until(&format!("the end of `{what}`"), within, async || Ok(child.ended())).await?;
        ensure(ended.code == Some(0), || format!("the success of `{what}`: {}", ended.stderr.trim()))?;
        Ok(ended)
    }

    fn start(&self, name: &str, command: &mut Command) -> Child {
        Child::start(name, &self.home.path().join("logs"), command, &self.environment())
    }

    /// What the executor and uv see: this environment, so that the machine's
    /// settings for packages hold, without what would change Doorstep.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let is_passed = |name: &str| !name.starts_with("DOORSTEP_") && !WITHHELD.contains(&name);
        let ours = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let mut all: Vec<_> = ours.filter(|(name, _)| is_passed(name)).map(|(name, value)| (&*name.leak(), value)).collect();
        all.push(("DOORSTEP_UV", Tools::uv().to_str().unwrap().to_owned()));
        all.push(("NO_COLOR", "1".to_owned()));
        // uv leaves its locks there.
        all.push(("TMPDIR", self.home.path().join("tmp").to_str().unwrap().to_owned()));
        all
    }

    fn doorstep(&self) -> Command {
        let mut command = Command::new(&self.tools.doorstep);
        command.arg("--state").arg(self.home.path().join("state")).arg("--config").arg(self.config());
        command.current_dir(self.home.path());
        command
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("doorstep.toml")
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After a proper stop there is nothing left to do here. First what
        // would start others again, then the others.
        drop((self.daemon.take(), self.edge.take()));
        self.past.clear();
        clean_up::sweep(self.home.path());
    }
}

async fn stop_child(what: &str, mut child: Child, past: &mut Vec<Child>) -> Seen<Ended> {
    child.signal(Signal::TERM);
    let ended = until(what, END_LIMIT, async || Ok(child.ended())).await;
    past.push(child);
    ended
}

/// This port of this machine if it is free, else any: 0.
fn free_address(port: u16) -> SocketAddr {
    let wanted = SocketAddr::from(([127, 0, 0, 1], port));
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(wanted).or_else(|_| TcpListener::bind(any)).unwrap();
    listener.local_addr().unwrap()
}

fn random(bytes: usize) -> String {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random).unwrap();
    hex::encode(random)
}
