//! From the text of a payload to a job's typed input.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeOwned, Deserializer as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::Failure;

/// Reads `payload`, without its top-level `job`, as an `I`. One that does not fit never will, so
/// the failure is permanent; its message names the place.
pub(crate) fn parse<I: DeserializeOwned>(payload: &str) -> Result<I, Failure> {
    let text =
        without_job(payload).map_err(|error| Failure::permanent(format_args!("invalid payload: {error}")))?;
    serde_path_to_error::deserialize(&mut deserializer(&text)).map_err(|error| {
        let at = match error.path().to_string() {
            root if root == "." => String::new(),
            path => format!(" at `{path}`"),
        };
        Failure::permanent(format_args!("invalid payload{at}: {}", error.inner()))
    })
}

/// How deep a payload may be is for Sentinel to say at the door, not for this parser.
fn deserializer(text: &str) -> serde_json::Deserializer<serde_json::de::StrRead<'_>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    deserializer.disable_recursion_limit();
    deserializer
}

/// Paints over the member `job` of the object in `payload` with spaces.
///
/// Everything else stays where and what it was: numbers keep all their digits, and an error's line
/// and column are those of the text that was submitted.
fn without_job(payload: &str) -> serde_json::Result<Cow<'_, str>> {
    let members = deserializer(payload).deserialize_map(Members)?;
    let Some(index) = members.iter().position(|(key, _)| key == "job") else {
        return Ok(payload.into());
    };

    // A member reaches from the end of the one before it, so that it takes the comma along; the
    // first one takes the comma behind it.
    let end_of = |value: &RawValue| {
        let text = value.get();
        text.as_ptr().addr() - payload.as_ptr().addr() + text.len()
    };
    let mut end = end_of(members[index].1);
    let start = if index > 0 {
        end_of(members[index - 1].1)
    } else {
        if members.len() > 1 {
            end += payload[end..].find(',').map_or(0, |comma| comma + 1);
        }
        payload.find('{').map_or(0, |brace| brace + 1)
    };

    let mut text = String::with_capacity(payload.len());
    text.push_str(&payload[..start]);
    text.extend(payload[start..end].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
    text.push_str(&payload[end..]);
    Ok(text.into())
}

/// Reads an object as its members, in order, each value as a slice of the text.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Input {
        width: u32,
        sizes: Option<Vec<u64>>,
    }

    fn failure<I: DeserializeOwned + fmt::Debug>(payload: &str) -> String {
        match parse::<I>(payload) {
            Err(Failure::Permanent(message)) => message,
            other => panic!("not a permanent failure: {other:?}"),
        }
    }

    #[test]
    fn the_job_is_taken_out_wherever_it_stands() {
        for payload in [
            r#"{"job":"x","width":7}"#,
            r#" { "job" : "a,b}\"{" , "width" : 7 } "#,
            r#"{"width":7,"job":{"width":8}}"#,
            r#"{"width":7,"job":"x","sizes":null}"#,
            r#"{"j\u006fb":"é","width":7}"#,
            r#"{"width":7}"#,
        ] {
            assert_eq!(parse(payload), Ok(Input { width: 7, sizes: None }), "{payload}");
        }
    }

    #[test]
    fn only_the_top_level_job_is_taken_out() {
        let text = without_job(r#"{"a":{"job":1},"job":"x"}"#).unwrap();
        assert_eq!(text, r#"{"a":{"job":1}          }"#);
    }

    #[test]
    fn what_is_left_keeps_its_bytes() {
        #[derive(Deserialize)]
        struct Exact {
            n: Box<RawValue>,
        }
        let payload = r#"{"job":"x","n":12345678901234567890.12345678901234567890}"#;
        let input: Exact = parse(payload).unwrap();
        assert_eq!(input.n.get(), "12345678901234567890.12345678901234567890");
    }

    #[test]
    fn a_payload_that_does_not_fit_is_told_where() {
        assert_eq!(
            failure::<Input>("{\"job\":\n\"x\",\n\"width\":1,\"sizes\":[1,\"2\"]}"),
            "invalid payload at `sizes[1]`: invalid type: string \"2\", expected u64 \
             at line 3 column 24"
        );
        assert_eq!(
            failure::<Input>(r#"{"job":"x","depth":1}"#),
            "invalid payload at `depth`: unknown field `depth`, expected `width` or `sizes` \
             at line 1 column 18"
        );
        assert_eq!(
            failure::<Input>(r#"{"job":"x"}"#),
            "invalid payload: missing field `width` at line 1 column 11"
        );
        assert_eq!(
            failure::<Input>("[]"),
            "invalid payload: invalid type: sequence, expected an object at line 1 column 0"
        );
    }

    #[test]
    fn a_payload_may_be_as_deep_as_sentinel_lets_in() {
        let payload = format!(r#"{{"job":"x","deep":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        assert!(parse::<serde_json::Value>(&payload).is_ok());
    }
}
