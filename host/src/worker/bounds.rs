//! What a component may take to be admitted: `[admission]` of `sentinel.toml`.

use std::time::Duration;

use toml::Table;

use super::strict::{Section, Wrong, bytes, count, span};
use crate::engine::{CompileBounds, EngineConfig, Parts};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_hours(1);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// What a component may take to be admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionBounds {
    /// Of how many parts it may be made.
    pub parts: Parts,
    /// The size of its file.
    pub file_bytes: u64,
    /// What its compilation may take.
    pub compile: CompileBounds,
}

impl Default for AdmissionBounds {
    fn default() -> Self {
        Self {
            parts: Parts::default(),
            file_bytes: EngineConfig::MAX_PLUGIN_BYTES,
            compile: CompileBounds::default(),
        }
    }
}

impl AdmissionBounds {
    /// The keys of the table.
    pub const KEYS: [&str; 8] = [
        "core-instances",
        "memories",
        "tables",
        "file-size",
        "code-size",
        "compile-cpu",
        "compile-time",
        "compile-memory",
    ];

    /// Reads the table `admission`.
    pub fn parse(table: &Table) -> Result<Self, Wrong> {
        let said = Section::new("admission", table, &Self::KEYS)?;
        let default = Self::default();
        // The pool is reserved for as many: more than these are a mistake.
        let parts = Parts {
            core_instances: said
                .get("core-instances", count(1, 10_000))?
                .unwrap_or(default.parts.core_instances),
            memories: said.get("memories", count(1, 100))?.unwrap_or(default.parts.memories),
            tables: said.get("tables", count(1, 1000))?.unwrap_or(default.parts.tables),
        };
        let code_bytes =
            said.get("code-size", bytes(MIB, 2 * GIB))?.and_then(|bytes| u32::try_from(bytes).ok());
        let compile = CompileBounds {
            // The system counts it in seconds.
            cpu: said.get("compile-cpu", span(SECOND, HOUR))?.unwrap_or(default.compile.cpu),
            wall: said.get("compile-time", span(SECOND, HOUR))?.unwrap_or(default.compile.wall),
            memory_bytes: said
                .get("compile-memory", bytes(64 * MIB, 64 * GIB))?
                .unwrap_or(default.compile.memory_bytes),
            code_bytes: code_bytes.unwrap_or(default.compile.code_bytes),
        };
        let file_bytes = said.get("file-size", bytes(KIB, GIB))?.unwrap_or(default.file_bytes);
        Ok(Self { parts, file_bytes, compile })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AdmissionBounds, Wrong> {
        AdmissionBounds::parse(&text.parse().unwrap())
    }

    #[test]
    fn what_is_said_replaces_the_default() {
        assert_eq!(parse("").unwrap(), AdmissionBounds::default());
        let said = parse(
            "core-instances = 300\nmemories = 9\ntables = 33\nfile-size = \"1KiB\"\ncode-size = \"1MiB\"\n\
             compile-cpu = \"1s\"\ncompile-time = \"2s\"\ncompile-memory = \"64MiB\"",
        );
        let expected = AdmissionBounds {
            parts: Parts { core_instances: 300, memories: 9, tables: 33 },
            file_bytes: 1024,
            compile: CompileBounds {
                cpu: SECOND,
                wall: 2 * SECOND,
                memory_bytes: 64 << 20,
                code_bytes: 1 << 20,
            },
        };
        assert_eq!(said.unwrap(), expected);
    }

    #[test]
    fn what_is_wrong_is_named_with_the_fix() {
        for (text, named) in [
            ("core_instances = 1", "admission.core_instances: no such key: did you mean \"core-instances\"?"),
            ("memories = 101", "admission.memories: 101: must be an integer from 1 to 100"),
            ("tables = 0", "admission.tables: 0: must be"),
            ("compile-cpu = \"500ms\"", "admission.compile-cpu: \"500ms\": must be"),
            ("code-size = \"4GiB\"", "from 1MiB to 2GiB"),
        ] {
            let wrong = parse(text).unwrap_err().to_string();
            assert!(wrong.contains(named), "{wrong}");
        }
    }
}
