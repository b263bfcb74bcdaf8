//! The accept loop: HTTP/1.1 on hyper, with limits on time and number, and an orderly end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use futures_util::{Stream, StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tower::{ServiceExt, service_fn};

use super::connection::Arrival;
use super::headers;
use super::listener::Listener;

/// What a connection may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Time from its first moment, or the last answer on it, to the end of the next request's headers.
    pub head: Duration,
    /// Time in which a client may take nothing of what is written to it.
    pub write: Duration,
    /// Connections at once; more wait in the kernel's queue until one of them ends.
    pub connections: usize,
    /// What a request's headers may be.
    pub headers: headers::Limits,
}

/// Connections on which answers are still under way; nobody listens any more.
pub struct Ending {
    idle: Pin<Box<dyn Future<Output = ()> + Send>>,
    connections: JoinSet<()>,
}

/// How long to wait when the process has no file descriptor left for a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);
/// How far beyond its limits a request's headers are still read, so that it can be told of them.
const READ_FURTHER: usize = 2;

/// The routes as they are at the moment: each request gets those of its own beginning.
pub type Routes = watch::Receiver<Router>;

/// Serves until told to stop.
pub async fn serve(listeners: Vec<Listener>, routes: Routes, terms: Terms, stop: impl Future<Output = ()>) -> Ending {
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(terms.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(terms.head)
        .max_headers(terms.headers.count * READ_FURTHER)
        .max_header_size(terms.headers.bytes * READ_FURTHER)
        // Some clients look for headers as they have always been written.
        .title_case_headers(true);
    let service = service_fn(move |request: Request<_>| {
        let current = routes.borrow().clone();
        current.oneshot(request)
    });
    let mut arrivals = stream::select_all(listeners.into_iter().map(|listener| Box::pin(arrivals(listener))));
    tokio::pin!(stop);
    loop {
        let next = async {
            // Nobody closes it.
            let place = places.clone().acquire_owned().await.ok();
            (place, arrivals.next().await)
        };
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            (place, Some(accepted)) = next => match accepted {
                Ok(arrival) => {
                    let (http, service, watcher) = (http.clone(), TowerToHyperService::new(service.clone()), graceful.watcher());
                    connections.spawn(async move {
                        let _place = place;
                        let connection = match arrival.ready(terms.head, terms.write).await {
                            Ok(connection) => http.serve_connection(TokioIo::new(connection), service),
                            Err(error) => return tracing::debug!(%error, "a connection was never ready"),
                        };
                        if let Err(error) = watcher.watch(connection).await {
                            tracing::debug!(%error, "a connection ended early");
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            }
        }
    }
    Ending { idle: Box::pin(graceful.shutdown()), connections }
}

impl Ending {
    /// Waits for the last answer, or for this; whether the answers were faster.
    pub async fn before(&mut self, end: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = &mut self.idle => true,
            () = end => false,
        }
    }

    /// Drops what is still under way.
    pub async fn cut_off(mut self) {
        self.connections.shutdown().await;
    }
}

/// The connections of one socket. They end with the listener.
fn arrivals(listener: Listener) -> impl Stream<Item = io::Result<Arrival>> {
    stream::unfold((listener, true), |(listener, accepted)| async move {
        if !accepted {
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
        let arrival = listener.accept().await;
        let accepted = arrival.is_ok();
        Some((arrival, (listener, accepted)))
    })
}
