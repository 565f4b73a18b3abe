//! The nouns that travel: names, numbers and the closed lists of states.
//!
//! A [`Name`] is checked once, where it enters, so that everything behind the
//! rim may put it in a path, a URL or an argv without thinking again.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of a host or a project, in bytes (a DNS label).
pub const NAME_BYTES_MAX: usize = 63;

/// A host's or a project's name: `^[a-z0-9][a-z0-9._-]{0,62}$`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a name: it must begin with a-z or 0-9 and hold only a-z, 0-9, `.`, `_` and `-`, at most 63 characters")]
pub struct BadName(String);

impl Name {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let good = text.len() <= NAME_BYTES_MAX
            && text.bytes().next().is_some_and(plain)
            && text.bytes().all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if good { Ok(Self(text.to_owned())) } else { Err(BadName(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Longest name of a service of a compose project, in bytes: it is part of the
/// name of a container, and so of a host name (253).
pub const SERVICE_BYTES_MAX: usize = 200;

/// The name of a service as Compose allows it, without a leading dash, since it
/// becomes an argument: `^[a-zA-Z0-9._][a-zA-Z0-9._-]*$`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServiceName(String);

/// Why a text is not a [`ServiceName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the name of a service: it is made of letters, digits, `.`, `_` and `-`, at most 200, and does not begin with `-`")]
pub struct BadServiceName(String);

impl ServiceName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ServiceName {
    type Err = BadServiceName;

    fn from_str(text: &str) -> Result<Self, BadServiceName> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        let good = !text.is_empty() && text.len() <= SERVICE_BYTES_MAX && !text.starts_with('-') && text.bytes().all(plain);
        if good { Ok(Self(text.to_owned())) } else { Err(BadServiceName(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for ServiceName {
    type Error = BadServiceName;

    fn try_from(text: String) -> Result<Self, BadServiceName> {
        text.parse()
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Number of a job, given by the hub: its time in milliseconds times 1,024
/// plus a counter, so numbers rise with time and stay below 2^53.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How often a job was granted; the fence of its lease. The first grant is 1.
pub type Attempt = u32;

/// Declares a closed list of words with one spelling for wire, rows and pages.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of declaration.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// The word on the wire, in rows and on pages.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word),+ }
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                match text {
                    $($word => Ok($name::$variant),)+
                    other => Err(UnknownWord(other.chars().take(80).collect())),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

/// A word that is on no list of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown word `{0}`")]
pub struct UnknownWord(String);

words! {
    /// What a job asks of a project.
    Action {
        /// Fetch the branch and say what is there; change nothing.
        Fetch = "fetch",
        /// Bring the project to the newest commit of its branch.
        Deploy = "deploy",
        /// Stop and start what is live.
        Restart = "restart",
        /// Stop what is live and keep it stopped.
        Stop = "stop",
        /// Start what is live.
        Start = "start",
        /// Build what is live again.
        Rebuild = "rebuild",
        /// Go back to the previous release.
        Rollback = "rollback",
    }
}

words! {
    /// Why a job exists.
    Cause {
        /// A push that GitHub told us of.
        Push = "push",
        /// A person asked at the dashboard or through the API.
        Dashboard = "dashboard",
        /// A person asked on the host.
        Manual = "manual",
        /// The branch and what is live differed and no push was known.
        Reconcile = "reconcile",
        /// A delivery that was run again.
        Replay = "replay",
    }
}

words! {
    /// Where a job stands.
    JobState {
        /// Not granted yet, or granted and let go.
        Waiting = "waiting",
        /// Held by its host until the lease ends.
        Leased = "leased",
        /// Carried out.
        Done = "done",
        /// Given up, with a reason.
        Dead = "dead",
        /// A newer one took its place.
        Superseded = "superseded",
    }
}

words! {
    /// Where a run stands.
    RunState {
        /// Under way.
        Running = "running",
        /// The new release is live.
        Succeeded = "succeeded",
        /// Nothing was switched; the old release was never touched.
        Failed = "failed",
        /// The new release was not healthy; the old one serves.
        RolledBack = "rolled_back",
        /// The host's file does not allow it.
        Refused = "refused",
    }
}

words! {
    /// Where a step stands.
    StepState {
        /// Planned.
        Pending = "pending",
        /// Under way.
        Started = "started",
        /// Carried out.
        Succeeded = "succeeded",
        /// Went wrong.
        Failed = "failed",
        /// Carried out and taken back.
        Undone = "undone",
    }
}

words! {
    /// How a project is.
    ProjectState {
        /// Its live release runs.
        Running = "running",
        /// Nothing of it runs, and nothing should.
        Stopped = "stopped",
        /// It should run and does not stay up.
        Failing = "failing",
        /// It runs, and something about it needs a person.
        Degraded = "degraded",
    }
}

words! {
    /// How a service of a compose project is: its worst container.
    ServiceState {
        /// Every container of it runs.
        Running = "running",
        /// A container was made and not started.
        Created = "created",
        /// It ended and is started again by the engine.
        Restarting = "restarting",
        /// Its processes are frozen.
        Paused = "paused",
        /// It ended; its exit code says how.
        Exited = "exited",
        /// The engine could not remove it.
        Dead = "dead",
        /// It has no container.
        Absent = "absent",
    }
}

words! {
    /// What a container's own health check says.
    ContainerHealth {
        /// It has not passed yet.
        Starting = "starting",
        /// It passed.
        Healthy = "healthy",
        /// It failed again and again.
        Unhealthy = "unhealthy",
    }
}

words! {
    /// What kind of thing went wrong; decides whether a job is tried again.
    FailureKind {
        /// A network on the way to the origin or an index; tried again many times.
        Network = "network",
        /// The build broke; tried again once.
        Build = "build",
        /// What the repository holds cannot be deployed; not tried again.
        Source = "source",
        /// The new release was not healthy; not tried again.
        Health = "health",
        /// The host's file forbids it; not tried again.
        Policy = "policy",
        /// The host itself (permissions, a missing program, a bug); tried again once.
        Host = "host",
        /// No room on the host's disk; tried again when there is.
        Disk = "disk",
        /// It killed the daemon again and again; not tried again.
        Crash = "crash",
        /// Somebody cancelled it, or it ran past its limit.
        Cancelled = "cancelled",
    }
}

words! {
    /// What became of a delivery.
    DeliveryState {
        /// Stored, and an event was derived.
        Accepted = "accepted",
        /// Stored; nothing follows from it, and the reason says why.
        Ignored = "ignored",
        /// Seen before; nothing changed.
        Duplicate = "duplicate",
        /// Not believed.
        Refused = "refused",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_strict() {
        for good in ["a", "0", "shop", "my-app.v2_x", &"a".repeat(63)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "A", "a b", "a/b", "ä", "a\n", "..", &"a".repeat(64)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<Name>("\"../x\"").is_err());
    }

    #[test]
    fn names_of_services_are_arguments() {
        for good in ["web", "Web_1", "a.b-c", "_x", &"a".repeat(200)] {
            assert!(good.parse::<ServiceName>().is_ok(), "{good}");
        }
        for bad in ["", "-web", "a b", "a/b", "ä", "a\n", &"a".repeat(201)] {
            assert!(bad.parse::<ServiceName>().is_err(), "{bad:?}");
        }
        assert!(serde_json::from_str::<ServiceName>("\"--all\"").is_err());
    }

    #[test]
    fn words_round_trip_in_text_and_in_json() {
        for action in Action::ALL {
            assert_eq!(action.as_str().parse::<Action>().unwrap(), *action);
            assert_eq!(serde_json::to_string(action).unwrap(), format!("\"{action}\""));
        }
        for state in RunState::ALL {
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{state}\""));
        }
        for state in JobState::ALL {
            assert_eq!(serde_json::to_string(state).unwrap(), format!("\"{state}\""));
        }
        assert!("Deploy".parse::<Action>().is_err());
    }
}
