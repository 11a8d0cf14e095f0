//! What a plugin asks for: `<name>.toml` beside `<name>.wasm`.
//!
//! Owns the manifest's keys. Grants nothing: what is asked for here is given as far as the operator
//! grants it (`grants.rs`). An unknown key or a bad value refuses the plugin.

use std::{collections::BTreeMap, fs::File, io::Read, os::unix::fs::FileTypeExt, path::Path, time::Duration};

use sentinel_queue::{Backoff, Policy, retry::BackoffKind};
use toml::{Table, Value};

use super::{
    asked::AskedLimits,
    strict::{Section, Wrong, bytes, count, list, span, text},
};
use crate::engine::{Origin, SECRET_PREFIX, Stdout};

const KEYS: [&str; 10] =
    ["description", "limits", "retry", "http", "env", "secrets", "config", "scratch", "stdout", "args"];

/// How large a manifest may be, in bytes.
const MAX_BYTES: u64 = 64 << 10;

/// How many arguments there may be, and how many bytes they may have in all.
const MAX_ARGS: usize = 64;
const MAX_ARGS_BYTES: usize = 64 << 10;

const DAY: Duration = Duration::from_hours(24);

/// The largest scratch directory that can be asked for or granted.
pub(super) const MAX_SCRATCH: u64 = 64 << 30;

/// A plugin's manifest.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Manifest {
    /// What the job does, for people.
    pub description: Option<String>,
    /// What its tasks ask for when they do not say.
    pub policy: Policy,
    /// The limits that it wants.
    pub limits: AskedLimits,
    /// Where it wants to send requests.
    pub http: Vec<Origin>,
    /// The environment variables that it wants, by name.
    pub env: Vec<String>,
    /// The secrets that it wants, by name.
    pub secrets: Vec<String>,
    /// What `wasi:config/store` tells it.
    pub config: BTreeMap<String, String>,
    /// How many bytes it wants in a directory of its own.
    pub scratch: Option<u64>,
    /// What becomes of its standard output.
    pub stdout: Stdout,
    /// Its arguments, after its name.
    pub args: Vec<String>,
}

impl Manifest {
    /// What the manifest beside a plugin says; nothing if there is none. The error names the file.
    pub(super) fn beside(plugin: &Path) -> Result<Self, String> {
        let file = plugin.with_extension("toml");
        match read(&file) {
            Ok(None) => Ok(Self::default()),
            Ok(Some(text)) => Self::parse(&text).map_err(|wrong| wrong.to_string()),
            Err(error) => Err(format!("it cannot be read: {error}")),
        }
        .map_err(|wrong| format!("its manifest {}: {wrong}", file.display()))
    }

    /// Reads a manifest's text.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let table: Table = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or(text, |span| text.get(..span.start).unwrap_or(text));
            Wrong::new(format!("line {}: {}", before.matches('\n').count() + 1, error.message()))
        })?;
        let top = Section::new("", &table, &KEYS)?;
        let limits = AskedLimits::under(&top, "limits")?;
        Ok(Self {
            description: top.get("description", description)?,
            policy: policy(&top, limits.timeout)?,
            limits,
            http: top.get("http", list(str::parse::<Origin>))?.unwrap_or_default(),
            env: top.get("env", list(variable))?.unwrap_or_default(),
            secrets: top.get("secrets", list(secret))?.unwrap_or_default(),
            config: config(&top)?,
            scratch: top.get("scratch", bytes(1, MAX_SCRATCH))?,
            stdout: top.get("stdout", stdout)?.unwrap_or_default(),
            args: top.get("args", args)?.unwrap_or_default(),
        })
    }
}

fn read(file: &Path) -> std::io::Result<Option<String>> {
    // To open a pipe may take for ever.
    if std::fs::metadata(file).is_ok_and(|metadata| metadata.file_type().is_fifo()) {
        return Err(std::io::Error::other("it is a pipe"));
    }
    let opened = match File::open(file) {
        Ok(opened) => opened,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    opened.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other(format!("it has more than {MAX_BYTES} bytes")));
    }
    Ok(Some(text))
}

fn description(value: &Value) -> Result<String, &'static str> {
    let text = text(value)?;
    if text.len() <= 1000 { Ok(text.to_owned()) } else { Err("must have at most 1000 bytes") }
}

fn policy(top: &Section<'_>, timeout: Option<Duration>) -> Result<Policy, Wrong> {
    let Some(retry) = top.section("retry", &["max_attempts", "backoff"])? else {
        return Ok(Policy { timeout, ..Policy::default() });
    };
    let default = Backoff::default();
    let backoff = retry.section("backoff", &["kind", "base", "max", "jitter"])?;
    let backoff = backoff.map(|backoff| {
        Ok(Backoff {
            kind: backoff.get("kind", kind)?.unwrap_or(default.kind),
            base: backoff.get("base", span(Duration::ZERO, DAY))?.unwrap_or(default.base),
            max: backoff.get("max", span(Duration::ZERO, DAY))?.unwrap_or(default.max),
            jitter: backoff
                .get("jitter", |value| value.as_bool().ok_or("must be true or false"))?
                .unwrap_or(default.jitter),
        })
    });
    let max_attempts = retry.get("max_attempts", count(1, 1000))?;
    Ok(Policy { timeout, max_attempts, backoff: backoff.transpose()? })
}

fn kind(value: &Value) -> Result<BackoffKind, &'static str> {
    match value.as_str() {
        Some("exponential") => Ok(BackoffKind::Exponential),
        Some("linear") => Ok(BackoffKind::Linear),
        Some("fixed") => Ok(BackoffKind::Fixed),
        _ => Err("must be \"exponential\", \"linear\" or \"fixed\""),
    }
}

fn stdout(value: &Value) -> Result<Stdout, &'static str> {
    match value.as_str() {
        Some("json") => Ok(Stdout::Json),
        Some("text") => Ok(Stdout::Text),
        _ => Err("must be \"json\" or \"text\""),
    }
}

fn args(value: &Value) -> Result<Vec<String>, String> {
    // Where arguments end with a NUL, one within would cut them.
    let arg = |arg: &str| if arg.contains('\0') { Err("must not contain NUL") } else { Ok(arg.to_owned()) };
    let args = list(arg)(value)?;
    if args.len() > MAX_ARGS || args.iter().map(String::len).sum::<usize>() > MAX_ARGS_BYTES {
        return Err(format!("must be at most {MAX_ARGS} texts of {MAX_ARGS_BYTES} bytes in all"));
    }
    Ok(args)
}

fn config(top: &Section<'_>) -> Result<BTreeMap<String, String>, Wrong> {
    let Some(config) = top.names("config")? else { return Ok(BTreeMap::new()) };
    let entry = |key: &str| {
        if key.starts_with(SECRET_PREFIX) {
            return Err(config.wrong(key, "such keys are for secrets: ask for it in `secrets`"));
        }
        let value = config.get(key, text)?.unwrap_or_default();
        Ok((key.to_owned(), value.to_owned()))
    };
    config.keys().map(entry).collect()
}

/// The name of an environment variable.
pub(super) fn variable(name: &str) -> Result<String, &'static str> {
    let mut bytes = name.bytes();
    let fits = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && name.len() <= 128;
    if fits { Ok(name.to_owned()) } else { Err("must be a variable's name: [A-Za-z_][A-Za-z0-9_]{0,127}") }
}

/// The name of a secret.
pub(super) fn secret(name: &str) -> Result<String, &'static str> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=64).contains(&name.len()) && name.bytes().all(is_plain) {
        Ok(name.to_owned())
    } else {
        Err("must be a secret's name: [A-Za-z0-9._-]{1,64}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    /// Everything that there is.
    const FULL: &str = r#"
description = "Does all there is to do."
http = ["https://api.example.org", "http://*.example.net:8080"]
env = ["REGION"]
secrets = ["api-key"]
scratch = "64MiB"
stdout = "text"
args = ["-c", "print('a\nb')", ""]

[limits]
timeout = "10s"
cpu = "5s"
memory = "256MiB"
tables = 30000
result = "64KiB"
log = "128KiB"
transfer = "32MiB"
handles = 500

[retry]
max_attempts = 5
backoff = { kind = "fixed", base = "2s", max = "1m", jitter = false }

[config]
url = "https://api.example.org/v1"
"two words" = ""
"#;

    #[test]
    fn a_manifest_says_what_is_asked_for() {
        let manifest = Manifest::parse(FULL).unwrap();
        let expected = Manifest {
            description: Some("Does all there is to do.".into()),
            policy: Policy {
                timeout: Some(Duration::from_secs(10)),
                max_attempts: Some(5),
                backoff: Some(Backoff {
                    kind: BackoffKind::Fixed,
                    base: Duration::from_secs(2),
                    max: Duration::from_mins(1),
                    jitter: false,
                }),
            },
            limits: AskedLimits {
                timeout: Some(Duration::from_secs(10)),
                cpu: Some(Duration::from_secs(5)),
                memory: Some(256 << 20),
                tables: Some(30_000),
                result: Some(64 << 10),
                log: Some(128 << 10),
                transfer: Some(32 << 20),
                handles: Some(500),
            },
            http: ["https://api.example.org", "http://*.example.net:8080"]
                .map(|http| http.parse().unwrap())
                .into(),
            env: vec!["REGION".into()],
            secrets: vec!["api-key".into()],
            config: [("url", "https://api.example.org/v1"), ("two words", "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            scratch: Some(64 << 20),
            stdout: Stdout::Text,
            args: vec!["-c".into(), "print('a\nb')".into(), String::new()],
        };
        assert_eq!(manifest, expected);
        assert_eq!(Manifest::parse("").unwrap(), Manifest::default());
    }

    #[test]
    fn what_is_wrong_is_named_with_the_fix() {
        for (text, named) in [
            ("[retries]", "retries: no such key: did you mean \"retry\"?"),
            ("[limit]", "limit: no such key: did you mean \"limits\"?"),
            ("[limits]\ntimeot = \"1s\"", "limits.timeot: no such key: did you mean \"timeout\"?"),
            ("[retry]\nmax_attempts = 0", "retry.max_attempts: 0: must be an integer from 1 to 1000"),
            ("[retry]\nbackoff = { kind = \"odd\" }", "retry.backoff.kind: \"odd\": must be"),
            ("[limits]\ntimeout = \"5\"", "limits.timeout: \"5\": must be"),
            ("[limits]\ntimeout = \"25h\"", "from 1ms to 1d"),
            ("http = \"https://example.org\"", "http: \"https://example.org\": must be a list"),
            ("http = [\"example.org\"]", "http: the list: \"example.org\" in it must be <scheme>"),
            ("env = [\"A B\"]", "\"A B\" in it must be a variable's name"),
            ("secrets = { key = \"hunter2\" }", "secrets: the table: must be a list"),
            ("[config]\na = 1", "config.a: 1: must be a text"),
            ("[config]\n\"secret.a\" = \"b\"", "ask for it in `secrets`"),
            ("scratch = 5", "scratch: 5: must be"),
            ("stdout = \"yaml\"", "stdout: \"yaml\": must be \"json\" or \"text\""),
            ("args = \"-c\"", "args: \"-c\": must be a list of texts"),
            ("args = [1]", "args: the list: 1 in it must be a text"),
            ("args = [\"a\\u0000b\"]", "must not contain NUL"),
            (&format!("args = {:?}", [""; 65]), "args: the list: must be at most 64 texts"),
            (&format!("args = [{:?}]", "x".repeat(65_537)), "of 65536 bytes in all"),
            ("a = 1\n\nb = ", "line 3: "),
        ] {
            let wrong = Manifest::parse(text).unwrap_err().to_string();
            assert!(wrong.contains(named), "{wrong}");
        }
    }

    #[test]
    fn a_manifest_that_is_too_large_or_no_text_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |bytes: &[u8]| {
            std::fs::write(directory.path().join("job.toml"), bytes).unwrap();
            Manifest::beside(&directory.path().join("job.wasm")).unwrap_err()
        };
        assert!(refused("#".repeat(65_537).as_bytes()).contains("65536 bytes"));
        assert!(refused(b"\xff").contains("job.toml: it cannot be read"));
        assert_eq!(Manifest::beside(&directory.path().join("other.wasm")), Ok(Manifest::default()));
    }

    /// Keys and values that are nearly right, and some that are not.
    fn nearly() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            proptest::sample::select(KEYS.to_vec()).prop_map(str::to_owned),
            "[a-z_.\"]{0,8}",
            Just("limits.memory".to_owned()),
            Just("retry.backoff".to_owned()),
        ];
        let value = prop_oneof![
            any::<i64>().prop_map(|number| number.to_string()),
            any::<f64>().prop_map(|number| number.to_string()),
            "\\PC{0,12}".prop_map(|text| format!("{text:?}")),
            "[0-9]{1,25}(B|KiB|MiB|GiB|ms|s|d)".prop_map(|text| format!("{text:?}")),
            "https?://[a-z*.:0-9\\[\\]@/]{0,20}".prop_map(|text| format!("[{text:?}]")),
            "[\\[{]{0,400}",
            "(\\[|\\{a=){0,200}1?(\\]|\\}){0,200}",
        ];
        vec((key, prop_oneof![Just(" = "), Just("="), Just("]\n[")], value), 0..6).prop_map(|lines| {
            let lines: Vec<_> =
                lines.into_iter().map(|(key, is, value)| [&key, is, &value].concat()).collect();
            lines.join("\n")
        })
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            drop(Manifest::parse(&text));
        }

        #[test]
        fn a_generated_manifest_is_read_or_refused(text in nearly()) {
            if let Err(wrong) = Manifest::parse(&text) {
                prop_assert!(!wrong.to_string().is_empty());
            }
        }

        #[test]
        fn a_truncated_manifest_is_read_or_refused(at in any::<Index>()) {
            let at = FULL.floor_char_boundary(at.index(FULL.len()));
            drop(Manifest::parse(&FULL[..at]));
        }

        #[test]
        fn a_changed_manifest_is_read_or_refused(changes in vec((any::<Index>(), any::<u8>()), 1..8)) {
            let mut bytes = FULL.as_bytes().to_vec();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            drop(Manifest::parse(&String::from_utf8_lossy(&bytes)));
        }
    }
}
