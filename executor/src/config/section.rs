//! One table of the file while it is read: where it stands, what was asked of
//! it, and what is said about a key that nobody asked for.
//!
//! A section reads nothing; the reader does, and marks here what it looked for.

use std::collections::BTreeSet;

use super::fault::{Spot, shown, suggestion};
use super::tree::{Entry, Table, Value};
use super::variable;

/// A value that passed, with its place for checks that compare several.
#[derive(Clone, Debug)]
pub(super) struct Found<T> {
    pub(super) value: T,
    pub(super) spot: Spot,
}

/// One table of the file while it is read; it may be absent from the file.
pub(super) struct Section<'t> {
    pub(super) path: Vec<String>,
    pub(super) table: Option<&'t Table>,
    pub(super) spot: Spot,
    /// In the file, or called into being by a variable.
    pub(super) present: bool,
    /// The keys that were asked for; whatever else it holds is unknown.
    pub(super) asked: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// A table that was found. The file itself is the table with no path.
    pub(super) fn new(path: Vec<String>, table: &'t Table, spot: Spot) -> Section<'t> {
        Section {
            path,
            table: Some(table),
            spot,
            present: true,
            asked: Vec::new(),
        }
    }

    /// The table as its header is written: `[project.shop]`.
    pub(super) fn title(&self) -> String {
        if self.path.is_empty() {
            return "the file".to_owned();
        }
        format!("[{}]", variable::dotted(&self.path))
    }

    pub(super) fn child_path(&self, key: &str) -> Vec<String> {
        let mut path = self.path.clone();
        path.push(key.to_owned());
        path
    }

    /// What to say about a key that nobody asked for.
    pub(super) fn unknown_key(&self, key: &str, entry: &Entry, all: &[Section<'_>]) -> String {
        let title = self.title();
        let written = shown(key);
        if variable::looks_secret(key) {
            let place = variable::place_for_secret(&self.path);
            return format!(
                "`{written}` in {title} looks like a secret, and this file holds none; {place}"
            );
        }
        let unknown = format!("unknown key `{written}` in {title}");
        let elsewhere: BTreeSet<String> = all
            .iter()
            .filter(|other| other.asked.contains(&key))
            .map(Section::title)
            .collect();
        if !elsewhere.is_empty() {
            let places: Vec<String> = elsewhere.into_iter().collect();
            return format!("{unknown}; it belongs in {}", places.join(" or "));
        }
        let near = suggestion(key, self.asked.iter().copied());
        if !near.is_empty() {
            return unknown + &near;
        }
        let hint = match (&entry.item.value, self.path.as_slice()) {
            (Value::Table(_), []) => Some(("a project is written", key.to_owned())),
            (Value::Table(_), [project, name]) if project == "project" => Some((
                "a name with a dot stands in quotes",
                format!("{name}.{key}"),
            )),
            (_, _) => None,
        };
        let Some((why, name)) = hint else {
            return unknown;
        };
        let header = variable::dotted(&["project".to_owned(), name]);
        format!("{unknown}; {why}: [{header}]")
    }
}
