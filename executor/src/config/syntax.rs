//! Reading TOML in spite of its syntax faults, to report all of them and the
//! wrong keys beside them.
//!
//! The parser recovers from most faults by itself, but it gives up at a key
//! without `=` and takes the rest of the file for items of a list that was not
//! closed. So the lines with faults are made blank, which moves nothing, and
//! the rest is read again, until no new fault appears. What comes of it serves
//! for reporting only: a file with a syntax fault is refused in any case.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use toml::de::{DeTable, Error};

use super::fault::{Lines, RawFault, Spot, shown};
use super::tree::{self, Table};

/// Readings of a file with syntax faults. Each blanks what the one before
/// tripped over; a missing bracket needs three.
const ROUNDS_MAX: usize = 8;

/// Syntax faults past which a file is not taken for TOML at all, and only these
/// are reported. A binary file has one a byte.
const ERRORS_MAX: usize = 1000;

/// The parser's message for a key or a table that is there twice.
const DUPLICATE: &str = "duplicate key";

/// Reads TOML: what was understood, and every syntax fault.
pub(super) fn read(text: &str) -> (Table, Vec<RawFault>) {
    let mut recovery = Recovery {
        text,
        lines: Lines::of(text),
        bad_lines: BTreeSet::new(),
        faults: BTreeMap::new(),
    };
    let mut source = Cow::Borrowed(text);
    let mut understood = Table::new();
    for _ in 0..ROUNDS_MAX {
        let (root, errors) = DeTable::parse_recoverable(&source);
        if errors.len() > ERRORS_MAX {
            let first = errors.iter().take(ERRORS_MAX);
            return (Table::new(), first.map(|e| fault(text, e)).collect());
        }
        understood = tree::table(root.get_ref());
        if !recovery.learn(&source, &errors) {
            break;
        }
        source = Cow::Owned(blanked(text, &recovery.bad_lines));
    }
    let faults = recovery.faults.into_values().flatten().collect();
    (understood, faults)
}

/// What is known after some readings.
struct Recovery<'t> {
    text: &'t str,
    lines: Lines<'t>,
    bad_lines: BTreeSet<usize>,
    /// By line, so that what one missing bracket caused can be taken back.
    faults: BTreeMap<usize, BTreeSet<RawFault>>,
}

impl Recovery<'_> {
    /// Takes in the errors of one reading; false when there is nothing new to
    /// blank.
    fn learn(&mut self, source: &str, errors: &[Error]) -> bool {
        let line = |error: &Error| self.lines.line(error.span().map_or(0, |span| span.start));
        let mut fresh: Vec<(usize, &Error)> = errors.iter().map(|e| (line(e), e)).collect();
        fresh.retain(|(line, _)| !self.bad_lines.contains(line));
        let unclosed = fresh.iter().find(|(_, error)| is_unclosed(error)).copied();
        if let Some((end, _)) = unclosed.filter(|(end, _)| self.bad_lines.last() > Some(end)) {
            // What followed was read as part of the open value.
            self.bad_lines.split_off(&end);
            self.faults.split_off(&end);
            fresh.retain(|(line, _)| *line <= end);
            self.bad_lines.extend(opening_line(source, end)..=end);
        }
        let mut more = false;
        for (line, error) in fresh {
            let faults = self.faults.entry(line).or_default();
            faults.insert(fault(self.text, error));
            // The parser copes with duplicates, and there is more on their line.
            if error.message() != DUPLICATE {
                self.bad_lines.insert(line);
                more = true;
            }
        }
        more
    }
}

fn fault(text: &str, error: &Error) -> RawFault {
    let Some(span) = error.span() else {
        return RawFault::new(Spot::Whole, error.message());
    };
    let spot = Spot::Byte(span.start);
    if error.message() == DUPLICATE {
        let key = shown(text.get(span).unwrap_or_default());
        return RawFault::new(spot, format!("`{key}` is there twice"));
    }
    RawFault::new(spot, format!("not valid TOML: {}", error.message()))
}

fn is_unclosed(error: &Error) -> bool {
    ["unclosed array", "unclosed inline table"]
        .iter()
        .any(|message| error.message().starts_with(message))
}

/// The line where the value began that is still open at the end of line `end`:
/// the last one before with a key.
fn opening_line(text: &str, end: usize) -> usize {
    let before = text.lines().take(end).enumerate();
    let keyed = before.filter(|(_, line)| {
        line.contains("= [") || line.contains("={") || line.contains("=[") || line.contains("= {")
    });
    keyed.last().map_or(end, |(index, _)| index + 1)
}

/// The text with some lines made of spaces. A broken header takes its keys with
/// it: they would be read as those of the table before.
fn blanked(text: &str, lines: &BTreeSet<usize>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut headless = false;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let bad = lines.contains(&(index + 1));
        if line
            .trim_start_matches('\u{feff}')
            .trim_start()
            .starts_with('[')
        {
            headless = bad;
        }
        if bad || headless {
            let ending = if line.ends_with('\n') { "\n" } else { "" };
            out.extend(std::iter::repeat_n(' ', line.len() - ending.len()));
            out.push_str(ending);
        } else {
            out.push_str(line);
        }
    }
    out
}
