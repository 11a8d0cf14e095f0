//! Advances the engine's epoch while guests run.
//!
//! Owns one OS thread: a ticker among tokio's tasks would stand still exactly when guests keep
//! the runtime busy. It is parked when nothing runs. Does not know what a tick leads to.
//! Invariant: while a [`Running`] exists the epoch advances; the thread holds the engine weakly
//! and ends with the last [`Ticker`].

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::Duration,
};

use wasmtime::EngineWeak;

/// The length of a guest's turn. With sixteen busy guests on a thread, one that has just become
/// ready waits 32 ms at most for its turn, well within the 100 ms in which a cancel must land;
/// and 500 wake-ups a second cost less than half a percent of a core.
pub(crate) const TICK: Duration = Duration::from_millis(2);

/// How many ticks the thread goes on with nothing running. Waking it costs a system call, which
/// a stream of short attempts would otherwise pay each time.
const IDLE_TICKS: u32 = 50;

/// A handle of the thread.
#[derive(Debug)]
pub(crate) struct Ticker {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct State {
    running: AtomicUsize,
    parked: AtomicBool,
    stopped: AtomicBool,
}

/// Keeps the ticker going.
#[derive(Debug)]
pub(crate) struct Running(Arc<State>);

impl Ticker {
    pub(crate) fn start(engine: EngineWeak) -> io::Result<Self> {
        let state = Arc::new(State::default());
        let in_thread = Arc::clone(&state);
        let thread = thread::Builder::new()
            .name("sentinel-ticker".into())
            .spawn(move || in_thread.tick(&engine))?
            .thread()
            .clone();
        Ok(Self { state, thread })
    }

    /// To be held while a guest runs.
    pub(crate) fn running(&self) -> Running {
        self.state.running.fetch_add(1, SeqCst);
        // Either the thread sees the count, or this sees that it is about to park.
        if self.state.parked.load(SeqCst) {
            self.thread.unpark();
        }
        Running(Arc::clone(&self.state))
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.state.stopped.store(true, SeqCst);
        self.thread.unpark();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.fetch_sub(1, SeqCst);
    }
}

impl State {
    fn tick(&self, engine: &EngineWeak) {
        let mut idle = 0;
        while !self.stopped.load(SeqCst) {
            if self.running.load(SeqCst) > 0 {
                idle = 0;
            } else if idle < IDLE_TICKS {
                idle += 1;
            } else {
                self.park();
                idle = 0;
                continue;
            }
            thread::sleep(TICK);
            let Some(engine) = engine.upgrade() else { return };
            engine.increment_epoch();
        }
    }

    fn park(&self) {
        self.parked.store(true, SeqCst);
        while self.running.load(SeqCst) == 0 && !self.stopped.load(SeqCst) {
            thread::park();
        }
        self.parked.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_wakes_for_a_guest_parks_without_and_does_not_hold_the_engine() -> wasmtime::Result<()> {
        let engine = wasmtime::Engine::default();
        let weak = engine.weak();
        let ticker = Ticker::start(engine.weak())?;
        let state = Arc::clone(&ticker.state);
        let wait_for = |parked| {
            while state.parked.load(SeqCst) != parked {
                thread::yield_now();
            }
        };
        wait_for(true);
        let running = ticker.running();
        wait_for(false);
        drop(running);
        wait_for(true);
        drop(engine);
        assert!(weak.upgrade().is_none());
        drop(ticker);
        // The thread gives its share of the state back when it ends.
        while Arc::strong_count(&state) > 1 {
            thread::yield_now();
        }
        Ok(())
    }
}
