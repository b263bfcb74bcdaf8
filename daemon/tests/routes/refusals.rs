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
    let mut keys: Vec<&str> = error.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    if code == "context_length_exceeded" {
        assert_eq!(keys, ["code", "message", "n_ctx", "n_prompt_tokens", "param", "type"]);
    } else {
        assert_eq!(keys, ["code", "message", "param", "type"], "the one error body");
    }
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
        ("modalities", r#""modalities": ["text", "audio"], "audio": {"voice": "ash", "format": "wav"}"#),
        ("min_tokens", r#""min_tokens": 5"#),
    ] {
        check(&daemon, json_request(path, conversation(extra)), 400, "unsupported", &[&format!("`{name}`")]).await;
    }
    let tools = conversation(r#""tools": [{"type": "function", "function": {"name": "f"}}]"#);
    check(&daemon, json_request(path, tools), 501, "unsupported", &["engine `", "doesn't support tools"]).await;
    let image = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]});
    check(&daemon, json_request(path, image.to_string()), 400, "unsupported", &["messages[0].content[0] is `image_url`"]).await;
    for (extra, message) in [
        (r#""n": 0"#, "n is 0"),
        (r#""n": 129"#, "at most 128"),
        (r#""n": 20"#, "between 1 and 8"),
        (r#""top_logprobs": 2"#, "top_logprobs is 2 and logprobs isn't true"),
        (r#""logprobs": true, "top_logprobs": 21"#, "logprobs is 21"),
        (r#""logit_bias": {"cat": 5}"#, "`cat`"),
        (r#""logit_bias": {"999": 5}"#, "token 999"),
        (r#""logit_bias": {"5": -101}"#, "between -100 and 100"),
        (r#""response_format": {"type": "xml"}"#, "`xml`"),
        (r#""response_format": {"type": "json_schema", "json_schema": {"schema": {"uniqueItems": true}}}"#, "uniqueItems"),
        (r#""grammar": "start: missing""#, "missing"),
        (r#""regex": "(""#, "the regular expression can't be followed"),
        (r#""tools": [{"type": "web_search"}]"#, "`web_search`"),
        (r#""tools": [], "tool_choice": "required""#, "there are no tools"),
        (r#""tool_choice": "perhaps""#, "`perhaps`"),
        (r#""seed": 1.5"#, "seed must be a whole number"),
    ] {
        check(&daemon, json_request(path, conversation(extra)), 400, "invalid_request", &[message]).await;
    }
    assert!(daemon.log().is_empty(), "a refused request isn't logged");
    let plain = conversation(
        r#""tools": [], "n": 1, "response_format": {"type": "text"}, "logprobs": false, "user": "me", "store": true, "seed": -5,
           "service_tier": "auto", "parallel_tool_calls": true, "reasoning_effort": "low", "modalities": ["text"], "logit_bias": {"foo": 0}"#,
    );
    assert_eq!(daemon.send(json_request(path, plain)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn completion_bodies_are_checked_too() {
    let daemon = Daemon::reciting("abc").await;
    let path = "/v1/completions";
    check(&daemon, json_request(path, "{}"), 400, "invalid_request", &["`prompt` is missing"]).await;
    let of = |extra: &str| json_request(path, format!(r#"{{"prompt": "a", {extra}}}"#));
    for (extra, message) in [
        (r#""n": 3, "best_of": 2"#, "best_of is 2 and n is 3"),
        (r#""n": 2, "best_of": 3, "stream": true"#, "equal it in a stream"),
        (r#""n": 200"#, "at most 128"),
        (r#""n": 9223372036854775808"#, "at most 128"),
        (r#""logprobs": 21"#, "logprobs is 21"),
        (r#""stop": """#, "stop string is empty"),
    ] {
        check(&daemon, of(extra), 400, "invalid_request", &[message]).await;
    }
    check(&daemon, of(r#""length_penalty": 2"#), 400, "unsupported", &["`length_penalty`"]).await;
    let with = |prompt: &str| json_request(path, format!(r#"{{"prompt": {prompt}, "echo": true, "max_tokens": 0, "logprobs": 1}}"#));
    for (prompt, message) in [
        ("[]", "1 to 128 entries"),
        ("7", "a string, a list of strings"),
        ("[[1, 2], []]", "prompt is empty"),
        ("[\"a\", \"\"]", "prompt is empty"),
        ("[999]", "token 999"),
    ] {
        check(&daemon, with(prompt), 400, "invalid_request", &[message]).await;
    }
    check(&daemon, with(&format!("{:?}", "x".repeat(513))), 400, "context_length_exceeded", &["513"]).await;
    assert!(daemon.log().is_empty(), "a refused request isn't logged");
    assert_eq!(daemon.send(of(r#""best_of": 0, "suffix": null, "logprobs": null"#)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn every_answer_carries_a_request_id() {
    let daemon = Daemon::reciting("abc").await;
    let taken = Request::get("/health").header("x-request-id", "mine-7").body(Body::empty()).unwrap();
    assert_eq!(daemon.send(taken).await.headers()["x-request-id"], "mine-7");
    let mut ids = Vec::new();
    for path in ["/v1/models", "/nowhere", "/generate"] {
        let response = daemon.send(Request::get(path).body(Body::empty()).unwrap()).await;
        ids.push(response.headers()["x-request-id"].to_str().unwrap().to_owned());
    }
    let long = Request::get("/health").header("x-request-id", "x".repeat(129)).body(Body::empty()).unwrap();
    ids.push(daemon.send(long).await.headers()["x-request-id"].to_str().unwrap().to_owned());
    assert!(ids.iter().all(|id| id.len() == 32), "{ids:?}");
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
}
