//! What the services of a compose project print, for `doorstep logs`.
//!
//! Read from the engine itself, so no daemon is needed. Each line says its
//! service where there are several. What is absent: keeping any of it, which the
//! engine's logging driver does, and containers that are started meanwhile (`follow`).

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use doorstep_shared::text::clean_line;
use futures_util::stream::{StreamExt, select_all};

use super::{Container, Engine, EngineError, LABEL_PROJECT};

/// Longest line that is kept whole, in bytes.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// What is shown.
#[derive(Clone, Debug, Default)]
pub struct Shown<'a> {
    /// Of this service only.
    pub service: Option<&'a str>,
    /// So many lines from the end of each container's.
    pub lines: usize,
    /// Nothing older than this.
    pub since: Option<Duration>,
    /// Go on as these containers print more.
    pub follow: bool,
}

/// Shows it, line by line, until there is no more or `print` is done; false when
/// the project has no such containers.
///
/// # Errors
///
/// When the engine does not answer.
pub async fn show(engine: &Engine, project: &str, shown: &Shown<'_>, mut print: impl FnMut(&str) -> std::io::Result<()>) -> Result<bool, EngineError> {
    let mut containers = engine.containers(&[format!("{LABEL_PROJECT}={project}")]).await?;
    containers.retain(|container| is_shown(container, shown));
    if containers.is_empty() {
        return Ok(false);
    }
    let since = since(shown);
    let mut streams = Vec::new();
    for container in &containers {
        let pieces = engine.logs(&container.id, shown.lines, since, shown.follow).await?;
        let id = container.id.clone();
        streams.push(pieces.map(move |piece| (id.clone(), piece)).boxed_local());
    }
    let names: HashMap<&str, String> = containers.iter().map(|container| (container.id.as_str(), prefix(container, &containers))).collect();
    let mut rests: HashMap<String, Vec<u8>> = HashMap::new();
    let mut all = select_all(streams);
    while let Some((id, piece)) = all.next().await {
        let name = names.get(id.as_str()).map_or("", String::as_str);
        let piece = match piece {
            Ok(piece) => piece,
            Err(fault) if print(&format!("{name}(its log cannot be read: {fault})")).is_ok() => continue,
            Err(_) => return Ok(true),
        };
        let rest = rests.entry(id.clone()).or_default();
        rest.extend_from_slice(piece.as_ref());
        for line in whole_lines(rest) {
            if print(&format!("{name}{line}")).is_err() {
                return Ok(true);
            }
        }
    }
    for (id, rest) in rests.iter().filter(|(_, rest)| !rest.is_empty()) {
        let line = clean_line(&String::from_utf8_lossy(rest));
        let _ = print(&format!("{}{line}", names.get(id.as_str()).map_or("", String::as_str)));
    }
    Ok(true)
}

/// Is this container one of those that are meant?
pub(super) fn is_shown(container: &Container, shown: &Shown<'_>) -> bool {
    shown.service.is_none_or(|service| service == container.service)
}

/// Seconds since 1970.
pub(super) fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// From when on lines are shown, in seconds since 1970.
pub(super) fn since(shown: &Shown<'_>) -> u64 {
    shown.since.map_or(0, |since| seconds_now().saturating_sub(since.as_secs()))
}

/// Which service a line is of, where that is not plain.
pub(super) fn prefix(container: &Container, all: &[Container]) -> String {
    if all.len() == 1 {
        return String::new();
    }
    let is_one_of_many = all.iter().filter(|other| other.service == container.service).count() > 1;
    if is_one_of_many { format!("{} | ", container.name) } else { format!("{} | ", container.service) }
}

pub(super) fn whole_lines(rest: &mut Vec<u8>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == b'\n').or((rest.len() >= LINE_BYTES_MAX).then_some(rest.len().saturating_sub(1))) {
        let line: Vec<u8> = rest.drain(..=end).collect();
        lines.push(clean_line(String::from_utf8_lossy(&line).trim_end_matches(['\n', '\r'])));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::container::tests::container;
    use doorstep_shared::ids::ServiceState::Running;

    #[test]
    fn lines_come_whole_and_clean() {
        let mut rest = b"one\r\ntw".to_vec();
        assert_eq!(whole_lines(&mut rest), ["one"]);
        rest.extend_from_slice(b"o \x1b[2J\n");
        assert_eq!(whole_lines(&mut rest), ["two "]);
        rest = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(whole_lines(&mut rest).len(), 1, "a line without an end comes in pieces");
    }

    #[test]
    fn a_line_says_whose_it_is_where_that_is_not_plain() {
        let (web, jobs) = (container("web", Running), container("jobs", Running));
        assert_eq!(prefix(&web, std::slice::from_ref(&web)), "");
        assert_eq!(prefix(&web, &[web.clone(), jobs.clone()]), "web | ");
        assert_eq!(prefix(&web, &[web.clone(), web.clone(), jobs]), "media-web-1 | ");
    }
}
