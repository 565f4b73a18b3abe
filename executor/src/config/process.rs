//! Reading of `[project.NAME.process]` and `[project.NAME.health]`: what runs
//! and how one sees that it is well.
//!
//! The two belong together because a check of the release's own port makes
//! sense only where the process has one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::address::{self, PORT_PLACEHOLDER};
use super::fault::shown;
use super::model::{Health, Probe, Process, Signal, Stop};
use super::reader::Reader;
use super::section::{Found, Section};
use super::{duration, url, variable};

/// Grace of a process that says nothing: what systemd and Kubernetes users
/// expect, give or take.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// Longest wait for anything of one project: a deploy that hangs longer than an
/// hour is a fault, not patience.
const WAIT_MAX: Duration = Duration::from_hours(1);

/// Shortest pause between two checks; below it a check is a busy loop.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

const INTERVAL_DEFAULT: Duration = Duration::from_millis(10);
const WITHIN_DEFAULT: Duration = Duration::from_mins(1);
const GOOD_DEFAULT: u32 = 3;

/// More good answers in a row than this prove nothing more.
const GOOD_MAX: u32 = 1000;

/// A process as read, with what the checks around it need.
pub(super) struct ProcessRead {
    /// `None`: there is none, or it has faults.
    pub(super) process: Option<Process>,
    pub(super) present: bool,
    pub(super) listen: Option<Found<SocketAddr>>,
}

impl ProcessRead {
    /// Whether a release has a port of its own. One with faults is given the
    /// benefit of the doubt.
    fn has_port(&self) -> bool {
        let named = |process: &Process| {
            process.listen.is_some()
                || process
                    .command
                    .iter()
                    .any(|arg| arg.contains(PORT_PLACEHOLDER))
        };
        self.present && self.process.as_ref().is_none_or(named)
    }
}

/// Reads the process, if there is one.
pub(super) fn process<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
) -> ProcessRead {
    let mut section = reader.section(parent, "process");
    let known_faults = reader.faults.len();
    let command = reader.argv(&mut section, "command");
    let command_wrong = reader.faults.len() > known_faults;
    let listen = reader.parsed(&mut section, "listen", address::listen);
    let stop = stop(reader, &mut section, sections);
    let env = env(reader, &mut section);
    let present = section.present;
    if present && command.is_none() && !command_wrong {
        let message = format!("{} needs `command`, the program to run", section.title());
        reader.absent(&section.spot, message);
    }
    sections.push(section);
    let address = listen.as_ref().map(|found| found.value);
    let process = command.map(|command| Process {
        command,
        listen: address,
        stop,
        env,
    });
    ProcessRead {
        process,
        present,
        listen,
    }
}

fn stop<'t>(
    reader: &mut Reader<'_>,
    process: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
) -> Stop {
    let mut section = reader.section(process, "stop");
    let words = [
        ("TERM", Signal::Term),
        ("INT", Signal::Int),
        ("QUIT", Signal::Quit),
        ("HUP", Signal::Hup),
        ("USR1", Signal::Usr1),
        ("USR2", Signal::Usr2),
    ];
    let signal = reader.choice(&mut section, "signal", &words);
    let grace = reader.duration(&mut section, "grace", Duration::ZERO..=WAIT_MAX);
    // A variable for the grace makes a process of nothing, and is told so.
    process.present |= section.present;
    sections.push(section);
    Stop {
        signal: signal.unwrap_or(Signal::Term),
        grace: grace.map_or(GRACE_DEFAULT, |found| found.value),
    }
}

fn env(reader: &mut Reader<'_>, process: &mut Section<'_>) -> BTreeMap<String, String> {
    // The keys are the user's, so none of them is unknown.
    let section = reader.section(process, "env");
    let path = section.child_path("");
    reader.free_table(&section, |key| {
        let first = |c: char| c.is_ascii_alphabetic() || c == '_';
        let good = key.starts_with(first) && key.chars().all(|c| first(c) || c.is_ascii_digit());
        let written = shown(key);
        if !good {
            return Err(format!("`{written}` is no name of an environment variable"));
        }
        if variable::looks_secret(key) {
            let place = variable::place_for_secret(&path);
            return Err(format!(
                "`{written}` looks like a secret, and this file holds none; {place}"
            ));
        }
        Ok(())
    })
}

/// Reads the health check, if there is one.
pub(super) fn health<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
    process: &ProcessRead,
) -> Option<Health> {
    let mut section = reader.section(parent, "health");
    let probe = probe(reader, &mut section, process);
    let good = reader.number(&mut section, "good", 1..=GOOD_MAX);
    let known_faults = reader.faults.len();
    let interval = reader.duration(&mut section, "interval", INTERVAL_MIN..=WAIT_MAX);
    let within = reader.duration(&mut section, "within", INTERVAL_MIN..=WAIT_MAX);
    let within = within.map_or(WITHIN_DEFAULT, |found| found.value);
    let too_long = interval.as_ref().filter(|found| found.value > within);
    // A wrong `within` stands as its default here, which proves nothing.
    if let Some(found) = too_long.filter(|_| reader.faults.len() == known_faults) {
        let within = duration::written(within);
        let message = format!("`interval`: longer than `within`, which is {within}");
        reader.absent(&found.spot, message);
    }
    sections.push(section);
    Some(Health {
        probe: probe?,
        good: good.unwrap_or(GOOD_DEFAULT),
        interval: interval.map_or(INTERVAL_DEFAULT, |found| found.value),
        within,
    })
}

/// The one probe among `http`, `tcp` and `command`.
fn probe(
    reader: &mut Reader<'_>,
    section: &mut Section<'_>,
    process: &ProcessRead,
) -> Option<Probe> {
    let known_faults = reader.faults.len();
    let http = reader.parsed(section, "http", |text| {
        url::health(text).map(|text| {
            if text.starts_with('/') {
                Probe::HttpPath(text)
            } else {
                Probe::HttpUrl(text)
            }
        })
    });
    let tcp = reader.parsed(section, "tcp", |text| address::dial(text).map(Probe::Tcp));
    let command = reader.argv(section, "command").map(Probe::Command);
    let wrong = reader.faults.len() > known_faults;
    let mut probes = Vec::new();
    probes.extend(http.map(|found| (found.value, found.spot)));
    probes.extend(tcp.map(|found| (found.value, found.spot)));
    probes.extend(command.map(|probe| (probe, section.spot.clone())));
    if probes.len() > 1 {
        let message = format!(
            "{} has more than one of `http`, `tcp`, `command`",
            section.title()
        );
        reader.fault(&section.spot, message);
    }
    let Some((probe, spot)) = probes.into_iter().next() else {
        if section.present && !wrong {
            let message = format!("{} needs one of `http`, `tcp`, `command`", section.title());
            reader.absent(&section.spot, message);
        }
        return None;
    };
    if needs_port(&probe) && !process.has_port() {
        let title = section.title().replace(".health]", ".process]");
        let message = format!(
            "this check needs a port of the release: give {title} a `listen` or a {PORT_PLACEHOLDER} in its `command`, or check a fixed address"
        );
        reader.absent(&spot, message);
    }
    Some(probe)
}

fn needs_port(probe: &Probe) -> bool {
    match probe {
        Probe::HttpPath(_) => true,
        Probe::HttpUrl(text) | Probe::Tcp(text) => text.contains(PORT_PLACEHOLDER),
        Probe::Command(argv) => argv.iter().any(|arg| arg.contains(PORT_PLACEHOLDER)),
    }
}
