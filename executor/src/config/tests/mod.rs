//! The parser as its callers see it: a text and an environment in, a
//! configuration or a report out.

mod faults;
mod files;
mod overrides;
mod values;

use super::{Config, parse};

/// The smallest right project, for texts that are about something else.
const SHOP: &str = "[project.shop]\nrepo = \"/srv/git/shop\"\n";

fn with_env(text: &str, vars: &[(&str, &str)]) -> Result<Config, Vec<String>> {
    let lookup = |name: &str| {
        vars.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let names: Vec<String> = vars.iter().map(|(name, _)| (*name).to_owned()).collect();
    parse(text, "f", &lookup, &names)
        .map_err(|faults| faults.to_string().lines().map(str::to_owned).collect())
}

fn read(text: &str) -> Result<Config, Vec<String>> {
    with_env(text, &[])
}

/// The report on a text that is wrong.
#[track_caller]
fn report(text: &str) -> Vec<String> {
    read(text).expect_err(text)
}

/// `SHOP` with more lines, which begin at line 3.
fn shop_and(lines: &str) -> String {
    format!("{SHOP}{lines}")
}
