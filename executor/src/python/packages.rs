//! What is installed in an environment, and how two of them differ.
//!
//! Read from the names of the `*.dist-info` folders, so that it costs a look
//! into one folder and no process.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// Packages by name, each with its version.
pub type Packages = BTreeMap<String, String>;

/// Differences that are listed.
const LISTED_MAX: usize = 200;

/// How one environment differs from another.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// One line of each: `+ six 1.17.0`, `~ idna 3.7 -> 3.20`, `- six 1.17.0`.
    pub lines: Vec<String>,
    /// How many are new, changed and gone.
    pub counts: [usize; 3],
}

/// What is installed there; nothing when there is no environment.
#[must_use]
pub fn installed(env: &Path) -> Packages {
    let mut packages = Packages::new();
    for python in fs::read_dir(env.join("lib")).into_iter().flatten().flatten() {
        for entry in fs::read_dir(python.path().join("site-packages")).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let known = name.to_str().and_then(|name| name.strip_suffix(".dist-info")).and_then(|name| name.rsplit_once('-'));
            packages.extend(known.map(|(name, version)| (name.replace('_', "-").to_lowercase(), version.to_owned())));
        }
    }
    packages
}

/// What became of `before`.
#[must_use]
pub fn difference(before: &Packages, after: &Packages) -> Difference {
    let mut all = Difference::default();
    for (name, version) in after {
        match before.get(name) {
            None => all.note(0, format!("+ {name} {version}")),
            Some(old) if old != version => all.note(1, format!("~ {name} {old} -> {version}")),
            Some(_) => {}
        }
    }
    for (name, version) in before.iter().filter(|(name, _)| !after.contains_key(*name)) {
        all.note(2, format!("- {name} {version}"));
    }
    all
}

impl Difference {
    fn note(&mut self, kind: usize, line: String) {
        if let Some(count) = self.counts.get_mut(kind) {
            *count += 1;
        }
        match self.lines.len() {
            0..LISTED_MAX => self.lines.push(line),
            LISTED_MAX => self.lines.push("… and more".to_owned()),
            _ => {}
        }
    }

    /// In a few words; empty when nothing differs.
    #[must_use]
    pub fn words(&self) -> String {
        let [new, changed, gone] = self.counts;
        if self.counts == [0; 3] { String::new() } else { format!("; packages: {new} new, {changed} changed, {gone} removed") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_is_listed_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("lib/python3.11/site-packages");
        for name in ["idna-3.7.dist-info", "typing_extensions-4.1.dist-info", "x", "odd.dist-info", "__pycache__"] {
            fs::create_dir_all(site.join(name)).unwrap();
        }
        let before = installed(dir.path());
        assert_eq!(before, Packages::from([("idna".into(), "3.7".into()), ("typing-extensions".into(), "4.1".into())]));
        let after = Packages::from([("idna".into(), "3.20".into()), ("six".into(), "1.17.0".into())]);
        let seen = difference(&before, &after);
        assert_eq!(seen.lines, ["~ idna 3.7 -> 3.20", "+ six 1.17.0", "- typing-extensions 4.1"]);
        assert_eq!(seen.words(), "; packages: 1 new, 1 changed, 1 removed");
        assert_eq!(difference(&after, &after).words(), "");
        assert!(installed(Path::new("/nowhere")).is_empty());
    }

    #[test]
    fn very_many_are_counted_and_not_listed() {
        let many: Packages = (0..1_000).map(|number| (format!("p{number}"), "1".to_owned())).collect();
        let seen = difference(&Packages::new(), &many);
        assert_eq!((seen.lines.len(), seen.counts), (LISTED_MAX + 1, [1_000, 0, 0]));
    }
}
