//! The one table from what went wrong to status, code and body.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use minivault_engines::EngineError;
use minivault_journal::JournalError;
use minivault_wire::error::{ErrorBody, ErrorDetail};

use crate::body::Pace;
use crate::nearest::nearest;

/// Characters of a stranger's word that are repeated to them.
const LONGEST_NAME: usize = 80;
/// Characters of a whole message.
const LONGEST_MESSAGE: usize = 4000;

/// A refused or failed request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    /// The status it is answered with.
    pub status: StatusCode,
    code: &'static str,
    message: String,
    param: Option<String>,
    /// Seconds after which it may be tried again.
    retry_after: Option<u64>,
    /// Tokens of a prompt, and of the context that it doesn't fit.
    tokens: Option<(usize, usize)>,
    /// Whether it is typed as llama.cpp's server does.
    as_llama_server: bool,
}

impl ApiError {
    /// A request that is wrong in one of its fields, or as a whole.
    pub fn invalid(param: Option<&str>, message: impl Into<String>) -> Self {
        let param = param.map(|param| shorten(param, LONGEST_NAME));
        Self { param, ..Self::new(StatusCode::BAD_REQUEST, "invalid_request", message) }
    }

    /// The request carries no key, or none that is known.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", message)
    }

    /// The request is for another host.
    pub fn foreign_host(host: &str) -> Self {
        let host = shorten(host, LONGEST_NAME);
        Self::forbidden(format!("the host is `{host}`, which isn't this daemon's; server.hosts in its configuration names more"))
    }

    /// The request comes from a page that may not ask.
    pub fn foreign_origin(origin: &str) -> Self {
        let origin = shorten(origin, LONGEST_NAME);
        Self::forbidden(format!("the origin is `{origin}`, which may not ask; server.origins in the configuration names those that may"))
    }

    /// The request may not do that here.
    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", message)
    }

    /// No route has this path.
    pub fn unknown_path(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", format!("there is nothing at {path}"))
    }

    /// The path has no such method.
    pub fn wrong_method(method: &str, path: &str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", format!("{path} doesn't answer {method}"))
    }

    /// No engine has this name.
    pub fn unknown_model(name: &str, names: &[&str]) -> Self {
        let hint = nearest(name, names.iter().copied()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
        let message = format!("there is no model `{}`; there are {}{hint}", shorten(name, LONGEST_NAME), names.join(", "));
        Self { param: Some("model".into()), ..Self::new(StatusCode::NOT_FOUND, "model_not_found", message) }
    }

    /// No interaction of this name is in the log.
    pub fn unknown_interaction(id: &str) -> Self {
        let message = format!("there is no interaction `{}` in the log", shorten(id, LONGEST_NAME));
        Self { param: Some("id".into()), ..Self::new(StatusCode::NOT_FOUND, "interaction_not_found", message) }
    }

    /// The interaction can't be run again, for this reason.
    pub fn not_replayable(id: &str, reason: &str) -> Self {
        let message = format!("interaction `{}` can't be run again: {reason}", shorten(id, LONGEST_NAME));
        Self { param: Some("id".into()), ..Self::new(StatusCode::CONFLICT, "not_replayable", message) }
    }

    /// The configuration can't be used, for these reasons.
    pub fn misconfigured(reasons: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "configuration_invalid", reasons)
    }

    /// The log can't be read, for this reason.
    pub fn log_unreadable(cause: &std::io::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "log_unreadable", format!("the log can't be read: {cause}"))
    }

    /// The body is longer than the limit, in bytes.
    pub fn body_too_large(limit: usize) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", format!("the body has more than {limit} bytes, which is the limit"))
    }

    /// The body isn't JSON by its own account.
    pub fn unsupported_media_type(seen: Option<&str>) -> Self {
        let seen =
            seen.map_or_else(|| "there is no content-type".to_owned(), |seen| format!("content-type is `{}`", shorten(seen, LONGEST_NAME)));
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", format!("{seen}; it must be application/json"))
    }

    /// The model is still on its way.
    pub fn loading(engine: &str) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "loading", format!("model `{engine}` is still loading")) }
    }

    /// The engine can't answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self { retry_after: Some(10), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "engine_unavailable", message) }
    }

    /// Too many requests wait already.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self { retry_after: Some(1), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", message) }
    }

    /// A key has used up what it may, for so long.
    pub fn rate_limited(message: impl Into<String>, wait: Duration) -> Self {
        let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
        Self { retry_after: Some(seconds), ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", message) }
    }

    /// The daemon is about to end.
    pub fn draining() -> Self {
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", "the daemon is shutting down") }
    }

    /// The engine can't do that.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "unsupported", message)
    }

    /// The configuration has switched this path off with this key.
    pub fn switched_off(path: &str, key: &str) -> Self {
        Self::unsupported(format!("{path} is switched off in the daemon's configuration ({key} = false)"))
    }

    /// A field asks for what no engine here can. It isn't 501: clients send a request again that a server failed at.
    pub fn unsupported_field(field: &str, message: impl Into<String>) -> Self {
        Self { code: "unsupported", ..Self::invalid(Some(field), message) }
    }

    /// Something failed in here; the cause is in the diagnostic log.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the daemon failed; its diagnostic log says why")
    }

    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: shorten(&message.into(), LONGEST_MESSAGE),
            param: None,
            retry_after: None,
            tokens: None,
            as_llama_server: false,
        }
    }

    /// The headers are more, or longer, than the limit.
    pub fn headers_too_large(message: &str) -> Self {
        Self::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", message)
    }

    /// The client sent so many bytes of its body in so much time.
    pub fn too_slow(bytes: usize, time: Duration, pace: Pace) -> Self {
        let (seconds, Pace { start, bytes_per_second }) = (time.as_secs_f64(), pace);
        let message = format!(
            "{bytes} bytes of the body came in {seconds:.1} seconds; the limit is {bytes_per_second} bytes a second after {:.1} seconds",
            start.as_secs_f64()
        );
        Self::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    }

    /// The answer took longer than it may.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::new(StatusCode::GATEWAY_TIMEOUT, "timeout", message)
    }

    /// The same error about the field that this route calls differently.
    #[must_use]
    pub fn about(mut self, native: &str, here: &str) -> Self {
        if self.param.as_deref() == Some(native) {
            self.param = Some(here.to_owned());
        }
        self
    }

    /// The same error as llama.cpp's server types it.
    #[must_use]
    pub fn as_llama_server(self) -> Self {
        Self { as_llama_server: true, ..self }
    }

    /// Whether the request was refused, and nothing failed.
    pub fn is_refusal(&self) -> bool {
        self.status.is_client_error() || self.status == StatusCode::NOT_IMPLEMENTED
    }

    /// The same, where too many requests wait, with what is known of how long they take.
    #[must_use]
    pub fn waiting(mut self, wait: Option<Duration>) -> Self {
        if let (Some(wait), "overloaded") = (wait, self.code) {
            self.retry_after = Some(wait.as_secs_f64().ceil() as u64);
        }
        self
    }

    /// Seconds after which it may be tried again, where they are known.
    pub fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// What was wrong, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The body, also the data of a stream's `event: error`.
    pub fn body(&self) -> ErrorBody {
        let r#type = match self.code {
            "context_length_exceeded" if self.as_llama_server => "exceed_context_size_error",
            _ => kind(self.status.as_u16()),
        };
        let r#type = r#type.to_owned();
        let (n_prompt_tokens, n_ctx) = self.tokens.unzip();
        let (message, param) = (self.message.clone(), self.param.clone());
        ErrorBody { error: ErrorDetail { message, r#type, code: self.code.into(), param, n_prompt_tokens, n_ctx } }
    }
}

impl From<EngineError> for ApiError {
    fn from(error: EngineError) -> Self {
        let message = error.to_string();
        match error {
            EngineError::InvalidRequest { param, .. } => Self::invalid(Some(param).filter(|param| !param.is_empty()), message),
            EngineError::ContextLengthExceeded { prompt_tokens, max_tokens, limit } => {
                let param = if max_tokens.is_some() { "max_tokens" } else { "prompt" };
                let tokens = Some((prompt_tokens, limit));
                Self { param: Some(param.into()), tokens, ..Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message) }
            }
            EngineError::Busy { .. } => Self::overloaded(message),
            EngineError::UpstreamBusy { retry_after } => {
                Self { retry_after: Some(retry_after.as_secs().max(1)), ..Self::overloaded(message) }
            }
            EngineError::Unsupported { .. } => Self::unsupported(message),
            EngineError::Unavailable(_) => Self::unavailable(message),
            EngineError::Stopped => Self::draining(),
            EngineError::Upstream(_) => Self::new(StatusCode::BAD_GATEWAY, "upstream_failed", message),
            EngineError::Failed(cause) => {
                tracing::error!(%cause, "an engine failed while generating");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "engine_failed", message)
            }
            other => {
                tracing::error!(error = %other, "an engine failed in a way that has no status of its own");
                Self::internal()
            }
        }
    }
}

impl From<JournalError> for ApiError {
    fn from(error: JournalError) -> Self {
        let message = format!("{error}; nothing is answered that can't be logged");
        Self { retry_after: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "log_unavailable", message) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        // For whoever tells it in another form.
        response.extensions_mut().insert(self);
        response
    }
}

/// Whose fault a status says it is, in OpenAI's words.
pub(crate) fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "server_error",
    }
}

/// What a stranger sent, short enough to be repeated to them.
fn shorten(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest { text.to_owned() } else { text.chars().take(longest).chain(['…']).collect() }
}
