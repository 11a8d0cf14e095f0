//! What a plugin asks for on behalf of its tasks: `<name>.toml` beside `<name>.wasm`.
//!
//! ```toml
//! [limits]
//! timeout = "10s"
//!
//! [retry]
//! max_attempts = 5
//! backoff = { kind = "fixed", base = "2s" }
//! ```
//!
//! An unknown key or a bad value refuses the plugin.

use std::{io::ErrorKind, path::Path, time::Duration};

use sentinel_queue::{Backoff, Policy, duration, retry::BackoffKind};
use serde::{Deserialize, Deserializer, de::Error as _};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Manifest {
    limits: Limits,
    retry: Retry,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Limits {
    #[serde(deserialize_with = "span")]
    timeout: Option<Duration>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Retry {
    max_attempts: Option<u32>,
    backoff: Option<Wait>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wait {
    kind: Option<BackoffKind>,
    #[serde(default, deserialize_with = "span")]
    base: Option<Duration>,
    #[serde(default, deserialize_with = "span")]
    max: Option<Duration>,
    jitter: Option<bool>,
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    duration::parse(&text).map(Some).map_err(D::Error::custom)
}

/// What the manifest beside a plugin says; nothing if there is none.
pub(super) fn defaults_beside(plugin: &Path) -> Result<Policy, String> {
    let file = plugin.with_extension("toml");
    let wrong = |error: &dyn std::fmt::Display| format!("its manifest {}: {error}", file.display());
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Policy::default()),
        Err(error) => return Err(wrong(&error)),
    };
    let Manifest { limits, retry } = toml::from_str(&text).map_err(|error| wrong(&error))?;
    if retry.max_attempts.is_some_and(|count| !(1..=1000).contains(&count)) {
        return Err(wrong(&"retry.max_attempts must be from 1 to 1000"));
    }
    let day = Duration::from_hours(24);
    if limits.timeout.is_some_and(|timeout| timeout.is_zero() || timeout > day) {
        return Err(wrong(&"limits.timeout must be from 1ms to 24h"));
    }
    let default = Backoff::default();
    let backoff = retry.backoff.map(|wait| Backoff {
        kind: wait.kind.unwrap_or(default.kind),
        base: wait.base.unwrap_or(default.base),
        max: wait.max.unwrap_or(default.max),
        jitter: wait.jitter.unwrap_or(default.jitter),
    });
    Ok(Policy { timeout: limits.timeout, max_attempts: retry.max_attempts, backoff })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Policy, String> {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("job.toml"), text).unwrap();
        defaults_beside(&directory.path().join("job.wasm"))
    }

    #[test]
    fn a_manifest_says_what_tasks_ask_for() {
        let policy = read(
            "[limits]\ntimeout = \"10s\"\n[retry]\nmax_attempts = 5\nbackoff = { kind = \"fixed\", base = \"2s\" }",
        );
        let policy = policy.unwrap();
        assert_eq!((policy.timeout, policy.max_attempts), (Some(Duration::from_secs(10)), Some(5)));
        let backoff = policy.backoff.unwrap();
        assert_eq!((backoff.kind, backoff.base), (BackoffKind::Fixed, Duration::from_secs(2)));
        assert_eq!(read("").unwrap(), Policy::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("[retries]", "retries"),
            ("[retry]\nmax_attempts = 0", "max_attempts"),
            ("[limits]\ntimeout = \"5\"", "timeout"),
            ("[limits]\ntimeout = \"25h\"", "timeout"),
            ("[retry]\nbackoff = { kind = \"odd\" }", "odd"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
