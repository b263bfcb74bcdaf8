//! Bad requests: each with its status, its code, the value seen and the limit; none of them in the log.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use minivault_engines::testkit::{Gate, Script};
use serde_json::{Value, json};

use crate::support::{Daemon, Engine, json_of, json_request};

async fn check(daemon: &Daemon, request: Request<Body>, status: u16, code: &str, message: &[&str]) {
    let (seen, body) = json_of(daemon.send(request).await).await;
    assert_eq!(seen.as_u16(), status, "{body}");
    let error = &body["error"];
    assert_eq!(error["code"], code, "{body}");
    for part in message {
        assert!(error["message"].as_str().unwrap().contains(part), "{part:?} is missing in {body}");
    }
    let keys: Vec<&String> = body["error"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["code", "message", "param", "type"], "the one error body");
}

#[tokio::test]
async fn bad_bodies_are_explained() {
    let daemon = Daemon::reciting("abc").await;
    let cases: [(&str, u16, &str, &[&str]); 24] = [
        ("", 400, "invalid_request", &["empty"]),
        ("prompt=Hello", 400, "invalid_request", &["isn't JSON"]),
        (r#"{"prompt": "a""#, 400, "invalid_request", &["isn't JSON"]),
        (r#"["a"]"#, 400, "invalid_request", &["JSON object"]),
        ("{}", 400, "invalid_request", &["`prompt` is missing"]),
        (r#"{"prompt": ""}"#, 400, "invalid_request", &["prompt is empty", "at least one"]),
        (r#"{"prompt": 7}"#, 400, "invalid_request", &["prompt", "`7`", "string"]),
        (r#"{"prompt": null}"#, 400, "invalid_request", &["prompt", "null", "string"]),
        (r#"{"prompt": "a", "max_tokens": -1}"#, 400, "invalid_request", &["max_tokens", "`-1`", "from 0"]),
        (r#"{"prompt": "a", "max_tokens": 0}"#, 400, "invalid_request", &["max_tokens is 0", "at least 1"]),
        (r#"{"prompt": "a", "max_tokens": 1.5}"#, 400, "invalid_request", &["max_tokens", "`1.5`", "whole number"]),
        (r#"{"prompt": "a", "max_tokens": "10"}"#, 400, "invalid_request", &["max_tokens", "\"10\"", "whole number"]),
        (r#"{"prompt": "a", "max_tokens": 1000}"#, 400, "context_length_exceeded", &["1000", "512"]),
        (
            r#"{"prompt": "a", "max_tokens": 99999999999999999999}"#,
            400,
            "invalid_request",
            &["max_tokens", "`1e+20`", "18446744073709551615"],
        ),
        (r#"{"prompt": "a", "temperature": -0.5}"#, 400, "invalid_request", &["temperature is -0.5", "between 0 and 100"]),
        (r#"{"prompt": "a", "temperature": 1e39}"#, 400, "invalid_request", &["temperature", "between 0 and 100"]),
        (r#"{"prompt": "a", "top_p": 1.01}"#, 400, "invalid_request", &["top_p is 1.01", "at most 1"]),
        (r#"{"prompt": "a", "min_p": 2}"#, 400, "invalid_request", &["min_p is 2", "between 0 and 1"]),
        (r#"{"prompt": "a", "repetition_penalty": 0}"#, 400, "invalid_request", &["repetition_penalty is 0", "over 0"]),
        (r#"{"prompt": "a", "seed": -7}"#, 400, "invalid_request", &["seed", "`-7`"]),
        (r#"{"prompt": "a", "stop": [""]}"#, 400, "invalid_request", &["stop string is empty"]),
        (r#"{"prompt": "a", "stop": [7]}"#, 400, "invalid_request", &["stop", "string or a list"]),
        (r#"{"prompt": "a", "max_token": 5}"#, 400, "invalid_request", &["unknown field `max_token`", "did you mean `max_tokens`?"]),
        (r#"{"prompt": "a", "model": "scriptet"}"#, 404, "model_not_found", &["`scriptet`", "did you mean `scripted`?"]),
    ];
    for path in ["/generate", "/stream-generate"] {
        for (body, status, code, message) in &cases {
            check(&daemon, json_request(path, body.to_string()), *status, code, message).await;
        }
    }
    assert!(daemon.log().is_empty(), "a refused request isn't logged");
}

#[tokio::test]
async fn too_long_is_never_cut_silently() {
    let daemon = Daemon::reciting("abc").await;
    let long = json!({"prompt": "x".repeat(512)}).to_string();
    check(&daemon, json_request("/generate", long), 400, "context_length_exceeded", &["512 tokens", "holds 512"]).await;
    let longer = json!({"prompt": "x".repeat(5001)}).to_string();
    check(&daemon, json_request("/generate", longer), 400, "invalid_request", &["5001 bytes", "5000"]).await;
    let longest = json!({"prompt": "x".repeat(10_001)}).to_string();
    check(&daemon, json_request("/generate", longest), 413, "body_too_large", &["10000 bytes"]).await;
}

#[tokio::test]
async fn other_content_types_are_refused_by_name() {
    let daemon = Daemon::reciting("abc").await;
    let body = r#"{"prompt": "a"}"#;
    let form = Request::post("/generate").header("content-type", "application/x-www-form-urlencoded").body(body.into()).unwrap();
    check(&daemon, form, 415, "unsupported_media_type", &["`application/x-www-form-urlencoded`", "application/json"]).await;
    let none = Request::post("/generate").body(body.into()).unwrap();
    check(&daemon, none, 415, "unsupported_media_type", &["no content-type"]).await;
    let with_charset = Request::post("/generate").header("content-type", "Application/JSON; charset=utf-8").body(body.into()).unwrap();
    assert_eq!(daemon.send(with_charset).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_told() {
    let daemon = Daemon::reciting("abc").await;
    let unknown = Request::get("/generat").body(Body::empty()).unwrap();
    check(&daemon, unknown, 404, "not_found", &["/generat"]).await;
    for (method, path) in [(Method::GET, "/generate"), (Method::POST, "/health"), (Method::DELETE, "/v1/models")] {
        let request = Request::builder().method(method.clone()).uri(path).body(Body::empty()).unwrap();
        check(&daemon, request, 405, "method_not_allowed", &[path, method.as_str()]).await;
    }
}

#[tokio::test]
async fn a_full_queue_is_429_with_retry_after() {
    let gate = Gate::closed();
    let mut engine = Engine::new("scripted", Script { gate: Some(gate.clone()), ..Script::default() });
    engine.script.limits.slots = 1;
    engine.queue = 1;
    let daemon = Daemon::with(vec![engine]).await;
    let held =
        [daemon.post("/stream-generate", &json!({"prompt": "a"})).await, daemon.post("/stream-generate", &json!({"prompt": "b"})).await];
    let response = daemon.post("/generate", &json!({"prompt": "c"})).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, body) = json_of(response).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (429, &json!("overloaded")));
    gate.open();
    drop(held);
}

#[tokio::test]
async fn without_a_place_in_the_log_nothing_is_generated() {
    let gate = Gate::closed();
    let script = Script { gate: Some(gate.clone()), ..Script::default() };
    let daemon = Daemon::unopened(vec![Engine::new("scripted", script.clone())], 1);
    daemon.app.engines.open_default().await.unwrap();
    let held = daemon.post("/stream-generate", &json!({"prompt": "a"})).await;
    let (status, body) = daemon.ask("/generate", &json!({"prompt": "b"})).await;
    assert_eq!((status.as_u16(), &body["error"]["code"]), (503, &json!("log_unavailable")));
    gate.open();
    drop(held);
}

#[tokio::test]
async fn chat_bodies_are_checked_too() {
    let daemon = Daemon::reciting("abc").await;
    let path = "/v1/chat/completions";
    let cases: [(Value, &[&str]); 4] = [
        (json!({}), &["`messages` is missing"]),
        (json!({"messages": []}), &["messages is empty"]),
        (json!({"messages": [{"role": "user"}]}), &["`content` is missing"]),
        (json!({"messages": [{"role": "wizard", "content": "a"}]}), &["`wizard`"]),
    ];
    for (body, message) in cases {
        check(&daemon, json_request(path, body.to_string()), 400, "invalid_request", message).await;
    }
    let conversation = |extra: &str| format!(r#"{{"messages": [{{"role": "user", "content": "a"}}], {extra}}}"#);
    for (name, extra) in [
        ("tools", r#""tools": [{"type": "function", "function": {"name": "f"}}]"#),
        ("n", r#""n": 2"#),
        ("response_format", r#""response_format": {"type": "json_object"}"#),
        ("logprobs", r#""logprobs": true"#),
        ("logit_bias", r#""logit_bias": {"5": -100}"#),
    ] {
        check(&daemon, json_request(path, conversation(extra)), 501, "unsupported", &[&format!("`{name}`")]).await;
    }
    let plain = conversation(r#""tools": [], "n": 1, "response_format": {"type": "text"}, "logprobs": false, "user": "me""#);
    assert_eq!(daemon.send(json_request(path, plain)).await.status(), StatusCode::OK);
}
