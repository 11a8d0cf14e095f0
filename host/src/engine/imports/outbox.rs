//! `sentinel:job/outbox`: tasks that are submitted with the attempt's completion.

use crate::engine::{bindings::sentinel::job::outbox, host::Host};

impl outbox::Host for Host {
    async fn submit(&mut self, task: String) -> wasmtime::Result<Result<String, String>> {
        self.count_imported(task.len());
        self.effects.submit(task).await
    }
}
