//! The server: it accepts connections, as many as there is room for, and ends in time.
//!
//! What happens on one is in `connection`; when one has to end for what its client leaves undone, in
//! `activity`.

mod activity;
mod connection;
mod limits;
mod peers;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper_util::service::TowerToHyperService;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use self::{connection::Shared, peers::Peers};
use crate::{
    metrics::{Metrics, Refusal},
    tls::Tls,
};

pub use self::limits::Limits;

/// Tells handlers that wait that the server is closing.
#[derive(Clone)]
pub(crate) struct Closing(watch::Receiver<Phase>);

/// How far the server has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Open,
    /// What is asked is answered, and nothing more is taken.
    Closing,
    /// It is over.
    Closed,
}

impl Closing {
    pub(crate) fn is_closing(&self) -> bool {
        *self.0.borrow() >= Phase::Closing
    }

    async fn reaches(&self, phase: Phase) {
        // An error says that the server has gone.
        drop(self.0.clone().wait_for(|now| *now >= phase).await);
    }
}

/// Ends when the server closes; never if there is none.
pub(crate) async fn closes(closing: Option<&Closing>) {
    match closing {
        Some(closing) => closing.reaches(Phase::Closing).await,
        None => std::future::pending().await,
    }
}

/// Serves a router; see [`Server::serve`].
pub async fn serve(
    listener: TcpListener,
    router: Router,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    Server::new(router).serve(listener, shutdown).await
}

/// A server of one router.
pub struct Server {
    router: Router,
    metrics: Metrics,
    limits: Limits,
    tls: Option<Tls>,
}

impl Server {
    /// One without TLS, with the limits of production.
    pub fn new(router: Router) -> Self {
        Self { router, metrics: Metrics::default(), limits: Limits::default(), tls: None }
    }

    /// Counts its connections there.
    #[must_use]
    pub fn metrics(self, metrics: Metrics) -> Self {
        Self { metrics, ..self }
    }

    /// With other limits.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// With TLS.
    #[must_use]
    pub fn tls(self, tls: Option<Tls>) -> Self {
        Self { tls, ..self }
    }

    /// Serves until `shutdown` ends; then lets requests finish, for [`Limits::last_answers`] at most.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { router, metrics, limits, tls } = self;
        let (phase, closing) = watch::channel(Phase::Open);
        let closing = Closing(closing);
        let router = TowerToHyperService::new(router.layer(Extension(closing.clone())));
        let renewing = tls.clone().map(|tls| tokio::spawn(tls.renew()));
        let shared = Shared { router, tls, limits: limits.clone(), metrics, closing };
        let places = Arc::new(Semaphore::new(limits.connections));
        accept_all(&listener, &places, &shared, shutdown).await;
        drop(listener);
        phase.send_replace(Phase::Closing);
        // Whoever has all places knows that all connections have ended.
        let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        if tokio::time::timeout(limits.last_answers, places.acquire_many(all)).await.is_err() {
            tracing::warn!("some requests did not end within {:?} and are cut off", limits.last_answers);
        }
        phase.send_replace(Phase::Closed);
        if let Some(renewing) = renewing {
            renewing.abort();
        }
        Ok(())
    }
}

/// Accepts until `shutdown` ends.
async fn accept_all(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
    shared: &Shared,
    shutdown: impl Future<Output = ()>,
) {
    let peers = Peers::new(&shared.limits);
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let place = tokio::select! {
            place = Arc::clone(places).acquire_owned() => place,
            () = &mut shutdown => return,
        };
        let (stream, peer) = tokio::select! {
            accepted = accept(listener) => accepted,
            () = &mut shutdown => return,
        };
        let Some(share) = peers.admit(peer.ip()) else {
            shared.metrics.refused(Refusal::PeerShare);
            tracing::debug!(%peer, "a peer has its share of connections already");
            continue;
        };
        let (shared, connected) = (shared.clone(), shared.metrics.connected());
        tokio::spawn(async move {
            let closing = shared.closing.clone();
            tokio::select! {
                () = shared.serve(stream, peer) => {}
                () = closing.reaches(Phase::Closed) => {}
            }
            drop((place, share, connected));
        });
    }
}

/// The next connection. What goes wrong with one, or for want of descriptors, is waited out.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection is gone already");
                }
                return (stream, peer);
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
