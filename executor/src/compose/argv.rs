//! How `docker compose` is called: argv, never a shell. Pure.
//!
//! Invariant: what comes from a repository or the edge is a name that was
//! checked (a service, which has no leading dash) or a path of ours, and never
//! an option.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::config::Compose;

/// Names that Compose looks for, the preferred first, and what is laid over each.
const FILES: [(&str, [&str; 2]); 4] = [
    ("compose.yaml", ["compose.override.yaml", "compose.override.yml"]),
    ("compose.yml", ["compose.override.yml", "compose.override.yaml"]),
    ("docker-compose.yml", ["docker-compose.override.yml", "docker-compose.override.yaml"]),
    ("docker-compose.yaml", ["docker-compose.override.yaml", "docker-compose.override.yml"]),
];

/// The compose files of a checkout: those that the host's file names, or those
/// that Compose would find there. It is not left to look by itself, since it
/// would look in the folders above, too.
///
/// # Errors
///
/// A sentence, when one is not there.
pub fn files(compose: &Compose, slot: &Path) -> Result<Vec<PathBuf>, String> {
    if let Some(missing) = compose.files.iter().find(|file| !slot.join(file).is_file()) {
        return Err(format!("the repository has no {}", missing.display()));
    }
    if !compose.files.is_empty() {
        return Ok(compose.files.clone());
    }
    let Some((file, over)) = FILES.iter().find(|(file, _)| slot.join(file).is_file()) else {
        return Err("the repository has no compose.yaml; `file` in [project.NAME.compose] can name another".to_owned());
    };
    let over = over.iter().find(|over| slot.join(over).is_file());
    Ok(std::iter::once(*file).chain(over.copied()).map(PathBuf::from).collect())
}

/// What begins every call for a project: its name and its files.
fn begin(name: &str, files: &[PathBuf]) -> Vec<OsString> {
    let mut argv: Vec<OsString> = ["compose", "--ansi", "never", "--progress", "plain", "--project-name", name].map(OsString::from).into();
    for file in files {
        argv.push("--file".into());
        argv.push(file.into());
    }
    argv
}

/// Resolves the model into a file.
#[must_use]
pub fn config(name: &str, compose: &Compose, files: &[PathBuf], out: &Path) -> Vec<OsString> {
    let mut argv = begin(name, files);
    for profile in &compose.profiles {
        argv.extend(["--profile".into(), profile.into()]);
    }
    argv.extend(["config", "--format", "json", "--output"].map(OsString::from));
    argv.push(out.into());
    argv
}

/// A verb with its options for a model of ours, for these services or for all.
#[must_use]
pub fn verb(name: &str, model: &Path, words: &[&str], services: &[&str]) -> Vec<OsString> {
    let mut argv = begin(name, &[model.to_path_buf()]);
    // Every service of a resolved model is active, whatever its profiles say.
    argv.extend(["--profile", "*"].map(OsString::from));
    argv.extend(words.iter().map(OsString::from));
    argv.extend(services.iter().map(OsString::from));
    argv
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_compose_would_find() {
        let dir = tempfile::tempdir().unwrap();
        let found = |compose: &Compose| files(compose, dir.path()).map(|files| files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>());
        let unnamed = Compose::default();
        assert!(found(&unnamed).unwrap_err().contains("no compose.yaml"));
        for (name, all) in [("docker-compose.yaml", &["docker-compose.yaml"][..]), ("compose.override.yml", &["docker-compose.yaml"]), ("compose.yaml", &["compose.yaml", "compose.override.yml"])] {
            std::fs::write(dir.path().join(name), "").unwrap();
            assert_eq!(found(&unnamed).unwrap(), all, "{name}");
        }
        let named = Compose { files: vec!["deploy/a.yaml".into()], ..Compose::default() };
        assert!(found(&named).unwrap_err().contains("no deploy/a.yaml"));
    }

    #[test]
    fn a_call_is_an_argv() {
        let argv = verb("media", Path::new("/s/m.json"), &["up", "--detach"], &["web"]);
        let words: Vec<_> = argv.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(words, ["compose", "--ansi", "never", "--progress", "plain", "--project-name", "media", "--file", "/s/m.json", "--profile", "*", "up", "--detach", "web"]);
    }
}
