//! The end of the process: SIGTERM or SIGINT, told to everybody who waits for it.

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Tells that the process should end. Clones are told together.
#[derive(Clone)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens for signals from now on. A second signal ends the process at once.
    pub(crate) fn on_signals() -> std::io::Result<Self> {
        let (tell, told) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if tell.send_replace(true) {
                    std::process::exit(130);
                }
            }
        });
        Ok(Self(told))
    }

    /// Ends when the process should.
    pub(crate) async fn wait(mut self) {
        // The sender lives as long as the process; without it there is nothing to wait for either.
        drop(self.0.wait_for(|&ends| ends).await);
    }
}
