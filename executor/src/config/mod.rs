//! The host's file, `doorstep.toml`, read strictly.
//!
//! [`parse`] turns a text and a lookup of environment variables into a
//! [`Config`], or into every fault at once, each with its place. It is pure:
//! what it is given is all it sees. [`load`] finds and reads the files.
//!
//! Whatever is in a [`Config`] has been checked: an unknown key, a wrong value
//! or a clash between projects never gets past here. There is no secret in it;
//! see [`git_token`]. Nothing here looks at the host (whether a directory
//! exists, whether a port is free) or at a repository.

mod address;
mod branch;
mod check;
mod compose;
mod dotenv;
pub mod duration;
mod fault;
mod health;
mod load;
mod model;
pub mod permission;
mod process;
mod project;
mod reader;
mod secret;
mod section;
mod syntax;
mod tree;
mod url;
mod variable;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

pub use address::PORT_PLACEHOLDER;
pub use fault::Faults;
#[cfg(test)]
pub use load::Loaded;
pub use load::{LoadError, load};
pub use model::{Companion, Compose, Config, Expected, Health, Probe, Project, Recreate, RemotePolicy, Repo, Serves, Signal, Stop, Sync, Systemd};
#[cfg(test)]
pub use secret::Secret;
pub use secret::{Vars, git_token};

use fault::{RawFault, Spot};
use project::ProjectRead;
use reader::Reader;
use section::Section;
use tree::Table;

/// Largest file: 200 projects written out in full are below 300 KiB.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;

/// Projects of one host. Each is an app with its own supervision; a host is
/// full long before, so this catches a generator that ran away.
pub const PROJECTS_MAX: usize = 200;

/// How often origins are asked when nobody says: a list of refs is cheap for
/// both ends, and a lost webhook is rare.
const RECONCILE_DEFAULT: Duration = Duration::from_secs(10 * 60);

/// Reads `KEY=VALUE` lines; the second part says what is wrong with the others.
#[must_use]
pub fn dotenv(text: &str) -> (Vec<(String, String)>, Vec<String>) {
    let (pairs, faults) = dotenv::parse(text);
    (pairs, faults.into_iter().map(|fault| fault.message).collect())
}

/// Reads the text of a `doorstep.toml`.
///
/// `file` is its name for the faults. `env` looks a variable up, an empty one
/// counting as not set; `env_names` are the names that are set, for warnings
/// about those that match nothing. Relative paths are left as they are.
///
/// # Errors
///
/// Every fault of the file and of the variables that override it.
pub fn parse(
    text: &str,
    file: &str,
    env: &dyn Fn(&str) -> Option<String>,
    env_names: &[String],
) -> Result<Config, Faults> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file is larger than {FILE_BYTES_MAX} bytes");
        let raw = vec![RawFault::new(Spot::Whole, message)];
        return Err(fault::locate(raw, text, file));
    }
    let (table, syntax) = syntax::read(text);
    let mut reader = Reader::new(env, syntax);
    let mut config = root(&mut reader, &table);
    if reader.faults.is_empty() {
        config
            .warnings
            .extend(variable::warnings(env_names, reader.asked.keys()));
        return Ok(config);
    }
    Err(fault::locate(reader.faults, text, file))
}

fn root(reader: &mut Reader<'_>, table: &Table) -> Config {
    let mut top = Section::new(Vec::new(), table, Spot::Byte(0));
    let mut sections = Vec::new();
    let edge = reader.parsed(&mut top, "edge", url::edge);
    let reconcile = reader.parsed(&mut top, "reconcile", reconcile);
    let remote = project::policy(reader, &mut top, &mut sections).unwrap_or_default();
    let projects = projects(reader, &mut top, &remote);
    sections.push(top);
    reader.finish(&sections);
    check::claims(reader, &projects);
    let projects: BTreeMap<String, Project> = projects
        .into_iter()
        .filter_map(|read| Some((read.name, read.project?)))
        .collect();
    Config {
        edge: edge.map(|found| found.value),
        reconcile: reconcile.map_or(Some(RECONCILE_DEFAULT), |found| found.value),
        remote,
        warnings: projects.values().filter_map(useless_token_file).collect(),
        projects,
    }
}

fn projects(
    reader: &mut Reader<'_>,
    top: &mut Section<'_>,
    remote: &RemotePolicy,
) -> Vec<ProjectRead> {
    let section = reader.section(top, "project");
    let Some(table) = section.table else {
        return Vec::new();
    };
    if table.len() > PROJECTS_MAX {
        let message = format!("there are more than {PROJECTS_MAX} projects");
        reader.fault(&section.spot, message);
    }
    table
        .iter()
        .take(PROJECTS_MAX)
        .map(|(name, entry)| project::project(reader, name, entry, remote))
        .collect()
}

/// `off`, or how often: seconds are for trying it out, a day is the longest.
fn reconcile(text: &str) -> Result<Option<Duration>, String> {
    const RANGE: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(24 * 3_600);
    if text == "off" {
        return Ok(None);
    }
    let every = duration::parse(text).map_err(|wrong| format!("{wrong}; or \"off\""))?;
    if RANGE.contains(&every) { Ok(Some(every)) } else { Err("from 1s to 24h, or \"off\"".to_owned()) }
}

fn useless_token_file(project: &Project) -> Option<String> {
    match (&project.repo, &project.token_file) {
        (Repo::Ssh(_) | Repo::File(_) | Repo::Path(_), Some(_)) => Some(format!(
            "`token_file` of the project {} is not used: its origin is not an https URL",
            project.name
        )),
        (Repo::Http(_) | Repo::Ssh(_) | Repo::File(_) | Repo::Path(_), _) => None,
    }
}
