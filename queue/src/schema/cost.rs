//! What it takes to hold something against a schema, told from the schema alone.
//!
//! A schema can be small and take for ever: two references to a schema that has two references, and
//! so on; or one that comes back to itself with each step into the payload, which no stack is deep
//! enough for. Counted is what is there once every reference is replaced by what it refers to.
//! Invariant: a schema that has a cost holds each part of a payload against each part of itself
//! once or, where a keyword looks again at what its neighbours looked at, as often as is counted.

use std::collections::HashMap;

use serde_json::Value;

/// A schema has at most so many parts, references replaced.
const MOST_PARTS: u64 = 20_000;

/// It is at most so deep, references replaced.
const MOST_DEPTH: usize = 128;

/// A schema has at most so many patterns, references not replaced: each takes memory.
const MOST_PATTERNS: usize = 100;

/// How many parts a pattern is worth.
const PATTERN: u64 = 100;

/// How many parts of the schema there are to look at for each part of what is held against it; none:
/// more than may be, or without end.
pub(super) fn of(schema: &Value) -> Option<u64> {
    if patterns(schema) > MOST_PATTERNS {
        return None;
    }
    Count { root: schema, counted: HashMap::new() }.of(schema, 0).filter(|parts| *parts <= MOST_PARTS)
}

fn patterns(schema: &Value) -> usize {
    match schema {
        Value::Object(fields) => {
            let own = fields.iter().map(|(name, value)| match (name.as_str(), value) {
                ("pattern", _) => 1,
                ("patternProperties", Value::Object(patterns)) => patterns.len(),
                _ => 0,
            });
            own.sum::<usize>() + fields.values().map(patterns).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(patterns).sum(),
        _ => 0,
    }
}

struct Count<'a> {
    root: &'a Value,
    /// By reference; none while it is being counted: to meet it then is to go round in circles.
    counted: HashMap<&'a str, Option<Counted>>,
}

#[derive(Clone, Copy)]
struct Counted {
    parts: u64,
    /// How deep it was met, which is how deep it has been found to fit.
    at: usize,
}

impl<'a> Count<'a> {
    fn of(&mut self, schema: &'a Value, depth: usize) -> Option<u64> {
        if depth > MOST_DEPTH {
            return None;
        }
        let parts = match schema {
            Value::Object(fields) => {
                let (mut parts, mut again) = (1_u64, 1);
                for (name, value) in fields {
                    parts = parts.checked_add(match (name.as_str(), value) {
                        ("$ref", Value::String(reference)) => self.reference(reference, depth)?,
                        // Where these lead to is not told from the schema alone.
                        ("$dynamicRef" | "$recursiveRef", Value::String(_)) => return None,
                        // References below are not to this document.
                        ("$id" | "id", Value::String(_)) if depth > 0 => return None,
                        ("pattern", Value::String(_)) => PATTERN,
                        ("patternProperties", Value::Object(patterns)) => {
                            self.of(value, depth + 1)?.checked_add(PATTERN * patterns.len() as u64)?
                        }
                        _ => self.of(value, depth + 1)?,
                    })?;
                    if matches!(name.as_str(), "unevaluatedProperties" | "unevaluatedItems") {
                        again = 3;
                    }
                }
                parts.checked_mul(again)?
            }
            Value::Array(items) => {
                let mut parts = 1_u64;
                for item in items {
                    parts = parts.checked_add(self.of(item, depth + 1)?)?;
                }
                parts
            }
            _ => 1,
        };
        (parts <= MOST_PARTS).then_some(parts)
    }

    fn reference(&mut self, reference: &'a str, depth: usize) -> Option<u64> {
        match self.counted.get(reference) {
            Some(None) => return None,
            Some(Some(counted)) if depth <= counted.at => return Some(counted.parts),
            _ => {}
        }
        let pointer = reference.strip_prefix('#').filter(|pointer| !pointer.contains('%'))?;
        let target = self.root.pointer(pointer)?;
        self.counted.insert(reference, None);
        let parts = self.of(target, depth + 1)?;
        self.counted.insert(reference, Some(Counted { parts, at: depth }));
        Some(parts)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// `{op: [a1, a1]}` where `a1` is `{op: [a2, a2]}`, and so on.
    fn doubled(op: &str, times: usize) -> Value {
        let reference = |to: usize| json!({ "$ref": format!("#/$defs/a{to}") });
        let mut defs = serde_json::Map::new();
        for number in 0..times {
            let next = reference(number + 1);
            defs.insert(format!("a{number}"), json!({ op: [next, next] }));
        }
        defs.insert(format!("a{times}"), json!({ "type": "string" }));
        json!({ "$ref": "#/$defs/a0", "$defs": defs })
    }

    #[test]
    fn what_is_referred_to_twice_counts_twice() {
        let (few, more) = (of(&doubled("anyOf", 4)), of(&doubled("anyOf", 8)));
        assert!(more > few.map(|parts| 8 * parts), "{few:?} and {more:?}");
        assert_eq!(of(&doubled("anyOf", 20)), None);
        assert_eq!(of(&doubled("allOf", 62)), None);
    }

    #[test]
    fn what_comes_back_to_itself_has_no_cost() {
        for schema in [
            json!({ "$ref": "#" }),
            json!({ "properties": { "child": { "$ref": "#" } } }),
            json!({ "$ref": "#/$defs/a", "$defs": { "a": { "not": { "$ref": "#/$defs/b" } }, "b": { "items": { "$ref": "#/$defs/a" } } } }),
            json!({ "$dynamicAnchor": "a", "items": { "$dynamicRef": "#a" } }),
            json!({ "$ref": "#a", "$defs": { "a": { "$anchor": "a" } } }),
            json!({ "$ref": "#/%24defs/a", "$defs": { "a": true } }),
            json!({ "properties": { "a": { "$id": "b", "$ref": "#" } } }),
        ] {
            assert_eq!(of(&schema), None, "{schema}");
        }
    }

    #[test]
    fn a_chain_may_be_as_long_as_a_stack_is_deep() {
        let chain = |length: usize| {
            let mut defs = serde_json::Map::new();
            for number in 0..length {
                let next = json!({ "not": { "$ref": format!("#/$defs/a{}", number + 1) } });
                defs.insert(format!("a{number}"), next);
            }
            defs.insert(format!("a{length}"), json!(true));
            of(&json!({ "$ref": "#/$defs/a0", "$defs": defs }))
        };
        assert!(chain(30).is_some());
        assert_eq!(chain(300), None);
    }

    #[test]
    fn many_patterns_have_no_cost() {
        let patterns = |count: usize| of(&json!({ "allOf": vec![json!({ "pattern": "a" }); count] }));
        assert!(patterns(100).is_some());
        assert_eq!(patterns(101), None);
    }

    #[test]
    fn the_schemas_of_real_jobs_have_a_cost() {
        let schema = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Input", "type": "object",
            "properties": { "url": { "$ref": "#/$defs/Url" }, "other": { "$ref": "#/$defs/Url" } },
            "$defs": { "Url": { "type": "string", "pattern": "^https?://" } },
        });
        assert!(of(&schema).is_some_and(|parts| parts < 1000));
    }
}
