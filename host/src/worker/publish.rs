//! Publishes what jobs say of themselves, so that payloads can be judged before they are accepted.

use std::{sync::Arc, time::Duration};

use super::Shared;

/// How often it is said again: what nobody has said for a week is forgotten.
const AGAIN: Duration = Duration::from_hours(6);

/// The pause after the store was away.
const PAUSE: Duration = Duration::from_secs(1);

/// Until it is dropped.
pub(super) async fn publish(shared: Arc<Shared>) {
    let mut plugins = shared.plugins.subscribe();
    loop {
        let current = Arc::clone(&plugins.borrow_and_update());
        let described = current.iter().filter_map(|job| {
            let description = job.description.clone()?;
            Some((job.plugin.digest().to_string(), description))
        });
        let described: Vec<_> = described.collect();
        if let Err(error) = shared.queue.publish(&described).await {
            tracing::debug!(%error, "what jobs say of themselves could not be published yet");
            tokio::time::sleep(PAUSE).await;
            plugins.mark_changed();
        }
        // That it took too long, or that nobody can change them any more, is no reason to stop.
        drop(tokio::time::timeout(AGAIN, plugins.changed()).await);
    }
}
