//! The tables of `sentinel.toml`, which no flag says: what their keys mean.
//!
//! What form a value has is what its reader says that refuses another, and defaults are those of
//! the types that are read into.

use sentinel_host::{
    engine::Limits,
    size,
    worker::{AdmissionBounds, AskedLimits, GrantTable, Wrong},
};
use sentinel_queue::duration;
use toml::Value;

/// A table and its keys.
pub(super) struct Table {
    pub(super) header: &'static str,
    pub(super) meaning: &'static str,
    pub(super) keys: Vec<TableKey>,
}

/// One key.
pub(super) struct TableKey {
    pub(super) name: &'static str,
    pub(super) meaning: &'static str,
    pub(super) form: String,
    pub(super) default: String,
    /// The default, or an example where there is no fixed one, as TOML.
    pub(super) value: String,
}

/// Every key of a job's grants: what it means, and an example.
const GRANTS: [(&str, &str, &str); GrantTable::KEYS.len()] = [
    (
        "http",
        "Where it may send requests. An address that is none of the internet needs `private = true`.",
        r#"["https://*.example.org", { origin = "http://10.0.0.1:8080", private = true }]"#,
    ),
    (
        "secrets",
        "The secrets that it may read, by name, and where each comes from: { env = \"NAME\" } or { file = \"path\" }. \
         A secret itself is never written here.",
        r#"{ api-key = { env = "API_KEY" }, signing-key = { file = "/run/secrets/signing-key" } }"#,
    ),
    (
        "env",
        "The environment variables that it may see: each a text, or { env = \"NAME\" } for one of the worker's own.",
        r#"{ REGION = "eu", LANG = { env = "LANG" } }"#,
    ),
    ("submits", "The jobs that it may submit besides itself.", r#"["resize-image"]"#),
    ("scratch", "How large its scratch directory may be.", r#""64MiB""#),
];

const CEILINGS: [(&str, &str); AskedLimits::KEYS.len()] = [
    ("timeout", "The time of an attempt."),
    ("cpu", "The CPU time of an attempt."),
    ("memory", "Linear memory, of all memories of the component."),
    ("tables", "Elements of all its tables."),
    ("result", "The size of the result."),
    ("log", "What is kept of the log."),
    ("transfer", "What is handed to the host in one call, and what HTTP carries in all."),
    ("handles", "Resource handles."),
];

const ADMISSION: [(&str, &str); AdmissionBounds::KEYS.len()] = [
    ("core-instances", "Instances of core modules in one component."),
    ("memories", "Memories in one component."),
    ("tables", "Tables in one component."),
    ("file-size", "The size of its file."),
    ("code-size", "The machine code that comes of it."),
    ("compile-cpu", "The CPU time that its compilation may take."),
    ("compile-time", "The time that its compilation may take."),
    ("compile-memory", "The memory that its compilation may take."),
];

impl Table {
    /// All there are.
    pub(super) fn all() -> [Self; 3] {
        [grants(), ceilings(), admission()]
    }
}

fn grants() -> Table {
    let key = |(name, meaning, example): (&'static str, _, &str)| {
        let refused = |value| {
            let job = toml::Table::from_iter([(name.to_owned(), value)]);
            GrantTable::parse(&toml::Table::from_iter([("job".to_owned(), Value::Table(job))])).err()
        };
        TableKey { name, meaning, form: form(refused), default: "none".into(), value: example.to_owned() }
    };
    Table {
        header: "grants.my-job",
        meaning: "What a job may reach, by its name: it gets what its manifest asks for and this grants.",
        keys: GRANTS.map(key).into(),
    }
}

fn ceilings() -> Table {
    let limits = Limits::default_ceilings();
    let bytes = |bytes: usize| Some(quoted(&size::format(bytes as u64)));
    let key = |(name, meaning): (&'static str, _)| {
        let default = match name {
            "timeout" => Some(quoted(&duration::format(limits.wall))),
            "memory" => bytes(limits.memory_bytes),
            "tables" => Some(limits.table_elements.to_string()),
            "result" => bytes(limits.result_bytes),
            "log" => bytes(limits.log_bytes),
            "transfer" => bytes(limits.transfer_bytes),
            "handles" => Some(limits.handles.to_string()),
            _ => limits.cpu.map(|cpu| quoted(&duration::format(cpu))),
        };
        let refused =
            |value| AskedLimits::parse("ceilings", &toml::Table::from_iter([(name.into(), value)])).err();
        TableKey {
            name,
            meaning,
            form: form(refused),
            default: default.clone().unwrap_or_else(|| "as long as `timeout`".into()),
            value: default.unwrap_or_else(|| quoted("1h")),
        }
    };
    Table {
        header: "ceilings",
        meaning: "What a manifest can ask for at most, for one attempt.",
        keys: CEILINGS.map(key).into(),
    }
}

fn admission() -> Table {
    let bounds = AdmissionBounds::default();
    let key = |(name, meaning): (&'static str, _)| {
        let default = match name {
            "core-instances" => bounds.parts.core_instances.to_string(),
            "memories" => bounds.parts.memories.to_string(),
            "tables" => bounds.parts.tables.to_string(),
            "file-size" => quoted(&size::format(bounds.file_bytes)),
            "code-size" => quoted(&size::format(bounds.compile.code_bytes.into())),
            "compile-cpu" => quoted(&duration::format(bounds.compile.cpu)),
            "compile-time" => quoted(&duration::format(bounds.compile.wall)),
            _ => quoted(&size::format(bounds.compile.memory_bytes)),
        };
        let refused = |value| AdmissionBounds::parse(&toml::Table::from_iter([(name.into(), value)])).err();
        TableKey { name, meaning, form: form(refused), default: default.clone(), value: default }
    };
    Table {
        header: "admission",
        meaning: "What a component may take to be admitted.",
        keys: ADMISSION.map(key).into(),
    }
}

/// What a value must be, in the words of its reader that is given another.
fn form(refused: impl Fn(Value) -> Option<Wrong>) -> String {
    let said = refused(Value::Boolean(false)).map(|wrong| wrong.to_string()).unwrap_or_default();
    let form = said.split_once(" must be ").map_or(said.as_str(), |(_, form)| form);
    let mut letters = form.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn quoted(text: &str) -> String {
    format!("{text:?}")
}
