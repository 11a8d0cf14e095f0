//! How tasks are meant together: `status=FAILED,queue=mail`, or `all`.

use anyhow::{Result, bail};
use serde_json::{Map, Value};

const KNOWN: [&str; 6] = ["status", "queue", "job", "tag", "since", "until"];

/// Reads `KEY=VALUE,…` into the API's filter.
pub(super) fn parse(text: &str) -> Result<Value> {
    let mut filter = Map::new();
    // Nobody means all tasks by saying nothing.
    if text == "all" {
        return Ok(filter.into());
    }
    for part in text.split(',') {
        let Some((key, value)) = part.split_once('=') else {
            bail!(
                "--filter {text:?}: {part:?} must be KEY=VALUE; keys are {}; `all` means all tasks",
                KNOWN.join(", ")
            );
        };
        if !KNOWN.contains(&key) {
            bail!("--filter {text:?}: {key:?} is not a key: there are {}", KNOWN.join(", "));
        }
        if filter.insert(key.to_owned(), value.into()).is_some() {
            bail!("--filter {text:?}: {key} is there twice: say it once, and use a filter for each value");
        }
    }
    Ok(filter.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_filter_is_made_of_keys_and_values() {
        assert_eq!(parse("all").unwrap(), json!({}));
        let filter = parse("status=FAILED,tag=a=b,since=2030-01-01T00:00:00Z").unwrap();
        assert_eq!(filter, json!({"status": "FAILED", "tag": "a=b", "since": "2030-01-01T00:00:00Z"}));
    }

    #[test]
    fn what_is_misspelt_is_not_taken_for_all() {
        for text in ["", "queue", "qeue=x", "queue=a,queue=b", "all,queue=a"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
