//! `wasi:config/store`: what the job's manifest sets, and its secrets.
//!
//! Owns the two functions. A secret is given to whoever asks for `secret.<name>`, and is not in
//! the list of everything, which programs like to print. The interface is a draft whose versions
//! are not compatible by name, so it is linked under the very name that the component imports.

use wasmtime::component::{Linker, Val};

use crate::engine::{grants::Grants, host::Host, secret::Secret};

/// What the keys of secrets begin with.
pub const SECRET_PREFIX: &str = "secret.";

/// Links the interface under `name`.
pub(super) fn link(linker: &mut Linker<Host>, name: &str) -> wasmtime::Result<()> {
    let ok = |value| Val::Result(Ok(Some(Box::new(value))));
    let mut instance = linker.instance(name)?;
    instance.func_new("get", move |store, _, params, results| {
        let value = match params {
            [Val::String(key)] => look_up(&store.data().grants, key),
            _ => None,
        };
        results[0] = ok(Val::Option(value.map(|value| Box::new(Val::String(value.to_owned())))));
        Ok(())
    })?;
    instance.func_new("get-all", move |store, _, _, results| {
        let pair = |(key, value): (&String, &String)| {
            Val::Tuple(vec![Val::String(key.clone()), Val::String(value.clone())])
        };
        results[0] = ok(Val::List(store.data().grants.config.iter().map(pair).collect()));
        Ok(())
    })
}

fn look_up<'a>(grants: &'a Grants, key: &str) -> Option<&'a str> {
    match key.strip_prefix(SECRET_PREFIX) {
        Some(name) => grants.secrets.get(name).map(Secret::reveal),
        None => grants.config.get(key).map(String::as_str),
    }
}
