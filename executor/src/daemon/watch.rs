//! What an app prints, shown to whoever watches at the edge.
//!
//! Only where the host's file has `logs` among what the edge may ask for, and
//! only while somebody asks for it again and again. Invariant: nothing is sent
//! that was not cleaned of the project's secrets; a link that is slow or gone
//! costs nobody memory. What is absent: keeping any of it, and what an app of a
//! systemd unit prints elsewhere. Services of a compose project are followed at
//! the engine (`watch/services.rs`).

mod services;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::rc::Rc;

use doorstep_shared::ids::Name;
use doorstep_shared::protocol::{LOG_BYTES_MAX, ToEdge, WATCH_MS, WATCH_TAIL_LINES};
use tracing::warn;

use services::Services;

use super::Daemon;
use crate::clock;
use crate::compose::{Container, Engine};
use crate::logs;
use crate::redact::Redactor;
use crate::run::redactor;

/// How often a watched log is looked at.
const LOOK_MS: u64 = 250;
/// Most that is read at a look; what an app prints faster is passed over.
const READ_BYTES_MAX: u64 = LOG_BYTES_MAX as u64;
/// A line without an end is shown once it is as long as this.
const UNENDED_BYTES_MAX: usize = 4 * 1024;
/// Projects that are watched at once.
const WATCHES_MAX: usize = 32;

/// The watched projects.
#[derive(Default)]
pub(super) struct Watches {
    of: BTreeMap<Name, Watch>,
    look_at: u64,
}

struct Watch {
    until: u64,
    redactor: Redactor,
    /// The log that is read, and how far; none before the first look.
    log: Option<(PathBuf, u64)>,
    rest: Vec<u8>,
    /// The containers that are followed instead, of a compose project.
    services: Option<Services>,
}

impl Watches {
    /// When the logs are looked at next.
    pub(super) fn deadline(&self) -> Option<u64> {
        (!self.of.is_empty()).then_some(self.look_at)
    }
}

impl Daemon {
    /// Somebody watches.
    pub(super) fn watched(&mut self, project: Name, tail: bool) {
        let Some(settings) = self.shared.config.projects.get(project.as_str()).filter(|settings| settings.remote.logs) else { return };
        let now = clock::steady().0;
        if !self.watches.of.contains_key(&project) {
            if self.watches.of.len() >= WATCHES_MAX {
                return;
            }
            let watch = Watch { until: 0, redactor: redactor(&self.shared, settings), log: None, rest: Vec::new(), services: None };
            self.watches.of.insert(project.clone(), watch);
        }
        if let Some(watch) = self.watches.of.get_mut(&project) {
            watch.until = now + WATCH_MS;
            if tail {
                (watch.log, watch.services) = (None, None);
            }
        }
        self.watches.look_at = now;
    }

    /// Sends what was printed since the last look.
    pub(super) fn look_at_watches(&mut self, now: u64) {
        if self.watches.deadline().is_none_or(|at| at > now) {
            return;
        }
        self.watches.look_at = now + LOOK_MS;
        let is_up = self.link.is_up();
        self.watches.of.retain(|_, watch| is_up && watch.until > now);
        let mut printed = Vec::new();
        for (project, watch) in &mut self.watches.of {
            if let Some(settings) = self.shared.config.projects.get(project.as_str()).filter(|settings| settings.compose.is_some()) {
                let stacks = self.shared.supervisor.stacks();
                // One that was started again has a stream of its own.
                let started = |container: &Container| container.started.map_or(0, |started| started.0);
                let mut ids: Vec<String> = stacks.containers(settings).iter().map(|container| format!("{} {}", container.id, started(container))).collect();
                ids.sort();
                printed.extend(watch.look_at_services(stacks.engine(), project, ids).map(|(first, lines)| ToEdge::Printed { project: project.clone(), first, lines }));
                continue;
            }
            let live = self.shared.journal.live_release(project.as_str()).ok().flatten();
            let Some(log) = live.map(|live| self.shared.supervisor.app_log(project.as_str(), live.id)) else { continue };
            printed.extend(watch.look(log).map(|(first, lines)| ToEdge::Printed { project: project.clone(), first, lines }));
        }
        for frame in printed {
            if let Err(fault) = self.send(&frame) {
                warn!("{fault:#}");
            }
        }
    }
}

impl Watch {
    fn look_at_services(&mut self, engine: &Rc<Engine>, project: &Name, ids: Vec<String>) -> Option<(bool, Vec<String>)> {
        if self.services.as_ref().is_none_or(|services| !services.are_of(&ids)) {
            self.services = (!ids.is_empty()).then(|| Services::follow(Rc::clone(engine), project.to_string(), ids));
        }
        self.services.as_mut()?.look(&self.redactor)
    }

    /// New lines, and whether they are the first ones. A log that cannot be read
    /// is one that is not there yet.
    fn look(&mut self, log: PathBuf) -> Option<(bool, Vec<String>)> {
        let length = std::fs::metadata(&log).ok()?.len();
        let at = match &self.log {
            Some((known, at)) if *known == log => *at,
            _ => return Some((true, self.begin(log, length))),
        };
        // It was cut, since it had become too long.
        let at = if length < at { 0 } else { at };
        if length == at {
            return None;
        }
        let skipped = (length - at).saturating_sub(READ_BYTES_MAX);
        if skipped > 0 {
            self.rest.clear();
        }
        let mut file = File::open(&log).ok()?;
        file.seek(SeekFrom::Start(at + skipped)).ok()?;
        let read = file.take(READ_BYTES_MAX).read_to_end(&mut self.rest).ok()?;
        self.log = Some((log, at + skipped + read as u64));
        let mut lines = Vec::new();
        if skipped > 0 {
            lines.push(format!("… {} KiB came too fast to be shown; the host has them", skipped.div_ceil(1024)));
            self.whole_line();
        }
        lines.append(&mut self.ended_lines());
        (!lines.is_empty()).then_some((false, lines))
    }

    fn begin(&mut self, log: PathBuf, length: u64) -> Vec<String> {
        self.rest.clear();
        let mut budget = LOG_BYTES_MAX;
        let tail = logs::tail(&log, WATCH_TAIL_LINES);
        let mut lines: Vec<String> = tail.iter().rev().map(|line| self.redactor.line(line)).take_while(|line| {
            budget = budget.saturating_sub(line.len() + 1);
            budget > 0
        }).collect();
        lines.reverse();
        self.log = Some((log, length));
        lines
    }

    /// Drops what is left of a line whose beginning was passed over.
    fn whole_line(&mut self) {
        let end = self.rest.iter().position(|byte| *byte == b'\n').map_or(self.rest.len(), |end| end + 1);
        self.rest.drain(..end);
    }

    fn ended_lines(&mut self) -> Vec<String> {
        let end = match self.rest.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end + 1,
            None if self.rest.len() >= UNENDED_BYTES_MAX => self.rest.len(),
            None => return Vec::new(),
        };
        let whole: Vec<u8> = self.rest.drain(..end).collect();
        String::from_utf8_lossy(&whole).lines().map(|line| self.redactor.line(line)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn watch() -> Watch {
        let mut redactor = Redactor::default();
        redactor.add("hunter2hunter2");
        Watch { until: 0, redactor, log: None, rest: Vec::new(), services: None }
    }

    fn seen(watch: &mut Watch, log: &std::path::Path) -> Option<(bool, Vec<String>)> {
        watch.look(log.to_path_buf())
    }

    #[test]
    fn it_begins_with_the_last_lines_and_goes_on_with_whole_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (log, mut watch) = (dir.path().join("r1.log"), watch());
        assert_eq!(seen(&mut watch, &log), None, "there is no log yet");
        let many: String = (0..WATCH_TAIL_LINES + 5).map(|n| format!("line {n}\n")).collect();
        std::fs::write(&log, many).unwrap();
        let (first, lines) = seen(&mut watch, &log).unwrap();
        assert!(first && lines.len() == WATCH_TAIL_LINES && lines[0] == "line 5");
        assert_eq!(seen(&mut watch, &log), None);
        let mut app = std::fs::OpenOptions::new().append(true).open(&log).unwrap();
        app.write_all(b"the \x1b[31mword\x1b[0m is hunter2hunter2\nhalf a ").unwrap();
        assert_eq!(seen(&mut watch, &log), Some((false, vec!["the word is [secret]".to_owned()])));
        app.write_all(b"line\n").unwrap();
        assert_eq!(seen(&mut watch, &log), Some((false, vec!["half a line".to_owned()])));
        let next = dir.path().join("r2.log");
        std::fs::write(&next, "another release\n").unwrap();
        assert_eq!(seen(&mut watch, &next), Some((true, vec!["another release".to_owned()])));
    }

    #[test]
    fn what_comes_too_fast_or_without_end_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let (log, mut watch) = (dir.path().join("r1.log"), watch());
        std::fs::write(&log, "").unwrap();
        assert_eq!(seen(&mut watch, &log), Some((true, Vec::new())));
        std::fs::write(&log, "a flood of words\n".repeat(100_000)).unwrap();
        let (_, lines) = seen(&mut watch, &log).unwrap();
        assert!(lines[0].contains("came too fast") && lines[1] == "a flood of words", "{:?}", &lines[..2]);
        assert!(lines.iter().map(|line| line.len() + 1).sum::<usize>() <= LOG_BYTES_MAX + 100);
        assert_eq!(seen(&mut watch, &log), None);
        std::fs::write(&log, "x".repeat(UNENDED_BYTES_MAX)).unwrap();
        assert!(seen(&mut watch, &log).is_some_and(|(_, lines)| lines.len() == 1), "it was cut, and prints no end of line");
        let long = format!("{}\n", "y".repeat(LOG_BYTES_MAX * 2));
        std::fs::write(&log, &long).unwrap();
        watch.log = None;
        let (first, lines) = seen(&mut watch, &log).unwrap();
        assert!(first && lines.iter().map(String::len).sum::<usize>() <= LOG_BYTES_MAX);
    }
}
