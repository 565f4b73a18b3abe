//! Reading of `[project.NAME.process]`: what runs, where it listens, and how
//! it is asked to end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::address::{self, PORT_PLACEHOLDER};
use super::fault::shown;
use super::model::{Companion, Process, Signal, Stop};
use super::reader::Reader;
use super::section::{Found, Section};
use super::variable;

/// Grace of a process that says nothing: what systemd and Kubernetes users
/// expect, give or take.
const GRACE_DEFAULT: Duration = Duration::from_secs(30);

/// Longest wait for anything of one project: a deploy that hangs longer than an
/// hour is a fault, not patience.
pub(super) const WAIT_MAX: Duration = Duration::from_hours(1);

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
    pub(super) fn has_port(&self) -> bool {
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

/// Processes of one project beside its main one: each is started, stopped and
/// watched by itself, and a host has some thousands of processes in all.
const COMPANIONS_MAX: usize = 16;

/// Reads `[project.NAME.processes.*]`: what else runs of a release.
pub(super) fn companions<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
    main: &ProcessRead,
) -> BTreeMap<String, Companion> {
    let section = reader.section(parent, "processes");
    let mut read = BTreeMap::new();
    let Some(table) = section.table else {
        return read;
    };
    if !main.present {
        let message = format!(
            "{} is what runs beside the main process, and there is no {}",
            section.title(),
            section.title().replace(".processes]", ".process]")
        );
        reader.fault(&section.spot, message);
    }
    if table.len() > COMPANIONS_MAX {
        let message = format!("{} names more than {COMPANIONS_MAX} processes", section.title());
        reader.fault(&section.spot, message);
    }
    for (name, entry) in table.iter().take(COMPANIONS_MAX) {
        if let Err(why) = super::project::check_name(name) {
            reader.fault(&entry.key_spot, why);
        }
        let Some(inner) = reader.table(&entry.item) else {
            continue;
        };
        let inner = Section::new(section.child_path(name), inner, entry.item.spot.clone());
        read.extend(companion(reader, inner, sections).map(|companion| (name.clone(), companion)));
    }
    read
}

fn companion<'t>(
    reader: &mut Reader<'_>,
    mut section: Section<'t>,
    sections: &mut Vec<Section<'t>>,
) -> Option<Companion> {
    let command = reader.required(&mut section, "`command`, the program to run", |reader, section| {
        reader.argv(section, "command")
    });
    let stop = stop(reader, &mut section, sections);
    if command.iter().flatten().any(|word| word.contains(PORT_PLACEHOLDER)) {
        let message = format!("{}: only the main process is given a port", section.title());
        reader.fault(&section.spot, message);
    }
    sections.push(section);
    command.map(|command| Companion { command, stop })
}
