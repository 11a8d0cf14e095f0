//! One connection, from its first byte to its last: TLS if there is any, then HTTP/1.1 or HTTP/2.

use std::{
    convert::Infallible,
    error::Error,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::ConnectInfo,
    http::{Request, Response, Version},
};
use bytes::Bytes;
use hyper::{
    body::{Frame, Incoming, SizeHint},
    service::Service,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep_until},
};
use tokio_io_timeout::TimeoutWriter;

use super::{
    Closing,
    activity::{Activity, Due, InFlight, Seen},
    closes,
    limits::Limits,
};
use crate::{
    metrics::{Ending, Metrics, Refusal},
    tls::Tls,
};

/// HTTP/1.1: what is read ahead and what waits to be written.
const BUFFER: usize = 64 * 1024;

/// HTTP/2: how many requests may be in flight on one connection.
const STREAMS: u32 = 100;

/// HTTP/2: how large a request's headers may be.
const HEADER_LIST: u32 = 16 * 1024;

/// HTTP/2: how many requests may be begun and taken back before the server looks at them, and how many
/// may be refused for what is wrong with them, before the connection is ended.
const RESETS: usize = 20;
const ERRORS: usize = 100;

/// HTTP/2: the peer is asked whether it is there this often, and has so long to say so.
const PING: Duration = Duration::from_secs(20);
const PONG: Duration = Duration::from_secs(10);

/// What all connections share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) router: TowerToHyperService<Router>,
    pub(super) tls: Option<Tls>,
    pub(super) limits: Limits,
    pub(super) metrics: Metrics,
    pub(super) closing: Closing,
}

impl Shared {
    /// Serves one connection to its end.
    pub(super) async fn serve<I>(self, stream: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Send + 'static,
    {
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(self.limits.stalled));
        let stream = Box::pin(stream);
        let Some(tls) = &self.tls else { return self.serve_http(stream, peer).await };
        let agreed = tokio::select! {
            agreed = tokio::time::timeout(self.limits.first_request, tls.accept(stream)) => agreed,
            () = closes(Some(&self.closing)) => return,
        };
        match agreed {
            Ok(Ok(stream)) => self.serve_http(Box::new(stream), peer).await,
            refused => {
                self.metrics.refused(Refusal::Tls);
                let why = refused.map_or("too slow".to_owned(), |error| match error {
                    Ok(_) => String::new(),
                    Err(error) => error.to_string(),
                });
                tracing::debug!(%peer, why, "TLS was not agreed on");
            }
        }
    }

    async fn serve_http<I>(self, stream: I, peer: SocketAddr)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let activity = Arc::new(Activity::new(self.limits.clone()));
        let io = TokioIo::new(Seen::new(stream, Arc::clone(&activity)));
        let service = Counted { router: self.router, peer, activity: Arc::clone(&activity) };
        let builder = builder();
        let mut connection = std::pin::pin!(builder.serve_connection(io, service));
        let mut closing = std::pin::pin!(closes(Some(&self.closing)));
        let mut is_closing = false;
        let mut timer = std::pin::pin!(sleep_until(Instant::now()));
        loop {
            match activity.look() {
                Due::Later(then) => timer.as_mut().reset(then),
                Due::Leave(why) => {
                    self.metrics.ended(why);
                    tracing::debug!(%peer, ?why, "a connection is let go of");
                    activity.leave();
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                Due::End(why) => {
                    if let Some(why) = why {
                        self.metrics.ended(why);
                    }
                    tracing::debug!(%peer, ?why, "a connection is ended");
                    return;
                }
            }
            let step = std::future::poll_fn(|context| {
                if let Poll::Ready(ended) = connection.as_mut().poll(context) {
                    return Poll::Ready(Step::Ended(ended.err()));
                }
                if !is_closing && closing.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Step::Closing);
                }
                // Bytes that were just read may have begun the headers of a request.
                if let Some(due) = activity.headers_due()
                    && due < timer.deadline()
                {
                    timer.as_mut().reset(due);
                }
                timer.as_mut().poll(context).map(|()| Step::Look)
            });
            match step.await {
                Step::Ended(error) => {
                    // A client that goes away, or is too slow, is no event of ours.
                    if let Some(error) = error {
                        if is_timed_out(&*error) {
                            self.metrics.ended(Ending::Stalled);
                        }
                        tracing::debug!(%peer, error, "a connection ended");
                    }
                    return;
                }
                Step::Closing => {
                    is_closing = true;
                    activity.leave();
                    connection.as_mut().graceful_shutdown();
                }
                Step::Look => {}
            }
        }
    }
}

/// What happened on a connection.
enum Step {
    Ended(Option<Box<dyn Error + Send + Sync>>),
    Closing,
    Look,
}

/// Whether nothing could be written for too long.
fn is_timed_out(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        next = error.source();
    }
    false
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // `Activity` has the deadlines: this one would count from the last answer on, and end idle
        // connections as if they were slow.
        .header_read_timeout(None)
        // More than 100 headers are refused by default; saying so costs an allocation a request.
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_LIST)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(ERRORS)
        .max_send_buf_size(BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG);
    builder
}

/// The router, as one connection calls it: it knows the peer, and what is in flight is counted.
#[derive(Clone)]
struct Counted {
    router: TowerToHyperService<Router>,
    peer: SocketAddr,
    activity: Arc<Activity>,
}

impl Service<Request<Incoming>> for Counted {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = self.activity.begin(request.version() < Version::HTTP_2);
        request.extensions_mut().insert(ConnectInfo(self.peer));
        let answered = self.router.call(request);
        Box::pin(async move { Ok(answered.await?.map(|body| Answer { body, in_flight })) })
    }
}

/// The body of an answer, which is in flight until it is gone.
struct Answer {
    body: Body,
    in_flight: InFlight,
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.in_flight.asked();
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
