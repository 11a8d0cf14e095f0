//! `sentinel:job/state`: values that outlive tasks, through the attempt's buffer.

use crate::engine::{bindings::sentinel::job::state, host::Host};

impl state::Host for Host {
    async fn get(&mut self, key: String) -> wasmtime::Result<Option<Vec<u8>>> {
        let value = self.effects.get(key).await?;
        self.count_imported(value.as_ref().map_or(0, Vec::len));
        Ok(value)
    }

    async fn set(&mut self, key: String, value: Vec<u8>) -> wasmtime::Result<()> {
        self.count_imported(value.len());
        self.effects.set(key, value)
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<()> {
        self.effects.delete(key)
    }

    async fn increment(&mut self, key: String, by: i64) -> wasmtime::Result<()> {
        self.effects.increment(key, by)
    }
}
