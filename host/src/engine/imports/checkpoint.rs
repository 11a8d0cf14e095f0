//! `sentinel:job/checkpoint`: what a task goes on from when its attempt does not end well.

use crate::engine::{bindings::sentinel::job::checkpoint, host::Host};

impl checkpoint::Host for Host {
    async fn save(&mut self, bytes: Vec<u8>) -> wasmtime::Result<()> {
        self.count_imported(bytes.len());
        self.effects.save(bytes, self.http.outgoing.numbered).await
    }

    async fn load(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        let Some((bytes, requests)) = self.effects.load().await? else { return Ok(None) };
        self.http.outgoing.numbered = requests;
        self.count_imported(bytes.len());
        Ok(Some(bytes))
    }
}
