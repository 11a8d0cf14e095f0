//! That no key is missing, and that what is shown can be used.

use std::{collections::BTreeSet, num::NonZeroU32};

use sentinel_host::worker::{AdmissionBounds, AskedLimits, GrantTable};
use serde::{
    Deserialize, Deserializer,
    de::{Visitor, value::Error},
    forward_to_deserialize_any,
};

use super::*;
use crate::config::Config;

/// Hears which fields somebody would read.
struct Fields<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Fields<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(serde::de::Error::custom("only the fields are asked for"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn resolve(text: &str) -> Config {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(&file, text).expect("written");
    let args = ServerArgs { config: Some(file.path().to_owned()), ..ServerArgs::default() };
    args.resolve().unwrap_or_else(|error| panic!("{error:#}\n{text}"))
}

/// All that a configuration says.
fn said(config: &Config) -> String {
    format!("{config:?}")
}

/// The reference in which those lines are uncommented that can be and are meant.
fn uncommented(is_meant: impl Fn(&str) -> bool) -> String {
    let text = reference();
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') && is_meant(rest) => rest,
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_key_that_is_read_is_in_it_and_no_other() {
    let mut fields: &[_] = &[];
    ServerArgs::deserialize(Fields(&mut fields)).expect_err("nothing is read");
    let read: BTreeSet<_> = fields.iter().map(ToString::to_string).collect();
    let tables = Table::all().map(|table| table.header.split('.').next().expect("a name").to_owned());
    let told: BTreeSet<_> = Key::all().into_iter().map(|key| key.name).chain(tables).collect();
    assert!(read.len() > 15, "{read:?}");
    assert_eq!(told, read);
    for table in Table::all() {
        let keys: Vec<_> = table.keys.iter().map(|key| key.name).collect();
        let read: &[&str] = match table.header {
            "ceilings" => &AskedLimits::KEYS,
            "admission" => &AdmissionBounds::KEYS,
            _ => &GrantTable::KEYS,
        };
        assert_eq!(keys, read, "{}", table.header);
    }
}

#[test]
fn each_key_has_a_meaning_an_example_a_flag_and_a_variable() {
    for key in Key::all() {
        let name = &key.name;
        assert!(key.meaning.len() > 10 && !key.flag.is_empty() && !key.env.is_empty(), "{name}");
        assert!(key.example.is_some(), "{name}: say `[default: …]` or \"such as `…`\" in its help");
    }
    for key in Table::all().into_iter().flat_map(|table| table.keys) {
        assert!(key.form.len() > 5 && !key.form.contains("such key"), "{}: {}", key.name, key.form);
    }
}

#[test]
fn as_it_is_it_changes_nothing() {
    assert_eq!(said(&resolve(&reference())), said(&resolve("")));
}

#[test]
fn the_defaults_that_it_shows_are_those_that_hold() {
    let keys = Key::all().into_iter().filter(|key| key.default.as_deref().is_some_and(is_value));
    let keys: Vec<_> = keys.map(|key| format!("{} = ", key.name)).collect();
    assert!(keys.len() > 4, "{keys:?}");
    let text = uncommented(|line| keys.iter().any(|key| line.starts_with(key)));
    // Tables have some keys of the same names.
    let end = text.find("#[grants").expect("it is there");
    assert_eq!(said(&resolve(&text[..end])), said(&resolve("")));

    // There is no fixed one of `cpu`.
    let text = uncommented(|line| !line.starts_with("cpu"));
    let start = text.find("[ceilings]").expect("it is there");
    assert_eq!(said(&resolve(&text[start..])), said(&resolve("")));
}

#[test]
fn all_of_it_uncommented_is_a_configuration() {
    let config = resolve(&uncommented(|_| true));
    assert_eq!(config.worker.slots, NonZeroU32::new(16).expect("not zero"));
    assert_eq!(config.jobs.grants.jobs().count(), 1);
    assert!(config.tls.is_some() && config.redis.is_some());
}

#[test]
fn no_line_of_prose_is_longer_than_can_be_read() {
    for line in reference().lines().filter(|line| line.starts_with("# ")) {
        assert!(line.chars().count() <= WIDTH, "{line}");
    }
}
