//! The reference of `sentinel.toml`: every key, as that which reads it defines it.
//!
//! Owns the form of the text. What a flag's key means is what its definition in `ServerArgs` says
//! (also its default, `[default: …]`, and its example, ``such as `…` ``); tables are in `tables`.
//! Invariant: put in place as it is, it changes nothing; what begins with `#` and no space may be
//! uncommented.

mod tables;

#[cfg(test)]
mod tests;

use std::{
    any::TypeId,
    fmt::{self, Write},
    num::NonZeroU32,
};

use clap::{Arg, Args, Command};
use toml::Value;

use self::tables::{Table, TableKey};
use super::ServerArgs;

const WIDTH: usize = 100;

const INTRO: &str = "\
The configuration of Sentinel's servers: `sentinel dev`, `api` and `worker` read it from \
./sentinel.toml, or from the file that --config or SENTINEL_CONFIG names. A flag wins over the \
environment, the environment over this file, and the file over the default. Each line that can be \
uncommented shows the default, or an example where there is no fixed one; the keys of a table need \
its [header], too. A list is written with commas in a flag or a variable. `sentinel config check` \
tells what is in force, and from where.";

/// One key of the file that is a flag, too.
pub(super) struct Key {
    /// As it is written in the file.
    pub(super) name: String,
    /// As clap names it.
    pub(super) id: String,
    flag: String,
    env: String,
    meaning: String,
    pub(super) default: Option<String>,
    kind: Kind,
    example: Option<String>,
    /// Whether what is said may be a secret.
    pub(super) is_discreet: bool,
}

enum Kind {
    Text,
    Integer,
    List,
    OneOf(Vec<String>),
}

/// The whole reference.
pub(crate) fn reference() -> String {
    let mut text = prose(INTRO);
    for key in Key::all() {
        text.push('\n');
        text += &prose(&key.meaning);
        text += &prose(&key.facts());
        line(&mut text, format_args!("#{} = {}", key.name, key.shown()));
    }
    for table in Table::all() {
        text.push('\n');
        text += &prose(table.meaning);
        line(&mut text, format_args!("#[{}]", table.header));
        for TableKey { name, meaning, form, default, value } in table.keys {
            text += &prose(&format!("{meaning} {form}. Default: {default}."));
            line(&mut text, format_args!("#{name} = {value}"));
        }
    }
    text
}

impl Key {
    /// All there are, in the order of their definition.
    pub(super) fn all() -> Vec<Self> {
        let command = ServerArgs::augment_args(Command::new("server"));
        // A file does not say where it is.
        command.get_arguments().filter(|arg| arg.get_id() != "config").map(Self::of).collect()
    }

    fn of(arg: &Arg) -> Self {
        let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
        let (meaning, default) = match help.split_once("[default: ") {
            Some((meaning, default)) => (meaning.trim_end(), Some(default.trim_end_matches(']').to_owned())),
            None => (help.as_str(), None),
        };
        let example = meaning.split_once("such as `").and_then(|(_, rest)| rest.split('`').next());
        let kind = Kind::of(arg);
        let example = match (&default, &kind) {
            (Some(default), _) if is_value(default) => Some(default.clone()),
            (_, Kind::OneOf(values)) => values.first().cloned(),
            _ => example.map(str::to_owned),
        };
        Self {
            name: arg.get_id().as_str().replace('_', "-"),
            id: arg.get_id().to_string(),
            flag: arg.get_long().unwrap_or_default().to_owned(),
            env: arg.get_env().unwrap_or_default().to_string_lossy().into_owned(),
            meaning: format!("{meaning}."),
            default,
            kind,
            example,
            is_discreet: arg.is_hide_env_values_set(),
        }
    }

    /// Its form, its default and where else it can be said.
    fn facts(&self) -> String {
        let form = match &self.kind {
            Kind::Text => "A text".to_owned(),
            Kind::Integer => "An integer".to_owned(),
            Kind::List => "A list of texts".to_owned(),
            Kind::OneOf(values) => format!("One of {}", values.join(", ")),
        };
        let default = self.default.as_deref().unwrap_or("none");
        format!("{form}. Default: {default}. Also --{}, {}.", self.flag, self.env)
    }

    /// The default, or an example, as TOML.
    fn shown(&self) -> Value {
        let example = self.example.clone().unwrap_or_default();
        match &self.kind {
            Kind::Text | Kind::OneOf(_) => Value::String(example),
            // One that is none does not come past the test that reads the reference.
            Kind::Integer => example.parse().map_or(Value::String(example), Value::Integer),
            Kind::List => Value::Array(example.split(", ").map(|item| Value::String(item.into())).collect()),
        }
    }
}

impl Kind {
    fn of(arg: &Arg) -> Self {
        let values = arg.get_value_parser().possible_values();
        if let Some(values) = values {
            return Self::OneOf(values.map(|value| value.get_name().to_owned()).collect());
        }
        if arg.get_value_delimiter().is_some() {
            return Self::List;
        }
        let is_number = arg.get_value_parser().type_id() == TypeId::of::<NonZeroU32>();
        if is_number { Self::Integer } else { Self::Text }
    }
}

/// Whether a default is a value, or words about one.
fn is_value(default: &str) -> bool {
    default.split(", ").all(|item| !item.contains(' '))
}

/// Adds a line to a text.
fn line(text: &mut String, line: fmt::Arguments<'_>) {
    // To a text that is in memory.
    writeln!(text, "{line}").expect("there is room");
}

/// Sentences as comments that are not to be uncommented.
fn prose(text: &str) -> String {
    let (mut lines, mut width) = (String::from("#"), 1);
    for word in text.split_whitespace() {
        let needs = 1 + word.chars().count();
        if width + needs > WIDTH {
            lines.push_str("\n#");
            width = 1;
        }
        // To a text that is in memory.
        write!(lines, " {word}").expect("there is room");
        width += needs;
    }
    lines.push('\n');
    lines
}
