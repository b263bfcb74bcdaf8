//! The room between the network and the routes: who is let in.
//!
//! A page in a browser can reach a daemon on its own machine: by a form, by `fetch`, or by a name of its own that it points at 127.0.0.1.
//! The first two tell their `Origin`, the last one its `Host`; both are looked at before anything else. Keys come next, where there are any.
//!
//! - [`listener`], [`connection`], [`tls`]: sockets, and what comes in over them
//! - [`server`]: the accept loop
//! - [`headers`]: how many they may be
//! - [`hosts`], [`origins`]: names that the daemon answers to, and pages that may ask it
//! - [`keys`], [`limits`]: who may ask, and how much

pub mod connection;
pub mod headers;
pub mod hosts;
pub mod keys;
pub mod limits;
pub mod listener;
pub mod origins;
pub mod server;
pub mod tls;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};

use crate::config::ServerSettings;
use crate::error::ApiError;
use crate::routes::page;
use hosts::Hosts;
use keys::{Keyring, Name};
use limits::Held;
use origins::Origins;

/// Paths that need no key: a supervisor asks them whether the daemon is alive.
pub(crate) const OPEN: [&str; 2] = ["/health", "/v1/health"];

/// What a request has to pass.
#[derive(Debug)]
pub struct Door {
    headers: headers::Limits,
    hosts: Hosts,
    origins: Origins,
    keys: Keyring,
    page: bool,
}

impl Door {
    /// As configured, for these keys.
    pub fn new(settings: &ServerSettings, keys: Keyring) -> Self {
        Self {
            headers: settings.terms.headers,
            hosts: Hosts::new(&settings.listen, &settings.hosts),
            origins: Origins::new(&settings.origins),
            keys,
            page: settings.page,
        }
    }

    /// Puts it before these routes, on every method and path.
    pub fn before(self, routes: Router) -> Router {
        let cors = self.origins.cors();
        let door = Arc::new(self);
        let locked = routes.layer(from_fn_with_state(door.clone(), unlock));
        // A page that may ask may also read why it was refused, so this is outside of the lock; a preflight carries no key.
        let open = match cors {
            Some(cors) => locked.layer(cors),
            None => locked,
        };
        open.layer(from_fn_with_state(door, admit))
    }

    /// Whether a path needs no key.
    fn is_open(&self, path: &str) -> bool {
        OPEN.contains(&path) || self.page && page::has(path)
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        self.headers.check(request)?;
        let host = self.hosts.check(request)?;
        self.origins.check(request.headers(), host)
    }
}

/// Lets requests in that come to a name of the daemon's, and from a page that may ask.
async fn admit(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    match door.check(&request) {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

/// Lets requests in that have a key, where there are any, as far as the key's limits go.
async fn unlock(State(door): State<Arc<Door>>, mut request: Request, next: Next) -> Response {
    if door.keys.is_empty() || door.is_open(request.uri().path()) {
        return next.run(request).await;
    }
    let (name, permit) = match door.keys.open(request.headers()) {
        Ok(opened) => opened,
        Err(error) => return error.into_response(),
    };
    // Nobody behind the door sees a key, so none of them can tell it.
    request.headers_mut().remove(header::AUTHORIZATION);
    request.headers_mut().remove(keys::API_KEY);
    request.extensions_mut().insert(Name(name));
    let response = next.run(request).await;
    match permit {
        // An answer is under way until its last byte, or until its reader has gone.
        Some(permit) => response.map(|body| Body::new(Held::new(body, permit))),
        None => response,
    }
}
