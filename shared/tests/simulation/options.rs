//! The command line: what cargo and nextest say to every test binary, and
//! which worlds are wanted.

use super::runner::Plan;

pub struct Options {
    pub list: bool,
    pub plan: Plan,
    /// Only tests that are left out otherwise, of which there is none.
    ignored: bool,
    exact: bool,
    filters: Vec<String>,
    skips: Vec<String>,
}

impl Options {
    /// Reads `--seeds N`, `--seed S` and the options of other test binaries.
    pub fn read(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let (mut list, mut ignored, mut exact) = (false, false, false);
        let (mut first, mut seeds) = (None, None);
        let (mut filters, mut skips) = (Vec::new(), Vec::new());
        let mut arguments = arguments.flat_map(|argument| match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => vec![name.to_owned(), value.to_owned()],
            _ => vec![argument],
        });
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--seeds" => seeds = Some(number(arguments.next())?),
                "--seed" => first = Some(number(arguments.next())?),
                "--list" => list = true,
                "--ignored" => ignored = true,
                "--exact" => exact = true,
                "--skip" => skips.extend(arguments.next()),
                "--format" | "--color" | "--test-threads" | "--logfile" => drop(arguments.next()),
                "--nocapture" | "--no-capture" | "--show-output" | "--include-ignored" | "--quiet" | "-q" => {}
                option if option.starts_with('-') => return Err(format!("unknown option {option}")),
                filter => filters.push(filter.to_owned()),
            }
        }
        Ok(Self { list, plan: Plan::wanted(first, seeds), ignored, exact, filters, skips })
    }

    /// Is this test to be run?
    pub fn wants(&self, name: &str) -> bool {
        let meant = |filter: &String| if self.exact { filter == name } else { name.contains(filter.as_str()) };
        !self.ignored && (self.filters.is_empty() || self.filters.iter().any(meant)) && !self.skips.iter().any(meant)
    }
}

fn number(text: Option<String>) -> Result<u64, String> {
    let text = text.unwrap_or_default();
    text.parse().map_err(|_| format!("`{text}` is not a number of worlds or of a seed"))
}
