//! The accept loop: a bound on connections, a deadline for headers, an end that does not take for
//! ever.

use std::{io, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

/// How many connections are held at once; more wait to be accepted.
const CONNECTIONS: usize = 4096;

/// How long a request's headers may take, from the connection or the last answer on.
const HEADERS: Duration = Duration::from_secs(10);

/// How long requests may go on after the server was told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(10);

/// Tells handlers that wait that the server is closing.
#[derive(Clone)]
pub(crate) struct Closing(watch::Receiver<bool>);

impl Closing {
    pub(crate) fn is_closing(&self) -> bool {
        *self.0.borrow()
    }
}

/// Ends when the server closes; never if there is none.
pub(crate) async fn closes(closing: Option<&Closing>) {
    match closing {
        // An error says that the server has gone.
        Some(Closing(closing)) => drop(closing.clone().wait_for(|closing| *closing).await),
        None => std::future::pending().await,
    }
}

/// Serves until `shutdown` ends; then lets requests finish, for ten seconds at most.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let (close, closing) = watch::channel(false);
    let service = TowerToHyperService::new(router.layer(Extension(Closing(closing))));
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = &mut shutdown => break,
        };
        let stream = tokio::select! {
            stream = accept(&listener) => stream,
            () = &mut shutdown => break,
        };
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADERS)
            .serve_connection(TokioIo::new(stream), service.clone());
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that goes away, or is too slow, is no event of ours.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
    close.send_replace(true);
    if tokio::time::timeout(LAST_ANSWERS, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not end within {LAST_ANSWERS:?} and are cut off");
    }
    Ok(())
}

/// The next connection. What goes wrong with one, or for want of descriptors, is waited out.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection is gone already");
                }
                return stream;
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
