//! The argv that makes a release's Python environment. Pure, but for the files
//! whose bytes decide whether an environment is good already.
//!
//! Building a package runs its code: whoever can push to the tracked branch
//! can run code on this host, here and when the app starts.

mod found;
mod packages;

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

pub use found::{Found, look};
pub use packages::{difference, installed};

use crate::plan::Environment;

/// Files whose change makes an environment stale.
const INPUTS: [&str; 4] = ["uv.lock", "pyproject.toml", "uv.toml", ".python-version"];

/// Where the versions stand that were chosen for lists of requirements: beside
/// the environment, so that they stay with the release.
#[must_use]
pub fn chosen(env: &Path) -> PathBuf {
    env.with_extension("requirements")
}

/// The uv calls that make this environment, in order.
#[must_use]
pub fn calls(environment: Environment, release: &Path, env: &Path, found: &Found) -> Vec<Vec<String>> {
    let mut sync = argv(&["sync", "--no-progress"]);
    if found.is_workspace {
        sync.push("--all-packages".to_owned());
    }
    let locked = |mut sync: Vec<String>| {
        sync.push("--locked".to_owned());
        sync
    };
    match environment {
        Environment::None => vec![],
        Environment::Locked => vec![locked(sync)],
        Environment::Resolved => vec![sync],
        Environment::Upgraded => vec![argv(&["lock", "--upgrade", "--no-progress"]), locked(sync)],
        Environment::Requirements => listed(release, env, found, false),
        Environment::RequirementsUpgraded => listed(release, env, found, true),
    }
}

fn argv(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Versions are chosen first and then installed exactly, so that what is not
/// named any more goes.
fn listed(release: &Path, env: &Path, found: &Found, upgrade: bool) -> Vec<Vec<String>> {
    let (dir, chosen) = (env.to_string_lossy().into_owned(), chosen(env).to_string_lossy().into_owned());
    let mut compile = argv(&["pip", "compile", "--no-progress", "--quiet", "--emit-index-url", "--emit-find-links", "--python", &dir, "-o", &chosen]);
    if upgrade {
        compile.push("--upgrade".to_owned());
    }
    // Whoever checks hashes goes on to; all of them do, or none.
    if found::included(release, &found.requirements).has_hashes {
        compile.push("--generate-hashes".to_owned());
    }
    compile.push("--".to_owned());
    compile.extend(found.requirements.iter().cloned());
    vec![
        argv(&["venv", "--allow-existing", "--no-progress", &dir]),
        compile,
        argv(&["pip", "sync", "--no-progress", "--allow-empty-requirements", "--python", &dir, &chosen]),
    ]
}

/// The call that says whether what is installed goes together.
#[must_use]
pub fn check(env: &Path) -> Vec<String> {
    argv(&["pip", "check", "--python", &env.to_string_lossy()])
}

/// Was this environment made for another Python than is asked for? `uv sync`
/// sees to that by itself, `uv venv --allow-existing` does not.
#[must_use]
pub fn is_of_another_python(env: &Path, found: &Found) -> bool {
    let text = std::fs::read_to_string(env.join("pyvenv.cfg")).unwrap_or_default();
    let version = text.lines().find_map(|line| line.strip_prefix("version_info")?.trim_start_matches([' ', '=']).into());
    match (&found.python, version) {
        (Some(wanted), Some(version)) => version != wanted && !version.starts_with(&format!("{wanted}.")),
        (None, _) | (_, None) => false,
    }
}

/// What an environment was made from; equal stamps mean that it is good as it
/// is. `None` when it must be made anyway: an upgrade looks at the index,
/// without a lock the newest versions are wanted, and what lies in the
/// repository itself may have changed.
#[must_use]
pub fn stamp(environment: Environment, release: &Path, found: &Found) -> Option<String> {
    let mut files: Vec<PathBuf> = INPUTS.iter().map(|name| release.join(name)).collect();
    match environment {
        Environment::Locked if found::copies(release) => return None,
        Environment::Locked if found.is_workspace => files.extend(found::build_files(release)),
        Environment::Locked => {}
        Environment::Requirements => {
            let included = found::included(release, &found.requirements);
            if included.has_local {
                return None;
            }
            files.extend(included.files);
        }
        Environment::None | Environment::Resolved | Environment::Upgraded | Environment::RequirementsUpgraded => return None,
    }
    let mut hash = Sha256::new();
    hash.update(format!("{environment:?}"));
    for file in files {
        let name = file.strip_prefix(release).unwrap_or(&file).to_string_lossy().into_owned();
        let bytes = std::fs::read(&file).unwrap_or_default();
        for part in [name.as_bytes(), &bytes] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
    }
    Some(hex::encode(hash.finalize()))
}

/// Makes packages of the repository itself look new, where they are copied into
/// the environment. uv knows them by the times of the files that build them,
/// and in a slot that is used again those stay when only their code changed: it
/// would keep the code of five releases ago.
///
/// # Errors
///
/// When the system says so.
pub fn renew_copied(release: &Path, found: &Found) -> std::io::Result<()> {
    if found::copies(release) || found::included(release, &found.requirements).has_local {
        let now = std::time::SystemTime::now();
        for file in found::build_files(release) {
            std::fs::File::open(file)?.set_modified(now)?;
        }
    }
    Ok(())
}

/// Does uv's output say that a network was the cause?
#[must_use]
pub fn blames_network(output: &str) -> bool {
    let signs = [
        "error sending request",
        "dns error",
        "failed to lookup address",
        "Connection refused",
        "connection closed",
        "operation timed out",
        "end of file before message length reached",
        "error reading a body from connection",
        "tcp connect error",
        "Network is unreachable",
        "503 Service Unavailable",
        "502 Bad Gateway",
    ];
    signs.iter().any(|sign| output.contains(sign))
}

/// Does uv's output say that what is in the repository can never work?
#[must_use]
pub fn blames_source(output: &str) -> bool {
    let signs = ["Failed to parse", "TOML parse error", "No solution found", "was not found in the package registry", "lockfile", "needs to be updated"];
    signs.iter().any(|sign| output.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_never_changed_by_a_locked_sync() {
        let found = Found::default();
        assert_eq!(calls(Environment::Locked, Path::new("/r"), Path::new("/e"), &found), [["sync", "--no-progress", "--locked"]]);
        assert!(calls(Environment::None, Path::new("/r"), Path::new("/e"), &found).is_empty());
        let workspace = Found { is_workspace: true, ..found };
        assert_eq!(calls(Environment::Locked, Path::new("/r"), Path::new("/e"), &workspace), [["sync", "--no-progress", "--all-packages", "--locked"]]);
    }

    #[test]
    fn a_stamp_changes_with_every_input() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        let found = Found { requirements: vec!["requirements.txt".into()], is_workspace: true, ..Found::default() };
        seen.insert(stamp(Environment::Locked, dir.path(), &found).unwrap());
        for name in INPUTS.into_iter().chain(["member/pyproject.toml"]) {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
            assert!(seen.insert(stamp(Environment::Locked, dir.path(), &found).unwrap()), "{name}");
        }
        for (name, text) in [("requirements.txt", "-r more.txt"), ("more.txt", "six"), ("more.txt", "idna")] {
            std::fs::write(dir.path().join(name), text).unwrap();
            assert!(seen.insert(stamp(Environment::Requirements, dir.path(), &found).unwrap()), "{name} {text}");
        }
        std::fs::write(dir.path().join("more.txt"), "-e .").unwrap();
        assert_eq!(stamp(Environment::Requirements, dir.path(), &found), None);
        assert_eq!(stamp(Environment::Resolved, dir.path(), &found), None);
    }

    #[test]
    fn an_environment_of_another_python_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pyvenv.cfg"), "home = /x\nversion_info = 3.11.7\n").unwrap();
        let asks = |python: &str| is_of_another_python(dir.path(), &Found { python: Some(python.to_owned()), ..Found::default() });
        assert_eq!(["3.11", "3.11.7", "3", "3.1", "3.12", "3.11.70"].map(asks), [false, false, false, true, true, true]);
        assert!(!is_of_another_python(dir.path(), &Found::default()));
    }

    #[test]
    fn causes_are_told_apart() {
        assert!(blames_network("error: Failed to fetch: `x`\n  Caused by: error sending request for url"));
        assert!(blames_source("error: Failed to parse: `pyproject.toml`"));
        assert!(blames_source("  x No solution found when resolving dependencies:"));
        assert!(blames_network("cause: error decoding response body\ncause: end of file before message length reached"));
        assert!(!blames_network("ModuleNotFoundError"));
    }
}
