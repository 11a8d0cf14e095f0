//! Core modules that were made for WASI preview 1 become components.
//!
//! Owns the adaptation, which is done where components are compiled: what a hostile module makes it
//! do ends with that. Invariant: a component is left as it is.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wit_component::ComponentEncoder;

/// Whether these are a core module's.
pub(super) fn is_module(bytes: &[u8]) -> bool {
    bytes.starts_with(b"\0asm\x01\0\0\0")
}

/// The component that stands for these bytes.
pub(super) fn component(bytes: &[u8]) -> wasmtime::Result<Cow<'_, [u8]>> {
    if !is_module(bytes) {
        return Ok(Cow::Borrowed(bytes));
    }
    let adapted = ComponentEncoder::default()
        .validate(true)
        .module(bytes)
        .and_then(|encoder| {
            encoder.adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        })
        .and_then(ComponentEncoder::encode);
    adapted.map(Cow::Owned).map_err(|error| {
        wasmtime::Error::msg(format!(
            "it is a core module that is no WASI command ({error:#}): build it for wasm32-wasip2, or as a command \
             for wasm32-wasip1"
        ))
    })
}
