//! Interfaces that are known and not granted.
//!
//! Owns the stubs. Does not know what they stand for. Invariant: a component that imports one
//! loads; an attempt that calls one ends there, saying which.

use std::fmt;

use wasmtime::component::{Linker, ResourceType, types::ComponentItem};

use crate::engine::host::Host;

/// The guest called what it has not been granted.
#[derive(Clone, Debug)]
pub(crate) struct NotGranted {
    function: String,
}

impl fmt::Display for NotGranted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it called {}, which it has not been granted", self.function)
    }
}

impl std::error::Error for NotGranted {}

/// Stands for a resource that nobody can come to hold.
enum Never {}

/// Links the interface `name` with functions that refuse. Of its resources only those are
/// defined that are its own, and not `used` from another interface.
pub(super) fn link(
    linker: &mut Linker<Host>,
    engine: &wasmtime::Engine,
    name: &str,
    item: &ComponentItem,
    used: &[ResourceType],
) -> wasmtime::Result<()> {
    let ComponentItem::ComponentInstance(interface) = item else { return Ok(()) };
    let mut instance = linker.instance(name)?;
    for (export, extern_) in interface.exports(engine) {
        match extern_.ty {
            ComponentItem::ComponentFunc(_) => {
                let refusal = NotGranted { function: format!("{name}#{export}") };
                instance.func_new(export, move |_, _, _, _| Err(wasmtime::Error::new(refusal.clone())))?;
            }
            ComponentItem::Resource(resource) if !used.contains(&resource) => {
                instance.resource(export, ResourceType::host::<Never>(), |_, _| Ok(()))?;
            }
            _ => {}
        }
    }
    Ok(())
}
