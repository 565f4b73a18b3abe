//! The argv that makes a release's Python environment. Pure, but for the files
//! whose bytes decide whether an environment is good already.
//!
//! Building a package runs its code: whoever can push to the tracked branch
//! can run code on this host, here and when the app starts.

use std::path::Path;

use sha2::{Digest, Sha256};

use crate::plan::Environment;

/// Files whose change makes an environment stale.
const INPUTS: [&str; 5] = ["uv.lock", "pyproject.toml", "uv.toml", ".python-version", "requirements.txt"];

/// The uv calls that make this environment, in order.
#[must_use]
pub fn calls(environment: Environment, env: &Path) -> Vec<Vec<String>> {
    let env = env.to_string_lossy().into_owned();
    let argv = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let install = |extra: &[&str]| {
        let mut call = argv(&["pip", "install", "--no-progress", "--python", &env, "-r", "requirements.txt"]);
        call.extend(argv(extra));
        call
    };
    match environment {
        Environment::None => vec![],
        Environment::Locked => vec![argv(&["sync", "--locked", "--no-progress"])],
        Environment::Resolved => vec![argv(&["sync", "--no-progress"])],
        Environment::Upgraded => vec![argv(&["lock", "--upgrade", "--no-progress"]), argv(&["sync", "--locked", "--no-progress"])],
        Environment::Requirements => vec![argv(&["venv", "--allow-existing", "--no-progress", &env]), install(&[])],
        Environment::RequirementsUpgraded => vec![argv(&["venv", "--allow-existing", "--no-progress", &env]), install(&["--upgrade"])],
    }
}

/// What an environment was made from; equal stamps mean that it is good as it
/// is. `None` when it must be made anyway: an upgrade looks at the index, and
/// without a lock the newest versions are wanted.
#[must_use]
pub fn stamp(environment: Environment, release: &Path) -> Option<String> {
    match environment {
        Environment::Locked => {}
        Environment::None
        | Environment::Resolved
        | Environment::Upgraded
        | Environment::Requirements
        | Environment::RequirementsUpgraded => return None,
    }
    let mut hash = Sha256::new();
    for name in INPUTS {
        let bytes = std::fs::read(release.join(name)).unwrap_or_default();
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(&bytes);
    }
    Some(hex::encode(hash.finalize()))
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
        assert_eq!(calls(Environment::Locked, Path::new("/e")), [["sync", "--locked", "--no-progress"]]);
        assert!(calls(Environment::None, Path::new("/e")).is_empty());
    }

    #[test]
    fn a_stamp_changes_with_every_input() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = std::collections::BTreeSet::new();
        seen.insert(stamp(Environment::Locked, dir.path()).unwrap());
        for name in INPUTS {
            std::fs::write(dir.path().join(name), "x").unwrap();
            assert!(seen.insert(stamp(Environment::Locked, dir.path()).unwrap()), "{name}");
        }
        assert_eq!(stamp(Environment::Resolved, dir.path()), None);
    }

    #[test]
    fn causes_are_told_apart() {
        assert!(blames_network("error: Failed to fetch: `x`\n  Caused by: error sending request for url"));
        assert!(blames_source("error: Failed to parse: `pyproject.toml`"));
        assert!(blames_source("  x No solution found when resolving dependencies:"));
        assert!(!blames_network("ModuleNotFoundError"));
    }
}
