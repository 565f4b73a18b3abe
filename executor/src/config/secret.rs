//! Secrets: how they are held and where the access token of a git origin is
//! found.
//!
//! A secret never stands in `doorstep.toml` and never prints. It is read when
//! it is needed, not with the configuration, so that a rotated token takes
//! effect at the next fetch and a missing one stops one project, not all.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::model::{Project, Repo};
use super::variable;

/// Longest secret. GitHub's tokens are below 256 bytes; a signed one can take a
/// few hundred more.
const SECRET_BYTES_MAX: usize = 4 * 1024;

/// The systemd credential that holds the token of every origin.
const CREDENTIAL: &str = "git_token";

/// A text that must not be seen. Debug and Display print `[secret]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself. Never give it to a log, a report or an argv.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Takes what was read, without the newline that files end with.
    fn read(text: &str) -> Result<Secret, String> {
        let text = text.trim();
        if text.is_empty() {
            return Err("it is empty".to_owned());
        }
        if text.len() > SECRET_BYTES_MAX {
            return Err(format!("it is longer than {SECRET_BYTES_MAX} bytes"));
        }
        // It becomes part of an HTTP header.
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("it holds a space, a line break or a character outside ASCII".to_owned());
        }
        Ok(Secret(text.to_owned()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// The environment with the `.env` beside the file under it. Debug prints names
/// only.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Vars(BTreeMap<String, String>);

impl Vars {
    /// The value of a variable; an empty one counts as not set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .get(name)
            .map(String::as_str)
            .filter(|value| !value.is_empty())
    }

    /// The names, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl FromIterator<(String, String)> for Vars {
    /// A later pair wins over an earlier one of the same name.
    fn from_iter<I: IntoIterator<Item = (String, String)>>(pairs: I) -> Vars {
        Vars(pairs.into_iter().collect())
    }
}

impl fmt::Debug for Vars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Finds the access token of a project's origin, if there is one.
///
/// In this order: `DOORSTEP_PROJECT_<NAME>_TOKEN`, the project's `token_file`,
/// `DOORSTEP_GIT_TOKEN`, the file `git_token` in `$CREDENTIALS_DIRECTORY`. Only
/// an http origin takes a token.
///
/// # Errors
///
/// A sentence that names the source, never its content, when a source exists
/// but cannot be used. The next source is not tried then: a token that was
/// meant for one project must not be replaced silently by that of all.
pub fn git_token(project: &Project, vars: &Vars) -> Result<Option<Secret>, String> {
    match &project.repo {
        Repo::Http(_) => {}
        Repo::Ssh(_) | Repo::File(_) | Repo::Path(_) => return Ok(None),
    }
    if let Some(secret) = from_variable(&variable::token(&project.name), vars)? {
        return Ok(Some(secret));
    }
    if let Some(path) = &project.token_file {
        return from_file(path, "token file").map(Some);
    }
    if let Some(secret) = from_variable("DOORSTEP_GIT_TOKEN", vars)? {
        return Ok(Some(secret));
    }
    let Some(directory) = vars.get("CREDENTIALS_DIRECTORY") else {
        return Ok(None);
    };
    let path = Path::new(directory).join(CREDENTIAL);
    // systemd sets the directory for any credential, so ours may not be in it.
    match path.try_exists() {
        Ok(false) => Ok(None),
        Ok(true) | Err(_) => from_file(&path, "credential").map(Some),
    }
}

fn from_variable(name: &str, vars: &Vars) -> Result<Option<Secret>, String> {
    vars.get(name)
        .map(|text| Secret::read(text).map_err(|why| format!("environment variable {name}: {why}")))
        .transpose()
}

fn from_file(path: &Path, what: &str) -> Result<Secret, String> {
    let place = format!("{what} {}", path.display());
    // One byte over the limit tells a long file from a full one.
    let limit = SECRET_BYTES_MAX as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(|error| format!("{place}: {error}"))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| format!("{place}: it is not text"))?;
    Secret::read(text).map_err(|why| format!("{place}: {why}"))
}
