//! Does what time asks for as long as the process lives: every worker and every API server does,
//! so that a dead worker's tasks run elsewhere as long as anybody is there.

use std::time::{Duration, Instant};

use crate::{
    lease::Swept,
    queue::{Queue, chance},
    schedule::Scheduler,
    steer::Retention,
    store::StoreError,
};

/// The pause between two sweeps.
const EVERY: Duration = Duration::from_millis(500);

/// The pause between two looks at what is not kept any more.
const RETAIN_EVERY: Duration = Duration::from_secs(10);

/// Sweeps until it is dropped.
pub async fn sweep_for_ever(queue: Queue, retention: Retention) {
    let mut away = false;
    let mut retained = Instant::now();
    let mut scheduler = Scheduler::default();
    loop {
        let swept = sweep(&queue, &retention, &mut retained, &mut scheduler).await;
        let more = match swept {
            Ok(more) => {
                away = false;
                more
            }
            Err(StoreError::Unavailable(reason)) => {
                // Said once, not twice a second.
                if !away {
                    tracing::warn!(reason, "cannot sweep while the store is away");
                }
                away = true;
                false
            }
            Err(error) => {
                tracing::error!(%error, "a sweep failed");
                false
            }
        };
        // The jitter keeps many processes from sweeping at the same moment. When there is more to
        // do the store has time for others in between, too.
        let pause = if more { EVERY / 100 } else { EVERY };
        tokio::time::sleep(pause.mul_f64(0.75 + chance() / 2.0)).await;
    }
}

/// One sweep; whether there is more to do.
async fn sweep(
    queue: &Queue,
    retention: &Retention,
    retained: &mut Instant,
    scheduler: &mut Scheduler,
) -> Result<bool, StoreError> {
    let swept = queue.sweep().await?;
    tell(&swept);
    let mut more = swept.more;
    if swept.schedules_due {
        more |= scheduler.run(queue).await?.more;
    }
    if swept.operations {
        more |= queue.operate().await?;
    }
    if retained.elapsed() >= RETAIN_EVERY {
        let (removed, more_to_remove) = queue.retain_all(retention).await?;
        if removed > 0 {
            tracing::debug!(removed, "finished tasks are not kept any longer");
        }
        if more_to_remove {
            more = true;
        } else {
            *retained = Instant::now();
        }
    }
    Ok(more)
}

fn tell(swept: &Swept) {
    for lease in &swept.reaped {
        tracing::warn!(
            task = %lease.id, claim = %lease.token, failed = lease.failed,
            "a lease ended: its worker stopped renewing it"
        );
    }
}
