//! What a server's refusals become, and that its own words stay where they belong.

use std::time::Duration;

use axum::http::StatusCode;
use minivault_engines::{EngineError, GenerateRequest, MaxTokens};
use serde_json::json;

use crate::fixture::{Fixture, Reply};
use crate::support::{Daemon, json_of};
use crate::{open, settings, text};

/// What a request becomes whose only server answers with this status and body.
async fn refused(status: u16, body: &'static str) -> EngineError {
    let server = Fixture::start(move |_, _| Reply::whole(status, body).with("retry-after", "7").with("location", "/elsewhere")).await;
    let engine = open(&[&server.url], &json!({})).await.unwrap();
    let error = text(&*engine, GenerateRequest::text("Hi", MaxTokens::Exactly(9))).await.unwrap_err();
    assert_eq!(server.asked().len(), 1, "nobody follows or repeats anything");
    error
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_in_the_servers_words() {
    let error = refused(400, r#"{"error":{"message":"temperature must be below 2","param":"temperature","code":null}}"#).await;
    assert!(matches!(&error, EngineError::InvalidRequest { param: "temperature", .. }), "{error:?}");
    assert_eq!(error.to_string(), "the upstream server refused the request: temperature must be below 2");
    let error = refused(422, r#"{"detail":"no such field\u001b[31m"}"#).await;
    assert_eq!(error.to_string(), "the upstream server refused the request: no such field [31m");
    let error = refused(400, r#"{"error":"invalid options"}"#).await;
    assert_eq!(error.to_string(), "the upstream server refused the request: invalid options");
}

#[tokio::test]
async fn a_prompt_that_is_too_long_is_recognized() {
    let body = r#"{"error":{"code":400,"message":"too much","type":"exceed_context_size_error","n_prompt_tokens":70,"n_ctx":64}}"#;
    let error = refused(400, body).await;
    assert!(matches!(error, EngineError::ContextLengthExceeded { prompt_tokens: 70, max_tokens: None, limit: 64 }), "{error:?}");
    let body = r#"{"error":{"message":"This model's maximum context length is 64 tokens. However, you requested 69 tokens (60 in the messages, 9 in the completion)."}}"#;
    let error = refused(400, body).await;
    assert!(matches!(error, EngineError::ContextLengthExceeded { prompt_tokens: 60, max_tokens: Some(9), limit: 64 }), "{error:?}");
}

#[tokio::test]
async fn a_busy_server_is_busy_for_as_long_as_it_says() {
    for status in [429, 503] {
        let error = refused(status, r#"{"error":"SECRET"}"#).await;
        assert!(matches!(error, EngineError::UpstreamBusy { retry_after } if retry_after == Duration::from_secs(7)), "{error:?}");
    }
}

#[tokio::test]
async fn everything_else_is_the_servers_fault_and_its_words_are_not_told() {
    for (status, told) in [
        (500, "it answered 500 Internal Server Error"),
        (502, "it answered 502 Bad Gateway"),
        (401, "it refused this daemon's key (401 Unauthorized)"),
        (404, "it doesn't have the model, or no such API (404 Not Found)"),
        (308, "it answered 308 Permanent Redirect, and redirects aren't followed"),
        (200, "its answer makes no sense"),
    ] {
        let error = refused(status, r#"{"error":{"message":"SECRET"}}"#).await;
        assert!(matches!(error, EngineError::Upstream(_)), "{error:?}");
        assert_eq!(error.to_string(), format!("the upstream server failed: {told}"));
    }
}

#[tokio::test]
async fn a_daemon_answers_502_or_429_with_a_time_to_wait() {
    let server =
        Fixture::start(
            |_, before| if before == 0 { Reply::whole(500, "SECRET") } else { Reply::whole(429, "SECRET").with("retry-after", "7") },
        )
        .await;
    let daemon = Daemon::of(None, vec![settings(&[&server.url], &json!({}))], 8);
    daemon.app.engines.open_default().await.unwrap();
    let (status, error) = daemon.ask("/generate", &json!({"prompt": "Hi"})).await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::BAD_GATEWAY, &json!("upstream_failed")));
    assert!(!error.to_string().contains("SECRET"), "{error}");
    let response = daemon.post("/generate", &json!({"prompt": "Hi"})).await;
    assert_eq!(response.headers()["retry-after"], "7");
    let (status, error) = json_of(response).await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::TOO_MANY_REQUESTS, &json!("overloaded")));
}
