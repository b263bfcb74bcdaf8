//! What a daemon does while it can't log, and what it doesn't log.

use std::path::Path;

use axum::http::{HeaderValue, StatusCode};
use minivault_journal::{OnFailure, Options, Recording};
use serde_json::{Value, json};

use crate::support::{Daemon, PATIENCE, events_of, json_of, json_request, text_of};

fn body() -> Value {
    json!({"prompt": "x", "max_tokens": 3})
}

fn lines(log: &Path) -> Vec<Value> {
    std::fs::read_to_string(log).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("{what}, in time"));
}

#[tokio::test]
async fn closed_refuses_before_any_work_and_says_that_it_is_degraded() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    let daemon = Daemon::keeping(&logs.join("log.jsonl"), &Options::default(), "abc").await;
    std::fs::remove_dir_all(&logs).unwrap();
    until("the loss noticed", || daemon.app.journal.failing().is_some()).await;
    let response = daemon.post("/generate", &body()).await;
    assert!(response.headers().contains_key("retry-after"));
    let (status, error) = json_of(response).await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("log_unavailable")));
    let (status, ready) = daemon.get("/ready").await;
    assert_eq!((status, &ready["status"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("degraded")));
    std::fs::create_dir(&logs).unwrap();
    until("recovery", || daemon.app.journal.failing().is_none()).await;
    assert_eq!(daemon.ask("/generate", &body()).await.0, StatusCode::OK);
    assert_eq!(daemon.get("/ready").await.1["status"], "ready");
}

#[tokio::test]
async fn open_answers_and_marks_what_was_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let logs = folder.path().join("logs");
    let options = Options { on_failure: OnFailure::Open, ..Options::default() };
    let daemon = Daemon::keeping(&logs.join("log.jsonl"), &options, "abc").await;
    let (_, logged) = daemon.ask("/generate", &body()).await;
    assert_eq!(logged["logged"], Value::Null);
    std::fs::remove_dir_all(&logs).unwrap();
    // The first one may be the one that notices.
    for path in ["/generate", "/generate", "/v1/completions"] {
        let response = daemon.post(path, &body()).await;
        assert_eq!(response.headers().get("x-minivault-log"), Some(&HeaderValue::from_static("dropped")), "{path}");
        assert_eq!(response.status(), StatusCode::OK);
    }
    let events = events_of(daemon.post("/stream-generate", &body()).await).await;
    let done: Value = serde_json::from_str(&events.last().unwrap().1).unwrap();
    assert_eq!((events.last().unwrap().0.as_str(), &done["logged"]), ("done", &json!(false)));
    assert_eq!(daemon.app.journal.dropped(), 4);
    let (status, ready) = daemon.get("/ready").await;
    assert_eq!((status, &ready["status"]), (StatusCode::OK, &json!("degraded")));
}

#[tokio::test]
async fn a_request_may_ask_to_be_left_out_where_that_is_allowed() {
    let asks = |wish: &'static str| {
        let mut request = json_request("/generate", body().to_string());
        request.headers_mut().insert("x-minivault-log", HeaderValue::from_static(wish));
        request
    };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let daemon = Daemon::keeping(&log, &Options::default(), "abc").await;
    let response = daemon.send(asks("off")).await;
    assert_eq!((response.status(), response.headers()["x-minivault-log"].as_bytes()), (StatusCode::OK, &b"off"[..]));
    text_of(response).await;
    assert_eq!(daemon.send(asks("on")).await.status(), StatusCode::OK);
    assert_eq!(lines(&log).len(), 1);
    assert_eq!(daemon.send(asks("maybe")).await.status(), StatusCode::BAD_REQUEST);

    let strict = Daemon::reciting("abc").await;
    let (status, error) = json_of(strict.send(asks("off")).await).await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::FORBIDDEN, &json!("forbidden")));
    assert!(error["error"]["message"].as_str().unwrap().contains("log.allow_off"), "{error}");
    assert_eq!(strict.log().len(), 0);
}

#[tokio::test]
async fn texts_and_keys_stay_out_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let daemon = Daemon::keeping(&log, &Options { recording: Recording::Hash, ..Options::default() }, "answered-secret").await;
    let chat =
        json!({"model": "scripted", "user": "asked-secret", "messages": [{"role": "user", "content": "asked-secret"}], "max_tokens": 8});
    for (path, body) in [("/generate", json!({"prompt": "asked-secret", "stop": "asked-secret"})), ("/v1/chat/completions", chat)] {
        let mut request = json_request(path, body.to_string());
        request.headers_mut().insert("authorization", HeaderValue::from_static("Bearer sk-secret"));
        request.headers_mut().insert("x-api-key", HeaderValue::from_static("sk-secret"));
        assert_eq!(daemon.send(request).await.status(), StatusCode::OK, "{path}");
    }
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(text.lines().count(), 2);
    assert!(!text.contains("secret") && text.contains("\"record\":\"hash\""), "{text}");
}
