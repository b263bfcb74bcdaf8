//! Bodies that nobody would write, at every route that takes one: never a 5xx, always the one form of errors; and streams cut anywhere.

use axum::body::Body;
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use axum::response::sse::{Event, Sse};
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sse_stream::SseStream;

use crate::support::{Daemon, json_request, text_of};

/// Routes that take a body, with the fields of which some are right.
const ROUTES: [(&str, &[&str]); 10] = [
    (
        "/generate",
        &["prompt", "max_tokens", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed", "stop", "echo", "model"],
    ),
    ("/stream-generate", &["prompt", "max_tokens", "temperature", "seed", "stop"]),
    (
        "/v1/completions",
        &["model", "prompt", "max_tokens", "n", "best_of", "logprobs", "echo", "stop", "logit_bias", "stream", "grammar", "regex"],
    ),
    ("/v1/chat/completions", &["messages", "model", "tools", "tool_choice", "response_format", "n", "logprobs", "top_logprobs", "stream"]),
    ("/v1/embeddings", &["input", "model", "encoding_format", "dimensions"]),
    ("/tokenize", &["content", "model", "add_special"]),
    ("/detokenize", &["tokens", "model"]),
    ("/completion", &["prompt", "n_predict", "stream", "n_probs", "logit_bias"]),
    ("/apply-template", &["messages", "tools"]),
    ("/interactions/none/replay", &["engine"]),
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3_i64..20).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("user")),
        Just(json!("json_object")),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec(("(role|content|type|function|name|[a-z]{1,8})", inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

#[test]
fn no_body_makes_a_route_fail() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let daemon = runtime.block_on(Daemon::reciting("abc"));
    let bodies = (0..ROUTES.len(), proptest::collection::vec((any::<prop::sample::Index>(), any_json()), 0..6));
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300);
    let mut runner = TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&bodies, |(route, fields)| {
        let (path, names) = ROUTES[route];
        let fields = fields.into_iter().map(|(at, value)| (names[at.index(names.len())].to_owned(), value));
        let mut body = Value::Object(fields.collect());
        // What is right otherwise must not run for long.
        for limit in ["max_tokens", "n_predict"].into_iter().filter(|limit| names.contains(limit)) {
            body.as_object_mut().unwrap().entry(limit).or_insert(json!(3));
        }
        let (status, text) = runtime.block_on(async {
            let response = daemon.send(json_request(path, body.to_string())).await;
            (response.status(), text_of(response).await)
        });
        prop_assert!(!status.is_server_error() || status == StatusCode::NOT_IMPLEMENTED, "{path} {body}: {status} {text}");
        if !status.is_success() {
            let error = &serde_json::from_str::<Value>(&text).map_err(|error| TestCaseError::fail(format!("{error}: {text}")))?["error"];
            prop_assert!(["message", "type", "code"].iter().all(|name| error[*name].is_string()), "{path} {body}: {text}");
        }
        Ok(())
    });
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// The bytes of a stream as the routes write them.
async fn encoded(pieces: &[String]) -> Bytes {
    let events: Vec<Result<Event, axum::Error>> = pieces.iter().map(|piece| Event::default().json_data(json!({"token": piece}))).collect();
    let response: Response<Body> = Sse::new(futures_util::stream::iter(events)).into_response();
    response.into_body().collect().await.unwrap().to_bytes()
}

proptest! {
    #[test]
    fn a_stream_cut_anywhere_is_read_as_it_was_told(
        pieces in proptest::collection::vec("(\n|\r|: |data: |[a-z ]|🥊|\\PC){0,12}", 0..8),
        cuts in proptest::collection::vec(1_usize..30, 1..40),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let told = runtime.block_on(async {
            let mut rest = encoded(&pieces).await;
            let mut frames = Vec::new();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                frames.push(Ok::<_, std::convert::Infallible>(Frame::data(rest.split_to((*cut).min(rest.len())))));
            }
            let events = SseStream::new(StreamBody::new(futures_util::stream::iter(frames)));
            let told = events.map(|event| serde_json::from_str::<Value>(&event.unwrap().data.unwrap()).unwrap()["token"].as_str().unwrap().to_owned());
            told.collect::<Vec<_>>().await
        });
        prop_assert_eq!(told, pieces);
    }
}
