//! State of the job that outlives its tasks: values by key, one set of them for all tasks of the job
//! in a namespace.
//!
//! What an attempt does to it is committed with its completion, in one step with its result; if the
//! attempt fails, nothing is. If another task changed meanwhile what this one had read, it is tried
//! again by itself, and the end is as if one had run after the other.
//!
//! A key has 1 to 256 bytes, a value at most 64 KiB as JSON; an attempt may read and write 1,000
//! keys and 1 MiB; a job has 64 MiB. More ends the attempt as `effect_limit`.
//!
//! Outside of a worker, as in a native test, each thread has a state of its own.

use serde::{Serialize, de::DeserializeOwned};

use crate::Failure;

/// The value as this attempt sees it. One that does not fit `T` fails for good.
pub fn get<T: DeserializeOwned>(key: &str) -> Result<Option<T>, Failure> {
    let Some(json) = get_bytes(key) else { return Ok(None) };
    let value = serde_json::from_slice(&json);
    value.map(Some).map_err(|error| Failure::permanent(format_args!("the state {key:?}: {error}")))
}

/// Sets a value, kept as JSON.
pub fn set(key: &str, value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_vec(value);
    let json = json.map_err(|error| Failure::permanent(format_args!("the state {key:?}: {error}")))?;
    set_bytes(key, &json);
    Ok(())
}

/// The value as bytes.
pub fn get_bytes(key: &str) -> Option<Vec<u8>> {
    home::get(key)
}

/// Sets a value as bytes.
pub fn set_bytes(key: &str, value: &[u8]) {
    home::set(key, value);
}

/// Removes a value.
pub fn delete(key: &str) {
    home::delete(key);
}

/// Adds to an integer, which is 0 if it is not there. It is not read by that: tasks that add at the
/// same time do not get into each other's way. Both must be within 2^53 - 1.
pub fn increment(key: &str, by: i64) {
    home::increment(key, by);
}

#[cfg(target_family = "wasm")]
mod home {
    use crate::bindings::sentinel::job::state;

    pub(super) fn get(key: &str) -> Option<Vec<u8>> {
        state::get(key)
    }

    pub(super) fn set(key: &str, value: &[u8]) {
        state::set(key, value);
    }

    pub(super) fn delete(key: &str) {
        state::delete(key);
    }

    pub(super) fn increment(key: &str, by: i64) {
        state::increment(key, by);
    }
}

#[cfg(not(target_family = "wasm"))]
mod home {
    use std::{cell::RefCell, collections::BTreeMap};

    thread_local! {
        static STATE: RefCell<BTreeMap<String, Vec<u8>>> = RefCell::default();
    }

    pub(super) fn get(key: &str) -> Option<Vec<u8>> {
        STATE.with_borrow(|state| state.get(key).cloned())
    }

    pub(super) fn set(key: &str, value: &[u8]) {
        STATE.with_borrow_mut(|state| state.insert(key.to_owned(), value.to_owned()));
    }

    pub(super) fn delete(key: &str) {
        STATE.with_borrow_mut(|state| state.remove(key));
    }

    pub(super) fn increment(key: &str, by: i64) {
        let text = get(key).unwrap_or_else(|| b"0".to_vec());
        let number = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<i64>().ok());
        let number = number.unwrap_or_else(|| panic!("the state {key:?} is no integer"));
        set(key, (number + by).to_string().as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_kept_and_added_to() {
        assert_eq!(get::<u8>("a"), Ok(None));
        increment("a", 5);
        increment("a", -7);
        assert_eq!(get("a"), Ok(Some(-2)));
        set("a", &vec!["x"]).unwrap();
        assert_eq!(get("a"), Ok(Some(vec!["x".to_owned()])));
        assert!(matches!(get::<u8>("a"), Err(Failure::Permanent(_))));
        delete("a");
        assert_eq!(get_bytes("a"), None);
    }
}
