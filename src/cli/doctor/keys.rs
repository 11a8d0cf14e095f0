//! Whether those can come in who should: keys, and where the API listens.

use sentinel_api::Auth;
use sentinel_queue::Queue;

use crate::{
    cli::finding::Finding,
    config::{Config, Door},
};

pub(super) async fn look(queue: &Queue, config: &Config) -> Finding {
    let keys = match queue.keys(None).await {
        Ok(keys) => keys,
        Err(error) => return Finding::failed("keys", error.to_string(), "look at the store first"),
    };
    let valid = keys.keys.iter().flatten().filter(|key| key.is_valid(keys.now)).count();
    judge(valid, config.door, config)
}

fn judge(valid: usize, door: Door, config: &Config) -> Finding {
    let said = format!("{valid} API {} valid", if valid == 1 { "key is" } else { "keys are" });
    if valid > 0 {
        return match door.auth() {
            Auth::Nobody => Finding::warning(
                "keys",
                format!("{said}, but auth is none: nobody is asked for one"),
                "leave out auth, or say auth = \"keys\"",
            ),
            _ => Finding::ok("keys", said),
        };
    }
    let fix = "make one: sentinel key create NAME --scope admin, with --redis URL or --data-dir DIR";
    match door {
        Door::ThereMustBeAKey => {
            let says = format!("there is none, and {} can be reached from other machines", config.listen);
            Finding::failed("keys", format!("{says}: the API does not start"), fix)
        }
        Door::Said(Auth::Keys) => Finding::warning("keys", "there is none: nobody can call the API", fix),
        Door::Said(_) => Finding::ok("keys", "there is none: the door is open to whoever reaches it"),
    }
}
