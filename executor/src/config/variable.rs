//! Names of environment variables: which one stands for which key, which are
//! Doorstep's own and override nothing, and where a secret belongs.

use super::fault::{shown, suggestion};

/// Read by other parts of Doorstep, or set by it for the programs it starts.
const RESERVED: [&str; 12] = [
    "DOORSTEP_CONFIG",
    "DOORSTEP_STATE_DIR",
    "DOORSTEP_WORKER_DIR",
    "DOORSTEP_WORKERD",
    "DOORSTEP_LOG",
    "DOORSTEP_BIN",
    "DOORSTEP_RUN",
    "DOORSTEP_PROJECT",
    "DOORSTEP_RELEASE",
    "DOORSTEP_GIT_TOKEN",
    "DOORSTEP_UV",
    "DOORSTEP_CRASH_AT",
];

/// How a key ends when its value is a secret. `token_file` ends otherwise.
const SECRET_ENDINGS: [&str; 8] = [
    "token",
    "password",
    "passwd",
    "passphrase",
    "secret",
    "secret_key",
    "api_key",
    "private_key",
];

/// The variable of a key: `DOORSTEP_` and the path in capitals, everything else
/// than letters and digits an underscore.
pub(super) fn name(path: &[String]) -> String {
    let mut name = "DOORSTEP".to_owned();
    for part in path {
        name.push('_');
        name.extend(part.chars().map(|c| match c.to_ascii_uppercase() {
            upper @ ('A'..='Z' | '0'..='9') => upper,
            _ => '_',
        }));
    }
    name
}

/// The variable that holds the access token of a project's origin.
pub(super) fn token(project: &str) -> String {
    name(&["project", project, "token"].map(str::to_owned))
}

/// Whether a variable has a meaning of its own and overrides no key.
pub(super) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name) || name.ends_with("_TOKEN")
}

/// Sentences about variables that look like overrides but match no key.
///
/// Elsewhere under `DOORSTEP_` a variable may belong to another program, so
/// only the names that could be nothing else are reported.
pub(super) fn warnings<'a>(
    present: &[String],
    asked: impl Iterator<Item = &'a String> + Clone,
) -> Vec<String> {
    let mut warnings: Vec<String> = present
        .iter()
        .filter(|name| {
            ["DOORSTEP_PROJECT_", "DOORSTEP_POLICY_"]
                .iter()
                .any(|p| name.starts_with(p))
        })
        .filter(|name| !is_reserved(name) && !asked.clone().any(|known| known == *name))
        .map(|name| {
            let near = suggestion(name, asked.clone().map(String::as_str));
            let name = shown(name);
            format!("environment variable {name} matches no key of the file and is ignored{near}")
        })
        .collect();
    warnings.sort();
    warnings.dedup();
    warnings
}

/// A path as TOML writes it, parts in quotes where they need them.
pub(super) fn dotted(path: &[String]) -> String {
    let part = |part: &String| {
        let bare = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !part.is_empty() && part.chars().all(bare) {
            shown(part)
        } else {
            format!("\"{}\"", shown(part))
        }
    };
    path.iter().map(part).collect::<Vec<_>>().join(".")
}

/// Whether a key's name says that its value is a secret.
pub(super) fn looks_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace(['-', '.'], "_");
    SECRET_ENDINGS.iter().any(|ending| {
        key.strip_suffix(ending)
            .is_some_and(|before| before.is_empty() || before.ends_with('_'))
    })
}

/// Where a secret that stands in the table `path` belongs.
pub(super) fn place_for_secret(path: &[String]) -> String {
    match path {
        [project, name, ..] if project == "project" => format!(
            "a git token goes in {} or in a file named by `token_file`, a secret of the app in a file named by `env_file`",
            token(&shown(name)),
        ),
        _ => "it goes in the environment, in a file or in a systemd credential (a git token in DOORSTEP_GIT_TOKEN or the credential git_token)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_capitals_digits_and_underscores() {
        let path = |parts: &[&str]| parts.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        for (parts, expected) in [
            (&["edge"][..], "DOORSTEP_EDGE"),
            (
                &["project", "shop", "branch"],
                "DOORSTEP_PROJECT_SHOP_BRANCH",
            ),
            (
                &["project", "my.app-2", "health", "within"],
                "DOORSTEP_PROJECT_MY_APP_2_HEALTH_WITHIN",
            ),
            (&["project", "ü"], "DOORSTEP_PROJECT__"),
        ] {
            assert_eq!(name(&path(parts)), expected);
        }
        assert_eq!(token("my-app"), "DOORSTEP_PROJECT_MY_APP_TOKEN");
    }

    #[test]
    fn secrets_are_known_by_their_ending() {
        for (key, secret) in [
            ("token", true),
            ("git_token", true),
            ("DB_PASSWORD", true),
            ("client-secret", true),
            ("SECRET_KEY", true),
            ("token_file", false),
            ("secrets_dir", false),
            ("tokens", false),
            ("nontoken", false),
            ("repo", false),
        ] {
            assert_eq!(looks_secret(key), secret, "{key}");
        }
    }
}
