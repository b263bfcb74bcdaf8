//! How long a request may take, when to come back, whose turn it is, and the end of all waiting.

use std::time::Duration;

use axum::http::Request;
use futures_util::StreamExt;
use minivault_daemon::door::keys::{Key, Secret};
use minivault_daemon::door::limits::Limits as KeyLimits;
use minivault_daemon::patience::Deadlines;
use minivault_daemon::routes::Limits;
use minivault_engines::testkit::{Gate, Script};
use serde_json::{Value, json};

use crate::support::{Daemon, Engine, events_of, limits, server_settings, text_of};

const SOON: Duration = Duration::from_millis(150);

/// A daemon whose engine takes a step for each that the gate allows, one request at a time.
async fn gated(deadlines: Deadlines) -> (Gate, Daemon) {
    let gate = Gate::closed();
    let mut engine = Engine::new("scripted", Script { gate: Some(gate.clone()), text: "abcdef".into(), ..Script::default() });
    engine.script.limits.slots = 1;
    let daemon = Daemon::with(vec![engine]).await.limited(Limits { deadlines, ..limits() });
    (gate, daemon)
}

#[tokio::test]
async fn an_answer_whose_time_is_over_is_what_was_said_until_then() {
    for path in ["/generate", "/v1/completions", "/completion"] {
        let (gate, daemon) = gated(Deadlines { request: Some(SOON), ..Deadlines::default() }).await;
        gate.allow(3);
        let most = if path == "/completion" { "n_predict" } else { "max_tokens" };
        let (status, answer) = daemon.ask(path, &json!({"prompt": "x", most: 20, "temperature": 0})).await;
        assert_eq!(status, 200, "{path} {answer}");
        let (text, reason) = match path {
            "/generate" => (&answer["response"], &answer["finish_reason"]),
            "/completion" => (&answer["content"], &answer["stop_type"]),
            _ => (&answer["choices"][0]["text"], &answer["choices"][0]["finish_reason"]),
        };
        assert_eq!((text, reason), (&json!("abc"), &json!(if path == "/completion" { "limit" } else { "timeout" })), "{path}");
        let line = &daemon.log()[0];
        assert_eq!((&line["finish_reason"], &line["response"], &line["status"]), (&json!("timeout"), &json!("abc"), &json!(200)));
        assert_eq!(line["usage"]["completion_tokens"], 3);
        gate.open();
    }
}

#[tokio::test]
async fn a_stream_whose_time_is_over_ends_as_one_that_is_complete() {
    let (gate, daemon) = gated(Deadlines { request: Some(SOON), ..Deadlines::default() }).await;
    gate.allow(3);
    let events = events_of(daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 20})).await).await;
    let (name, data) = events.last().unwrap();
    assert_eq!((name.as_str(), &serde_json::from_str::<Value>(data).unwrap()["finish_reason"]), ("done", &json!("timeout")));
    assert_eq!(events.len(), 4);
    gate.open();
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_504() {
    for deadlines in [Deadlines { first_token: Some(SOON), request: None }, Deadlines { first_token: None, request: Some(SOON) }] {
        let (gate, daemon) = gated(deadlines).await;
        let (status, error) = daemon.ask("/generate", &json!({"prompt": "x"})).await;
        assert_eq!((status.as_u16(), &error["error"]["code"]), (504, &json!("timeout")));
        let message = error["error"]["message"].as_str().unwrap();
        assert!(message.contains("within 0.15 seconds, which is the limit"), "{message}");
        let line = &daemon.log()[0];
        assert_eq!((&line["finish_reason"], &line["status"]), (&json!("error"), &json!(504)));
        // Its place is free again.
        gate.open();
        assert_eq!(daemon.ask("/generate", &json!({"prompt": "x", "max_tokens": 3})).await.0, 200);
    }
}

#[tokio::test]
async fn what_has_begun_may_take_longer_than_the_first_token() {
    let (gate, daemon) = gated(Deadlines { first_token: Some(SOON), request: None }).await;
    let mut body = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 2})).await.into_body().into_data_stream();
    gate.allow(1);
    body.next().await.unwrap().unwrap();
    tokio::time::sleep(SOON * 2).await;
    gate.open();
    let rest: Vec<_> = body.collect().await;
    assert!(rest.last().unwrap().as_ref().unwrap().starts_with(b"event: done"));
}

#[tokio::test]
async fn at_the_end_of_the_daemon_answers_under_way_end_with_an_error() {
    let (gate, daemon) = gated(Deadlines::default()).await;
    gate.allow(1);
    let stream = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 20})).await;
    let chat = daemon.post("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "x"}], "stream": true})).await;
    let mut body = stream.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    let asked = json!({"prompt": "x"});
    let (whole, ()) = tokio::join!(daemon.ask("/generate", &asked), async {
        tokio::time::sleep(SOON).await;
        daemon.app.end();
    });
    assert_eq!((whole.0.as_u16(), &whole.1["error"]["code"]), (503, &json!("draining")));
    let rest = String::from_utf8(body.map(|piece| piece.unwrap().to_vec()).collect::<Vec<_>>().await.concat()).unwrap();
    assert!(rest.starts_with("event: error\ndata: ") && rest.contains(r#""code":"draining""#), "{rest}");
    let chat = text_of(chat).await;
    assert!(chat.contains(r#""code":"draining""#), "{chat}");
    let log = daemon.log_of(3).await;
    assert!(log.iter().all(|line| line["finish_reason"] == "error" && line["status"] == 503), "{log:?}");
    gate.open();
}

#[tokio::test]
async fn several_answers_have_a_budget_together() {
    let daemon = Daemon::reciting("abc").await.limited(Limits { answer_tokens: 100, ..limits() });
    let ask = async |path: &str, body: Value| daemon.ask(path, &body).await;
    for (n, tokens, status) in [(2, 50, 200), (2, 51, 400), (1, 101, 200)] {
        let (seen, answer) = ask("/v1/completions", json!({"prompt": "a", "n": n, "max_tokens": tokens})).await;
        assert_eq!(seen, status, "{n} × {tokens}: {answer}");
        if status == 400 {
            assert_eq!(answer["error"]["message"], "2 answers may have 102 tokens together; the limit is 100");
        }
    }
    assert_eq!(ask("/v1/completions", json!({"prompt": ["a", "b", "c"], "max_tokens": 34})).await.0, 400);
    assert_eq!(ask("/v1/completions", json!({"prompt": ["a", "b", "c"], "max_tokens": 33})).await.0, 200);
}

#[tokio::test]
async fn who_is_refused_is_told_how_long_requests_take() {
    let gate = Gate::closed();
    let mut engine = Engine::new("scripted", Script { gate: Some(gate.clone()), ..Script::default() });
    engine.script.limits.slots = 1;
    engine.queue = 0;
    let daemon = Daemon::with(vec![engine]).await;
    for _ in 0..2 {
        gate.allow(1);
        daemon.ask("/generate", &json!({"prompt": "a", "max_tokens": 1})).await;
        tokio::time::sleep(Duration::from_millis(2100)).await;
    }
    let held = daemon.post("/stream-generate", &json!({"prompt": "b"})).await;
    let refused = daemon.post("/generate", &json!({"prompt": "c"})).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"3".parse().unwrap()));
    gate.open();
    drop(held);
}

#[tokio::test]
async fn clients_that_wait_are_served_in_turn() {
    let gate = Gate::closed();
    let mut engine = Engine::new("scripted", Script { gate: Some(gate.clone()), ..Script::default() });
    engine.script.limits.slots = 1;
    engine.queue = 10;
    let mut settings = server_settings();
    let key = |name: &str| Key { name: name.into(), secret: Secret::of(name), limits: KeyLimits::default() };
    settings.keys = vec![key("ada"), key("bob")];
    let daemon = Daemon::with(vec![engine]).await.behind(&settings);
    let mut answers = Vec::new();
    for key in ["ada", "ada", "ada", "ada", "bob", "bob"] {
        let request = Request::post("/stream-generate").header("content-type", "application/json").header("x-api-key", key);
        let response = daemon.send(request.body(json!({"prompt": "x", "max_tokens": 1}).to_string().into()).unwrap()).await;
        assert_eq!(response.status(), 200);
        answers.push(response);
    }
    // A line is written when its answer has been read, so each has a reader that waits for it.
    let mut readers = tokio::task::JoinSet::new();
    answers.into_iter().for_each(|answer| drop(readers.spawn(text_of(answer))));
    tokio::time::sleep(SOON).await;
    gate.open();
    readers.join_all().await;
    let order: Vec<_> = daemon.log_of(6).await.iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
    // Bob came last, behind four of Ada's.
    assert_eq!(order[..3].iter().filter(|name| *name == "bob").count(), 1, "{order:?}");
    assert_eq!(order[4..], ["ada", "ada"], "{order:?}");
}
