//! `wasi:config/store` with nothing in it.
//!
//! Owns the two functions' empty answers. The interface is a draft whose versions are not
//! compatible by name, so it is linked under the very name that the component imports.

use wasmtime::component::{Linker, Val};

use crate::engine::host::Host;

/// Links the interface under `name`.
pub(super) fn link(linker: &mut Linker<Host>, name: &str) -> wasmtime::Result<()> {
    let ok = |value| Val::Result(Ok(Some(Box::new(value))));
    let mut instance = linker.instance(name)?;
    instance.func_new("get", move |_, _, _, results| {
        results[0] = ok(Val::Option(None));
        Ok(())
    })?;
    instance.func_new("get-all", move |_, _, _, results| {
        results[0] = ok(Val::List(Vec::new()));
        Ok(())
    })
}
