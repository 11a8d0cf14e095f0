//! Secrets, and how they are kept out of what people read.
//!
//! Owns their values. Invariant: a secret is shown to nobody but a guest that asks for it by name;
//! whoever formats one sees that it is one. Nothing here can keep a guest from giving its secret
//! away in another form, such as backwards.

use std::{collections::BTreeMap, fmt};

/// Shorter ones are not looked for: they would be found in innocent text.
const FOUND_FROM: usize = 8;

/// How much of a secret is left where a text was cut, at least, to be looked for.
const PIECE_FROM: usize = 4;

/// A value that is shown to nobody.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Gives it out, to a guest.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// A job's secrets by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets(BTreeMap<String, Secret>);

/// Which ends of a text were cut off before it came here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Nowhere,
    Start,
    End,
}

impl Secrets {
    /// The secret of this name.
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// `text` with `[secret <name>]` in the place of each secret of at least eight bytes, and of
    /// the piece of one that is left where the text was cut.
    pub(crate) fn redacted(&self, text: String, cut: Cut) -> String {
        let mut sought: Vec<_> =
            self.0.iter().filter(|(_, secret)| secret.0.len() >= FOUND_FROM && !text.is_empty()).collect();
        if sought.is_empty() {
            return text;
        }
        // One may be part of another.
        sought.sort_by_key(|(_, secret)| std::cmp::Reverse(secret.0.len()));
        let mut text = text;
        for (name, Secret(value)) in &sought {
            if text.contains(value.as_str()) {
                text = text.replace(value.as_str(), &shown(name));
            }
        }
        for (name, Secret(value)) in sought {
            let pieces = (PIECE_FROM..value.len()).rev().filter(|at| value.is_char_boundary(*at));
            match cut {
                Cut::Nowhere => {}
                Cut::End => {
                    if let Some(at) = pieces.into_iter().find(|at| text.ends_with(&value[..*at])) {
                        text.truncate(text.len() - at);
                        text.push_str(&shown(name));
                    }
                }
                Cut::Start => {
                    let mut tails = (1..=value.len() - PIECE_FROM).filter(|at| value.is_char_boundary(*at));
                    if let Some(at) = tails.find(|at| text.starts_with(&value[*at..])) {
                        text.replace_range(..value.len() - at, &shown(name));
                    }
                }
            }
        }
        text
    }
}

fn shown(name: &str) -> String {
    format!("[secret {name}]")
}

impl FromIterator<(String, Secret)> for Secrets {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(secrets: I) -> Self {
        Self(secrets.into_iter().collect())
    }
}

/// How secrets are handed to the process that makes an attempt.
pub(super) mod in_clear {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Secret, Secrets};

    pub(in super::super) fn serialize<S: Serializer>(
        secrets: &Secrets,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(secrets.0.iter().map(|(name, secret)| (name, &secret.0)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Secrets, D::Error> {
        let values = BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(values.into_iter().map(|(name, value)| (name, Secret(value))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secrets(all: &[(&str, &str)]) -> Secrets {
        all.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
    }

    #[test]
    fn a_secret_is_replaced_wherever_it_stands() {
        let secrets =
            secrets(&[("key", "hunter2hunter2"), ("long", "hunter2hunter2hunter2"), ("pin", "1234")]);
        let redacted = |text: &str| secrets.redacted(text.into(), Cut::Nowhere);
        assert_eq!(redacted("<hunter2hunter2>"), "<[secret key]>");
        assert_eq!(redacted("hunter2hunter2hunter2 1234"), "[secret long] 1234");
        assert_eq!(redacted("hunter2"), "hunter2");
        assert_eq!(redacted(""), "");
    }

    #[test]
    fn a_piece_of_a_secret_is_found_where_the_text_was_cut() {
        let secrets = secrets(&[("key", "s\u{e9}cret-of-mine")]);
        assert_eq!(secrets.redacted("it is s\u{e9}cret-of".into(), Cut::End), "it is [secret key]");
        assert_eq!(secrets.redacted("-of-mine, yes".into(), Cut::Start), "[secret key], yes");
        assert_eq!(secrets.redacted("cr\u{e9}pe".into(), Cut::Start), "cr\u{e9}pe");
        assert_eq!(secrets.redacted("it is s\u{e9}cret-of".into(), Cut::Nowhere), "it is s\u{e9}cret-of");
    }

    #[test]
    fn whoever_formats_a_secret_does_not_see_it() {
        let secrets = secrets(&[("key", "hunter2hunter2")]);
        assert_eq!(format!("{secrets:?}"), "Secrets({\"key\": [secret]})");
    }
}
