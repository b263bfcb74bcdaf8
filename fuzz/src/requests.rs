//! Bodies that nobody would send, at every route that takes one: answered or refused in the one form of errors, never a failure.

use std::cell::RefCell;

use axum::http::StatusCode;
use serde_json::{Map, Value, json};
use tokio::runtime::{Builder, Runtime};

use super::input::Input;

#[allow(dead_code)] // The routes' own tests use more of it.
#[path = "../../daemon/tests/routes/support.rs"]
mod support;

use support::{Daemon, json_request, text_of};

/// Routes that take a body.
const ROUTES: [&str; 14] = [
    "/generate",
    "/stream-generate",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/tokenize",
    "/detokenize",
    "/interactions/none/replay",
    "/completion",
    "/completions",
    "/chat/completions",
    "/apply-template",
    "/v1/chat/completions/input_tokens",
    "/chat/completions/input_tokens",
];
/// Fields that one of them knows, and values that mean something somewhere.
const FIELDS: [&str; 44] = [
    "model",
    "prompt",
    "max_tokens",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "seed",
    "stop",
    "echo",
    "n",
    "best_of",
    "logprobs",
    "logit_bias",
    "stream",
    "grammar",
    "regex",
    "messages",
    "tools",
    "tool_choice",
    "response_format",
    "top_logprobs",
    "input",
    "encoding_format",
    "dimensions",
    "content",
    "add_special",
    "tokens",
    "n_predict",
    "n_probs",
    "engine",
    "role",
    "type",
    "function",
    "name",
    "parameters",
    "json_schema",
    "schema",
    "properties",
    "arguments",
    "tool_call_id",
    "stream_options",
    "suffix",
];
const VALUES: [&str; 14] = [
    "user",
    "assistant",
    "tool",
    "json_object",
    "json_schema",
    "text",
    "object",
    "string",
    "auto",
    "required",
    "scripted",
    "base64",
    "[a-z]+",
    "root ::= \"a\"",
];
/// What may be computed for one request; beyond it a body only takes time.
const LIMITS: [&str; 3] = ["max_tokens", "n_predict", "max_completion_tokens"];
/// A new daemon after so many requests, because the log of one grows.
const REQUESTS: usize = 20_000;

struct Asked {
    runtime: Runtime,
    daemon: Daemon,
    requests: usize,
}

thread_local! {
    static ASKED: RefCell<Option<Asked>> = const { RefCell::new(None) };
}

/// One body at one route.
pub fn check(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let route = input.pick(&ROUTES);
    let body = match input.below(3) {
        0 => input.rest().to_vec(),
        _ => {
            let mut fields = object(&mut input, 0);
            for limit in LIMITS {
                fields.entry(limit).or_insert(json!(3));
            }
            Value::Object(fields).to_string().into_bytes()
        }
    };
    let (status, text) = answer(route, body.clone());
    let shown = String::from_utf8_lossy(&body);
    assert!(!status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED, "{route} {shown}: {status} {text}");
    if !status.is_success() {
        let error: Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{route} {shown}: {error}: {text}"));
        assert!(["message", "type", "code"].iter().all(|name| error["error"][*name].is_string()), "{route} {shown}: {text}");
    }
}

fn answer(route: &str, body: Vec<u8>) -> (StatusCode, String) {
    ASKED.with_borrow_mut(|asked| {
        if asked.as_ref().is_some_and(|asked| asked.requests >= REQUESTS) {
            *asked = None;
        }
        let Asked { runtime, daemon, requests } = asked.get_or_insert_with(|| {
            let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
            let daemon = runtime.block_on(Daemon::reciting("abc"));
            Asked { runtime, daemon, requests: 0 }
        });
        *requests += 1;
        runtime.block_on(async {
            let response = daemon.send(json_request(route, body)).await;
            (response.status(), text_of(response).await)
        })
    })
}

fn object(input: &mut Input<'_>, depth: usize) -> Map<String, Value> {
    let count = input.below(6);
    (0..count)
        .map(|_| {
            let name = if input.below(12) == 0 { input.text(&FIELDS) } else { input.pick(&FIELDS).to_owned() };
            (name, value(input, depth + 1))
        })
        .collect()
}

fn value(input: &mut Input<'_>, depth: usize) -> Value {
    match input.below(if depth < 5 { 11 } else { 8 }) {
        0 => Value::Null,
        1 => Value::from(input.below(2) == 1),
        2 => Value::from(input.below(24) as i64 - 3),
        3 => Value::from(i64::from_le_bytes(std::array::from_fn(|_| input.byte()))),
        4 => Value::from(f64::from_le_bytes(std::array::from_fn(|_| input.byte()))),
        5 => Value::from(input.pick(&VALUES)),
        6 | 7 => Value::from(input.text(&VALUES)),
        8 => (0..input.below(5)).map(|_| value(input, depth + 1)).collect(),
        _ => Value::Object(object(input, depth)),
    }
}

/// Bodies as they should be.
pub fn seeds() -> Vec<Vec<u8>> {
    let body = |route: u8, body: Value| [&[route, 0], body.to_string().as_bytes()].concat();
    vec![
        body(0, json!({"prompt": "a", "max_tokens": 3, "stop": ["b"], "seed": 1, "echo": true})),
        body(2, json!({"prompt": [[1, 2], [3]], "max_tokens": 2, "n": 2, "logprobs": 2, "logit_bias": {"97": -100}, "stream": true})),
        body(
            3,
            json!({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}], "max_tokens": 3, "tool_choice": "auto",
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]}),
        ),
        body(
            3,
            json!({"messages": [{"role": "user", "content": "a"}], "max_tokens": 9,
            "response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}}),
        ),
        body(8, json!({"prompt": ["a", 7], "n_predict": 2, "n_probs": 1, "grammar": "root ::= \"a\""})),
    ]
}
