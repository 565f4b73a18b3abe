//! Calling `docker compose`, and hearing what it says.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use doorstep_shared::ids::FailureKind;

use super::super::Runner;
use super::super::steps::{Wrong, told};
use crate::child::{self, End, PATH_DEFAULT, Tool};
use crate::compose::permission::Permission;

/// Last lines of Compose's output that a failure shows.
const LAST_LINES: usize = 20;
/// What is said where docker has no Compose.
const MISSING: &str = "Compose 2 is not installed: `docker compose` is not known to this docker";
/// What Compose and the builder are told of this host, besides the project's own
/// variables: where things are, and the way to the internet.
const PASSED: [&str; 20] = [
    "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_RUNTIME_DIR", "DOCKER_CONFIG", "DOCKER_BUILDKIT",
    "BUILDKIT_HOST", "SSL_CERT_FILE", "SSL_CERT_DIR", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "ALL_PROXY",
];

/// What Compose said about why it failed, and how.
pub(super) struct Said {
    pub how: String,
    pub last: Vec<String>,
}

impl Said {
    /// As a fault; `kind` is what it is when nothing that was said tells better.
    pub fn wrong(self, what: &str, kind: FailureKind) -> Wrong {
        let kind = blamed(&self.last).unwrap_or(kind);
        let message = if is_missing(&self.last) { format!("{MISSING}; it said:\n{}", self.last.join("\n")) } else { told(&format!("`docker compose {what}` {}", self.how), &self.last) };
        Wrong { kind, message }
    }
}

/// Does docker not know Compose? That is said at a line's start; what a build
/// prints has its step before it.
fn is_missing(lines: &[String]) -> bool {
    let says = ["unknown flag: --ansi", "docker: 'compose' is not a docker command", "docker: unknown command: docker compose"];
    lines.iter().any(|line| says.iter().any(|start| line.starts_with(start)))
}

/// What the lines blame, if that is plain.
fn blamed(lines: &[String]) -> Option<FailureKind> {
    if is_missing(lines) {
        return Some(FailureKind::Host);
    }
    let says = |words: &[&str]| lines.iter().any(|line| words.iter().any(|word| line.contains(word)));
    if says(&["Cannot connect to the Docker daemon", "connection reset by peer", "error during connect", "unexpected EOF", "i/o timeout", "no such host", "TLS handshake timeout", "connection refused", "network is unreachable", "Client.Timeout exceeded", "toomanyrequests"]) {
        return Some(FailureKind::Network);
    }
    if says(&["port is already allocated", "address already in use", "permission denied while trying to connect"]) {
        return Some(FailureKind::Host);
    }
    None
}

impl Runner {
    /// Runs `docker` with these words; each line goes to the run's log.
    pub(super) async fn docker(&mut self, argv: Vec<OsString>, dir: &Path, env: &BTreeMap<String, String>, limit: Duration, mut on_line: impl FnMut(&str)) -> Result<Result<(), Said>, Wrong> {
        let program = find_docker().ok_or_else(|| Wrong::host("docker was not found; install it with its compose plugin, or set DOORSTEP_DOCKER to its path"))?;
        let words: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
        self.say(&format!("$ docker {}", words.join(" ")));
        let tool = Tool { program, args: argv, dir: dir.to_path_buf(), env: self.docker_environment(env), limit };
        let mut last: VecDeque<String> = VecDeque::new();
        let (cancel, restoring) = (self.cancel.clone(), self.restoring);
        let cancelled = async { if restoring { std::future::pending().await } else { cancel.cancelled().await } };
        let end = child::run(&tool, cancelled, |line| {
            self.hear(line);
            on_line(line);
            if last.len() == LAST_LINES {
                last.pop_front();
            }
            last.push_back(line.to_owned());
        });
        let how = match end.await {
            Ok(End::Good) => return Ok(Ok(())),
            Ok(End::Bad(how)) => how,
            Ok(End::TimedOut) => format!("did not end within {limit:?}"),
            Ok(End::Cancelled) => return Err(Wrong { kind: FailureKind::Cancelled, message: "it was cancelled".to_owned() }),
            Err(fault) => return Err(Wrong::host(format!("docker does not start: {fault}"))),
        };
        Ok(Err(Said { how, last: last.into() }))
    }

    /// Compose's environment: a clean one, the project's variables, and what
    /// keeps it from fetching models from elsewhere. Whatever a `.env` of the
    /// repository says, this is stronger.
    fn docker_environment(&self, env: &BTreeMap<String, String>) -> Vec<(OsString, OsString)> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
        let mut all: Vec<(OsString, OsString)> = vec![("PATH".into(), path)];
        all.extend(PASSED.iter().filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?))));
        all.extend(env.iter().map(|(name, value)| (name.into(), value.into())));
        all.push(("DOCKER_HOST".into(), self.shared.supervisor.stacks().engine().host().into()));
        let may_fetch = self.project.compose.as_ref().is_some_and(|compose| compose.allow.has_anywhere(Permission::RemoteInclude));
        if !may_fetch {
            for name in ["COMPOSE_EXPERIMENTAL_GIT_REMOTE", "COMPOSE_EXPERIMENTAL_OCI_REMOTE"] {
                all.push((name.into(), "false".into()));
            }
        }
        all.push(("NO_COLOR".into(), "1".into()));
        // What finds it after a crash of this daemon.
        all.push(("DOORSTEP_RUN".into(), self.record.id.clone().into()));
        all
    }

    /// What a project's compose files may refer to: its own variables, and
    /// which commit this is.
    pub(super) fn stack_variables(&self, commit: &str) -> Result<BTreeMap<String, String>, Wrong> {
        let mut variables: BTreeMap<String, String> = self.shared.supervisor.project_variables(&self.project).map_err(Wrong::host)?.into_iter().collect();
        let data = self.shared.supervisor.layout(&self.project).data();
        variables.insert("DOORSTEP_PROJECT".to_owned(), self.project.name.clone());
        variables.insert("DOORSTEP_COMMIT".to_owned(), commit.to_owned());
        variables.insert("DOORSTEP_DATA".to_owned(), data.to_string_lossy().into_owned());
        Ok(variables)
    }
}

fn find_docker() -> Option<PathBuf> {
    match std::env::var_os("DOORSTEP_DOCKER").filter(|path| !path.is_empty()) {
        Some(path) => Some(PathBuf::from(path)),
        None => child::find("docker", &[], Path::new("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_docker_without_compose_is_the_hosts_fault() {
        let of = |lines: &[&str]| Said { how: "exited with 125".to_owned(), last: lines.iter().map(|line| (*line).to_owned()).collect() }.wrong("config", FailureKind::Source);
        let other = of(&["#7 0.2 docker: 'compose' is not a docker command.", "target web: failed to solve"]);
        assert_eq!(other.kind, FailureKind::Source, "what a build prints is the repository's");
        for said in ["unknown flag: --ansi", "docker: 'compose' is not a docker command.", "docker: unknown command: docker compose"] {
            let wrong = of(&[said, "", "Usage:  docker [OPTIONS] COMMAND [ARG...]", "", "Run 'docker --help' for more information"]);
            assert_eq!(wrong.kind, FailureKind::Host, "{said}");
            assert!(wrong.message.starts_with("Compose 2 is not installed: `docker compose` is not known to this docker"), "{}", wrong.message);
        }
    }

    #[test]
    fn whose_fault_it_is_is_told_from_what_was_said() {
        let of = |line: &str| blamed(&[line.to_owned()]);
        assert_eq!(of("Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"), Some(FailureKind::Network));
        assert_eq!(of("Error response from daemon: driver failed: Bind for 127.0.0.1:80 failed: port is already allocated"), Some(FailureKind::Host));
        assert_eq!(of("failed to solve: process \"/bin/false\" did not complete successfully: exit code: 1"), None);
    }
}
