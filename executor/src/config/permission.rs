//! The closed list of what a host's file can allow a compose project, and the
//! sentence a person reads when something is refused.
//!
//! A word stands for one right over the host, not for one key of the compose
//! file: `privileged` is the same right in a service, a hook and a build. Nothing
//! here decides; `policy` and `files` do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// A right over the host that no compose project has by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Permission {
    /// Containers, hooks and builds with every right of the host.
    Privileged,
    /// The host's network instead of one of its own.
    HostNetwork,
    /// The host's processes.
    HostPid,
    /// The host's shared memory and semaphores.
    HostIpc,
    /// The host's name.
    HostUts,
    /// The host's user ids where the engine would map them.
    HostUserNs,
    /// The host's control groups, or a chosen place among them.
    HostCgroup,
    /// Namespaces, volumes or links of containers outside the project.
    ForeignContainer,
    /// Device files of the host, and rules about them.
    Devices,
    /// GPUs and other devices that an engine's driver hands out.
    Gpus,
    /// The container engine's socket, its state, or a folder that holds one.
    DockerSocket,
    /// Binds of anything outside the release and the declared folders, and
    /// mounts that travel back to the host.
    Bind,
    /// Capabilities that Docker does not give by default.
    Capabilities,
    /// Security options that weaken or replace the engine's own.
    SecurityOpt,
    /// Kernel parameters outside `net.`.
    Sysctls,
    /// Being spared when the host runs out of memory.
    Oom,
    /// Another runtime, isolation or storage, and annotations that steer them.
    Runtime,
    /// Volumes of another driver, or that mount something by its options.
    VolumeDriver,
    /// Networks of another driver, or on a named bridge of the host.
    NetworkDriver,
    /// Logging that reaches a socket or a file of the host.
    Logging,
    /// Reading files outside the release and the declared folders: build
    /// contexts, configs, secrets, environment files.
    OutsideFile,
    /// Build contexts that are fetched.
    RemoteContext,
    /// Compose files that are fetched.
    RemoteInclude,
    /// The executor's SSH agent or keys while building.
    BuildSsh,
    /// Services that are a program run on the host.
    Provider,
    /// Language models, which run outside any container.
    Models,
    /// Keys that this version of Doorstep does not know.
    UnknownKeys,
}

impl Permission {
    /// All of them, in the order in which they are listed to a person.
    pub const ALL: [Self; 27] = [
        Self::Privileged,
        Self::HostNetwork,
        Self::HostPid,
        Self::HostIpc,
        Self::HostUts,
        Self::HostUserNs,
        Self::HostCgroup,
        Self::ForeignContainer,
        Self::Devices,
        Self::Gpus,
        Self::DockerSocket,
        Self::Bind,
        Self::Capabilities,
        Self::SecurityOpt,
        Self::Sysctls,
        Self::Oom,
        Self::Runtime,
        Self::VolumeDriver,
        Self::NetworkDriver,
        Self::Logging,
        Self::OutsideFile,
        Self::RemoteContext,
        Self::RemoteInclude,
        Self::BuildSsh,
        Self::Provider,
        Self::Models,
        Self::UnknownKeys,
    ];

    /// The word in the host's file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::HostNetwork => "host_network",
            Self::HostPid => "host_pid",
            Self::HostIpc => "host_ipc",
            Self::HostUts => "host_uts",
            Self::HostUserNs => "host_user_ns",
            Self::HostCgroup => "host_cgroup",
            Self::ForeignContainer => "foreign_container",
            Self::Devices => "devices",
            Self::Gpus => "gpus",
            Self::DockerSocket => "docker_socket",
            Self::Bind => "bind",
            Self::Capabilities => "capabilities",
            Self::SecurityOpt => "security_opt",
            Self::Sysctls => "sysctls",
            Self::Oom => "oom",
            Self::Runtime => "runtime",
            Self::VolumeDriver => "volume_driver",
            Self::NetworkDriver => "network_driver",
            Self::Logging => "logging",
            Self::OutsideFile => "outside_file",
            Self::RemoteContext => "remote_context",
            Self::RemoteInclude => "remote_include",
            Self::BuildSsh => "build_ssh",
            Self::Provider => "provider",
            Self::Models => "models",
            Self::UnknownKeys => "unknown_keys",
        }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word of `allow` that means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// The word is not one of [`Permission::ALL`].
    #[error("\"{0}\" is nothing that can be allowed; the words are {list}", list = words())]
    Word(String),
    /// What stands before the colon can be no service.
    #[error("\"{0}\" is no name of a service; expected \"word\" or \"service:word\"")]
    Name(String),
}

fn words() -> String {
    Permission::ALL.map(Permission::as_str).join(", ")
}

impl FromStr for Permission {
    type Err = NotAllowed;

    fn from_str(word: &str) -> Result<Self, NotAllowed> {
        let found = Self::ALL.into_iter().find(|permission| permission.as_str() == word);
        found.ok_or_else(|| NotAllowed::Word(word.to_owned()))
    }
}

/// What the host's file allows one project beyond the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    everywhere: BTreeSet<Permission>,
    named: BTreeMap<String, BTreeSet<Permission>>,
}

impl Allow {
    /// Reads the whole list.
    ///
    /// # Errors
    ///
    /// The first word that means nothing. A reader that reports every fault
    /// calls [`Allow::add`] for each.
    pub fn parse<S: AsRef<str>>(words: &[S]) -> Result<Self, NotAllowed> {
        let mut allow = Self::default();
        words.iter().try_for_each(|word| allow.add(word.as_ref()))?;
        Ok(allow)
    }

    /// Reads `word`, or `name:word` where the name is that of a service or of a
    /// top-level volume, network, config or secret.
    ///
    /// # Errors
    ///
    /// The word, or the name before it, means nothing.
    pub fn add(&mut self, text: &str) -> Result<(), NotAllowed> {
        let Some((name, word)) = text.split_once(':') else {
            self.everywhere.insert(text.parse()?);
            return Ok(());
        };
        let permission = word.parse()?;
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            return Err(NotAllowed::Name(name.to_owned()));
        }
        self.named.entry(name.to_owned()).or_default().insert(permission);
        Ok(())
    }

    /// Whether anything at all may have this right.
    #[must_use]
    pub fn has_anywhere(&self, permission: Permission) -> bool {
        self.everywhere.contains(&permission) || self.named.values().any(|named| named.contains(&permission))
    }

    /// Whether what is at this place may have this right.
    #[must_use]
    pub fn has(&self, place: &Place, permission: Permission) -> bool {
        let of_name = place.name().and_then(|name| self.named.get(name));
        self.everywhere.contains(&permission) || of_name.is_some_and(|named| named.contains(&permission))
    }
}

/// Whose key it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The model as a whole.
    Model,
    /// A compose file, by its path in the release.
    File(String),
    /// A service, by name; the same below.
    Service(String),
    /// A top-level volume.
    Volume(String),
    /// A top-level network.
    Network(String),
    /// A top-level config.
    Config(String),
    /// A top-level secret.
    Secret(String),
}

impl Place {
    /// What may stand before the colon in `name:word`.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Service(name) | Self::Volume(name) | Self::Network(name) | Self::Config(name) | Self::Secret(name) => Some(name),
            Self::Model | Self::File(_) => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = match self {
            Self::Model => return f.write_str("the compose project"),
            Self::File(path) => ("file", path),
            Self::Service(name) => ("service", name),
            Self::Volume(name) => ("volume", name),
            Self::Network(name) => ("network", name),
            Self::Config(name) => ("config", name),
            Self::Secret(name) => ("secret", name),
        };
        // Names come from the repository, and this goes to a terminal.
        write!(f, "{kind} {}", name.escape_debug())
    }
}

/// Something that a compose file may not ask, and what would allow it. Printed
/// as one sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Whose key.
    pub place: Place,
    /// The key, with dots where it is nested: `build.context`, `volumes[0].source`.
    pub key: String,
    /// What it would mean for the host.
    pub why: String,
    /// The word that would allow it; nothing does when the file or the model
    /// cannot be understood at all.
    pub allow: Option<Permission>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.key.escape_debug(), self.why)?;
        match (self.allow, self.place.name()) {
            (Some(word), Some(name)) => write!(f, "; the host's file can allow it with allow = [\"{}:{word}\"] in the project's compose section", name.escape_debug()),
            (Some(word), None) => write!(f, "; the host's file can allow it with allow = [\"{word}\"] in the project's compose section"),
            (None, _) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_listed_once_and_reads_back() {
        for permission in Permission::ALL {
            assert_eq!(permission.as_str().parse(), Ok(permission));
        }
        assert_eq!(Permission::ALL.into_iter().collect::<BTreeSet<_>>().len(), Permission::ALL.len());
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_right_ones() {
        let answer = "web:root".parse::<Permission>().unwrap_err().to_string();
        assert!(answer.starts_with("\"web:root\" is nothing that can be allowed; the words are privileged, host_network, "), "{answer}");
        assert!(answer.ends_with("unknown_keys"), "{answer}");
        for (text, good) in [
            ("privileged", true),
            ("web:privileged", true),
            ("my.web_1-x:bind", true),
            ("", false),
            ("Privileged", false),
            (":bind", false),
            ("web:", false),
            ("a b:bind", false),
            ("a:b:bind", false),
            ("*:bind", false),
        ] {
            assert_eq!(Allow::parse(&[text]).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn a_refusal_is_one_sentence() {
        let refusal = |place, allow| Refusal { place, key: "privileged".into(), why: "it would have all rights of this host".into(), allow };
        for (refusal, expected) in [
            (
                refusal(Place::Service("web".into()), Some(Permission::Privileged)),
                "service web: privileged: it would have all rights of this host; the host's file can allow it with allow = [\"web:privileged\"] in the project's compose section",
            ),
            (
                refusal(Place::File("a/compose.yaml".into()), Some(Permission::Privileged)),
                "file a/compose.yaml: privileged: it would have all rights of this host; the host's file can allow it with allow = [\"privileged\"] in the project's compose section",
            ),
            (refusal(Place::Service("\u{1b}[2J\n".into()), None), "service \\u{1b}[2J\\n: privileged: it would have all rights of this host"),
            (refusal(Place::Model, None), "the compose project: privileged: it would have all rights of this host"),
        ] {
            assert_eq!(refusal.to_string(), expected);
        }
    }
}
