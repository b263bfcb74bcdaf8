//! What tools ask that know only Ollama, over the same path as everything else.
//!
//! - [`generate`][], [`chat`][]: the two questions
//! - [`options`][]: how tokens are chosen, with Ollama's defaults
//! - [`answer`][]: how it is told: whole, or a line of JSON for each piece
//! - [`embed`][]: `/api/embed` and `/api/embeddings`
//! - [`models`][]: `/api/tags`, `/api/ps`, `/api/show` and `/api/version`

mod answer;
mod chat;
mod embed;
mod generate;
mod models;
mod options;

use std::time::Duration;

use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use minivault_wire::ollama::ErrorAnswer;
use serde_json::Value;

use super::App;
use crate::error::ApiError;

/// What stands behind a name that says nothing else.
const LATEST: &str = ":latest";

/// These routes. Ollama's own documents describe them, so `/openapi.json` doesn't.
pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/api/generate", post(generate::answer))
        .route("/api/chat", post(chat::answer))
        .route("/api/embed", post(embed::embed))
        .route("/api/embeddings", post(embed::embed_one))
        .route("/api/tags", get(models::tags))
        .route("/api/ps", get(models::ps))
        .route("/api/show", post(models::show))
        .route("/api/version", get(models::version))
}

/// Tells errors of these paths in this dialect, also those of the door and of what they share with all routes.
pub(super) async fn tell_errors(request: Request, next: Next) -> Response {
    let is_ours = request.uri().path().starts_with("/api/");
    let response = next.run(request).await;
    match response.extensions().get::<ApiError>() {
        Some(error) if is_ours => {
            let body = Json(ErrorAnswer { error: error.message().to_owned() });
            let (mut parts, _) = response.into_parts();
            parts.headers.remove(header::CONTENT_LENGTH);
            (parts, body).into_response()
        }
        _ => response,
    }
}

/// The engine that is meant: Ollama's tools put `:latest` behind names that they found without.
fn engine_of<'a>(app: &App, model: &'a str) -> &'a str {
    match model.strip_suffix(LATEST) {
        Some(name) if app.engines.resolve(Some(model)).is_err() => name,
        _ => model,
    }
}

/// Refuses a field that would change the answer, unless it is empty.
fn refuse(field: &str, asks: bool) -> Result<(), ApiError> {
    if asks { Err(ApiError::unsupported_field(field, format!("`{field}` isn't supported here; leave it out"))) } else { Ok(()) }
}

/// Whether a model is asked to think aloud, which is told apart from the answer nowhere here.
fn thinks(think: Option<&Value>) -> bool {
    !matches!(think, None | Some(Value::Null | Value::Bool(false)))
}

/// Of what is measured in hours at most.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
