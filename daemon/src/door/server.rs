//! The accept loop: HTTP/1.1 on hyper, with a time limit on headers and an orderly end.

use std::io;
use std::time::Duration;

use axum::Router;
use futures_util::{Stream, StreamExt, stream};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinSet;

use super::listener::{Connection, Listener};

/// How long connections may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// From a connection's first moment, or the last answer on it, to the end of the next request's headers.
    pub headers: Duration,
    /// What running answers get to come to their end once the daemon is told to stop.
    pub grace: Duration,
}

/// How long to wait when the process has no file descriptor left for a connection.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves until `shutdown` resolves, then lets running answers finish, at most for the time of grace or until what `shutdown` returned
/// resolves too. Answers still running then are dropped.
pub async fn serve<Hurry: Future<Output = ()>>(
    listeners: Vec<Listener>,
    router: Router,
    times: Times,
    shutdown: impl Future<Output = Hurry>,
) {
    let mut connections = JoinSet::new();
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    // Some clients look for headers as they have always been written.
    http.timer(TokioTimer::new()).header_read_timeout(times.headers).title_case_headers(true);
    let mut arrivals = stream::select_all(listeners.into_iter().map(|listener| Box::pin(arrivals(listener))));
    tokio::pin!(shutdown);
    let hurry = loop {
        tokio::select! {
            hurry = &mut shutdown => break hurry,
            Some(_) = connections.join_next() => {}
            Some(accepted) = arrivals.next() => match accepted {
                Ok(stream) => {
                    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
                    let connection = graceful.watch(connection);
                    connections.spawn(async move {
                        if let Err(error) = connection.await {
                            tracing::debug!(%error, "a connection ended early");
                        }
                    });
                }
                Err(error) => tracing::warn!(%error, "a connection could not be accepted"),
            }
        }
    };
    drop(arrivals);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(times.grace) => tracing::warn!("the time of grace is over; running answers are cut off"),
        () = hurry => tracing::warn!("told to end at once; running answers are cut off"),
    }
    connections.shutdown().await;
}

/// The connections of one socket. They end with the listener.
fn arrivals(listener: Listener) -> impl Stream<Item = io::Result<Box<dyn Connection>>> {
    stream::unfold((listener, true), |(listener, accepted)| async move {
        if !accepted {
            tokio::time::sleep(ACCEPT_AGAIN).await;
        }
        let arrival = listener.accept().await;
        let accepted = arrival.is_ok();
        Some((arrival, (listener, accepted)))
    })
}
