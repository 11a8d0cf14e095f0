//! What a guest may import, one file per interface of the host's own.
//!
//! Owns the linker that all components share, and the decision about each import's name. Does
//! not know any attempt. Invariant: a component loads when all it imports is either provided or
//! known and refused; what is refused is an error to the guest, and never a way out.

mod checkpoint;
mod config_store;
mod filesystem;
mod http;
mod outbox;
mod parents;
mod progress;
mod refused;
mod state;

use serde::Serialize;
use wasmtime::component::{Component, HasSelf, Linker, types::ComponentItem};

use super::{bindings::Job, grants::Grants, host::Host};

pub use config_store::SECRET_PREFIX;
pub(crate) use filesystem::Quota;
pub(crate) use http::Http;
pub use http::{HttpGrant, NoOrigin, Origin};
pub use parents::{KnownParents, LookUp, Parent, ParentStatus, Parents};
pub use progress::{Progress, ProgressCell};
pub(crate) use refused::NotGranted;

/// The linker with everything that is provided.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    filesystem::link(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    Job::add_to_linker::<Host, HasSelf<Host>>(&mut linker, |host| host)?;
    Ok(linker)
}

/// The interfaces of `sentinel:job` that a job may import.
const OURS: &[&str] = &["types", "progress", "parents", "state", "outbox", "checkpoint"];

/// What the host does about an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Provision {
    /// It is in [`linker`].
    Linked,
    /// `wasi:config/store`, whatever its version.
    Config,
    /// Known, and refused when it is called.
    Refused,
    Unknown,
}

impl Provision {
    fn of(import: &str) -> Self {
        let (path, version) = import.split_once('@').unwrap_or((import, ""));
        let package = path.split_once('/').map_or(path, |(package, _)| package);
        match package {
            "wasi:cli" | "wasi:clocks" | "wasi:filesystem" | "wasi:io" | "wasi:random" | "wasi:sockets"
                if version.starts_with("0.2.") =>
            {
                Self::Linked
            }
            "wasi:http" if version.starts_with("0.2.") => match path {
                "wasi:http/types" | "wasi:http/outgoing-handler" => Self::Linked,
                _ => Self::Refused,
            },
            "wasi:config" => Self::Config,
            "sentinel:job"
                if version.starts_with("0.1.")
                    && path.strip_prefix("sentinel:job/").is_some_and(|name| OURS.contains(&name)) =>
            {
                Self::Linked
            }
            _ => Self::Unknown,
        }
    }
}

/// The linker for `component`, which is `shared` unless something it imports must be refused;
/// or the names of the imports that nobody knows.
pub(crate) fn linker_for(
    shared: &Linker<Host>,
    component: &Component,
) -> wasmtime::Result<Result<Linker<Host>, Vec<String>>> {
    let engine = component.engine();
    let mut linker = shared.clone();
    let mut unknown = Vec::new();
    // An interface comes after those whose resources it uses.
    let mut resources = Vec::new();
    for (name, import) in component.component_type().imports(engine) {
        let item = import.ty;
        match Provision::of(name) {
            Provision::Linked => {}
            Provision::Config => config_store::link(&mut linker, name)?,
            Provision::Refused => refused::link(&mut linker, engine, name, &item, &resources)?,
            Provision::Unknown if is_only_types(engine, &item) => {}
            Provision::Unknown => unknown.push(name.to_owned()),
        }
        if let ComponentItem::ComponentInstance(interface) = &item {
            resources.extend(interface.exports(engine).filter_map(|(_, export)| match export.ty {
                ComponentItem::Resource(resource) => Some(resource),
                _ => None,
            }));
        }
    }
    Ok(if unknown.is_empty() { Ok(linker) } else { Err(unknown) })
}

/// What becomes of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// Every job has it.
    Always,
    /// It is there as far as the operator has granted.
    Granted,
    /// It is there, and answers with an error or with nothing.
    Refused,
}

/// What becomes of the import `name` under these grants.
pub(crate) fn access(engine: &wasmtime::Engine, name: &str, item: &ComponentItem, grants: &Grants) -> Access {
    let path = name.split_once('@').map_or(name, |(path, _)| path);
    let granted = match path {
        _ if is_only_types(engine, item) => return Access::Always,
        "wasi:http/outgoing-handler" => !grants.http.is_empty(),
        "wasi:filesystem/types" | "wasi:filesystem/preopens" => grants.scratch_bytes.is_some(),
        _ if path.starts_with("wasi:sockets/") || Provision::of(name) == Provision::Refused => false,
        _ => return Access::Always,
    };
    if granted { Access::Granted } else { Access::Refused }
}

/// An interface that is imported for its types alone needs nobody to provide it.
fn is_only_types(engine: &wasmtime::Engine, item: &ComponentItem) -> bool {
    match item {
        ComponentItem::Type(_) => true,
        ComponentItem::ComponentInstance(instance) => {
            instance.exports(engine).all(|(_, export)| matches!(export.ty, ComponentItem::Type(_)))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imports_name_says_what_is_done_about_it() {
        for (import, expected) in [
            ("wasi:io/streams@0.2.12", Provision::Linked),
            ("wasi:io/streams@0.3.0", Provision::Unknown),
            ("wasi:http/outgoing-handler@0.2.3", Provision::Linked),
            ("wasi:http/incoming-handler@0.2.3", Provision::Refused),
            ("wasi:config/store@0.2.0-draft", Provision::Config),
            ("sentinel:job/progress@0.1.7", Provision::Linked),
            ("sentinel:job/parents@0.1.0", Provision::Linked),
            ("sentinel:job/progress@0.2.0", Provision::Unknown),
            ("sentinel:job/state@0.1.0", Provision::Linked),
            ("sentinel:job/rocket@0.1.0", Provision::Unknown),
            ("acme:rocket/engine", Provision::Unknown),
        ] {
            assert_eq!(Provision::of(import), expected, "{import}");
        }
    }
}
