//! JSON bodies, and what is wrong with them.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header;
use bytes::BytesMut;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use crate::error::ApiError;
use crate::nearest::nearest;
use crate::routes::{App, Limits};

/// How fast a client must send a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Time it has to begin with.
    pub start: Duration,
    /// Bytes that it must have sent for each second more.
    pub bytes_per_second: usize,
}

impl Pace {
    /// How long so many bytes may take.
    fn time_for(self, bytes: usize) -> Duration {
        self.start + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64)
    }
}

/// A JSON body. A refusal names the field, the value seen and what is allowed.
#[derive(Debug)]
pub struct JsonBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for JsonBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        parse(&receive(request, app).await?).map(Self)
    }
}

/// A body that says it is JSON, as it came.
///
/// # Errors
/// Another content type; a body that is too large, too slow or breaks off.
pub async fn receive(request: Request, app: &App) -> Result<Bytes, ApiError> {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(|value| value.to_str().unwrap_or("not text"));
    if !content_type.is_some_and(is_json) {
        return Err(ApiError::unsupported_media_type(content_type));
    }
    let Limits { body: limit, pace, .. } = app.configured.limits;
    let mut body = Limited::new(request.into_body(), limit);
    let (mut bytes, since) = (BytesMut::new(), Instant::now());
    loop {
        let frame = tokio::time::timeout_at(since + pace.time_for(bytes.len()), body.frame()).await;
        let frame = frame.map_err(|_| ApiError::too_slow(bytes.len(), since.elapsed(), pace))?;
        match frame {
            None => return Ok(bytes.freeze()),
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Some(Err(error)) if error.is::<LengthLimitError>() => return Err(ApiError::body_too_large(limit)),
            Some(Err(_)) => return Err(ApiError::invalid(None, "the body broke off")),
        }
    }
}

fn is_json(content_type: &str) -> bool {
    content_type.split(';').next().is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}

/// Reads a body; its whole has been received.
///
/// # Errors
/// What is wrong with it, at which place, and what would be right.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    if bytes.is_empty() {
        return Err(ApiError::invalid(None, "the body is empty; it must be a JSON object"));
    }
    // Serde would take a list for a struct, field by field.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(match serde_json::from_slice::<serde::de::IgnoredAny>(bytes) {
            Ok(_) => ApiError::invalid(None, "the body is no JSON object; it must be one"),
            Err(cause) => ApiError::invalid(None, format!("the body isn't JSON: {cause}")),
        });
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let body: T = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| explain(&error))?;
    deserializer.end().map_err(|error| ApiError::invalid(None, format!("the body isn't a single JSON object: {error}")))?;
    Ok(body)
}

fn explain(error: &serde_path_to_error::Error<serde_json::Error>) -> ApiError {
    let cause = error.inner();
    if !cause.is_data() {
        return ApiError::invalid(None, format!("the body isn't JSON: {cause}"));
    }
    // serde_json puts the place behind its message.
    let whole = cause.to_string();
    let message = whole.rsplit_once(" at line ").map_or(whole.as_str(), |(message, _)| message);
    if let Some((field, known)) = unknown_field(message) {
        let hint = nearest(field, known.iter().copied()).map(|near| format!("did you mean `{near}`? ")).unwrap_or_default();
        return ApiError::invalid(Some(field), format!("unknown field `{field}`; {hint}The fields are {}", known.join(", ")));
    }
    if let Some(field) = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`')) {
        return ApiError::invalid(Some(field), format!("`{field}` is missing"));
    }
    let path = error.path().to_string();
    ApiError::invalid(Some(&path), format!("{path}: {}", in_words(message)))
}

/// The field and the known ones, of serde's sentence about an unknown field.
fn unknown_field(message: &str) -> Option<(&str, Vec<&str>)> {
    let rest = message.strip_prefix("unknown field `")?;
    let (field, known) = rest.rsplit_once("`, expected ")?;
    Some((field, known.split('`').skip(1).step_by(2).collect()))
}

/// Rust's names of types, in words.
fn in_words(message: &str) -> String {
    let (seen, expected) = message.rsplit_once("expected ").unwrap_or((message, ""));
    let expected = match expected {
        "usize" | "u64" => "a whole number from 0 to 18446744073709551615",
        "f32" => "a number",
        other => other,
    };
    if expected.is_empty() { message.to_owned() } else { format!("{seen}expected {expected}") }
}

#[cfg(test)]
mod tests {
    use minivault_wire::native::GenerateBody;

    use super::*;

    fn check(body: &str, message: &str) {
        let error = parse::<GenerateBody>(body.as_bytes()).unwrap_err();
        assert_eq!(error.message(), message, "{body}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        check("", "the body is empty; it must be a JSON object");
        check("{", "the body isn't JSON: EOF while parsing an object at line 1 column 1");
        check("[\"a\"]", "the body is no JSON object; it must be one");
        check("prompt=Hello", "the body isn't JSON: expected value at line 1 column 1");
        check("{}", "`prompt` is missing");
        check(r#"{"prompt":"a"} x"#, "the body isn't a single JSON object: trailing characters at line 1 column 16");
        check(r#"{"prompt":7}"#, "prompt: invalid type: integer `7`, expected a string");
        check(
            r#"{"prompt":"a","max_tokens":-1}"#,
            "max_tokens: invalid value: integer `-1`, expected a whole number from 0 to 18446744073709551615",
        );
        check(
            r#"{"prompt":"a","max_tokens":1e30}"#,
            "max_tokens: invalid type: floating point `1e+30`, expected a whole number from 0 to 18446744073709551615",
        );
        check(r#"{"prompt":"a","temperature":"hot"}"#, "temperature: invalid type: string \"hot\", expected a number");
        check(r#"{"prompt":"a","stop":7}"#, "stop: stop must be a string or a list of strings");
    }

    #[test]
    fn a_field_spelled_nearly_right_gets_a_hint() {
        let error = parse::<GenerateBody>(br#"{"prompt":"a","max_token":1}"#).unwrap_err();
        assert!(
            error.message().starts_with("unknown field `max_token`; did you mean `max_tokens`? The fields are prompt, model,"),
            "{error:?}"
        );
        let error = parse::<GenerateBody>(br#"{"prompt":"a","zzz":1}"#).unwrap_err();
        assert!(error.message().starts_with("unknown field `zzz`; The fields are"), "{error:?}");
    }

    #[test]
    fn a_body_nested_without_end_is_refused() {
        let error = parse::<GenerateBody>("[".repeat(60_000).as_bytes()).unwrap_err();
        assert_eq!(error.status, 400);
    }
}
