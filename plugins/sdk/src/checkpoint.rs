//! What a task goes on from when an attempt is lost or fails.
//!
//! With it is kept what the attempt had done to [`state`](crate::state) and submitted to the
//! [`outbox`](crate::outbox) until then: an attempt that loads it goes on with both. It is gone when
//! the task has completed, and when another task changed what this one had read: then the task begins
//! anew.
//!
//! It has at most 1 MiB as JSON, effects included; more ends the attempt as `effect_limit`. Outside
//! of a worker, as in a native test, each thread has its own.

use serde::{Serialize, de::DeserializeOwned};

use crate::Failure;

/// Keeps this, in place of what was kept before.
pub fn save(value: &impl Serialize) -> Result<(), Failure> {
    let json = serde_json::to_vec(value);
    let json = json.map_err(|error| Failure::permanent(format_args!("the checkpoint: {error}")))?;
    home::save(&json);
    Ok(())
}

/// What was kept last. What this attempt did so far is dropped: call it first. What does not fit
/// `T` fails for good.
pub fn load<T: DeserializeOwned>() -> Result<Option<T>, Failure> {
    let Some(json) = home::load() else { return Ok(None) };
    let value = serde_json::from_slice(&json);
    value.map(Some).map_err(|error| Failure::permanent(format_args!("the checkpoint: {error}")))
}

#[cfg(target_family = "wasm")]
mod home {
    use crate::bindings::sentinel::job::checkpoint;

    pub(super) fn save(bytes: &[u8]) {
        checkpoint::save(bytes);
    }

    pub(super) fn load() -> Option<Vec<u8>> {
        checkpoint::load()
    }
}

#[cfg(not(target_family = "wasm"))]
mod home {
    use std::cell::RefCell;

    thread_local! {
        static KEPT: RefCell<Option<Vec<u8>>> = RefCell::default();
    }

    pub(super) fn save(bytes: &[u8]) {
        KEPT.set(Some(bytes.to_owned()));
    }

    pub(super) fn load() -> Option<Vec<u8>> {
        KEPT.with_borrow(Clone::clone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_last_is_loaded() {
        assert_eq!(load::<u32>(), Ok(None));
        save(&1).unwrap();
        save(&2).unwrap();
        assert_eq!(load(), Ok(Some(2)));
        assert!(matches!(load::<String>(), Err(Failure::Permanent(_))));
    }
}
