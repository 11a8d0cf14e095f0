//! One subscription's connection: made again for as long as somebody listens.
//!
//! It owns one task, which ends with the subscription, and one connection at a time.
//!
//! Invariant: a gap is said at the place where Redis confirmed the subscription, so that every
//! message behind it is heard; a connection that is dead is noticed within [`PING`] and the time
//! that a call may take.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisError, Value};
use tokio::{
    sync::{Notify, broadcast},
    time::timeout,
};

use super::{CONNECT, RESPONSE};
use crate::{
    queue::chance,
    store::subscription::{Heard, Subscription, WAITING},
};

/// How often a connection on which nothing else is sent is tried.
const PING: Duration = Duration::from_secs(5);

/// The pause before a connection is made again doubles from the first to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LAST_PAUSE: Duration = Duration::from_secs(2);

pub(super) fn subscribe(client: Client, channel: Bytes) -> Subscription {
    let (speaker, heard) = broadcast::channel(WAITING);
    let task = tokio::spawn(listen(client, channel, speaker));
    Subscription::new(false, heard, move || task.abort())
}

async fn listen(client: Client, channel: Bytes, speaker: broadcast::Sender<Heard>) {
    let mut pause = FIRST_PAUSE;
    let mut said = false;
    loop {
        let since = Instant::now();
        let Err(error) = hear(&client, &channel, &speaker).await;
        if since.elapsed() > CONNECT + RESPONSE {
            // It was in force for a while.
            (pause, said) = (FIRST_PAUSE, false);
        }
        if !said {
            said = true;
            let channel = String::from_utf8_lossy(&channel);
            tracing::warn!(%error, %channel, "a subscription is not in force and is made again");
        }
        tokio::time::sleep(pause.mul_f64(0.5 + chance() / 2.0)).await;
        pause = LAST_PAUSE.min(pause * 2);
    }
}

/// Listens on one connection until that fails.
async fn hear(
    client: &Client,
    channel: &Bytes,
    speaker: &broadcast::Sender<Heard>,
) -> Result<std::convert::Infallible, RedisError> {
    let closed = Arc::new(Notify::new());
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(RESPONSE))
        .set_push_sender(forward(speaker.clone(), Arc::clone(&closed)));
    let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
    connection.subscribe(&channel[..]).await?;
    loop {
        // Without a connection the ping fails at once.
        drop(timeout(PING, closed.notified()).await);
        redis::cmd("PING").exec_async(&mut connection).await?;
    }
}

/// Says what a connection brings, in the order in which it does.
fn forward(
    speaker: broadcast::Sender<Heard>,
    closed: Arc<Notify>,
) -> impl Fn(PushInfo) -> Result<(), broadcast::error::SendError<Heard>> + Send + Sync + 'static {
    move |PushInfo { kind, data }| {
        match (kind, data.into_iter().nth(1)) {
            (PushKind::Subscribe, _) => speaker.send(Heard::Gap)?,
            (PushKind::Message, Some(Value::BulkString(message))) => {
                speaker.send(Heard::Message(message.into()))?
            }
            (PushKind::Disconnection, _) => {
                closed.notify_one();
                0
            }
            _ => 0,
        };
        Ok(())
    }
}
