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

use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use minivault_wire::ollama::ErrorAnswer;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::App;
use crate::body::JsonBody;
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

/// An error as this dialect tells it.
struct Refused(ApiError);

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let body = ErrorAnswer { error: self.0.message().to_owned() };
        let (mut parts, _) = self.0.into_response().into_parts();
        parts.headers.remove(axum::http::header::CONTENT_LENGTH);
        (parts, Json(body)).into_response()
    }
}

/// A JSON body, refused in this dialect.
struct Body<T>(T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Refused;

    async fn from_request(request: Request, app: &App) -> Result<Self, Refused> {
        let JsonBody(body) = JsonBody::from_request(request, app).await?;
        Ok(Self(body))
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
