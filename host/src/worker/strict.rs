//! Reads tables that people wrote, strictly.
//!
//! Owns the words in which a key or a value is refused: each names the key, the value and what to
//! write instead. Does not know what the keys mean. Invariant: no key is passed over.

use std::{fmt, time::Duration};

use sentinel_queue::duration;
use toml::{Table, Value};

use crate::size;

/// Something in a file cannot be used: the key, the value, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Wrong(String);

impl Wrong {
    pub(super) fn new(said: impl Into<String>) -> Self {
        Self(said.into())
    }
}

/// A table, and the way to it.
pub(super) struct Section<'a> {
    path: String,
    table: &'a Table,
    /// Whether errors may show values: one may be a secret in the wrong place.
    may_show: bool,
}

impl<'a> Section<'a> {
    /// A table whose keys are known.
    pub(super) fn new(path: &str, table: &'a Table, known: &[&str]) -> Result<Self, Wrong> {
        let section = Self::open(path, table);
        match table.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(section),
            Some(key) => Err(section.unknown(key, known)),
        }
    }

    /// A table whose keys people choose.
    pub(super) fn open(path: &str, table: &'a Table) -> Self {
        Self { path: path.to_owned(), table, may_show: true }
    }

    /// The same, whose values are not shown in errors.
    pub(super) fn discreet(self) -> Self {
        Self { may_show: false, ..self }
    }

    fn unknown(&self, key: &str, known: &[&str]) -> Wrong {
        let fix = match nearest(key, known) {
            Some(nearest) => format!("did you mean {nearest:?}?"),
            None => format!("there are {}", known.join(", ")),
        };
        Wrong(format!("{}: no such key: {fix}", self.path_of(key)))
    }

    fn path_of(&self, key: &str) -> String {
        let plain = |key: &str| {
            !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        let key = if plain(key) { clipped(key).to_string() } else { format!("{:?}", clipped(key)) };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }

    /// That the value of `key` is wrong, and what to write.
    pub(super) fn wrong(&self, key: &str, fix: impl fmt::Display) -> Wrong {
        let path = self.path_of(key);
        match self.table.get(key).filter(|_| self.may_show) {
            Some(value) => Wrong(format!("{path}: {}: {fix}", shown(value))),
            None => Wrong(format!("{path}: {fix}")),
        }
    }

    /// What `read` makes of the value of `key`; its error says what to write.
    pub(super) fn get<T, E: fmt::Display>(
        &self,
        key: &str,
        read: impl FnOnce(&'a Value) -> Result<T, E>,
    ) -> Result<Option<T>, Wrong> {
        self.table.get(key).map(read).transpose().map_err(|fix| self.wrong(key, fix))
    }

    /// The table under `key`, whose keys are known.
    pub(super) fn section(&self, key: &str, known: &[&str]) -> Result<Option<Section<'a>>, Wrong> {
        let table = self.get(key, table)?;
        let path = self.path_of(key);
        table.map(|table| Section::new(&path, table, known)).transpose()
    }

    /// The table under `key`, whose keys people choose.
    pub(super) fn names(&self, key: &str) -> Result<Option<Section<'a>>, Wrong> {
        let table = self.get(key, table)?;
        Ok(table.map(|table| Section::open(&self.path_of(key), table)))
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> + use<'a> {
        self.table.keys().map(String::as_str)
    }
}

pub(super) fn table(value: &Value) -> Result<&Table, &'static str> {
    value.as_table().ok_or("must be a table")
}

pub(super) fn text(value: &Value) -> Result<&str, &'static str> {
    value.as_str().ok_or("must be a text in quotes")
}

/// A list of texts, of which `read` makes something.
pub(super) fn list<T, E: fmt::Display>(
    read: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Value) -> Result<Vec<T>, String> {
    move |value| {
        let items = value.as_array().ok_or("must be a list of texts, such as [\"a\", \"b\"]")?;
        let item = |item: &Value| {
            let text =
                item.as_str().ok_or_else(|| format!("{} in it must be a text in quotes", shown(item)))?;
            read(text).map_err(|fix| format!("{:?} in it {fix}", clipped(text)))
        };
        items.iter().map(item).collect()
    }
}

/// An integer within a range.
pub(super) fn count(least: u32, most: u32) -> impl Fn(&Value) -> Result<u32, String> {
    move |value| {
        let count = value.as_integer().and_then(|count| u32::try_from(count).ok());
        count
            .filter(|count| (least..=most).contains(count))
            .ok_or_else(|| format!("must be an integer from {least} to {most}"))
    }
}

/// A span of time within a range.
pub(super) fn span(least: Duration, most: Duration) -> impl Fn(&Value) -> Result<Duration, String> {
    move |value| {
        let span = value.as_str().and_then(|text| duration::parse(text).ok());
        span.filter(|span| (least..=most).contains(span)).ok_or_else(|| {
            format!(
                "must be <integer><ms|s|m|h|d> in quotes, from {} to {}",
                duration::format(least),
                duration::format(most)
            )
        })
    }
}

/// A number of bytes within a range.
pub(super) fn bytes(least: u64, most: u64) -> impl Fn(&Value) -> Result<u64, String> {
    move |value| {
        let bytes = value.as_str().and_then(size::parse);
        bytes.filter(|bytes| (least..=most).contains(bytes)).ok_or_else(|| {
            format!(
                "must be <integer><B|KiB|MiB|GiB> in quotes, from {} to {}",
                size::format(least),
                size::format(most)
            )
        })
    }
}

/// The key that was probably meant.
fn nearest<'a>(key: &str, known: &[&'a str]) -> Option<&'a str> {
    let likely = known.iter().map(|known| (strsim::jaro_winkler(key, known), *known));
    likely.filter(|(likeness, _)| *likeness > 0.75).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{:?}", clipped(text)),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(_) => "a date".into(),
        Value::Array(_) => "the list".into(),
        Value::Table(_) => "the table".into(),
    }
}

fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(60)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_key_the_value_and_the_fix() {
        let table: Table = "memry = 1\n[limits]\nlog = \"1 MB\"\n\"a b\" = 1".parse().unwrap();
        let wrong = Section::new("", &table, &["memory", "limits"]).err().unwrap().to_string();
        assert_eq!(wrong, "memry: no such key: did you mean \"memory\"?");
        let top = Section::open("", &table);
        let limits = top.names("limits").unwrap().unwrap();
        let wrong = limits.get("log", bytes(1, 1 << 20)).unwrap_err().to_string();
        assert_eq!(
            wrong,
            "limits.log: \"1 MB\": must be <integer><B|KiB|MiB|GiB> in quotes, from 1B to 1MiB"
        );
        let wrong = limits.unknown("a b", &["x", "y"]).to_string();
        assert_eq!(wrong, "limits.\"a b\": no such key: there are x, y");
        assert_eq!(limits.discreet().wrong("log", "must not").to_string(), "limits.log: must not");
    }
}
