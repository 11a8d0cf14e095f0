//! What jobs say of their payloads: a description for each version of a plugin, and JSON Schemas.
//!
//! A schema comes with a plugin, which is not trusted: it is bounded, refers to nothing outside of
//! itself, and its patterns are matched in linear time. Invariant: to hold a payload against a schema
//! takes no more than a moment, whatever both are (`cost.rs`); where it would, the payload passes, and
//! the job itself sees what is wrong with it.

mod cost;

use bytes::Bytes;
use jsonschema::{PatternOptions, ValidationError, Validator};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    queue::{Queue, groups, text},
    request::{FieldError, MOST_ERRORS},
    store::{Script, StoreError},
};

/// A schema has at most so many bytes.
pub const MAX_SCHEMA: usize = 64 * 1024;

/// A schema is nested at most so deep.
pub const MAX_DEPTH: usize = 32;

/// A pattern takes at most so much memory.
const PATTERN_BYTES: usize = 1 << 20;

/// A payload is held against a schema if the schema's cost times the payload's bytes is no more than
/// this: a tenth of a second.
const MOST_STEPS: u64 = 100_000_000;

/// What is wrong with it is told if it is no more than this: each step may take half a kilobyte then.
const MOST_STEPS_TO_EXPLAIN: u64 = 1_000_000;

/// A summary has at most so many bytes.
pub const MAX_SUMMARY: usize = 1024;

/// What a job says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// What it does, in a sentence.
    pub summary: String,
    /// A JSON Schema of its payload, without the top-level `job`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload_schema: Option<Value>,
    /// A JSON Schema of its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_schema: Option<Value>,
}

impl Description {
    /// Of what a plugin says; or what is wrong with it.
    pub fn parse(summary: String, payload: Option<&str>, result: Option<&str>) -> Result<Self, String> {
        if summary.len() > MAX_SUMMARY {
            return Err(format!("its summary has {} bytes; {MAX_SUMMARY} are allowed", summary.len()));
        }
        let schema = |what: &str, text: Option<&str>| {
            let parsed = text.map(parse).transpose();
            parsed.map_err(|wrong| format!("its schema of the {what} {wrong}"))
        };
        let (payload_schema, result_schema) = (schema("payload", payload)?, schema("result", result)?);
        Ok(Self { summary, payload_schema, result_schema })
    }
}

fn parse(text: &str) -> Result<Value, String> {
    if text.len() > MAX_SCHEMA {
        return Err(format!("has {} bytes; {MAX_SCHEMA} are allowed", text.len()));
    }
    let schema: Value = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))?;
    look_at(&schema, 1)?;
    Schema::of(&schema)?;
    Ok(schema)
}

fn look_at(schema: &Value, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("is nested more than {MAX_DEPTH} deep"));
    }
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                let is_reference = matches!(name.as_str(), "$ref" | "$dynamicRef" | "$recursiveRef");
                if is_reference && value.as_str().is_some_and(|target| !target.starts_with('#')) {
                    return Err(format!("refers to {value}: it may refer to itself alone (`#/…`)"));
                }
                look_at(value, depth + 1)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter().try_for_each(|item| look_at(item, depth + 1)),
        _ => Ok(()),
    }
}

/// A schema that payloads are held against.
#[derive(Debug)]
pub struct Schema {
    validator: Validator,
    cost: u64,
}

impl Schema {
    /// Of this JSON Schema; nothing if it comes back to itself, or is too large in another way for
    /// payloads to be held against it.
    pub fn of(schema: &Value) -> Result<Option<Self>, String> {
        let wrong = |error: ValidationError<'_>| format!("is no JSON Schema: {error}");
        let Some(cost) = cost::of(schema) else {
            // To make it ready may take as long as to use it.
            return jsonschema::meta::validate(schema).map(|()| None).map_err(wrong);
        };
        let patterns = PatternOptions::regex().size_limit(PATTERN_BYTES).dfa_size_limit(PATTERN_BYTES);
        let options = jsonschema::options().with_pattern_options(patterns);
        let validator = options.build(schema).map_err(wrong)?;
        Ok(Some(Self { validator, cost }))
    }

    /// What is wrong with a payload, whose top-level `job` is not looked at; nothing if it fits, or if
    /// to find out would take too long.
    pub fn errors(&self, payload: &str) -> Vec<FieldError> {
        let steps = self.cost.saturating_mul(payload.len() as u64);
        if steps > MOST_STEPS {
            return Vec::new();
        }
        let Ok(mut payload) = serde_json::from_str::<Value>(payload) else { return Vec::new() };
        if let Some(fields) = payload.as_object_mut() {
            fields.remove("job");
        }
        if self.validator.is_valid(&payload) {
            return Vec::new();
        }
        if steps > MOST_STEPS_TO_EXPLAIN {
            let text = "it does not fit the job's schema; both are too large to say where".to_owned();
            return vec![FieldError::at("/payload".to_owned(), text)];
        }
        let errors = self.validator.iter_errors(&payload).take(MOST_ERRORS).map(|error| {
            let text: String = error.to_string().chars().take(500).collect();
            FieldError::at(format!("/payload{}", error.instance_path()), text)
        });
        errors.collect()
    }
}

impl Queue {
    /// Publishes what plugins say of themselves, each by the digest of its file. To be said again
    /// within a week.
    pub async fn publish(&self, descriptions: &[(String, Description)]) -> Result<(), StoreError> {
        let args = descriptions.iter().flat_map(|(digest, description)| {
            [text(digest), Bytes::from(serde_json::json!(description).to_string())]
        });
        self.call(Script::Publish, args.collect()).await.map(drop)
    }

    /// What the plugins with these digests say of themselves.
    pub async fn descriptions(&self, digests: &[&str]) -> Result<Vec<Option<Description>>, StoreError> {
        let args = digests.iter().map(text).collect();
        let reply = self.call(Script::Descriptions, args).await?.into_array()?;
        groups(reply, |[json]| {
            let json = json.into_bytes()?;
            if json.is_empty() {
                return Ok(None);
            }
            serde_json::from_slice(&json).map(Some).map_err(|error| StoreError::Broken(error.to_string()))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn payloads_are_held_against_their_schema_without_the_job() {
        let schema = json!({
            "type": "object", "additionalProperties": false, "required": ["name"],
            "properties": { "name": { "type": "string", "pattern": "^[a-z]+$" }, "n": { "$ref": "#/$defs/n" } },
            "$defs": { "n": { "type": "integer", "maximum": 5 } },
        });
        let schema = Schema::of(&schema).unwrap().unwrap();
        assert_eq!(schema.errors(r#"{"job":"a","name":"x","n":5}"#), []);
        let pointers = |payload| {
            let mut pointers: Vec<_> =
                schema.errors(payload).into_iter().map(|error| error.pointer).collect();
            pointers.sort();
            pointers
        };
        assert_eq!(pointers(r#"{"job":"a"}"#), ["/payload"]);
        assert_eq!(pointers(r#"{"job":"a","name":"X","n":6}"#), ["/payload/n", "/payload/name"]);
        assert_eq!(pointers(r#"{"job":"a","name":"x","m":6}"#), ["/payload"]);
    }

    /// Without the bounds, each of these takes gigabytes, minutes, or the whole process.
    #[test]
    fn what_would_take_too_long_is_not_looked_at() {
        let of = |schema: Value| Schema::of(&schema).unwrap();
        assert!(of(json!({ "items": { "$ref": "#" } })).is_none());
        let wide = |keyword: &str, count: usize| {
            let parts = vec![json!({ "type": "string" }); count];
            of(json!({ "properties": { "a": { "items": { keyword: parts } } } })).unwrap()
        };
        let numbers = |count: usize| format!(r#"{{"a":[{}1]}}"#, "1,".repeat(count));
        let since = std::time::Instant::now();
        assert_eq!(wide("anyOf", 1000).errors(&numbers(500_000)), []);
        let said = wide("anyOf", 1000).errors(&numbers(10_000));
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].pointer, "/payload");
        assert_eq!(wide("anyOf", 10).errors(&numbers(20)).len(), 21, "each is told");
        assert!(since.elapsed() < std::time::Duration::from_secs(10), "{:?}", since.elapsed());
    }

    #[test]
    fn what_is_no_schema_or_reaches_out_is_refused() {
        let deep = format!("{}1{}", r#"{"not":"#.repeat(40), "}".repeat(40));
        let large = format!(r#"{{"description":"{}"}}"#, "x".repeat(MAX_SCHEMA));
        for (schema, word) in [
            ("{", "not JSON"),
            (r#"{"type":"text"}"#, "no JSON Schema"),
            (r#"{"$ref":"http://127.0.0.1/x"}"#, "refers to"),
            (r#"{"allOf":[{"$ref":"file:///etc/passwd"}]}"#, "refers to"),
            (r#"{"pattern":"(a"}"#, "no JSON Schema"),
            (r#"{"pattern":"(?=a)b"}"#, "no JSON Schema"),
            (r#"{"pattern":"(\\w{100}x){1000}"}"#, "no JSON Schema"),
            (&deep, "deep"),
            (&large, "bytes"),
        ] {
            let wrong = Description::parse(String::new(), Some(schema), None).unwrap_err();
            assert!(wrong.contains(word) && wrong.contains("payload"), "{wrong}");
        }
        let fine = Description::parse("It adds.".into(), Some("true"), Some(r#"{"type":"null"}"#)).unwrap();
        assert_eq!(fine.result_schema, Some(json!({ "type": "null" })));
    }
}
