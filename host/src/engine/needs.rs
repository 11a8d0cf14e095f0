//! What one instance of a component needs before any of its code runs.
//!
//! Owns the count, which is made of the component's bytes where they are compiled, and goes with the
//! code from there; and the words for what is too much. Invariant: it is counted over all instances
//! of core modules that the component makes, nested ones too, as the pool and the limiter count.

use std::fmt;

use serde::Serialize;
use wasmtime_environ::{
    ScopeVec, Tunables,
    component::{ComponentTypesBuilder, GlobalInitializer, InstantiateModule, Translator},
    wasmparser::{Validator, WasmFeatures},
};

use super::{config::Parts, limits::Limits};
use crate::size;

/// What one instance needs before any of its code runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Needs {
    /// Instances of core modules.
    pub core_instances: u64,
    /// Memories.
    pub memories: u64,
    /// What they begin with, in bytes, summed.
    pub memory_bytes: u64,
    /// Tables.
    pub tables: u64,
    /// What they begin with, in elements, summed.
    pub table_elements: u64,
}

/// How many bytes [`Needs::append_to`] appends.
pub(super) const APPENDED: usize = 40;

impl Needs {
    /// Of a component that wasmtime has compiled.
    pub(super) fn of(component: &[u8]) -> wasmtime::Result<Self> {
        // What is turned off here was refused when it was compiled.
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let mut types = ComponentTypesBuilder::new(&validator);
        let (tunables, scope) = (Tunables::default_host(), ScopeVec::new());
        let translator = Translator::new(&tunables, &mut validator, &mut types, &scope);
        let (component, modules) = translator.translate(component)?;
        let mut needs = Self::default();
        for initializer in &component.component.initializers {
            let GlobalInitializer::InstantiateModule(instantiated, _) = initializer else { continue };
            needs.core_instances += 1;
            // A module that is imported would be the host's, which has none.
            let InstantiateModule::Static(module, _) = instantiated else { continue };
            let module = &modules[*module].module;
            for (_, memory) in module.memories.iter().skip(module.num_imported_memories) {
                needs.memories += 1;
                let bytes = memory.minimum_byte_size().unwrap_or(u64::MAX);
                needs.memory_bytes = needs.memory_bytes.saturating_add(bytes);
            }
            for (_, table) in module.tables.iter().skip(module.num_imported_tables) {
                needs.tables += 1;
                needs.table_elements = needs.table_elements.saturating_add(table.limits.min);
            }
        }
        Ok(needs)
    }

    /// Appends it to the code that it is of.
    pub(super) fn append_to(self, code: &mut Vec<u8>) {
        let Self { core_instances, memories, memory_bytes, tables, table_elements } = self;
        for number in [core_instances, memories, memory_bytes, tables, table_elements] {
            code.extend(number.to_le_bytes());
        }
    }

    /// The code, and what was appended to it. None: nothing was.
    pub(super) fn split_from(artefact: &[u8]) -> Option<(&[u8], Self)> {
        let (code, appended) = artefact.split_last_chunk::<APPENDED>()?;
        let (numbers, _) = appended.as_chunks::<8>();
        let &[core_instances, memories, memory_bytes, tables, table_elements] = numbers else { return None };
        let number = u64::from_le_bytes;
        let needs = Self {
            core_instances: number(core_instances),
            memories: number(memories),
            memory_bytes: number(memory_bytes),
            tables: number(tables),
            table_elements: number(table_elements),
        };
        Some((code, needs))
    }
}

/// What a component can need too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Instances of core modules.
    CoreInstances,
    /// Memories.
    Memories,
    /// Tables.
    Tables,
    /// Bytes of memory.
    Memory,
    /// Elements of tables.
    TableElements,
}

/// One instance of a component needs more of something than it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Excess {
    /// Of what.
    pub part: Part,
    /// How much it needs.
    pub needed: u64,
    /// How much it can have.
    pub allowed: u64,
}

impl Excess {
    /// That no job could ever have so much.
    pub(super) fn check(needs: &Needs, parts: Parts, ceilings: &Limits) -> Result<(), Self> {
        let parts = [
            (Part::CoreInstances, needs.core_instances, parts.core_instances),
            (Part::Memories, needs.memories, parts.memories),
            (Part::Tables, needs.tables, parts.tables),
        ];
        let parts = parts.map(|(part, needed, allowed)| Self { part, needed, allowed: allowed.into() });
        let excess = parts.into_iter().find(|part| part.needed > part.allowed);
        excess.or_else(|| Self::of_limits(needs, ceilings)).map_or(Ok(()), Err)
    }

    /// What a job under these limits cannot have.
    pub(super) fn of_limits(needs: &Needs, limits: &Limits) -> Option<Self> {
        let limits = [
            (Part::Memory, needs.memory_bytes, limits.memory_bytes),
            (Part::TableElements, needs.table_elements, limits.table_elements),
        ];
        let limits = limits.map(|(part, needed, allowed)| Self { part, needed, allowed: allowed as u64 });
        limits.into_iter().find(|limit| limit.needed > limit.allowed)
    }

    /// The key that sets it.
    pub fn key(&self) -> &'static str {
        match self.part {
            Part::CoreInstances => "core-instances",
            Part::Memories => "memories",
            Part::Tables | Part::TableElements => "tables",
            Part::Memory => "memory",
        }
    }

    /// How much it needs and can have, as the key's value is written.
    pub fn amounts(&self) -> (String, String) {
        let amount =
            |amount: u64| if self.part == Part::Memory { size::format(amount) } else { amount.to_string() };
        (amount(self.needed), amount(self.allowed))
    }
}

/// Follows the file's name, as a refusal does.
impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key();
        let (needed, allowed) = self.amounts();
        let parts = match self.part {
            Part::CoreInstances => "core instances",
            Part::Memories => "memories",
            Part::Tables => "tables",
            Part::Memory | Part::TableElements => {
                let of = if self.part == Part::Memory { "of memory" } else { "table elements" };
                return write!(
                    f,
                    "it begins with {needed} {of}, and no job may have more than {allowed}: let it begin with less, \
                     or raise `{key}` in [ceilings] of sentinel.toml and in [limits] of its manifest to {needed}"
                );
            }
        };
        write!(
            f,
            "one instance of it has {needed} {parts}, and {allowed} are allowed: make it of fewer parts, or raise \
             `{key}` in [admission] of sentinel.toml to {needed}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_appended_comes_off_again() {
        let needs = Needs { core_instances: 1, memories: 2, memory_bytes: 3, tables: 4, table_elements: 5 };
        let mut code = b"code".to_vec();
        needs.append_to(&mut code);
        assert_eq!(code.len(), 4 + APPENDED);
        assert_eq!(Needs::split_from(&code), Some((&b"code"[..], needs)));
        assert_eq!(Needs::split_from(&code[5..]), None);
    }
}
