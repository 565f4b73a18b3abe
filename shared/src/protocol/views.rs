//! What a host tells of what it has: projects, services, commits, use.
//!
//! Plain data of a frame. Every field that a newer version added has a default.

use serde::{Deserialize, Serialize};

use crate::ids::{Action, ContainerHealth, Name, ProjectState, ServiceName, ServiceState};
use crate::time::Timestamp;

/// A project as its host describes it to the hub.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProjectView {
    /// Its name in the host's file.
    pub name: Name,
    /// Its origin, for matching pushes and for display.
    pub repo: String,
    /// The branch it follows.
    pub branch: String,
    /// The paths that concern it; empty for all.
    #[serde(default)]
    pub paths: Vec<String>,
    /// What the edge may ask for.
    #[serde(default)]
    pub remote: Vec<Action>,
    /// How it is now.
    pub state: ProjectState,
    /// Why, when there is more to say.
    #[serde(default)]
    pub reason: Option<String>,
    /// The live release.
    #[serde(default)]
    pub live: Option<LiveView>,
    /// The address it serves at, for display.
    #[serde(default)]
    pub address: Option<String>,
    /// May the edge show what the app prints?
    #[serde(default)]
    pub shows_logs: bool,
    /// The services of a compose project, by name; at most [`SERVICES_MAX`](super::SERVICES_MAX).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceView>,
    /// How the live release stands to its branch; none when they are the same, or
    /// it is not known. Since version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<BehindView>,
    /// The release of the branch's head, when it was found bad: no event deploys
    /// it again, only a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quarantined: Option<LiveView>,
    /// What can be gone back to; none: the host does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<BackView>,
}

/// Most commits of a [`BackView`]: 20 × 43 bytes a project.
pub const BACK_COMMITS_MAX: usize = 20;

/// The releases that can be made live again, by their commits of 40 hex digits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackView {
    /// The one that a rollback takes by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// All that can be named, the newest first, at most [`BACK_COMMITS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<String>,
}

/// How a live release stands to its branch, as it was fetched last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BehindView {
    /// Commits of the branch that are not live and concern the project's `paths`;
    /// [`BEHIND_COUNT_MAX`](super::BEHIND_COUNT_MAX) stands for that many or more.
    #[serde(default)]
    pub behind: u32,
    /// Commits that are live and not on the branch, as after a forced push.
    #[serde(default)]
    pub ahead: u32,
    /// The newest of those behind, newest first; at most [`BEHIND_COMMITS_MAX`](super::BEHIND_COMMITS_MAX).
    #[serde(default)]
    pub commits: Vec<CommitView>,
}

/// A commit as people see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitView {
    /// 40 hex digits.
    pub commit: String,
    /// First line of its message.
    #[serde(default)]
    pub subject: String,
    /// Name of its author.
    #[serde(default)]
    pub author: String,
    /// When it was committed.
    pub at: Timestamp,
}

/// What a project's app or one of its services uses now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsedView {
    /// The project.
    pub project: Name,
    /// The service; the app itself when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceName>,
    /// Processor time since the last time, in thousandths of one core.
    pub cpu_permille: u32,
    /// Memory, in bytes.
    pub memory_bytes: u64,
}

/// A service of a compose project, as the engine on its host shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceView {
    /// Its name in the compose file.
    pub name: ServiceName,
    /// How it is.
    pub state: ServiceState,
    /// What its own health check says, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<ContainerHealth>,
    /// The image as the compose file names it, or as it was built.
    #[serde(default)]
    pub image: String,
    /// The image's identity: `sha256:` and 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When its container was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<Timestamp>,
    /// When it was started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// How often the engine started it again by itself.
    #[serde(default)]
    pub restarts: u32,
    /// Its exit code, once it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Its ports, such as `127.0.0.1:8080->80/tcp`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// How many containers it has.
    #[serde(default)]
    pub containers: u32,
    /// A person stopped it, and the rest of its project is to run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stopped: bool,
    /// All of this was so when the engine was last heard, before this moment;
    /// none: it is so now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known_until: Option<Timestamp>,
}

impl ServiceView {
    /// Was it stopped by a person, and did it stay so?
    #[must_use]
    pub fn rests(&self) -> bool {
        self.stopped && !matches!(self.state, ServiceState::Running | ServiceState::Restarting | ServiceState::Paused)
    }
}

/// The live release of a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveView {
    /// Its number on the host.
    pub release: u64,
    /// Its commit, 40 hex digits.
    pub commit: String,
    /// First line of the commit's message.
    #[serde(default)]
    pub subject: String,
    /// When it went live.
    pub since: Timestamp,
    /// Name of the commit's author. Since version 4.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// When it was committed. Since version 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub committed: Option<Timestamp>,
}
