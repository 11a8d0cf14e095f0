//! A task's payload: any JSON object with a string `job`, kept byte for byte.

use std::{collections::HashSet, fmt};

use bytes::Bytes;
use serde::{
    Deserialize,
    de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor},
};

use crate::names::{Invalid, JobName};

/// How deep JSON may be nested.
pub const MAX_DEPTH: usize = 128;

/// How many bytes a payload may have.
pub const MAX_PAYLOAD: usize = 1024 * 1024;

/// Why some text is not a payload.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// Not UTF-8, not JSON, nested too deep, or a key is there twice.
    #[error("{0}")]
    Malformed(String),
    /// Not an object.
    #[error("the payload must be a JSON object with a string `job`")]
    NotAnObject,
    /// `job` is missing or not a string.
    #[error("the payload must name its job: a string `job`")]
    NoJob,
    /// `job` is not a job's name.
    #[error(transparent)]
    BadJob(#[from] Invalid),
    /// Larger than [`MAX_PAYLOAD`].
    #[error("the payload has {0} bytes and may have 1048576")]
    TooLarge(usize),
}

/// A payload that was checked, as it was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(Bytes);

impl Payload {
    /// Checks the text and finds the job that it names.
    pub fn parse(text: Bytes) -> Result<(Self, JobName), PayloadError> {
        if text.len() > MAX_PAYLOAD {
            return Err(PayloadError::TooLarge(text.len()));
        }
        check_json(&text).map_err(PayloadError::Malformed)?;
        let job = Self::job_of(&text)?;
        Ok((Self(text), job))
    }

    /// Finds the job that JSON which was checked before (see [`check_json`]) names.
    fn job_of(text: &[u8]) -> Result<JobName, PayloadError> {
        #[derive(Deserialize)]
        struct Head<'a> {
            #[serde(borrow)]
            job: Option<&'a serde_json::value::RawValue>,
        }
        if text.trim_ascii_start().first() != Some(&b'{') {
            return Err(PayloadError::NotAnObject);
        }
        let head: Head =
            serde_json::from_slice(text).map_err(|error| PayloadError::Malformed(error.to_string()))?;
        let job = head.job.ok_or(PayloadError::NoJob)?;
        let job: String = serde_json::from_str(job.get()).map_err(|_| PayloadError::NoJob)?;
        Ok(job.parse()?)
    }

    /// Takes what the store gave back.
    pub(crate) fn stored(text: Bytes) -> Self {
        Self(text)
    }

    /// The text as submitted.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// The text as submitted.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Checks in one pass that bytes are one JSON value in UTF-8, nested at most [`MAX_DEPTH`] deep
/// and without an object that has a key twice.
pub fn check_json(text: &[u8]) -> Result<(), String> {
    check_json_to(text, MAX_DEPTH)
}

/// [`check_json`] with another depth.
pub fn check_json_to(text: &[u8], depth: usize) -> Result<(), String> {
    // `RawValue`, and strings that are skipped, are not checked for UTF-8 by serde_json.
    let text = std::str::from_utf8(text).map_err(|error| error.to_string())?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    // The limit is ours: serde_json's counts otherwise and knows no other number.
    deserializer.disable_recursion_limit();
    Strict { depth }
        .deserialize(&mut deserializer)
        .and_then(|()| deserializer.end())
        .map_err(|error| error.to_string())
}

/// Visits a value and keeps nothing of it.
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(&self) -> Result<Strict, E> {
        match self.depth.checked_sub(1) {
            Some(depth) => Ok(Strict { depth }),
            None => Err(E::custom("nested deeper than allowed")),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self.deeper()?)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            if let Some(key) = seen.replace(key) {
                let shown: String = key.chars().take(64).collect();
                return Err(A::Error::custom(format!("the key {shown:?} is there twice")));
            }
            entries.next_value_seed(self.deeper()?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: impl Into<Vec<u8>>) -> Result<(Payload, JobName), PayloadError> {
        Payload::parse(Bytes::from(text.into()))
    }

    #[test]
    fn a_payload_is_kept_byte_for_byte() {
        let text = r#" {"job" : "a", "n": 9007199254740993, "x": 1e308, "e": [], "o": {}, "z": "\u0000"} "#;
        let (payload, job) = parse(text).unwrap();
        assert_eq!(payload.as_str(), text);
        assert_eq!(job.as_str(), "a");
    }

    #[test]
    fn an_escaped_job_is_the_same_job() {
        assert_eq!(parse(r#"{"j\u006fb":"\u0061"}"#).unwrap().1.as_str(), "a");
    }

    #[test]
    fn depth_is_counted_to_the_limit_and_no_further() {
        let nested = |depth: usize| {
            let inner = depth - 1;
            format!(r#"{{"job":"a","x":{}{}}}"#, "[".repeat(inner), "]".repeat(inner))
        };
        assert!(parse(nested(MAX_DEPTH)).is_ok());
        assert!(matches!(parse(nested(MAX_DEPTH + 1)), Err(PayloadError::Malformed(_))));
        assert!(matches!(parse(nested(100_000)), Err(PayloadError::Malformed(_))));
    }

    #[test]
    fn what_is_not_a_payload_is_refused() {
        let malformed = [
            &br#"{"job":"a","job":"b"}"#[..],
            br#"{"job":"a","x":{"k":1,"\u006b":2}}"#,
            br#"{"job":"a"} x"#,
            b"{\"job\":\"a\",\"x\":\"\xff\"}",
            b"",
            b"{",
        ];
        for text in malformed {
            assert!(matches!(parse(text), Err(PayloadError::Malformed(_))), "{text:?}");
        }
        assert!(matches!(parse("[]"), Err(PayloadError::NotAnObject)));
        assert!(matches!(parse(r#""job""#), Err(PayloadError::NotAnObject)));
        assert!(matches!(parse("{}"), Err(PayloadError::NoJob)));
        assert!(matches!(parse(r#"{"job":5}"#), Err(PayloadError::NoJob)));
        assert!(matches!(parse(r#"{"job":"../x"}"#), Err(PayloadError::BadJob(_))));
        assert!(matches!(parse(vec![b' '; MAX_PAYLOAD + 1]), Err(PayloadError::TooLarge(_))));
    }
}
