//! Limits as people write them: a manifest's `[limits]` and an operator's `[ceilings]`.

use std::time::Duration;

use toml::Table;

use super::strict::{Section, Wrong, bytes, count, span};
use crate::{engine::Limits, size};

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_hours(24);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The limits that are said, each or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AskedLimits {
    /// The wall time.
    pub timeout: Option<Duration>,
    /// The CPU time.
    pub cpu: Option<Duration>,
    /// Linear memory, in bytes.
    pub memory: Option<u64>,
    /// Table elements.
    pub tables: Option<u32>,
    /// The result, in bytes.
    pub result: Option<u64>,
    /// The log, in bytes.
    pub log: Option<u64>,
    /// What is handed to the host in one call, and what HTTP carries in all, in bytes.
    pub transfer: Option<u64>,
    /// Resource handles.
    pub handles: Option<u32>,
}

impl AskedLimits {
    /// The keys of such a table.
    pub const KEYS: [&str; 8] =
        ["timeout", "cpu", "memory", "tables", "result", "log", "transfer", "handles"];

    /// Reads a table of limits that stands under `path`.
    pub fn parse(path: &str, table: &Table) -> Result<Self, Wrong> {
        Self::read(&Section::new(path, table, &Self::KEYS)?)
    }

    /// Reads the table under `key`, if there is one.
    pub(super) fn under(section: &Section<'_>, key: &str) -> Result<Self, Wrong> {
        section.section(key, &Self::KEYS)?.map_or_else(|| Ok(Self::default()), |limits| Self::read(&limits))
    }

    fn read(limits: &Section<'_>) -> Result<Self, Wrong> {
        Ok(Self {
            timeout: limits.get("timeout", span(MILLISECOND, DAY))?,
            cpu: limits.get("cpu", span(MILLISECOND, DAY))?,
            memory: limits.get("memory", bytes(64 * KIB, 4 * GIB))?,
            tables: limits.get("tables", count(1, 10_000_000))?,
            result: limits.get("result", bytes(1, 16 * MIB))?,
            log: limits.get("log", bytes(0, 16 * MIB))?,
            transfer: limits.get("transfer", bytes(KIB, GIB))?,
            handles: limits.get("handles", count(1, 100_000))?,
        })
    }

    /// These limits, and for what they do not say `others`.
    #[must_use]
    pub fn over(&self, others: &Limits) -> Limits {
        let bytes = |asked: Option<u64>, other| {
            asked.map_or(other, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        let number = |asked: Option<u32>, other| {
            asked.map_or(other, |number| usize::try_from(number).unwrap_or(usize::MAX))
        };
        Limits {
            wall: self.timeout.unwrap_or(others.wall),
            cpu: self.cpu.or(others.cpu),
            memory_bytes: bytes(self.memory, others.memory_bytes),
            table_elements: number(self.tables, others.table_elements),
            result_bytes: bytes(self.result, others.result_bytes),
            log_bytes: bytes(self.log, others.log_bytes),
            transfer_bytes: bytes(self.transfer, others.transfer_bytes),
            handles: number(self.handles, others.handles),
        }
    }

    /// Which of these are more than `ceilings` allow, in words.
    pub(super) fn above(&self, ceilings: &Limits) -> Vec<String> {
        let time = |key, asked: Option<Duration>, ceiling: Duration| {
            asked.filter(|asked| *asked > ceiling).map(|asked| {
                let format = sentinel_queue::duration::format;
                too_much(key, &format(asked), &format(ceiling))
            })
        };
        let bytes = |key, asked: Option<u64>, ceiling: usize| {
            let ceiling = ceiling as u64;
            let above = asked.filter(|asked| *asked > ceiling);
            above.map(|asked| too_much(key, &size::format(asked), &size::format(ceiling)))
        };
        let number = |key, asked: Option<u32>, ceiling: usize| {
            let above = asked.filter(|asked| u64::from(*asked) > ceiling as u64);
            above.map(|asked| too_much(key, &asked.to_string(), &ceiling.to_string()))
        };
        let all = [
            time("timeout", self.timeout, ceilings.wall),
            time("cpu", self.cpu, ceilings.cpu()),
            bytes("memory", self.memory, ceilings.memory_bytes),
            number("tables", self.tables, ceilings.table_elements),
            bytes("result", self.result, ceilings.result_bytes),
            bytes("log", self.log, ceilings.log_bytes),
            bytes("transfer", self.transfer, ceilings.transfer_bytes),
            number("handles", self.handles, ceilings.handles),
        ];
        all.into_iter().flatten().collect()
    }
}

fn too_much(key: &str, asked: &str, ceiling: &str) -> String {
    format!("limits.{key}: asks for {asked}, gets {ceiling} (ceilings.{key})")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<AskedLimits, Wrong> {
        AskedLimits::parse("ceilings", &text.parse().unwrap())
    }

    #[test]
    fn what_is_said_replaces_what_is_not() {
        let asked = parse("memory = \"256MiB\"\ncpu = \"1s\"\nhandles = 7").unwrap();
        let expected = Limits {
            memory_bytes: 256 << 20,
            cpu: Some(Duration::from_secs(1)),
            handles: 7,
            ..Limits::default()
        };
        assert_eq!(asked.over(&Limits::default()), expected);
        assert_eq!(AskedLimits::default().over(&expected), expected);
    }

    #[test]
    fn what_is_above_the_ceilings_is_named() {
        let asked = parse("memory = \"2GiB\"\ntables = 10\ntimeout = \"2h\"").unwrap();
        let ceilings = Limits { wall: Duration::from_hours(1), ..Limits::default_ceilings() };
        assert_eq!(
            asked.above(&ceilings),
            [
                "limits.timeout: asks for 2h, gets 1h (ceilings.timeout)",
                "limits.memory: asks for 2GiB, gets 1GiB (ceilings.memory)",
            ]
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, named) in [
            ("memry = \"1MiB\"", "did you mean \"memory\""),
            ("memory = 5", "ceilings.memory: 5: must be"),
            ("memory = \"5TiB\"", "4GiB"),
            ("timeout = \"25h\"", "from 1ms to 1d"),
            ("handles = 0", "from 1 to"),
        ] {
            let wrong = parse(text).unwrap_err().to_string();
            assert!(wrong.contains(named), "{wrong}");
        }
    }
}
