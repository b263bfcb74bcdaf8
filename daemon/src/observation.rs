//! What is seen of each request from outside, those refused at the door among them: its name, its [count](Metrics), and a span.
//!
//! The name is `x-request-id`: taken or made, and sent back with every answer, so that both sides can speak of the same request. The span
//! `request` has it, and one `answer` inside of it for each answer of an engine ([`answer`]); fields are named after OpenTelemetry's
//! conventions for HTTP and for generative AI. No text of anybody is in them.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use minivault_journal::{Outcome, Record};
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::routes::App;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Bytes of a client's own id that are sent back.
const LONGEST: usize = 128;
/// What stands for a path that is none: strangers must not make up new ones.
const NO_ROUTE: &str = "none";

/// Sees each request come, and its answer begin.
pub async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let taken = request.headers().get(&REQUEST_ID).filter(|id| !id.is_empty() && id.len() <= LONGEST).cloned();
    let id = taken.or_else(|| HeaderValue::try_from(uuid::Uuid::now_v7().simple().to_string()).ok());
    let route = request.extensions().get::<MatchedPath>().map_or(NO_ROUTE, MatchedPath::as_str).to_owned();
    let method = match request.method().as_str() {
        known @ ("GET" | "HEAD" | "POST" | "OPTIONS") => known,
        _ => "other",
    };
    let method = method.to_owned();
    let span = tracing::info_span!(
        "request",
        id = id.as_ref().and_then(|id| id.to_str().ok()),
        http.request.method = method,
        http.route = route,
        http.response.status_code = Empty,
    );
    let mut response = next.run(request).instrument(span.clone()).await;
    let status = response.status().as_u16();
    span.record("http.response.status_code", status);
    span.in_scope(|| tracing::debug!("the answer begins"));
    app.metrics.answered(route, method, status);
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// The span of an answer that is about to be asked of an engine.
pub fn answer(record: &Record) -> Span {
    tracing::info_span!(
        "answer",
        gen_ai.response.id = record.id,
        gen_ai.request.model = record.model,
        gen_ai.usage.input_tokens = Empty,
        gen_ai.usage.output_tokens = Empty,
        gen_ai.response.finish_reasons = Empty,
        ttft_ms = Empty,
        duration_ms = Empty,
        otel.status_code = Empty,
    )
}

/// An answer has ended, in its span.
pub fn ended(span: &Span, record: &Record) {
    if span.is_disabled() {
        return;
    }
    span.record("gen_ai.usage.input_tokens", record.usage.prompt_tokens);
    span.record("gen_ai.usage.output_tokens", record.usage.completion_tokens);
    span.record("gen_ai.response.finish_reasons", record.finish_reason.as_str());
    span.record("ttft_ms", record.ttft_ms);
    span.record("duration_ms", record.duration_ms);
    if record.finish_reason == Outcome::Error {
        span.record("otel.status_code", "ERROR");
    }
    span.in_scope(|| tracing::info!("answered"));
}
