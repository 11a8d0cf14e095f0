//! What tells an open page that there is something new: then its script looks at the page again.
//!
//! A listener is told at most once a second, when tasks ended, and every few seconds in any case, since
//! tasks also come and start. What is new is not told: the page is made in one place.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Extension,
    extract::State,
    response::{Response, sse::Event},
};
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::{
    App,
    auth::Caller,
    ends::{End, Ends},
    events,
    problem::Problem,
    server::{Closing, closes},
};

/// A page is not told to look again sooner.
const SOONEST: Duration = Duration::from_secs(1);

/// A page is told to look again, whatever was heard.
const LATEST: Duration = Duration::from_secs(5);

/// Tells an open page when to look again.
pub(crate) async fn follow(
    State(app): State<Arc<App>>,
    caller: Caller,
    closing: Option<Extension<Closing>>,
) -> Result<Response, Problem> {
    let place = events::place(&app)?;
    let ends = app.ends(&caller.namespace);
    let looker = Looker {
        heard: ends.listen().await?,
        _ends: ends,
        closing: closing.map(|Extension(closing)| closing),
        told: Instant::now(),
        _place: place,
    };
    Ok(events::stream_of(stream::unfold(looker, Looker::next)))
}

/// One open page.
struct Looker {
    /// While it is held, somebody reads.
    _ends: Ends,
    heard: broadcast::Receiver<Arc<End>>,
    closing: Option<Closing>,
    /// When it was told last.
    told: Instant,
    _place: OwnedSemaphorePermit,
}

impl Looker {
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        let latest = tokio::time::sleep(LATEST);
        tokio::select! {
            () = latest => {}
            () = closes(self.closing.as_ref()) => return None,
            // One that missed some has something to look at, too.
            _ = self.heard.recv() => {
                tokio::time::sleep(SOONEST.saturating_sub(self.told.elapsed())).await;
                self.heard = self.heard.resubscribe();
            }
        }
        self.told = Instant::now();
        Some((Ok(Event::default().event("look").data("now")), self))
    }
}
