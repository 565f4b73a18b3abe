//! Reading of `[project.NAME]`: where the source is and how it is built.
//!
//! Every key is asked for even when an earlier one was wrong, and even when its
//! table is absent: that is how all faults show, how the environment can add a
//! value, and how the unknown keys are found.

use std::net::SocketAddr;
use std::path::{Component, Path, PathBuf};

use doorstep_shared::ids::Action;

use super::model::{Command, Project, Python, RemotePolicy, Sync, Systemd};
use super::process::{self, ProcessRead};
use super::reader::{ITEMS_MAX, Reader, choose};
use super::section::{Found, Section};
use super::tree::Entry;
use super::{branch, compose, health, url, variable};

/// Globs of one project: every changed file of a push is matched against each.
pub const PATHS_MAX: usize = 64;

/// Longest name of a unit without its ending: systemd takes 255 bytes with it.
const UNIT_BYTES_MAX: usize = 247;

/// Longest name of a project: it becomes part of file names and of labels, and
/// 63 is the length of a label in the name system.
const NAME_BYTES_MAX: usize = 63;

/// A project as read, with what no two projects may share.
pub(super) struct ProjectRead {
    pub(super) name: String,
    /// `None`: it has faults.
    pub(super) project: Option<Project>,
    pub(super) dir: Option<Found<PathBuf>>,
    pub(super) listen: Option<Found<SocketAddr>>,
}

/// Reads the `[policy]` inside a section, if there is one.
pub(super) fn policy<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
) -> Option<RemotePolicy> {
    let mut section = reader.section(parent, "policy");
    let mut words: Vec<_> = Action::ALL
        .iter()
        .map(|verb| (verb.as_str(), Some(*verb)))
        .collect();
    words.push(("logs", None));
    // An empty list is a policy too: the edge may ask for nothing.
    let listed = reader.list(&mut section, "remote", 0..=ITEMS_MAX, |text| {
        choose(text, &words)
    });
    sections.push(section);
    let (mut actions, mut logs) = (Vec::new(), false);
    for word in listed? {
        match word {
            Some(action) if !actions.contains(&action) => actions.push(action),
            Some(_) => {}
            None => logs = true,
        }
    }
    Some(RemotePolicy { actions, logs })
}

/// Reads one project. `remote` is the policy of the file.
pub(super) fn project(
    reader: &mut Reader<'_>,
    name: &str,
    entry: &Entry,
    remote: &RemotePolicy,
) -> ProjectRead {
    let mut read = ProjectRead {
        name: name.to_owned(),
        project: None,
        dir: None,
        listen: None,
    };
    if let Err(why) = check_name(name) {
        reader.fault(&entry.key_spot, why);
    }
    let Some(table) = reader.table(&entry.item) else {
        return read;
    };
    let path = vec!["project".to_owned(), name.to_owned()];
    let mut top = Section::new(path, table, entry.item.spot.clone());
    // Not a key of the file, but two projects must not share a token unawares.
    reader.note(&variable::token(name), &top.child_path("token"));
    read.dir = reader.parsed(&mut top, "dir", absolute_dir);
    read.project = body(reader, top, remote, &mut read);
    read
}

/// Everything of a project but its `dir`; also fills in what it listens on.
fn body(
    reader: &mut Reader<'_>,
    mut top: Section<'_>,
    remote: &RemotePolicy,
    read: &mut ProjectRead,
) -> Option<Project> {
    let top_ref = &mut top;
    let repo = reader.required(top_ref, "`repo`, the git origin", |reader, top| {
        reader.parsed(top, "repo", url::repo)
    });
    let branch = reader.parsed(top_ref, "branch", branch::parse);
    let address = reader.parsed(top_ref, "url", url::address);
    let paths = reader.list(top_ref, "paths", 1..=PATHS_MAX, glob);
    let data = data(reader, top_ref);
    let token_file = reader.parsed(top_ref, "token_file", file);
    let env_file = reader.parsed(top_ref, "env_file", file);

    let mut sections = Vec::new();
    let own_remote = policy(reader, top_ref, &mut sections);
    let python = python(reader, top_ref, &mut sections);
    let process = process::process(reader, top_ref, &mut sections);
    let processes = process::companions(reader, top_ref, &mut sections, &process);
    let systemd = systemd(reader, top_ref, &mut sections, &process);
    let runs = if systemd.is_some() { "systemd" } else { "process" };
    let compose = compose::compose(reader, top_ref, &mut sections, (process.present || systemd.is_some()).then_some(runs));
    let known = health::Known { has_port: process.has_port() || compose.has_port(), has_containers: compose.compose.is_some() };
    let health = health::health(reader, top_ref, &mut sections, &known);
    let hooks = health::hooks(reader, top_ref, &mut sections);
    let command = command(reader, top_ref, &mut sections);
    sections.push(top);
    reader.finish(&sections);

    read.listen = process.listen.or(compose.listen);
    Some(Project {
        name: read.name.clone(),
        repo: repo?.value,
        branch: branch.map_or_else(|| "main".to_owned(), |found| found.value),
        url: address.map(|found| found.value),
        paths: paths.unwrap_or_default(),
        data,
        dir: read.dir.as_ref().map(|found| found.value.clone()),
        remote: own_remote.unwrap_or_else(|| remote.clone()),
        token_file: token_file.map(|found| found.value),
        env_file: env_file.map(|found| found.value),
        python,
        process: process.process,
        systemd,
        processes,
        health,
        hooks,
        compose: compose.compose,
        command,
    })
}

/// What outlives a release; no two of them may hold each other.
fn data(reader: &mut Reader<'_>, top: &mut Section<'_>) -> Vec<String> {
    let inner = |text: &str| {
        let path = inner_file(text.strip_suffix('/').unwrap_or(text))?;
        let is_git = path.components().any(|part| part.as_os_str() == ".git");
        if is_git { Err("git's own folder is no data".to_owned()) } else { Ok(text.to_owned()) }
    };
    let data = reader.list(top, "data", 1..=ITEMS_MAX, inner).unwrap_or_default();
    for (at, one) in data.iter().enumerate() {
        let holds = |other: &&String| Path::new(other.as_str()).starts_with(one.as_str());
        if let Some(other) = data.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, other)| other).find(holds) {
            reader.fault(&top.spot, format!("`data`: {one} holds {other} already"));
            break;
        }
    }
    data
}

fn python<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
) -> Option<Python> {
    let mut section = reader.section(parent, "python");
    let words = [("locked", Sync::Locked), ("upgrade", Sync::Upgrade)];
    let sync = reader.choice(&mut section, "sync", &words);
    let requirements = reader.list(&mut section, "requirements", 1..=ITEMS_MAX, |text| {
        inner_file(text).map(|_| text.to_owned())
    });
    let present = section.present;
    sections.push(section);
    present.then(|| Python {
        sync: sync.unwrap_or(Sync::Locked),
        requirements: requirements.unwrap_or_default(),
    })
}

fn systemd<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
    process: &ProcessRead,
) -> Option<Systemd> {
    let mut section = reader.section(parent, "systemd");
    let known_faults = reader.faults.len();
    let unit = reader.parsed(&mut section, "unit", unit);
    let unit_wrong = reader.faults.len() > known_faults;
    let manager = reader.choice(&mut section, "manager", &[("system", false), ("user", true)]);
    if section.present && unit.is_none() && !unit_wrong {
        let message = format!("{} needs `unit`, the service that runs the app", section.title());
        reader.absent(&section.spot, message);
    }
    if section.present && process.present {
        let message = format!("{} has both `process` and `systemd`; a project is one or the other", parent.title());
        reader.fault(&section.spot, message);
    }
    sections.push(section);
    let unit = unit?.value;
    Some(Systemd { unit, user: manager.unwrap_or(false) })
}

/// The name of a service, as systemd.unit(5) allows it; `.service` may be left out.
fn unit(text: &str) -> Result<String, String> {
    let stem = text.strip_suffix(".service").unwrap_or(text);
    let good = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let is_other = [".socket", ".timer", ".target", ".path", ".mount", ".slice", ".scope"].iter().any(|end| stem.ends_with(end));
    if stem.is_empty() || stem.starts_with(['-', '.']) || stem.len() > UNIT_BYTES_MAX || is_other || !stem.chars().all(good) {
        return Err("not the name of a service, such as shop.service".to_owned());
    }
    Ok(format!("{stem}.service"))
}

fn command<'t>(
    reader: &mut Reader<'_>,
    parent: &mut Section<'t>,
    sections: &mut Vec<Section<'t>>,
) -> Option<Command> {
    let mut section = reader.section(parent, "command");
    let build = reader.argvs(&mut section, "build").unwrap_or_default();
    let verify = reader.argvs(&mut section, "verify").unwrap_or_default();
    let reload = reader.argv(&mut section, "reload");
    let present = section.present;
    sections.push(section);
    present.then_some(Command {
        build,
        verify,
        reload,
    })
}

/// `^[a-z0-9][a-z0-9._-]{0,62}$`: safe in paths, labels, URLs and variables.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let first = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.starts_with(first)
        && name.chars().all(|c| first(c) || "._-".contains(c))
        && name.len() <= NAME_BYTES_MAX;
    if good {
        return Ok(());
    }
    let quoted = variable::dotted(&[name.to_owned()]);
    Err(format!(
        "{quoted} is no name for a project: use at most {NAME_BYTES_MAX} of a-z, 0-9, `.`, `_`, `-`, a letter or digit first"
    ))
}

fn glob(text: &str) -> Result<String, String> {
    doorstep_shared::paths::validate(text).map_err(|why| why.to_string())?;
    Ok(text.to_owned())
}

pub(super) fn absolute_dir(text: &str) -> Result<PathBuf, String> {
    let path = plain_path(text)?;
    if !path.is_absolute() {
        return Err("an absolute path, such as \"/srv/shop\", is needed".to_owned());
    }
    if path.parent().is_none() {
        return Err("the root directory cannot belong to a project".to_owned());
    }
    Ok(path)
}

fn file(text: &str) -> Result<PathBuf, String> {
    if text.ends_with('/') {
        return Err("this names a directory, not a file".to_owned());
    }
    plain_path(text)
}

/// A path that stays inside the checkout.
pub(super) fn inner_file(text: &str) -> Result<PathBuf, String> {
    let path = file(text)?;
    if path.is_absolute() || text.starts_with('-') {
        return Err("a path inside the repository is needed, such as \"compose.yaml\"".to_owned());
    }
    Ok(path)
}

/// A path without `..`, `.` or doubled slashes, so that equal places are equal
/// paths.
fn plain_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err("a path is neither empty nor holds control characters".to_owned());
    }
    if text.starts_with('~') {
        return Err("`~` is not expanded in this file; write the whole path".to_owned());
    }
    let path = Path::new(text);
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("a path holds no `..`".to_owned());
    }
    Ok(path
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe_everywhere() {
        let longest = "a".repeat(63);
        for name in ["a", "0", "shop", "my.app_2-x", longest.as_str()] {
            assert_eq!(check_name(name), Ok(()));
        }
        let longer = "a".repeat(64);
        for name in [
            "",
            "A",
            "-a",
            ".a",
            "_a",
            "a b",
            "a/b",
            "ü",
            "..",
            "a\0",
            longer.as_str(),
        ] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn directories_are_absolute_and_plain() {
        for (text, expected) in [("/srv/shop", "/srv/shop"), ("/srv//./shop/", "/srv/shop")] {
            assert_eq!(absolute_dir(text), Ok(PathBuf::from(expected)));
        }
        for text in [
            "",
            "/",
            "/.",
            "srv",
            "./srv",
            "/srv/../etc",
            "~/shop",
            "/a\nb",
        ] {
            assert!(absolute_dir(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_compose_file_stays_in_the_repository() {
        for text in ["compose.yaml", "deploy/compose.yml", "./compose.yaml"] {
            assert!(inner_file(text).is_ok(), "{text}");
        }
        for text in ["/etc/x.yaml", "../x.yaml", "a/../../x", "-f", "", "dir/"] {
            assert!(inner_file(text).is_err(), "{text}");
        }
    }
}
