//! Sweeps for as long as the process lives: every worker and every API server does, so that a
//! dead worker's tasks run elsewhere as long as anybody is there.

use std::time::Duration;

use crate::{queue::Queue, store::StoreError};

/// The pause between two sweeps.
const EVERY: Duration = Duration::from_millis(500);

/// Sweeps until it is dropped.
pub async fn sweep_for_ever(queue: Queue) {
    let mut away = false;
    loop {
        match queue.sweep().await {
            Ok(swept) => {
                away = false;
                for lease in &swept.reaped {
                    tracing::warn!(
                        task = %lease.id, claim = %lease.token, failed = lease.failed,
                        "a lease ended: its worker stopped renewing it"
                    );
                }
            }
            // Said once, not twice a second.
            Err(StoreError::Unavailable(reason)) if !away => {
                away = true;
                tracing::warn!(reason, "cannot sweep while the store is away");
            }
            Err(StoreError::Unavailable(_)) => {}
            Err(error) => tracing::error!(%error, "a sweep failed"),
        }
        // The jitter keeps many processes from sweeping at the same moment.
        tokio::time::sleep(EVERY.mul_f64(0.75 + crate::queue::chance() / 2.0)).await;
    }
}
