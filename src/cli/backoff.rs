//! How a back-off is said: `fixed,2s`, `exponential,1s,10m`, or the API's JSON.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Reads `KIND[,BASE[,MAX]]` or a JSON object.
pub(super) fn parse(text: &str) -> Result<Value> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text).with_context(|| format!("--backoff {text:?} is not JSON"));
    }
    let parts: Vec<_> = text.split(',').map(str::trim).collect();
    let backoff = match parts[..] {
        [kind] => json!({"kind": kind}),
        [kind, base] => json!({"kind": kind, "base": base}),
        [kind, base, max] => json!({"kind": kind, "base": base, "max": max}),
        _ => bail!("--backoff {text:?} must be KIND[,BASE[,MAX]], such as fixed,2s, or a JSON object"),
    };
    Ok(backoff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backoff_is_said_in_words_or_as_json() {
        assert_eq!(parse("fixed,2s").unwrap(), json!({"kind": "fixed", "base": "2s"}));
        assert_eq!(parse("linear, 1s, 5m").unwrap()["max"], "5m");
        assert_eq!(parse(r#"{"jitter":false}"#).unwrap(), json!({"jitter": false}));
        assert!(parse("fixed,1s,2s,3s").is_err());
        assert!(parse("{").is_err());
    }
}
