//! What is in force, and which of flag, environment, file and default said it.
//!
//! Invariant: what may be a secret is not in it.

use std::collections::BTreeMap;

use anyhow::Result;
use clap::{ArgMatches, Args, Command, FromArgMatches, parser::ValueSource};
use serde::Serialize;
use toml::{Table, Value};

use super::{Config, Door, ServerArgs, file_text, reference::Key};

/// What a server was told on its command line and in its environment, and which of them said it.
pub(crate) struct Told {
    args: ServerArgs,
    said: BTreeMap<String, (Source, String)>,
}

/// One key, and what it is.
#[derive(Debug, Serialize)]
pub(crate) struct InForce {
    pub(crate) key: String,
    /// As it is written; what may be a secret is left out.
    pub(crate) value: String,
    pub(crate) from: Source,
}

/// Who said it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Source {
    Flag,
    Environment,
    File,
    Default,
}

impl Source {
    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

impl FromArgMatches for Told {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let said = Key::all().into_iter().filter_map(|key| {
            let from = match matches.value_source(&key.id)? {
                ValueSource::CommandLine => Source::Flag,
                ValueSource::EnvVariable => Source::Environment,
                _ => return None,
            };
            let raw: Vec<_> = matches.get_raw(&key.id)?.map(|value| value.to_string_lossy()).collect();
            Some((key.id, (from, raw.join(", "))))
        });
        let said = said.collect();
        Ok(Self { args: ServerArgs::from_arg_matches(matches)?, said })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Told {
    fn augment_args(command: Command) -> Command {
        ServerArgs::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        ServerArgs::augment_args_for_update(command)
    }
}

impl Told {
    /// The configuration of a server that is told this.
    pub(crate) fn config(&self) -> Result<Config> {
        self.args.clone().resolve()
    }

    /// Every key, and the tables' keys that the file has.
    pub(crate) fn in_force(&self, config: &Config) -> Result<Vec<InForce>> {
        let text = file_text(self.args.config.as_deref())?.unwrap_or_default();
        // It was read before: what is wrong with it has been told.
        let file: Table = toml::from_str(&text)?;
        let keys = Key::all().into_iter().map(|key| {
            let (from, value) = match (self.said.get(&key.id), file.get(&key.name)) {
                (Some((from, value)), _) => (*from, value.clone()),
                (None, Some(value)) => (Source::File, written(value)),
                (None, None) => (Source::Default, default(&key, config)),
            };
            let value = if key.is_discreet && from != Source::Default { discreet(&value) } else { value };
            InForce { key: key.name, value, from }
        });
        let mut all: Vec<_> = keys.collect();
        for (job, grant) in tables(&file, "grants") {
            let keys = grant.as_table().into_iter().flatten();
            all.extend(keys.map(|(key, value)| in_file(format!("grants.{job}.{key}"), granted(key, value))));
        }
        for table in ["ceilings", "admission"] {
            all.extend(
                tables(&file, table).map(|(key, value)| in_file(format!("{table}.{key}"), written(value))),
            );
        }
        Ok(all)
    }
}

fn tables<'a>(file: &'a Table, name: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    file.get(name).and_then(Value::as_table).into_iter().flatten()
}

fn in_file(key: String, value: String) -> InForce {
    InForce { key, value, from: Source::File }
}

/// What is granted: of variables their names alone, for their values may be anything.
fn granted(key: &str, value: &Value) -> String {
    match value.as_table() {
        Some(table) if key == "env" => table.keys().map(String::as_str).collect::<Vec<_>>().join(", "),
        _ => written(value),
    }
}

fn written(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(written).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// What holds because nobody said another.
fn default(key: &Key, config: &Config) -> String {
    match key.name.as_str() {
        "concurrency" => config.worker.slots.to_string(),
        "auth" => match config.door {
            Door::ThereMustBeAKey => "keys, of which there must be one".into(),
            Door::Said(_) => "none, until there is a key".into(),
        },
        _ => key.default.clone().unwrap_or_else(|| "-".into()),
    }
}

/// A URL without what is secret of it: the password, and all that comes behind a question mark.
pub(crate) fn discreet(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "(not shown)".into() };
    let without_query = |place: &str| {
        place.split_once('?').map_or(place.to_owned(), |(place, _)| format!("{place}?(not shown)"))
    };
    // A password may hold anything, also what divides a URL: it ends at the last of these.
    let Some((who, place)) = rest.rsplit_once('@') else {
        return format!("{scheme}://{}", without_query(rest));
    };
    let user = who.split_once(':').map_or("(not shown)", |(user, _)| user);
    format!("{scheme}://{user}:(not shown)@{}", without_query(place))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        told: Told,
    }

    fn in_force(text: &str, flags: &[&str]) -> Vec<InForce> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, text).unwrap();
        let flags =
            ["line", "--config", file.path().to_str().unwrap()].into_iter().chain(flags.iter().copied());
        let told = Line::try_parse_from(flags).unwrap().told;
        told.in_force(&told.config().unwrap()).unwrap()
    }

    #[test]
    fn each_value_names_who_said_it() {
        let all = in_force(
            "grace = \"5s\"\nconcurrency = 3\n[grants.a]\nenv = { A = \"hunter2\" }\n[ceilings]\nhandles = 5",
            &["--concurrency", "2", "--queues", "a=2,b"],
        );
        let of = |key: &str| {
            let one = all.iter().find(|one| one.key == key).unwrap();
            (one.value.as_str(), one.from)
        };
        assert_eq!(of("concurrency"), ("2", Source::Flag));
        assert_eq!(of("queues"), ("a=2, b", Source::Flag));
        assert_eq!(of("grace"), ("5s", Source::File));
        assert_eq!(of("listen"), ("127.0.0.1:8000", Source::Default));
        assert_eq!(of("ceilings.handles"), ("5", Source::File));
        assert_eq!(of("grants.a.env"), ("A", Source::File));
        assert!(!format!("{all:?}").contains("hunter2"));
    }

    #[test]
    fn a_url_is_shown_without_what_is_secret_of_it() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379", "redis://127.0.0.1:6379"),
            ("redis://:hunter2@host:1/0", "redis://:(not shown)@host:1/0"),
            ("rediss://user:hun/te@r2@host", "rediss://user:(not shown)@host"),
            ("redis://hunter2@host", "redis://(not shown):(not shown)@host"),
            ("redis+unix:///socket?pass=hunter2", "redis+unix:///socket?(not shown)"),
            ("redis://:hunter2?@host?a=b", "redis://:(not shown)@host?(not shown)"),
            ("hunter2", "(not shown)"),
        ] {
            assert_eq!(discreet(url), shown, "{url}");
        }
    }
}
