//! `/health`, `/ready` and `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use minivault_journal::OnFailure;
use minivault_wire::status::{HealthAnswer, ReadyAnswer};

use super::App;
use crate::engine_table::Phase;
use crate::error::ApiError;
use crate::openapi::AnyTime;

/// The daemon is alive.
#[utoipa::path(get, path = "/health", tag = "status", responses((status = 200, description = "It is", body = HealthAnswer), AnyTime))]
pub(super) async fn health() -> Json<HealthAnswer> {
    Json(HealthAnswer { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into() })
}

/// Whether a request that names no model is answered now.
#[utoipa::path(
    get,
    path = "/ready",
    tag = "status",
    responses(
        (status = 200, description = "It is", body = ReadyAnswer),
        (status = 503, description = "It isn't, and why", body = ReadyAnswer),
        AnyTime,
    )
)]
pub(super) async fn ready(State(app): State<App>) -> (StatusCode, Json<ReadyAnswer>) {
    let mut answer = ReadyAnswer { status: "loading".into(), engine: app.engines.default_name(), answered_by: None, reason: None };
    match app.engines.default_phase() {
        _ if app.is_draining() => answer.status = "draining".into(),
        // One that loads when it is asked answers then.
        Phase::Idle if !app.engines.default_is_starting() => answer.status = "ready".into(),
        Phase::Idle | Phase::Loading => {}
        Phase::Closed => answer.status = "draining".into(),
        Phase::Failed(reason) => (answer.status, answer.reason) = ("failed".into(), Some(reason)),
        Phase::Ready(engine) => take_health(&mut answer, &*engine),
        Phase::Replaced { by, reason } => {
            (answer.answered_by, answer.reason) = (Some(by.info().name.clone()), Some(reason));
            take_health(&mut answer, &*by);
        }
    }
    let mut answers = answer.status == "ready";
    if answers && let Some(cause) = app.journal.failing() {
        (answer.status, answer.reason) = ("degraded".into(), Some(cause.to_string()));
        answers = app.journal.on_failure() == OnFailure::Open;
    }
    let status = if answers { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(answer))
}

/// What there is to measure, in Prometheus' text format.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "status",
    responses((status = 200, description = "The numbers", content((String = "text/plain"))), AnyTime)
)]
pub(super) async fn metrics(State(app): State<App>) -> Result<Response, ApiError> {
    let text = app.metrics.text().map_err(|_| ApiError::internal())?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}

fn take_health(answer: &mut ReadyAnswer, engine: &dyn minivault_engines::TextEngine) {
    match engine.health().state {
        minivault_engines::State::Ready => answer.status = "ready".into(),
        minivault_engines::State::Loading => {}
        minivault_engines::State::Failed(reason) => (answer.status, answer.reason) = ("failed".into(), Some(reason)),
    }
}
