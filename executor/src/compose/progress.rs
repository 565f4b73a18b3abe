//! What Compose prints while it works, counted. Pure.
//!
//! Lines look like ` Container media-web-1  Recreated`. What is not understood
//! is not counted; the run's log has every line.

use std::collections::BTreeMap;

/// Words that end what is done to a container, in the order they are told.
const ENDS: [&str; 5] = ["Recreated", "Created", "Started", "Running", "Removed"];

/// What was done to how many containers.
#[derive(Debug, Default)]
pub struct Progress {
    last: BTreeMap<String, Vec<&'static str>>,
}

impl Progress {
    /// Takes a line in.
    pub fn note(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (Some("Container"), Some(name), Some(word), None) = (words.next(), words.next(), words.next(), words.next()) else { return };
        if let Some(end) = ENDS.iter().find(|end| **end == word) {
            self.last.entry(name.to_owned()).or_default().push(end);
        }
    }

    /// A line about it: `1 recreated, 2 unchanged`.
    #[must_use]
    pub fn words(&self) -> String {
        let count = |word: &str| self.last.values().filter(|words| words.contains(&word)).count();
        // What was made is started too; what only started was there before.
        let only_started = self.last.values().filter(|words| words.as_slice() == ["Started"]).count();
        let all = [(count("Recreated"), "recreated"), (count("Created"), "created"), (only_started, "started"), (count("Removed"), "removed"), (count("Running"), "unchanged")];
        let told: Vec<String> = all.iter().filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if told.is_empty() { "nothing to do".to_owned() } else { told.join(", ") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted() {
        let mut progress = Progress::default();
        assert_eq!(progress.words(), "nothing to do");
        for line in [
            " Network media_default  Creating",
            " Container media-web-1  Recreate",
            " Container media-web-1  Recreated",
            " Container media-db-1  Running",
            " Container media-web-1  Starting",
            " Container media-web-1  Started",
            " Container media-jobs-1  Started",
            "Container that is not one of these lines",
        ] {
            progress.note(line);
        }
        assert_eq!(progress.words(), "1 recreated, 1 started, 1 unchanged");
    }
}
