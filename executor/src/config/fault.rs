//! What is wrong with the configuration, and where.
//!
//! While reading, a fault only knows a byte offset or a variable's name; lines
//! and columns are worked out once at the end, for the faults that are kept.
//! Counting columns fault by fault would be quadratic in a file of one long
//! line.
//!
//! A message never repeats a value that could be a secret, and whatever it does
//! repeat goes through [`shown`]: the text may come from a hostile hand and ends
//! on a terminal.

use std::fmt;

/// Faults listed in one report. A person reads a screen or two; a binary file
/// given by mistake makes one fault a byte.
pub const FAULTS_MAX: usize = 200;

/// Characters of foreign text repeated in a message: enough to recognise a key.
const SHOWN_CHARS_MAX: usize = 60;

/// Where a fault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole.
    File {
        /// Name of the file, as it was given.
        file: String,
    },
    /// A position in the file.
    Position {
        /// Name of the file, as it was given.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Column in characters, from 1. A tab is one character.
        column: usize,
    },
    /// An environment variable that overrides a value of the file.
    Variable {
        /// Name of the variable.
        name: String,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File { file } => write!(f, "{file}"),
            Place::Position { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Place::Variable { name } => write!(f, "environment variable {name}"),
        }
    }
}

/// One thing that is wrong: `doorstep.toml:12:5: unknown key ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// What is wrong and what was meant; one line, no full stop.
    pub message: String,
}

/// Everything that is wrong, in the order of the file, variables last.
///
/// Displays as one line per fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The faults, at most [`FAULTS_MAX`] of each file; never empty.
    pub list: Vec<Fault>,
    /// How many more there were.
    pub omitted: usize,
}

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        if self.omitted > 0 {
            write!(f, "\nand {} more", self.omitted)?;
        }
        Ok(())
    }
}

/// Where a value came from, before lines are counted. The order is the order of
/// the report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    Whole,
    Byte(usize),
    Variable(String),
}

/// A fault that is not located yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RawFault {
    pub(super) spot: Spot,
    pub(super) message: String,
}

impl RawFault {
    pub(super) fn new(spot: Spot, message: impl Into<String>) -> RawFault {
        let message = message.into();
        RawFault { spot, message }
    }
}

/// Sorts, drops repetitions, cuts at [`FAULTS_MAX`] and counts the lines.
pub(super) fn locate(mut raw: Vec<RawFault>, text: &str, file: &str) -> Faults {
    raw.sort();
    raw.dedup();
    let omitted = raw.len().saturating_sub(FAULTS_MAX);
    raw.truncate(FAULTS_MAX);
    let lines = Lines::of(text);
    let list = raw
        .into_iter()
        .map(|fault| Fault {
            place: place(fault.spot, &lines, file),
            message: fault.message,
        })
        .collect();
    Faults { list, omitted }
}

fn place(spot: Spot, lines: &Lines<'_>, file: &str) -> Place {
    let file = file.to_owned();
    match spot {
        Spot::Whole => Place::File { file },
        Spot::Byte(offset) => {
            let (line, column) = lines.position(offset);
            Place::Position { file, line, column }
        }
        Spot::Variable(name) => Place::Variable { name },
    }
}

/// Where the lines of a text begin.
pub(super) struct Lines<'a> {
    bytes: &'a [u8],
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Lines<'a> {
        // An editor shows no byte order mark, so columns do not count it.
        let first = if text.starts_with('\u{feff}') { 3 } else { 0 };
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(first)
            .chain(breaks.map(|(offset, _)| offset + 1))
            .collect();
        let bytes = text.as_bytes();
        Lines { bytes, starts }
    }

    /// The line of a byte, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset).max(1)
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.starts.get(line - 1).copied().unwrap_or(0);
        let before = self.bytes.get(start..offset).unwrap_or_default();
        // Continuation bytes of UTF-8 begin no character.
        let chars = before.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        (line, chars + 1)
    }
}

/// Foreign text made safe for a message: escaped and cut.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::new();
    for (index, c) in text.chars().enumerate() {
        if index == SHOWN_CHARS_MAX {
            out.push('…');
            break;
        }
        match c {
            '"' | '\'' => out.push(c),
            other => out.extend(other.escape_debug()),
        }
    }
    out
}

/// `; did you mean ...?` for the nearest of the candidates, or nothing when
/// none is near.
pub(super) fn suggestion<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> String {
    // A longer text is no slip of the finger, and the distance costs its square.
    if written.len() > SHOWN_CHARS_MAX * 2 {
        return String::new();
    }
    let lower = written.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| {
            let distance = strsim::osa_distance(&lower, &candidate.to_lowercase());
            (distance, candidate)
        })
        // One slip for every three characters is still the same word.
        .filter(|(distance, candidate)| distance * 3 <= candidate.len().max(lower.len()))
        .min()
        .map(|(_, candidate)| format!("; did you mean `{candidate}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_and_skip_the_byte_order_mark() {
        let lines = Lines::of("\u{feff}a = 1\r\n\tü = 2\n\n");
        assert_eq!(lines.position(3), (1, 1));
        assert_eq!(lines.position(10), (2, 1));
        assert_eq!(lines.position(11), (2, 2));
        assert_eq!(lines.position(14), (2, 4));
        assert_eq!(lines.position(18), (3, 1));
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position(99).0, 4);
    }

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        assert_eq!(shown("a\u{1b}[2J\u{202e}\0"), "a\\u{1b}[2J\\u{202e}\\0");
        assert_eq!(shown("it's"), "it's");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 61);
    }

    #[test]
    fn suggestions_are_near_or_absent() {
        let keys = ["branch", "repo", "paths"];
        for (written, expected) in [
            ("brnch", "; did you mean `branch`?"),
            ("Branch", "; did you mean `branch`?"),
            ("rpeo", "; did you mean `repo`?"),
            ("path", "; did you mean `paths`?"),
            ("volume", ""),
            ("", ""),
        ] {
            assert_eq!(suggestion(written, keys), expected, "{written}");
        }
        assert_eq!(suggestion(&"b".repeat(10_000), keys), "");
    }

    #[test]
    fn a_report_is_sorted_and_cut() {
        let raw = (0..FAULTS_MAX + 5)
            .rev()
            .map(|n| RawFault::new(Spot::Byte(n), "wrong"))
            .collect();
        let text = "\n".repeat(FAULTS_MAX + 5);
        let faults = locate(raw, &text, "f");
        assert_eq!(faults.list.len(), FAULTS_MAX);
        let report = faults.to_string();
        assert!(report.starts_with("f:1:1: wrong\nf:2:1: wrong\n"));
        assert!(report.ends_with("f:200:1: wrong\nand 5 more"));
    }
}
