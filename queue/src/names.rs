//! Names and numbers that cannot be wrong: each is checked when it is made.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A value that is not what it must be: which, and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} {rule}")]
pub struct Invalid {
    what: &'static str,
    value: String,
    rule: &'static str,
}

impl Invalid {
    pub(crate) fn new(what: &'static str, value: impl Into<String>, rule: &'static str) -> Self {
        Self { what, value: value.into(), rule }
    }
}

/// Whether `text` matches `[a-z0-9][a-z0-9._-]*` and is not longer than that.
fn is_name(text: &str, longest: usize) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= longest
        && bytes.first().is_some_and(|&first| plain(first))
        && bytes.iter().all(|&byte| plain(byte) || b"._-".contains(&byte))
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        name!($(#[$doc])* $name, $what, 64, "[a-z0-9][a-z0-9._-]{0,63}");
    };
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:literal, $pattern:literal) => {
        $(#[$doc])*
        ///
        #[doc = concat!("Matches `", $pattern, "`.")]
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                if is_name(text, $longest) {
                    return Ok(Self(text.to_owned()));
                }
                // A hostile name may be long; an error message need not be.
                let shown: String = text.chars().take($longest + 1).collect();
                Err(Invalid::new($what, shown, concat!("must match ", $pattern)))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of a job: of the plugin that runs it.
    JobName,
    "job"
);
name!(
    /// The name of a queue within its namespace.
    QueueName,
    "queue"
);
name!(
    /// The name of a schedule within its namespace. It is shorter than others, because its tasks are
    /// tagged `schedule:<name>` and a tag has at most 64 characters.
    ScheduleName,
    "schedule",
    55,
    "[a-z0-9][a-z0-9._-]{0,54}"
);
name!(
    /// Whose tasks these are. There is one namespace until there are tenants.
    Namespace,
    "namespace"
);

macro_rules! token {
    ($(#[$doc:meta])* $name:ident, $what:literal, $longest:literal, $rule:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// It as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                if (1..=$longest).contains(&text.len()) && text.bytes().all($allowed) {
                    return Ok(Self(text.to_owned()));
                }
                let shown: String = text.chars().take($longest + 1).collect();
                Err(Invalid::new($what, shown, $rule))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

token!(
    /// What tasks share that must not run at the same time: 1 to 128 visible ASCII characters.
    ConcurrencyKey,
    "concurrency_key",
    128,
    "must be 1 to 128 visible ASCII characters",
    |byte| byte.is_ascii_graphic()
);
token!(
    /// By which a submit is known that is sent again: 1 to 200 visible ASCII characters.
    IdempotencyKey,
    "idempotency_key",
    200,
    "must be 1 to 200 visible ASCII characters",
    |byte| byte.is_ascii_graphic()
);
token!(
    /// A word to find tasks by: 1 to 64 letters, digits and `._:/=@-`.
    Tag,
    "tag",
    64,
    "must be 1 to 64 letters, digits and ._:/=@-",
    |byte| byte.is_ascii_alphanumeric() || b"._:/=@-".contains(&byte)
);

/// The tags of one task: at most 10, at most 240 characters with a comma between each two.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags(Vec<Tag>);

impl Tags {
    /// Checks their number and length; a tag that is there twice is there once.
    pub fn new(mut tags: Vec<Tag>) -> Result<Self, Invalid> {
        tags.sort();
        tags.dedup();
        let tags = Self(tags);
        let (count, length) = (tags.0.len(), tags.to_string().len());
        if count <= 10 && length <= 240 {
            return Ok(tags);
        }
        let found = format!("{count} tags of {length} characters");
        Err(Invalid::new("tags", found, "may be at most 10, of 240 characters with a comma between each two"))
    }

    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &Tag> {
        self.0.iter()
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, tag) in self.0.iter().enumerate() {
            f.write_str(if i > 0 { "," } else { "" })?;
            f.write_str(&tag.0)?;
        }
        Ok(())
    }
}

impl FromStr for Tags {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let tags = text.split(',').filter(|tag| !tag.is_empty()).map(str::parse);
        Self::new(tags.collect::<Result<_, _>>()?)
    }
}

impl Default for QueueName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self("default".into())
    }
}

/// A task's identity: a UUID of version 7 whose 12 `rand_a` bits hold the number of the partition
/// that the task lives in, which is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TaskId(Uuid);

impl TaskId {
    /// A new one, from this process's clock and randomness.
    pub fn random() -> Self {
        let v7 = Uuid::now_v7();
        let mut bytes = v7.into_bytes();
        bytes[6] &= 0xf0;
        bytes[7] = 0;
        Self(Uuid::from_bytes(bytes))
    }
}

impl FromStr for TaskId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // There are other ways to write a UUID: one of them is a task's id.
        let found = Uuid::parse_str(text).ok().filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH);
        found.map(Self).ok_or_else(|| {
            Invalid::new("task id", text.chars().take(64).collect::<String>(), "must be a UUID")
        })
    }
}

impl TryFrom<String> for TaskId {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<TaskId> for String {
    fn from(id: TaskId) -> Self {
        id.to_string()
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

/// How urgent a task is within its queue: −1000 to 1000, higher first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(i16);

impl Priority {
    /// The lowest.
    pub const MIN: i64 = -1000;
    /// The highest.
    pub const MAX: i64 = 1000;

    /// Checks the range; out of it is an error, never clamped.
    pub fn new(value: i64) -> Result<Self, Invalid> {
        match i16::try_from(value) {
            Ok(small) if (Self::MIN..=Self::MAX).contains(&value) => Ok(Self(small)),
            _ => Err(Invalid::new("priority", value.to_string(), "must be an integer from -1000 to 1000")),
        }
    }

    /// The number.
    pub fn get(self) -> i32 {
        self.0.into()
    }
}

/// A point in time by the store's clock: milliseconds since 1970, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Millis(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_lower_case_and_short_and_starts_with_a_letter_or_digit() {
        for good in ["a", "example-task", "0.x_y", &"a".repeat(64)] {
            assert!(good.parse::<JobName>().is_ok(), "{good}");
        }
        for bad in ["", "../x", "%2e%2e", "/etc", "A", "a b", "-a", ".a", "é", &"a".repeat(65)] {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_long_bad_name_makes_a_short_error() {
        let error = "x y".repeat(4000).parse::<QueueName>().unwrap_err();
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn a_task_id_is_version_7_in_partition_0() {
        let id = TaskId::random().0;
        assert_eq!(id.get_version_num(), 7);
        assert_eq!(id.as_bytes()[6], 0x70);
        assert_eq!(id.as_bytes()[7], 0);
    }

    #[test]
    fn a_task_id_is_written_in_one_way() {
        let id = "0198c0de-0000-7000-8000-000000000000";
        assert!(id.parse::<TaskId>().is_ok());
        for other in [id.replace('-', ""), format!("{{{id}}}"), format!("urn:uuid:{id}")] {
            assert!(other.parse::<TaskId>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_priority_out_of_range_is_refused() {
        assert!(Priority::new(1000).is_ok() && Priority::new(-1000).is_ok());
        assert!(Priority::new(1001).is_err() && Priority::new(-1001).is_err());
        assert!(Priority::new(i64::MAX).is_err());
    }
}
