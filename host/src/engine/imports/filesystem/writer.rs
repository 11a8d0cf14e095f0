//! A stream into a file of the scratch directory.

use std::{fs::File, io, sync::Arc};

use bytes::Bytes;
use tokio::sync::{Mutex, OwnedSemaphorePermit};
use wasmtime_wasi::{
    async_trait,
    p2::{OutputStream, Pollable, StreamError, StreamResult},
    runtime::{AbortOnDropJoinHandle, spawn_blocking},
};

use super::Used;

/// What the guest may write at once.
const PERMIT: usize = 64 << 10;

/// Where a write goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    At(u64),
    End,
}

/// Writes one piece after the other, each under the quota.
pub(super) struct Writer {
    file: Arc<File>,
    used: Arc<Mutex<Used>>,
    place: Place,
    state: State,
    _permit: OwnedSemaphorePermit,
}

enum State {
    Ready,
    /// So many bytes are under way.
    Writing(AbortOnDropJoinHandle<io::Result<()>>, usize),
    Failed(io::Error),
    Closed,
}

impl Writer {
    pub(super) fn new(
        file: Arc<File>,
        used: Arc<Mutex<Used>>,
        place: Place,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { file, used, place, state: State::Ready, _permit: permit }
    }

    /// What there is to tell: an error is told once, and ends the stream.
    fn told(&mut self) -> StreamResult<()> {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Failed(error) => Err(StreamError::LastOperationFailed(error.into())),
            State::Closed => Err(StreamError::Closed),
            other => {
                self.state = other;
                Ok(())
            }
        }
    }
}

#[async_trait]
impl OutputStream for Writer {
    fn check_write(&mut self) -> StreamResult<usize> {
        self.told()?;
        Ok(if matches!(self.state, State::Ready) { PERMIT } else { 0 })
    }

    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.told()?;
        if !matches!(self.state, State::Ready) || bytes.len() > PERMIT {
            return Err(StreamError::Trap(wasmtime::Error::msg("it wrote more than it may at once")));
        }
        let (file, used, place, length) =
            (Arc::clone(&self.file), Arc::clone(&self.used), self.place, bytes.len());
        let write = spawn_blocking(move || used.blocking_lock().write(&file, &bytes, place));
        self.state = State::Writing(write, length);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.told()
    }

    /// Waits, so that no more is under way than there are streams.
    async fn cancel(&mut self) {
        if let State::Writing(write, _) = std::mem::replace(&mut self.state, State::Closed) {
            write.cancel().await;
        }
    }
}

#[async_trait]
impl Pollable for Writer {
    async fn ready(&mut self) {
        let State::Writing(write, length) = &mut self.state else { return };
        self.state = match (write.await, &mut self.place) {
            (Ok(()), place) => {
                if let Place::At(position) = place {
                    *position += *length as u64;
                }
                State::Ready
            }
            (Err(error), _) => State::Failed(error),
        };
    }
}
