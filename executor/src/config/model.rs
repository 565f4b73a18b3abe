//! What `doorstep.toml` says, once it has been found right.
//!
//! Plain data. Everything here was checked while it was read, so the rest of
//! the executor does not check it again. Defaults are filled in, except where
//! "not said" means something of its own: no `dir`, no `compose`.
//!
//! There is no secret in any of it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorstep_shared::ids::Action;

use super::permission::Allow;

/// The whole file.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The edge's URL, without a slash at its end.
    pub edge: Option<String>,
    /// How often each origin is asked for its branch, in case GitHub's webhook
    /// was lost; `None`: never.
    pub reconcile: Option<Duration>,
    /// What the edge may ask for where a project says nothing of its own.
    pub remote: RemotePolicy,
    /// The projects by name.
    pub projects: BTreeMap<String, Project>,
    /// What is not wrong but probably not meant; one sentence each.
    pub warnings: Vec<String>,
}

impl Config {
    /// Resolves the relative paths of the file (`repo`, `token_file`,
    /// `env_file`) against the directory it stands in.
    pub fn resolve_paths(&mut self, base: &Path) {
        for project in self.projects.values_mut() {
            if let Repo::Path(path) = &mut project.repo {
                *path = base.join(&*path);
            }
            for path in [&mut project.token_file, &mut project.env_file]
                .into_iter()
                .flatten()
            {
                *path = base.join(&*path);
            }
        }
    }
}

/// The actions that the edge may ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct RemotePolicy {
    /// In the order of the file, each at most once.
    pub actions: Vec<Action>,
    /// May it show what the app prints?
    pub logs: bool,
}

impl RemotePolicy {
    /// Whether the edge may ask for this.
    pub fn allows(&self, action: Action) -> bool {
        self.actions.contains(&action)
    }
}

impl Default for RemotePolicy {
    /// Without a policy the edge can do what the product is for and no more:
    /// a push is deployed. Stopping an app is for those who say so.
    fn default() -> RemotePolicy {
        let actions = vec![Action::Fetch, Action::Deploy];
        RemotePolicy { actions, logs: false }
    }
}

/// `[project.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Project {
    /// The key of its table.
    pub name: String,
    /// Where git fetches from.
    pub repo: Repo,
    /// The branch that is followed.
    pub branch: String,
    /// Where people reach it, as pages show it; none: where it serves on its host.
    pub url: Option<String>,
    /// Globs: only pushes that touch one of them count. Empty: every push.
    pub paths: Vec<String>,
    /// Absolute. `None`: the caller's default.
    pub dir: Option<PathBuf>,
    /// Paths inside the repository that outlive a release: links in each to
    /// `data/` in the project's folder. One with `/` at its end is a folder.
    pub data: Vec<String>,
    /// What the edge may ask for; the project's own list, else that of the file.
    pub remote: RemotePolicy,
    /// A file that holds the access token of an https origin.
    pub token_file: Option<PathBuf>,
    /// A file with more environment for the app.
    pub env_file: Option<PathBuf>,
    /// `[project.NAME.python]`.
    pub python: Option<Python>,
    /// `[project.NAME.process]`; never together with `compose` or `systemd`.
    pub process: Option<Process>,
    /// `[project.NAME.systemd]`; never together with `process` or `compose`.
    pub systemd: Option<Systemd>,
    /// `[project.NAME.processes.*]` by name: what runs beside `process`.
    pub processes: BTreeMap<String, Companion>,
    /// `[project.NAME.health]`.
    pub health: Option<Health>,
    /// `[project.NAME.hooks]`.
    pub hooks: Hooks,
    /// `[project.NAME.compose]`; never together with `process` or `systemd`.
    pub compose: Option<Compose>,
    /// `[project.NAME.command]`.
    pub command: Option<Command>,
}

impl Project {
    /// What Compose calls the project: only a-z, 0-9, `_` and `-`.
    #[must_use]
    pub fn compose_name(&self) -> String {
        let named = self.compose.as_ref().and_then(|compose| compose.name.clone());
        named.unwrap_or_else(|| self.name.replace('.', "-"))
    }

    /// Whether something runs: a process of ours or a unit.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.process.is_some() || self.systemd.is_some()
    }

    /// How what runs is asked to end; a unit is stopped as its own file says.
    #[must_use]
    pub fn stop(&self) -> Option<Stop> {
        let of_unit = || self.systemd.as_ref().map(|_| Stop { signal: Signal::Term, grace: Duration::ZERO });
        self.process.as_ref().map(|process| process.stop.clone()).or_else(of_unit)
    }
}

/// A git origin, as it was written. Never holds credentials and is never read
/// by git as an option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repo {
    /// `https://...` or `http://...`; the only kind that takes a token.
    Http(String),
    /// `ssh://...` or `user@host:path`.
    Ssh(String),
    /// `file:///...`
    File(String),
    /// A path on this host.
    Path(PathBuf),
}

impl fmt::Display for Repo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Repo::Http(text) | Repo::Ssh(text) | Repo::File(text) => f.write_str(text),
            Repo::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// `[project.NAME.python]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Python {
    /// How dependencies are chosen.
    pub sync: Sync,
    /// Lists of requirements inside the repository. Empty: found by itself.
    pub requirements: Vec<String>,
}

/// How the dependencies of a release are chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sync {
    /// Those of the lock file.
    #[default]
    Locked,
    /// The latest compatible ones.
    Upgrade,
}

/// `[project.NAME.process]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Process {
    /// The program and its arguments; `{port}` stands for the release's port.
    pub command: Vec<String>,
    /// The address that the proxy owns.
    pub listen: Option<SocketAddr>,
    /// How it is asked to end.
    pub stop: Stop,
    /// More environment.
    pub env: BTreeMap<String, String>,
}

/// `[project.NAME.systemd]`: a unit that is written elsewhere runs the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Systemd {
    /// The service, with `.service` at its end.
    pub unit: String,
    /// It belongs to the service manager of the user that runs the daemon.
    pub user: bool,
}

/// `[project.NAME.processes.*]`: a process without a port, such as one that
/// works off a queue.
#[derive(Clone, Debug, PartialEq)]
pub struct Companion {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// How it is asked to end.
    pub stop: Stop,
}

/// How a process is asked to end.
#[derive(Clone, Debug, PartialEq)]
pub struct Stop {
    /// Sent first.
    pub signal: Signal,
    /// After this it is killed.
    pub grace: Duration,
}

/// The signals that ask a process to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// `SIGTERM`
    Term,
    /// `SIGINT`
    Int,
    /// `SIGQUIT`
    Quit,
    /// `SIGHUP`
    Hup,
    /// `SIGUSR1`
    Usr1,
    /// `SIGUSR2`
    Usr2,
}

/// `[project.NAME.health]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// What an HTTP answer must be.
    pub expected: Expected,
    /// Good answers in a row that make it healthy; 1 to 1000.
    pub good: u32,
    /// Pause between two questions while waiting; at most `within`.
    pub interval: Duration,
    /// Not healthy after this: failed.
    pub within: Duration,
    /// One answer takes no longer.
    pub timeout: Duration,
    /// How long nothing is asked after the start; an app that answers nothing
    /// must stay up this long. `None`: not said.
    pub grace: Option<Duration>,
    /// How long after the switch a failure still puts the old release back.
    pub soak: Duration,
}

/// What a health check asks. All but the path may hold `{port}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// A path on the release's own port; starts with `/`.
    HttpPath(String),
    /// A whole http or https URL.
    HttpUrl(String),
    /// A `host:port` that must accept a connection.
    Tcp(String),
    /// A program that must end with 0.
    Command(Vec<String>),
    /// Nothing; the process must stay up, and take connections where it has a port.
    Stays,
}

/// What an HTTP answer must be, and what is sent to get it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its status. `None`: a success or a redirection.
    pub status: Option<u16>,
    /// A text that its first 64 KiB hold.
    pub body: Option<String>,
    /// Headers of the request.
    pub headers: BTreeMap<String, String>,
}

/// `[project.NAME.hooks]`: programs around the switch, with the environment of
/// the app and in the folder of the new release. A crash of this host runs them
/// again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Run in turn once all is built, before the new release starts.
    pub before_switch: Vec<Vec<String>>,
    /// Run in turn once the new release serves.
    pub after_switch: Vec<Vec<String>>,
    /// Each of them takes no longer.
    pub within: Duration,
}

/// `[project.NAME.compose]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compose {
    /// Paths inside the repository, each laid over those before it. Empty: found
    /// as Compose finds them.
    pub files: Vec<PathBuf>,
    /// What the dashboard shows. `None`: all.
    pub services: Option<Vec<String>>,
    /// Profiles that are active.
    pub profiles: Vec<String>,
    /// What Compose calls the project. `None`: the name of ours.
    pub name: Option<String>,
    /// Containers of that name that somebody else started are taken over.
    pub adopt: bool,
    /// Folders of this host that binds may lie in; absolute.
    pub binds: Vec<PathBuf>,
    /// What compose files may ask of this host beyond the harmless.
    pub allow: Allow,
    /// The service that answers: the health check asks it, `listen` leads to it.
    pub serves: Option<Serves>,
    /// The address that the proxy owns.
    pub listen: Option<SocketAddr>,
    /// What a rebuild recreates.
    pub rebuild: Recreate,
}

/// A service and its port in its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Serves {
    /// The service.
    pub service: String,
    /// The port.
    pub port: u16,
}

/// What is recreated although nothing about it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recreate {
    /// Nothing.
    #[default]
    Changed,
    /// Every container, after all of them were taken down.
    All,
}

/// `[project.NAME.command]`: any program that a command builds.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Run in turn to build a release.
    pub build: Vec<Vec<String>>,
    /// Run in turn to check a release before it is switched to.
    pub verify: Vec<Vec<String>>,
    /// Run after the switch.
    pub reload: Option<Vec<String>>,
}
