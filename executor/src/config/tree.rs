//! TOML and JSON values turned into one plain tree in which every value knows
//! its place.
//!
//! Only this file and `syntax` know the parsers. Nesting is bounded by them (80
//! and 128 levels), hence so is the recursion here. It knows no key and judges
//! no value.

use std::collections::BTreeMap;

use toml::de::{DeInteger, DeTable, DeValue};

use super::fault::Spot;

/// Longest JSON array in a variable: sixteen strings of full length, and far
/// more than anyone types.
const JSON_BYTES_MAX: usize = 64 * 1024;

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub(super) value: Value,
    pub(super) spot: Spot,
}

/// What the configuration distinguishes; all else is kept as its name only.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    List(Vec<Item>),
    Table(Table),
    /// A type that no key takes, named for the message.
    Other(&'static str),
}

/// A key's own place, beside that of its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key_spot: Spot,
    pub(super) item: Item,
}

pub(super) type Table = BTreeMap<String, Entry>;

impl Value {
    /// The type in words, for "expected a list, found a string".
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Text(_) => "a string",
            Value::Integer(_) => "a whole number",
            Value::List(_) => "a list",
            Value::Table(_) => "a table",
            Value::Other(kind) => kind,
        }
    }
}

/// A TOML table as the parser left it.
pub(super) fn table(source: &DeTable<'_>) -> Table {
    source
        .iter()
        .map(|(key, value)| {
            let entry = Entry {
                key_spot: Spot::Byte(key.span().start),
                item: item(value.get_ref(), value.span().start),
            };
            (key.get_ref().to_string(), entry)
        })
        .collect()
}

fn item(source: &DeValue<'_>, offset: usize) -> Item {
    let value = match source {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(digits) => Value::Integer(integer(digits)),
        DeValue::Float(_) => Value::Other("a decimal number"),
        DeValue::Boolean(_) => Value::Other("a boolean"),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|element| item(element.get_ref(), element.span().start))
                .collect(),
        ),
        DeValue::Table(inner) => Value::Table(table(inner)),
    };
    let spot = Spot::Byte(offset);
    Item { value, spot }
}

/// A number too large for us is out of every range anyway, so it saturates.
fn integer(digits: &DeInteger<'_>) -> i64 {
    let text = digits.as_str();
    let limit = if text.starts_with('-') {
        i64::MIN
    } else {
        i64::MAX
    };
    i64::from_str_radix(text, digits.radix()).unwrap_or(limit)
}

/// Reads the JSON array of an overriding variable.
pub(super) fn from_json(text: &str, spot: &Spot) -> Result<Value, String> {
    if text.len() > JSON_BYTES_MAX {
        return Err(format!("longer than {JSON_BYTES_MAX} bytes"));
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|error| {
        let column = error.column();
        format!("expected a JSON array such as [\"a\", \"b\"]; not valid JSON at column {column}")
    })?;
    Ok(json_item(value, spot).value)
}

fn json_item(source: serde_json::Value, spot: &Spot) -> Item {
    let value = match source {
        serde_json::Value::Null => Value::Other("null"),
        serde_json::Value::Bool(_) => Value::Other("a boolean"),
        serde_json::Value::Number(number) => number
            .as_i64()
            .map_or(Value::Other("a decimal number"), Value::Integer),
        serde_json::Value::String(text) => Value::Text(text),
        serde_json::Value::Array(items) => {
            Value::List(items.into_iter().map(|i| json_item(i, spot)).collect())
        }
        // No key takes a list of tables, so the members are of no use.
        serde_json::Value::Object(_) => Value::Other("a table"),
    };
    let spot = spot.clone();
    Item { value, spot }
}
