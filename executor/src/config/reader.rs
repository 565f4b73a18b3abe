//! Typed reading of one table of the file, with the environment laid over it.
//!
//! A value is asked for by section and key. The reader looks for its variable
//! first (`DOORSTEP_PROJECT_SHOP_BRANCH`), then in the table; it checks the
//! type, applies the limits and notes a fault at the place of whatever was
//! wrong. It never stops at a fault: the caller gets `None` and goes on to the
//! next key, which is how every fault ends in one report.
//!
//! What was asked for is remembered. A key in the file that nobody asked for is
//! unknown, and so is a variable. That makes the reading code the only list of
//! keys there is.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::duration;
use super::fault::{RawFault, Spot, shown, suggestion};
use super::section::{Found, Section};
use super::tree::{self, Item, Table, Value};
use super::variable;

/// Longest string: a path is at most 4096 bytes on Linux, and nothing else in
/// the file has reason to be longer.
pub const TEXT_BYTES_MAX: usize = 4 * 1024;

/// Items of a list, an argv or an `env` table. Hand-written lists stay far
/// below; a generated one shows itself here instead of on the dashboard.
pub const ITEMS_MAX: usize = 256;

/// What a variable's text is taken for.
#[derive(Clone, Copy)]
enum Shape {
    Text,
    Integer,
    List,
}

/// Collects the faults of one file.
pub(super) struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    /// Every variable that was asked for, with the key it stands for.
    pub(super) asked: BTreeMap<String, String>,
    pub(super) faults: Vec<RawFault>,
    /// The file has syntax faults, so what seems absent may only be unread.
    broken: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(env: &'a dyn Fn(&str) -> Option<String>, syntax: Vec<RawFault>) -> Self {
        Reader {
            env,
            asked: BTreeMap::new(),
            broken: !syntax.is_empty(),
            faults: syntax,
        }
    }

    pub(super) fn fault(&mut self, spot: &Spot, message: impl Into<String>) {
        self.faults.push(RawFault::new(spot.clone(), message));
    }

    /// Something that ought to be there is not.
    pub(super) fn absent(&mut self, spot: &Spot, message: impl Into<String>) {
        if !self.broken {
            self.fault(spot, message);
        }
    }

    /// The table `key` inside another; marked absent when the file has none.
    pub(super) fn section<'t>(
        &mut self,
        parent: &mut Section<'t>,
        key: &'static str,
    ) -> Section<'t> {
        parent.asked.push(key);
        let entry = parent.table.and_then(|table| table.get(key));
        let item = entry.map(|entry| &entry.item);
        let table = item.and_then(|item| self.table(item));
        Section {
            path: parent.child_path(key),
            table,
            spot: item.map_or(&parent.spot, |item| &item.spot).clone(),
            present: table.is_some(),
            asked: Vec::new(),
        }
    }

    /// The table in an item, or a fault.
    pub(super) fn table<'t>(&mut self, item: &'t Item) -> Option<&'t Table> {
        if let Value::Table(table) = &item.value {
            return Some(table);
        }
        self.wrong_kind(item, "a table");
        None
    }

    /// A string, turned into what it means by `parse`.
    pub(super) fn parsed<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Found<T>> {
        let item = self.take(section, key, Shape::Text)?;
        let spot = item.spot.clone();
        let text = self.text(item)?;
        match parse(&text) {
            Ok(value) => Some(Found { value, spot }),
            Err(why) => {
                self.fault(&spot, format!("`{key}`: {why}"));
                None
            }
        }
    }

    /// What `read` finds under a key that must be there.
    pub(super) fn required<'t, T>(
        &mut self,
        section: &mut Section<'t>,
        what: &str,
        read: impl FnOnce(&mut Self, &mut Section<'t>) -> Option<T>,
    ) -> Option<T> {
        let known_faults = self.faults.len();
        let value = read(self, section);
        // A wrong value is a fault already, and not a missing one.
        if value.is_none() && self.faults.len() == known_faults {
            let message = format!("{} needs {what}", section.title());
            self.absent(&section.spot, message);
        }
        value
    }

    /// One of a few words.
    pub(super) fn choice<T: Copy>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        choices: &[(&str, T)],
    ) -> Option<T> {
        self.parsed(section, key, |text| choose(text, choices))
            .map(|found| found.value)
    }

    /// A whole number within a range.
    pub(super) fn number(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        range: RangeInclusive<u32>,
    ) -> Option<u32> {
        let item = self.take(section, key, Shape::Integer)?;
        let Value::Integer(number) = item.value else {
            self.wrong_kind(&item, "a whole number");
            return None;
        };
        let number = u32::try_from(number).ok().filter(|n| range.contains(n));
        if number.is_none() {
            let (low, high) = range.into_inner();
            self.fault(
                &item.spot,
                format!("`{key}` is a whole number from {low} to {high}"),
            );
        }
        number
    }

    /// A duration within a range.
    pub(super) fn duration(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Found<Duration>> {
        self.parsed(section, key, |text| {
            let value = duration::parse(text)?;
            if range.contains(&value) {
                return Ok(value);
            }
            let (low, high) = range.into_inner();
            let (low, high) = (duration::written(low), duration::written(high));
            Err(format!("the duration is from {low} to {high}"))
        })
    }

    /// A list, of a length within a range, whose items are strings that `parse`
    /// takes.
    pub(super) fn list<T>(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
        len: RangeInclusive<usize>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let item = self.take(section, key, Shape::List)?;
        self.items(item, key, len, &parse)
    }

    /// A program with its arguments.
    pub(super) fn argv(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Option<Vec<String>> {
        self.list(section, key, 1..=ITEMS_MAX, argument)
    }

    /// Programs, each with its arguments.
    pub(super) fn argvs(
        &mut self,
        section: &mut Section<'_>,
        key: &'static str,
    ) -> Option<Vec<Vec<String>>> {
        let item = self.take(section, key, Shape::List)?;
        let commands = self.bounded(item, key, 1..=ITEMS_MAX)?;
        // Not lazily: the second wrong command is reported as well.
        let read: Vec<_> = commands
            .into_iter()
            .map(|command| self.items(command, key, 1..=ITEMS_MAX, &argument))
            .collect();
        read.into_iter().collect()
    }

    /// A table whose keys are the user's own; `check` judges each key.
    pub(super) fn free_table(
        &mut self,
        section: &Section<'_>,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> BTreeMap<String, String> {
        let mut read = BTreeMap::new();
        let entries = section.table.into_iter().flatten();
        if entries.clone().count() > ITEMS_MAX {
            let message = format!("{} holds more than {ITEMS_MAX} keys", section.title());
            self.fault(&section.spot, message);
            return read;
        }
        for (key, entry) in entries {
            if let Err(why) = check(key) {
                self.fault(&entry.key_spot, why);
                continue;
            }
            let item = self.overridden(&section.child_path(key), Shape::Text);
            let text = self.text(item.unwrap_or_else(|| entry.item.clone()));
            read.extend(text.map(|text| (key.clone(), text)));
        }
        read
    }

    /// Reports the keys that nobody asked for. The sections are given together
    /// so that a key in the wrong one can be sent to the right one.
    pub(super) fn finish(&mut self, sections: &[Section<'_>]) {
        for section in sections {
            let unknown = section.table.into_iter().flatten();
            let unknown = unknown.filter(|(key, _)| !section.asked.contains(&key.as_str()));
            for (key, entry) in unknown {
                let message = section.unknown_key(key, entry, sections);
                self.fault(&entry.key_spot, message);
            }
        }
    }

    /// Notes that a variable was asked for, on behalf of a key.
    ///
    /// Two keys can share a variable (the projects `a-b` and `a_b`). That
    /// matters only once it is set.
    pub(super) fn note(&mut self, name: &str, path: &[String]) -> Option<String> {
        let value = (self.env)(name).filter(|value| !value.is_empty());
        let path = variable::dotted(path);
        let earlier = self.asked.insert(name.to_owned(), path.clone());
        if let Some(earlier) = earlier.filter(|_| value.is_some()) {
            let message = format!("it could mean {earlier} or {path}; rename one of the two");
            self.fault(&Spot::Variable(name.to_owned()), message);
        }
        value
    }

    fn take(&mut self, section: &mut Section<'_>, key: &'static str, shape: Shape) -> Option<Item> {
        section.asked.push(key);
        let known_faults = self.faults.len();
        let item = self.overridden(&section.child_path(key), shape);
        if item.is_some() || self.faults.len() > known_faults {
            section.present = true;
            return item;
        }
        let entry = section.table.and_then(|table| table.get(key));
        entry.map(|entry| entry.item.clone())
    }

    /// The value of the variable that stands for a key, if it is set.
    fn overridden(&mut self, path: &[String], shape: Shape) -> Option<Item> {
        let name = variable::name(path);
        if variable::is_reserved(&name) {
            return None;
        }
        let text = self.note(&name, path)?;
        let spot = Spot::Variable(name);
        let value = match shape {
            Shape::Text => Ok(Value::Text(text)),
            Shape::Integer => text
                .parse()
                .map(Value::Integer)
                .map_err(|_| "expected a whole number".to_owned()),
            Shape::List => tree::from_json(&text, &spot),
        };
        match value {
            Ok(value) => Some(Item { value, spot }),
            Err(why) => {
                self.fault(&spot, why);
                None
            }
        }
    }

    fn items<T>(
        &mut self,
        item: Item,
        key: &str,
        len: RangeInclusive<usize>,
        parse: &impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let elements = self.bounded(item, key, len)?;
        let mut values = Vec::with_capacity(elements.len());
        let mut good = true;
        for element in elements {
            let spot = element.spot.clone();
            let value = self.text(element).and_then(|text| {
                parse(&text)
                    .map_err(|why| self.fault(&spot, format!("in `{key}`: {why}")))
                    .ok()
            });
            good &= value.is_some();
            values.extend(value);
        }
        good.then_some(values)
    }

    /// The items of a list of a length within a range.
    fn bounded(&mut self, item: Item, key: &str, len: RangeInclusive<usize>) -> Option<Vec<Item>> {
        let Value::List(items) = item.value else {
            self.wrong_kind(&item, "a list");
            return None;
        };
        if items.len() < *len.start() {
            let message = format!("`{key}` is an empty list; leave it out or name something");
            self.absent(&item.spot, message);
            return None;
        }
        if items.len() > *len.end() {
            let message = format!("`{key}` has more than {} items", len.end());
            self.fault(&item.spot, message);
            return None;
        }
        Some(items)
    }

    fn text(&mut self, item: Item) -> Option<String> {
        let Value::Text(text) = item.value else {
            self.wrong_kind(&item, "a string");
            return None;
        };
        if text.len() > TEXT_BYTES_MAX {
            let message = format!("a string is at most {TEXT_BYTES_MAX} bytes long");
            self.fault(&item.spot, message);
            return None;
        }
        // Neither an argument nor a path nor a variable can hold one.
        if text.contains('\0') {
            self.fault(&item.spot, "a string holds no NUL character");
            return None;
        }
        Some(text)
    }

    fn wrong_kind(&mut self, item: &Item, expected: &str) {
        let found = item.value.kind();
        self.fault(&item.spot, format!("expected {expected}, found {found}"));
    }
}

/// The choice that a word names.
pub(super) fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    let near = suggestion(text, words.iter().copied());
    let words = words.join("\", \"");
    let text = shown(text);
    Err(format!("\"{text}\" is none of \"{words}\"{near}"))
}

fn argument(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("an empty string is no argument".to_owned());
    }
    Ok(text.to_owned())
}
