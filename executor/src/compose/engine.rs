//! The Docker engine, over its socket.
//!
//! Everything that is read of it, and the few small things that are done to it
//! without Compose: tags of our images, and containers that are put away.
//! `DOCKER_HOST` says where it is, for `docker compose` too. What is absent:
//! TLS, and ssh (give the daemon a socket instead).

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::EventMessage;
use bollard::query_parameters as query;
use futures_util::{Stream, StreamExt, TryStreamExt};

use super::Container;

/// Where the engine is when nobody says.
const HOST_DEFAULT: &str = "unix:///var/run/docker.sock";
/// An engine that does not answer a question within this does not answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// How long a container may take to stop at the most: a day, since its own file
/// says how long it is given.
const STOP_LIMIT: Duration = Duration::from_hours(24);
/// Containers that are asked about at once.
const QUESTIONS_MAX: usize = 8;
/// What of the engine's events can change what is shown.
const EVENTS: [&str; 11] = ["create", "start", "die", "stop", "destroy", "pause", "unpause", "oom", "rename", "update", "health_status"];

/// Why the engine did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It cannot be reached: it may be back later.
    #[error("the Docker engine at {host} does not answer: {why}")]
    Unreachable {
        /// Where it was looked for.
        host: String,
        /// What the system says.
        why: String,
    },
    /// It answered, and did not do it.
    #[error("the Docker engine says: {0}")]
    Refused(String),
}

/// An image that is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its identity, `sha256:…`.
    pub id: String,
    /// Names by digest, `redis@sha256:…`, of one that was pulled.
    pub digests: Vec<String>,
}

/// The engine of one host.
pub struct Engine {
    host: String,
    /// Speaks the version that the engine said; asked for again when it is gone.
    client: RefCell<Option<Docker>>,
}

impl Engine {
    /// The engine that `DOCKER_HOST` names, or the usual one. Nothing is asked yet.
    #[must_use]
    pub fn of_environment() -> Self {
        let host = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        Self { host: host.unwrap_or_else(|| HOST_DEFAULT.to_owned()), client: RefCell::default() }
    }

    /// Where it is, as `DOCKER_HOST` says it.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    async fn client(&self) -> Result<Docker, EngineError> {
        let known = self.client.borrow().clone();
        if let Some(client) = known {
            return Ok(client);
        }
        let client = Docker::connect_with_host(&self.host).map_err(|fault| self.lost(&fault))?;
        let client = answer(client.negotiate_version()).await.map_err(|why| self.wrong(why))?;
        *self.client.borrow_mut() = Some(client.clone());
        Ok(client)
    }

    /// It does not answer, or does not any more; the next question dials anew.
    #[must_use]
    pub fn lost(&self, fault: &dyn std::fmt::Display) -> EngineError {
        self.client.replace(None);
        EngineError::Unreachable { host: self.host.clone(), why: fault.to_string() }
    }

    fn wrong(&self, why: Why) -> EngineError {
        match why {
            Why::Said(Error::DockerResponseServerError { message, .. }) => EngineError::Refused(message),
            Why::Said(fault) => self.lost(&fault),
            Why::Silent => self.lost(&format!("no answer within {} s", ANSWER_LIMIT.as_secs())),
        }
    }

    /// Does it answer?
    ///
    /// # Errors
    ///
    /// When it does not.
    pub async fn ping(&self) -> Result<(), EngineError> {
        let client = self.client().await?;
        answer(client.ping()).await.map(drop).map_err(|why| self.wrong(why))
    }

    /// Where it keeps images and volumes, for looking at the room there.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub async fn root_dir(&self) -> Result<Option<String>, EngineError> {
        let client = self.client().await?;
        let info = answer(client.info()).await.map_err(|why| self.wrong(why))?;
        Ok(info.docker_root_dir.filter(|_| self.host.starts_with("unix://")))
    }

    /// Every container, in any state, that carries all of these labels
    /// (`name` or `name=value`).
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn containers(&self, labels: &[String]) -> Result<Vec<Container>, EngineError> {
        let client = self.client().await?;
        let filters = HashMap::from([("label".to_owned(), labels.to_vec())]);
        let options = query::ListContainersOptions { all: true, filters: Some(filters), ..Default::default() };
        let listed = answer(client.list_containers(Some(options))).await.map_err(|why| self.wrong(why))?;
        let asked = listed.into_iter().filter_map(|summary| summary.id).map(|id| async move { self.container(&id).await });
        let mut found: Vec<Container> = futures_util::stream::iter(asked).buffer_unordered(QUESTIONS_MAX).try_filter_map(|found| async { Ok(found) }).try_collect().await?;
        found.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(found)
    }

    /// One container; `None` when it is gone or not Compose's.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn container(&self, id: &str) -> Result<Option<Container>, EngineError> {
        let client = self.client().await?;
        match answer(client.inspect_container(id, None)).await {
            Ok(said) => Ok(Container::of(said)),
            Err(why) if why.is_missing() => Ok(None),
            Err(why) => Err(self.wrong(why)),
        }
    }

    /// What happens to containers of Compose from this moment on, in seconds
    /// since 1970.
    ///
    /// # Errors
    ///
    /// When the engine does not answer; each item too.
    pub async fn events(&self, since: u64) -> Result<impl Stream<Item = Result<EventMessage, Error>> + use<>, EngineError> {
        let client = self.client().await?;
        answer(client.ping()).await.map_err(|why| self.wrong(why))?;
        let filters = HashMap::from([
            ("type".to_owned(), vec!["container".to_owned()]),
            ("label".to_owned(), vec!["com.docker.compose.project".to_owned()]),
            ("event".to_owned(), EVENTS.map(str::to_owned).to_vec()),
        ]);
        Ok(client.events(Some(query::EventsOptions { since: Some(since.to_string()), filters: Some(filters), ..Default::default() })))
    }

    /// The engine is gone; the next question dials anew.
    pub fn forget(&self) {
        self.client.replace(None);
    }

    /// An image by any of its names; `None` when it is not here.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn image(&self, name: &str) -> Result<Option<Image>, EngineError> {
        let client = self.client().await?;
        match answer(client.inspect_image(name)).await {
            Ok(said) => Ok(said.id.map(|id| Image { id, digests: said.repo_digests.unwrap_or_default() })),
            Err(why) if why.is_missing() => Ok(None),
            Err(why) => Err(self.wrong(why)),
        }
    }

    /// Gives an image one more name.
    ///
    /// # Errors
    ///
    /// When the engine does not do it.
    pub async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let options = query::TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
        answer(client.tag_image(image, Some(options))).await.map_err(|why| self.wrong(why))
    }

    /// Takes one name from an image; one without names and containers is removed.
    ///
    /// # Errors
    ///
    /// When the engine does not do it, unless the name is unknown.
    pub async fn untag(&self, name: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        match answer(client.remove_image(name, None::<query::RemoveImageOptions>, None)).await {
            Err(why) if !why.is_missing() => Err(self.wrong(why)),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// The names of images whose repository is below this one.
    ///
    /// # Errors
    ///
    /// When the engine does not answer.
    pub async fn names_below(&self, repository: &str) -> Result<Vec<String>, EngineError> {
        let client = self.client().await?;
        let filters = HashMap::from([("reference".to_owned(), vec![format!("{repository}/*")])]);
        let options = query::ListImagesOptions { filters: Some(filters), ..Default::default() };
        let images = answer(client.list_images(Some(options))).await.map_err(|why| self.wrong(why))?;
        let is_below = |name: &String| name.strip_prefix(repository).is_some_and(|rest| rest.starts_with('/'));
        Ok(images.into_iter().flat_map(|image| image.repo_tags).filter(is_below).collect())
    }

    /// Stops a container with the signal and the grace of its own definition.
    ///
    /// # Errors
    ///
    /// When the engine does not do it, unless the container is gone.
    pub async fn stop(&self, id: &str) -> Result<(), EngineError> {
        let client = self.client().await?.with_timeout(STOP_LIMIT);
        match client.stop_container(id, None::<query::StopContainerOptions>).await.map_err(Why::Said) {
            Err(why) if !why.is_missing() => Err(self.wrong(why)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Removes a container, killing it if it runs; its volumes stay.
    ///
    /// # Errors
    ///
    /// When the engine does not do it, unless the container is gone.
    pub async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let client = self.client().await?;
        let options = query::RemoveContainerOptions { force: true, ..Default::default() };
        match answer(client.remove_container(id, Some(options))).await {
            Err(why) if !why.is_missing() => Err(self.wrong(why)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Runs a container's own health check now, as the engine would: its exit
    /// code, and what it said.
    ///
    /// # Errors
    ///
    /// When the engine does not do it, or it takes too long.
    pub async fn examine(&self, id: &str, test: &[String], limit: Duration) -> Result<(i64, String), EngineError> {
        let client = self.client().await?;
        let work = async {
            let options = CreateExecOptions { cmd: Some(command_of(test)), attach_stdout: Some(true), attach_stderr: Some(true), ..Default::default() };
            let exec = client.create_exec(id, options).await?;
            let mut said = String::new();
            if let StartExecResults::Attached { mut output, .. } = client.start_exec(&exec.id, None::<StartExecOptions>).await? {
                while let Some(piece) = output.next().await {
                    if said.len() < SAID_BYTES_MAX {
                        said.push_str(&text_of(&piece?));
                    }
                }
            }
            let ended = client.inspect_exec(&exec.id).await?;
            Ok((ended.exit_code.unwrap_or(-1), said))
        };
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done.map_err(|fault| self.wrong(Why::Said(fault))),
            Err(_) => Err(EngineError::Refused(format!("the health check did not end within {limit:?}"))),
        }
    }

    /// What a container printed, its last lines of what is not older than
    /// `since` (seconds since 1970), and what it prints from now on.
    ///
    /// # Errors
    ///
    /// When the engine does not answer; each item too.
    pub async fn logs(&self, id: &str, lines: usize, since: u64, follow: bool) -> Result<impl Stream<Item = Result<LogOutput, Error>> + use<>, EngineError> {
        let client = self.client().await?;
        let since = i32::try_from(since).unwrap_or(i32::MAX);
        let options = query::LogsOptions { stdout: true, stderr: true, tail: lines.to_string(), since, follow, ..Default::default() };
        Ok(client.logs(id, Some(options)))
    }

    /// [`Engine::logs`] that goes on, each line with its time before it (RFC 3339);
    /// without a number of lines, all of them.
    ///
    /// # Errors
    ///
    /// When the engine does not answer; each item too.
    pub async fn stamped_logs(&self, id: &str, lines: Option<usize>, since: u64) -> Result<impl Stream<Item = Result<LogOutput, Error>> + use<>, EngineError> {
        let client = self.client().await?;
        let (since, tail) = (i32::try_from(since).unwrap_or(i32::MAX), lines.map_or_else(|| "all".to_owned(), |lines| lines.to_string()));
        let options = query::LogsOptions { stdout: true, stderr: true, tail, since, follow: true, timestamps: true, ..Default::default() };
        Ok(client.logs(id, Some(options)))
    }

    /// The last lines that a container printed.
    pub async fn last_lines(&self, id: &str, lines: usize) -> Vec<String> {
        let Ok(pieces) = self.logs(id, lines, 0, false).await else { return Vec::new() };
        let read = async {
            let pieces: Vec<_> = pieces.try_collect().await?;
            Ok::<_, Error>(pieces.iter().map(text_of).collect::<String>())
        };
        let said = answer(read).await.unwrap_or_default();
        said.lines().map(str::to_owned).collect()
    }
}

/// Most of what a health check says that is kept, in bytes.
const SAID_BYTES_MAX: usize = 1_000;

fn text_of(piece: &LogOutput) -> String {
    String::from_utf8_lossy(piece.as_ref()).into_owned()
}

/// `["CMD", …]` is an argv, `["CMD-SHELL", script]` is the shell's.
fn command_of(test: &[String]) -> Vec<String> {
    match test.split_first() {
        Some((kind, rest)) if kind == "CMD-SHELL" => ["/bin/sh", "-c"].map(str::to_owned).into_iter().chain(rest.iter().cloned()).collect(),
        Some((kind, rest)) if kind == "CMD" => rest.to_vec(),
        _ => test.to_vec(),
    }
}

enum Why {
    Said(Error),
    Silent,
}

impl Why {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Said(Error::DockerResponseServerError { status_code: 404, .. }))
    }
}

async fn answer<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Why> {
    match tokio::time::timeout(ANSWER_LIMIT, asked).await {
        Ok(said) => said.map_err(Why::Said),
        Err(_) => Err(Why::Silent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_is_run_as_the_engine_runs_it() {
        let of = |words: &[&str]| command_of(&words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(of(&["CMD", "wget", "-q"]), ["wget", "-q"]);
        assert_eq!(of(&["CMD-SHELL", "wget || exit 1"]), ["/bin/sh", "-c", "wget || exit 1"]);
    }
}
