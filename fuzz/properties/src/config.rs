//! The host's file and the `.env` beside it: a configuration, or a report that
//! a terminal can show and that holds no secret.
//!
//! The input is the `.env`, a line `---`, and the `doorstep.toml`.

use std::collections::BTreeMap;

use doorstep_shared::ids::Name;
use doorstep_shared::paths;

use crate::host_file::{Config, Faults, Project, Repo, dotenv, parse};
use crate::{halves, steers};

/// A secret that the host has, under the names it may have.
const PLANTED: &str = "ghp_Zq8rT1vXc5";
const PLANTED_NAMES: [&str; 3] = ["DOORSTEP_GIT_TOKEN", "DOORSTEP_PROJECT_SHOP_TOKEN", "DOORSTEP_PROJECT_A_B_TOKEN"];
/// Faults that a report lists at most; see `config/fault.rs`.
const FAULTS_MAX: usize = 200;

/// Reads both files as `doorstep run` does.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains(PLANTED) {
        return;
    }
    let (beside, file) = halves(text, "\n---\n");
    let mut vars = variables(beside);
    vars.extend(PLANTED_NAMES.map(|name| (name.to_owned(), PLANTED.to_owned())));
    let read = |text: &str| {
        let names: Vec<String> = vars.keys().cloned().collect();
        parse(text, "doorstep.toml", &|name| vars.get(name).cloned(), &names)
    };
    match read(file) {
        Ok(config) => {
            sound(&config);
            let again = read(&format!("{file}\n# the end\n"));
            assert_eq!(again.ok(), Some(config), "a comment at the end changed what is read");
        }
        Err(faults) => {
            shown(&faults, file);
            assert_eq!(read(file).err(), Some(faults), "the same file, another report");
        }
    }
}

fn variables(text: &str) -> BTreeMap<String, String> {
    let (pairs, faults) = dotenv(text);
    assert!(pairs.len() + faults.len() <= text.lines().count(), "more answers than lines");
    for fault in &faults {
        one_line(fault);
    }
    for (name, value) in &pairs {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        assert!(!name.is_empty() && name.chars().all(plain), "{name:?} is taken for a name");
        assert!(!value.contains('\0'), "a value with a NUL");
        if !value.contains(['\'', '\n']) {
            let written = format!("export {name} = '{value}' # again");
            let again = dotenv(&written);
            assert_eq!(again, (vec![(name.clone(), value.clone())], vec![]), "{written}");
        }
    }
    pairs.into_iter().collect()
}

/// What is in a configuration has been checked.
fn sound(config: &Config) {
    assert!(!format!("{config:?}").contains(PLANTED), "a secret in the configuration");
    for warning in &config.warnings {
        one_line(warning);
    }
    if let Some(edge) = &config.edge {
        assert!(edge.starts_with("http") && !edge.ends_with('/') && !authority(edge).contains('@'), "{edge}");
    }
    for (name, project) in &config.projects {
        assert_eq!(name, &project.name);
        assert!(name.parse::<Name>().is_ok(), "{name:?} is no name on the wire");
        project_is_sound(project);
    }
    let listens = || config.projects.values().filter_map(|p| p.process.as_ref()?.listen);
    let apart = listens().enumerate().all(|(n, here)| listens().skip(n + 1).all(|there| here != there));
    assert!(apart, "two projects listen at one address");
}

fn project_is_sound(project: &Project) {
    for pattern in &project.paths {
        assert_eq!(paths::validate(pattern), Ok(()));
    }
    // Both become arguments of git.
    let repo = project.repo.to_string();
    for text in [&repo, &project.branch] {
        assert!(!text.is_empty() && !text.starts_with('-'), "{text:?} could be an option");
        assert!(!text.contains(char::is_control), "{text:?}");
    }
    if matches!(project.repo, Repo::Http(_)) {
        assert!(!authority(&repo).contains('@'), "{repo:?} holds a credential");
    }
    assert!(project.dir.as_ref().is_none_or(|dir| dir.is_absolute()), "{:?}", project.dir);
    assert!(project.process.is_none() || project.compose.is_none(), "both process and compose");
    let commands = project.process.iter().map(|process| &process.command);
    for argument in commands.flatten() {
        assert!(!argument.is_empty() && !argument.contains('\0'), "{argument:?}");
    }
    if let Some(health) = &project.health {
        assert!(health.good >= 1 && health.interval <= health.within, "{health:?}");
    }
}

fn authority(url: &str) -> &str {
    url.split('/').nth(2).unwrap_or_default()
}

/// A report is fit for a terminal and points into the file.
fn shown(faults: &Faults, file: &str) {
    assert!(!faults.list.is_empty() && faults.list.len() <= FAULTS_MAX, "{} faults", faults.list.len());
    let report = faults.to_string();
    assert!(!report.contains(PLANTED), "a secret in the report: {report}");
    for fault in &faults.list {
        one_line(&fault.to_string());
    }
    let lines = file.split('\n').count();
    let last = faults.list.iter().filter_map(|fault| fault.to_string().split(':').nth(1)?.parse::<usize>().ok()).max();
    assert!(last.is_none_or(|last| (1..=lines).contains(&last)), "line {last:?} of {lines}");
}

fn one_line(text: &str) {
    assert!(!text.is_empty() && !text.contains(steers), "{text:?} is not one line that can be shown");
}
