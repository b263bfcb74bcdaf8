//! What a request says of its own place in the log, and what is told it: `X-MiniVault-Log`; and whose key it came with.
//!
//! A request may ask to be left out (`off`) where the configuration allows it. An answer that should have been logged and couldn't be
//! says `dropped`; one that was left out says `off`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::door::keys::Name;
use crate::error::ApiError;
use crate::routes::App;

const HEADER: HeaderName = HeaderName::from_static("x-minivault-log");

tokio::task_local! {
    /// Of the request that this task answers. All routes that ask an engine have it in common, whatever their dialect.
    static CURRENT: Wish;
}

/// What a request wants, and what became of it.
#[derive(Clone, Default)]
pub struct Wish {
    /// It wants no line.
    pub off: bool,
    /// The name of the key it came with.
    pub key: Option<Arc<str>>,
    dropped: Arc<AtomicBool>,
}

impl Wish {
    /// Of the request that is answered by this task; outside of one nothing is wished.
    pub fn of_this_request() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// A line that should be there could not be written.
    pub fn note_dropped(&self) {
        self.dropped.store(true, Ordering::Relaxed);
    }
}

/// Reads the request's header, and marks the answer.
pub async fn obey(State(app): State<App>, request: Request, next: Next) -> Response {
    let off = match wants_off(request.headers(), app.configured.allow_log_off) {
        Ok(off) => off,
        Err(error) => return error.into_response(),
    };
    let key = request.extensions().get::<Name>().map(|name| name.0.clone());
    let wish = Wish { off, key, ..Wish::default() };
    let mut response = CURRENT.scope(wish.clone(), next.run(request)).await;
    let told = match (off, wish.dropped.load(Ordering::Relaxed)) {
        (true, _) => Some("off"),
        (false, true) => Some("dropped"),
        (false, false) => None,
    };
    if let Some(told) = told {
        response.headers_mut().insert(HEADER, HeaderValue::from_static(told));
    }
    response
}

fn wants_off(headers: &HeaderMap, allowed: bool) -> Result<bool, ApiError> {
    match headers.get(&HEADER).map(|value| value.to_str().unwrap_or_default()) {
        None | Some("on") => Ok(false),
        Some("off") if allowed => Ok(true),
        Some("off") => Err(ApiError::forbidden("x-minivault-log is `off`, which this daemon doesn't allow (log.allow_off = true would)")),
        Some(other) => Err(ApiError::invalid(None, format!("x-minivault-log is `{other}`; it must be `off` or `on`"))),
    }
}
