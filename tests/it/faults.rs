//! The catalogue of faults: each test is named after its row. Rows 1, 3, 4, 11, 12 and 14, and
//! parts of others, are in `crashes` and `redis_faults`.

mod disk;
mod load;
mod network;
mod processes;
mod races;
mod store;

use std::sync::atomic::{AtomicBool, Ordering};

use sentinel_testkit::wait_for;

use crate::cluster::{Api, Stack};

/// Tells threads to stop, also when the test that started them fails.
#[derive(Default)]
struct Stop(AtomicBool);

/// Tells them when it is dropped.
struct Stopping<'a>(&'a Stop);

impl Stop {
    fn told(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn when_dropped(&self) -> Stopping<'_> {
        Stopping(self)
    }
}

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// A task that does this `act` of the hostile job.
fn hostile(act: &str) -> String {
    format!(r#"{{"payload":{{"job":"hostile",{act}}}}}"#)
}

/// Waits until a task runs.
fn wait_until_running(api: Api, id: &str) {
    wait_for("the task in progress", || (api.task(id)["status"] == "IN_PROGRESS").then_some(()));
}

/// All these tasks complete, in their first attempt, and each was settled once. No lease was lost:
/// each was given back or settled by its holder, so none ran twice at once.
fn assert_completed_at_once(stack: &Stack, ids: &[String]) {
    for id in ids {
        let task = stack.api.get(&format!("/v1/tasks/{id}?wait=60s")).json();
        assert_eq!((&task["status"], &task["attempt"]), (&"COMPLETED".into(), &1.into()), "{task}");
    }
    assert_eq!(stack.ever("COMPLETED"), ids.len() as u64, "each was settled once");
    assert_eq!(stack.ever("lost"), 0, "no lease was lost");
    stack.assert_audit_clean();
}
