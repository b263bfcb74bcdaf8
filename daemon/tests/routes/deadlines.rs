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

/// Long beside what a test takes, short beside its patience.
const LIMIT: Duration = Duration::from_secs(10);

/// A daemon whose engine takes a step for each that the gate allows, one request at a time.
async fn gated(deadlines: Deadlines) -> (Daemon, Opened) {
    let gate = Gate::closed();
    let mut engine = Engine::new("scripted", Script { gate: Some(gate.clone()), text: "abcdef".into(), ..Script::default() });
    engine.script.limits.slots = 1;
    let daemon = Daemon::with(vec![engine]).await.limited(Limits { deadlines, ..limits() });
    (daemon, Opened(gate))
}

/// A gate that opens at the end of its test, so that the engine behind it ends, too.
struct Opened(Gate);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open();
    }
}

impl Opened {
    /// Lets so many steps through, waits until they are done, and then until the limit has passed.
    async fn is_late_after(&self, steps: usize) {
        self.0.allow(steps);
        let gate = self.0.clone();
        tokio::task::spawn_blocking(move || gate.wait_until_reached()).await.unwrap();
        tokio::time::pause();
        tokio::time::advance(LIMIT).await;
        tokio::time::resume();
    }
}

#[tokio::test]
async fn an_answer_whose_time_is_over_is_what_was_said_until_then() {
    for path in ["/generate", "/v1/completions", "/completion"] {
        let (daemon, gate) = gated(Deadlines { request: Some(LIMIT), ..Deadlines::default() }).await;
        let most = if path == "/completion" { "n_predict" } else { "max_tokens" };
        let body = json!({"prompt": "x", most: 20, "temperature": 0});
        let ((status, answer), ()) = tokio::join!(daemon.ask(path, &body), gate.is_late_after(3));
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
    }
}

#[tokio::test]
async fn a_stream_whose_time_is_over_ends_as_one_that_is_complete() {
    let (daemon, gate) = gated(Deadlines { request: Some(LIMIT), ..Deadlines::default() }).await;
    let stream = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 20})).await;
    let (events, ()) = tokio::join!(events_of(stream), gate.is_late_after(3));
    let (name, data) = events.last().unwrap();
    assert_eq!((name.as_str(), &serde_json::from_str::<Value>(data).unwrap()["finish_reason"]), ("done", &json!("timeout")));
    assert_eq!(events.len(), 4);
}

#[tokio::test]
async fn an_answer_that_does_not_begin_in_time_is_504() {
    for (deadlines, verb) in
        [(Deadlines { first_token: Some(LIMIT), request: None }, "begin"), (Deadlines { first_token: None, request: Some(LIMIT) }, "end")]
    {
        let (daemon, gate) = gated(deadlines).await;
        let body = json!({"prompt": "x", "max_tokens": 3});
        let ((status, error), ()) = tokio::join!(daemon.ask("/generate", &body), gate.is_late_after(0));
        assert_eq!((status.as_u16(), &error["error"]["code"]), (504, &json!("timeout")));
        assert_eq!(error["error"]["message"], format!("the answer didn't {verb} within 10 seconds, which is the limit"));
        let line = &daemon.log()[0];
        assert_eq!((&line["finish_reason"], &line["status"]), (&json!("error"), &json!(504)));
        // Its place is free again.
        gate.0.open();
        assert_eq!(daemon.ask("/generate", &body).await.0, 200);
    }
}

#[tokio::test]
async fn what_has_begun_may_take_longer_than_the_first_token() {
    let (daemon, gate) = gated(Deadlines { first_token: Some(LIMIT), request: None }).await;
    let mut body = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 2})).await.into_body().into_data_stream();
    let (first, ()) = tokio::join!(body.next(), gate.is_late_after(1));
    assert!(first.unwrap().unwrap().starts_with(b"data: "));
    assert!(futures_util::poll!(body.next()).is_pending());
    gate.0.open();
    let rest: Vec<_> = body.collect().await;
    assert!(rest.last().unwrap().as_ref().unwrap().starts_with(b"event: done"));
}

#[tokio::test]
async fn at_the_end_of_the_daemon_answers_under_way_end_with_an_error() {
    let (daemon, gate) = gated(Deadlines::default()).await;
    gate.0.allow(1);
    let stream = daemon.post("/stream-generate", &json!({"prompt": "x", "max_tokens": 20})).await;
    let chat = daemon.post("/v1/chat/completions", &json!({"messages": [{"role": "user", "content": "x"}], "stream": true})).await;
    let mut body = stream.into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    let asked = json!({"prompt": "x"});
    let mut whole = Box::pin(daemon.ask("/generate", &asked));
    assert!(futures_util::poll!(&mut whole).is_pending());
    daemon.app.end();
    let (status, error) = whole.await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (503, &json!("draining")));
    let rest = String::from_utf8(body.map(|piece| piece.unwrap().to_vec()).collect::<Vec<_>>().await.concat()).unwrap();
    assert!(rest.starts_with("event: error\ndata: ") && rest.contains(r#""code":"draining""#), "{rest}");
    let chat = text_of(chat).await;
    assert!(chat.contains(r#""code":"draining""#), "{chat}");
    let log = daemon.log_of(3).await;
    assert!(log.iter().all(|line| line["finish_reason"] == "error" && line["status"] == 503), "{log:?}");
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
    let gate = Opened(Gate::closed());
    let mut engine = Engine::new("scripted", Script { gate: Some(gate.0.clone()), ..Script::default() });
    engine.script.limits.slots = 1;
    engine.queue = 0;
    let daemon = Daemon::with(vec![engine]).await;
    let gate = gate;
    for _ in 0..2 {
        gate.0.allow(1);
        daemon.ask("/generate", &json!({"prompt": "a", "max_tokens": 1})).await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_millis(5900)).await;
        tokio::time::resume();
    }
    let _held = daemon.post("/stream-generate", &json!({"prompt": "b"})).await;
    let refused = daemon.post("/generate", &json!({"prompt": "c"})).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"6".parse().unwrap()));
}

#[tokio::test]
async fn clients_that_wait_are_served_in_turn() {
    let gate = Opened(Gate::closed());
    let mut engine = Engine::new("scripted", Script { gate: Some(gate.0.clone()), ..Script::default() });
    engine.script.limits.slots = 1;
    engine.queue = 10;
    let mut settings = server_settings();
    let key = |name: &str| Key { name: name.into(), secret: Secret::of(name), limits: KeyLimits::default() };
    settings.keys = vec![key("ada"), key("bob")];
    let daemon = Daemon::with(vec![engine]).await.behind(&settings);
    let gate = gate;
    for key in ["ada", "ada", "ada", "ada", "bob", "bob"] {
        let request = Request::post("/stream-generate").header("content-type", "application/json").header("x-api-key", key);
        let response = daemon.send(request.body(json!({"prompt": "x", "max_tokens": 1}).to_string().into()).unwrap()).await;
        assert_eq!(response.status(), 200);
        tokio::spawn(text_of(response));
    }
    // Step by step, so that each line is written before the next answer is computed.
    for lines in 1..=6 {
        gate.0.allow(1);
        daemon.log_of(lines).await;
    }
    let order: Vec<_> = daemon.log().iter().map(|line| line["key"].as_str().unwrap().to_owned()).collect();
    // One of Ada's was being computed when Bob came, behind three that waited.
    assert_eq!(order, ["ada", "bob", "ada", "bob", "ada", "ada"]);
}
