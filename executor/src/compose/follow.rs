//! What the services of a compose project print, for as long as somebody likes
//! (`doorstep logs -f`).
//!
//! A container's own stream ends with its process, so the engine's events say
//! when it was started again or another was made. Invariant: no line is shown
//! twice, since the engine stamps each with its time. What is absent: coming
//! back to an engine that went away, which ends it with an error.

use std::collections::HashMap;
use std::io;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::models::EventMessage;
use futures_util::stream::{LocalBoxStream, SelectAll, StreamExt, once};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::printed::{Shown, is_shown, prefix, seconds_now, since, whole_lines};
use super::{Container, Engine, EngineError, LABEL_PROJECT};

/// What is heard of a container, named by its identity.
enum Heard {
    Piece(String, Result<LogOutput, Error>),
    /// Its stream is at its end.
    End(String),
}

/// A container whose stream is, or was, read.
struct Source {
    prefix: String,
    /// What came of a line that has not ended.
    rest: Vec<u8>,
    /// The time of its last line, in nanoseconds since 1970.
    last: i128,
    is_open: bool,
    /// It was started again before its stream ended.
    is_due: bool,
}

/// The streams of one project.
struct Followed<'a> {
    engine: &'a Engine,
    project: &'a str,
    shown: &'a Shown<'a>,
    first: Vec<Container>,
    sources: HashMap<String, Source>,
    streams: SelectAll<LocalBoxStream<'static, Heard>>,
}

/// Shows it line by line until `print` is done; false when the project has no
/// such containers.
///
/// # Errors
///
/// When the engine does not answer, or does not any more.
pub async fn follow(engine: &Engine, project: &str, shown: &Shown<'_>, mut print: impl FnMut(&str) -> io::Result<()>) -> Result<bool, EngineError> {
    // From before the first look, so that no start is missed.
    let events = engine.events(seconds_now().saturating_sub(1)).await?;
    tokio::pin!(events);
    let mut followed = Followed { engine, project, shown, first: engine.containers(&[format!("{LABEL_PROJECT}={project}")]).await?, sources: HashMap::new(), streams: SelectAll::new() };
    followed.first.retain(|container| is_shown(container, shown));
    if followed.first.is_empty() {
        return Ok(false);
    }
    for container in followed.first.clone() {
        followed.begin(&container, Some(shown.lines)).await?;
    }
    loop {
        let printed = tokio::select! {
            Some(heard) = followed.streams.next() => followed.hear(heard, &mut print).await?,
            event = events.next() => match event {
                Some(Ok(event)) => {
                    followed.see(event).await?;
                    Ok(())
                }
                Some(Err(fault)) => return Err(engine.lost(&fault)),
                None => return Err(engine.lost(&"its events ended")),
            },
        };
        // A reader that went away.
        if printed.is_err() {
            return Ok(true);
        }
    }
}

impl Followed<'_> {
    /// Reads a container that was not read before, from so many lines back, or from
    /// its beginning.
    async fn begin(&mut self, container: &Container, lines: Option<usize>) -> Result<(), EngineError> {
        let source = Source { prefix: self.prefix(container), rest: Vec::new(), last: 0, is_open: false, is_due: false };
        self.sources.insert(container.id.clone(), source);
        self.read(&container.id, lines, since(self.shown)).await
    }

    /// Reads on after a container was started again.
    async fn go_on(&mut self, id: &str) -> Result<(), EngineError> {
        let last = self.sources.get(id).map_or(0, |source| source.last);
        let seconds = u64::try_from(last / 1_000_000_000).unwrap_or(0);
        self.read(id, None, seconds.max(since(self.shown))).await
    }

    async fn read(&mut self, id: &str, lines: Option<usize>, since: u64) -> Result<(), EngineError> {
        let (of, end) = (id.to_owned(), Heard::End(id.to_owned()));
        let pieces = self.engine.stamped_logs(id, lines, since).await?;
        if let Some(source) = self.sources.get_mut(id) {
            (source.is_open, source.is_due) = (true, false);
            self.streams.push(pieces.map(move |piece| Heard::Piece(of.clone(), piece)).chain(once(std::future::ready(end))).boxed_local());
        }
        Ok(())
    }

    /// As those that were there first have it.
    fn prefix(&self, container: &Container) -> String {
        let is_first = self.first.iter().any(|first| first.id == container.id);
        match &self.first[..] {
            [only] if is_first || only.service == container.service => String::new(),
            first if is_first || first.iter().any(|first| first.service == container.service) => prefix(container, first),
            _ => format!("{} | ", container.service),
        }
    }

    /// A container was started.
    async fn see(&mut self, event: EventMessage) -> Result<(), EngineError> {
        let Some(actor) = event.actor.filter(|_| event.action.as_deref() == Some("start")) else { return Ok(()) };
        let is_ours = actor.attributes.is_some_and(|attributes| attributes.get(LABEL_PROJECT).is_some_and(|of| of == self.project));
        let Some(id) = actor.id.filter(|_| is_ours) else { return Ok(()) };
        match self.sources.get_mut(&id) {
            Some(source) if source.is_open => source.is_due = true,
            Some(_) => self.go_on(&id).await?,
            None => {
                if let Some(container) = self.engine.container(&id).await?.filter(|container| is_shown(container, self.shown)) {
                    self.begin(&container, None).await?;
                }
            }
        }
        Ok(())
    }

    async fn hear(&mut self, heard: Heard, print: &mut impl FnMut(&str) -> io::Result<()>) -> Result<io::Result<()>, EngineError> {
        match heard {
            Heard::Piece(id, piece) => Ok(self.sources.get_mut(&id).map_or(Ok(()), |source| source.take(piece, print))),
            Heard::End(id) => {
                let Some(source) = self.sources.get_mut(&id) else { return Ok(Ok(())) };
                let printed = source.end(print);
                if std::mem::take(&mut source.is_due) {
                    self.go_on(&id).await?;
                }
                Ok(printed)
            }
        }
    }
}

impl Source {
    fn take(&mut self, piece: Result<LogOutput, Error>, print: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        match piece {
            // Of a terminal the engine sends bytes as they come.
            Ok(LogOutput::Console { message }) => {
                self.rest.extend_from_slice(&message);
                for line in whole_lines(&mut self.rest) {
                    let (at, text) = stamped(line.as_bytes());
                    if self.is_new(at) {
                        print(&format!("{}{}", self.prefix, String::from_utf8_lossy(text)))?;
                    }
                }
                Ok(())
            }
            // Of others each piece is a line, or a part of one that is too long.
            Ok(piece) => {
                let (at, text) = stamped(piece.as_ref());
                if self.is_new(at) {
                    self.rest.extend_from_slice(text);
                }
                whole_lines(&mut self.rest).iter().try_for_each(|line| print(&format!("{}{line}", self.prefix)))
            }
            Err(fault) => print(&format!("{}(its log cannot be read: {fault})", self.prefix)),
        }
    }

    /// Was nothing of this time shown yet? Without a time it is new.
    fn is_new(&mut self, at: Option<i128>) -> bool {
        let is_new = at.is_none_or(|at| at > self.last);
        self.last = self.last.max(at.unwrap_or(0));
        is_new
    }

    /// Its stream ended, in the midst of a line perhaps.
    fn end(&mut self, print: &mut impl FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        self.is_open = false;
        if self.rest.is_empty() {
            return Ok(());
        }
        self.rest.push(b'\n');
        whole_lines(&mut self.rest).iter().try_for_each(|line| print(&format!("{}{line}", self.prefix)))
    }
}

/// The time that the engine put before a line, in nanoseconds since 1970, and the
/// line itself.
fn stamped(line: &[u8]) -> (Option<i128>, &[u8]) {
    let Some(end) = line.iter().position(|byte| *byte == b' ') else { return (None, line) };
    let (stamp, text) = (&line[..end], &line[end + 1..]);
    let at = std::str::from_utf8(stamp).ok().and_then(|stamp| OffsetDateTime::parse(stamp, &Rfc3339).ok());
    at.map_or((None, line), |at| (Some(at.unix_timestamp_nanos()), text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> Source {
        Source { prefix: "web | ".to_owned(), rest: Vec::new(), last: 0, is_open: true, is_due: false }
    }

    fn shown(source: &mut Source, pieces: Vec<LogOutput>) -> Vec<String> {
        let mut lines = Vec::new();
        let mut print = |line: &str| {
            lines.push(line.to_owned());
            Ok(())
        };
        for piece in pieces {
            source.take(Ok(piece), &mut print).unwrap();
        }
        source.end(&mut print).unwrap();
        lines
    }

    fn out(text: &'static str) -> LogOutput {
        LogOutput::StdOut { message: text.into() }
    }

    #[test]
    fn what_was_shown_is_not_shown_again() {
        let mut web = source();
        let (one, two) = (out("2026-11-27T10:00:00.000000001Z one\n"), out("2026-11-27T10:00:00.000000002Z two \x1b[2J words\n"));
        assert_eq!(shown(&mut web, vec![one.clone(), two.clone()]), ["web | one", "web | two  words"]);
        assert_eq!(shown(&mut web, vec![one, two, out("2026-11-27T10:00:00.000000003Z three\n")]), ["web | three"]);
        assert_eq!(shown(&mut web, vec![out("no time at all\n")]), ["web | no time at all"]);
    }

    #[test]
    fn a_line_in_parts_is_one_line() {
        let parts = vec![out("2026-11-27T10:00:00.000000001Z a long "), out("2026-11-27T10:00:00.000000002Z line\n"), out("2026-11-27T10:00:00.000000003Z cut")];
        assert_eq!(shown(&mut source(), parts), ["web | a long line", "web | cut"]);
    }

    #[test]
    fn a_terminal_says_bytes() {
        let console = |text: &'static str| LogOutput::Console { message: text.into() };
        let mut web = source();
        assert_eq!(shown(&mut web, vec![console("2026-11-27T10:00:00.000000001Z o"), console("ne\r\n2026-11-27T10:00:00.000000002Z two\r\n")]), ["web | one", "web | two"]);
        assert!(shown(&mut web, vec![console("2026-11-27T10:00:00.000000002Z two\r\n")]).is_empty());
    }
}
