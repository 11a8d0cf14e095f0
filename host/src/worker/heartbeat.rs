//! Renews leases, off the guests' threads; and stops guests whose leases cannot be renewed before
//! somebody else may run their tasks.

use std::{sync::Arc, time::Instant};

use sentinel_queue::{lease::MAX_CALL, queue::chance, store::StoreError};

use super::Shared;

/// Renewals per lease: with the default of 10 s, one every 3 s.
const RHYTHM: f64 = 0.3;

/// The part of a lease after which a guest without a renewal is stopped.
const STOP_AT: f64 = 0.9;

/// Looks this often per lease whether guests must be stopped.
const LOOKS: u32 = 40;

/// Beats until it is dropped.
pub(super) async fn beat(shared: Arc<Shared>) {
    let mut last = Instant::now();
    // The part of a lease to wait for. The lease itself may change: the store says it.
    let mut wait = 0.0;
    let mut away = false;
    loop {
        if last.elapsed() >= shared.lease().mul_f64(wait) {
            let outcome = tokio::time::timeout(shared.lease().mul_f64(RHYTHM), renew(&shared)).await;
            last = Instant::now();
            if let Ok(Ok(())) = outcome {
                wait = RHYTHM;
                away = false;
            } else {
                // Soon again, with jitter: many workers may be waiting for the same store.
                wait = 0.02 + 0.03 * chance();
                if !away {
                    away = true;
                    let reason = match outcome {
                        Ok(Err(error)) => error.to_string(),
                        _ => "no answer in time".into(),
                    };
                    tracing::warn!(reason, "leases could not be renewed; trying on");
                }
            }
        }
        let stopped = shared.leases.stop_older_than(shared.lease().mul_f64(STOP_AT));
        if stopped > 0 {
            shared.count_lost(stopped);
            tracing::warn!(stopped, "guests were stopped: their leases could not be renewed in time");
        }
        tokio::time::sleep(shared.lease() / LOOKS).await;
    }
}

/// One sign of life, also when there is nothing to renew.
async fn renew(shared: &Shared) -> Result<(), StoreError> {
    let held = shared.leases.held();
    let jobs = shared.plugins.current().names();
    let chunks = held.chunks(MAX_CALL).chain(held.is_empty().then_some(&[][..]));
    for chunk in chunks {
        let sent = Instant::now();
        let renewed = shared.queue.renew(&shared.instance, shared.info(), &jobs, chunk).await?;
        shared.leases.renewed(chunk, sent);
        shared.set_lease(renewed.lease);
        let lost = shared.leases.lose(chunk, &renewed.lost);
        if lost > 0 {
            shared.count_lost(lost);
            tracing::warn!(tasks = lost, "leases were lost; their guests are stopped");
        }
    }
    Ok(())
}
