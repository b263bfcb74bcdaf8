//! `/generate` and `/stream-generate`.

use axum::http::{StatusCode, header};
use http_body_util::BodyExt;
use minivault_engines::testkit::{Fault, Script};
use serde_json::{Value, json};

use crate::support::{Daemon, Engine, events_of, json_request, text_of};

/// The pieces joined, and the data of the last event.
fn joined(events: &[(String, String)]) -> (String, Value) {
    let (last, pieces) = events.split_last().unwrap();
    assert_eq!(last.0, "done", "{last:?}");
    let pieces = pieces.iter().map(|(name, data)| {
        assert_eq!(name, "");
        serde_json::from_str::<Value>(data).unwrap()["token"].as_str().unwrap().to_owned()
    });
    (pieces.collect(), serde_json::from_str(&last.1).unwrap())
}

#[tokio::test]
async fn an_answer_has_the_documented_form() {
    let daemon = Daemon::reciting("one two three ").await;
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "x", "max_tokens": 7, "seed": 7})).await;
    assert_eq!(status, StatusCode::OK);
    let id = answer["id"].as_str().unwrap();
    let expected = json!({
        "response": "one two", "id": id, "model": "scripted", "finish_reason": "length", "seed": 7,
        "usage": {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8, "cached_tokens": 0}
    });
    assert_eq!(answer, expected);
}

#[tokio::test]
async fn cached_tokens_are_told_and_logged() {
    let daemon = Daemon::reciting("one two three ").await;
    for cached in [0, 2] {
        let (_, answer) = daemon.ask("/generate", &json!({"prompt": "xyz", "max_tokens": 2})).await;
        assert_eq!(answer["usage"]["cached_tokens"], cached);
        assert_eq!(daemon.log().pop().unwrap()["usage"]["cached_tokens"], cached);
    }
}

#[tokio::test]
async fn an_answer_leaves_its_line() {
    let daemon = Daemon::reciting("one two three ").await;
    let body = json!({"prompt": "x", "max_tokens": 7, "seed": 7, "stop": " t"});
    let (_, answer) = daemon.ask("/generate", &body).await;
    let line = daemon.log().pop().unwrap();
    let text = std::fs::read_to_string(daemon.log_path()).unwrap();
    let keys: Vec<&str> = ["timestamp", "prompt", "response", "id", "seq", "endpoint"].to_vec();
    let places: Vec<usize> = keys.iter().map(|key| text.find(&format!("\"{key}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{text}");
    assert_eq!((&line["prompt"], &line["response"], &line["id"]), (&json!("x"), &json!("one"), &answer["id"]));
    assert_eq!((&line["seq"], &line["status"], &line["finish_reason"]), (&json!(1), &json!(200), &json!("stop")));
    assert_eq!(line["response_token_ids"], json!("one t".bytes().collect::<Vec<_>>()), "tokens of the stop string count");
    assert_eq!(line["request"]["max_tokens"], json!(7));
    assert_eq!(line["request"]["top_p"], json!(0.95), "as people type it");
    assert_eq!((&line["request"]["stop"], &line["request"]["temperature"]), (&json!([" t"]), &json!(0.0)));
    assert_eq!((&line["determinism"], &line["fingerprint"]), (&json!("bitwise"), &json!("scripted-1")));
    assert!(line["ttft_ms"].as_f64().unwrap() <= line["duration_ms"].as_f64().unwrap());
}

#[tokio::test]
async fn joined_pieces_are_the_whole_answer() {
    let daemon = Daemon::with(vec![Engine::new("scripted", Script::default())]).await;
    let bodies = [
        json!({"prompt": "x", "max_tokens": 200}),
        json!({"prompt": "Zwölf", "max_tokens": 90, "temperature": 1.3, "seed": 5}),
        json!({"prompt": "x", "max_tokens": 200, "stop": ["🥊🇩🇪 u", "never"]}),
        json!({"prompt": "x 🥊", "max_tokens": 30, "echo": true}),
    ];
    for body in bodies {
        let (_, whole) = daemon.ask("/generate", &body).await;
        let response = daemon.post("/stream-generate", &body).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
        let (pieces, mut done) = joined(&events_of(response).await);
        assert_eq!(pieces, whole["response"].as_str().unwrap());
        assert!(!pieces.contains('\u{FFFD}'));
        let mut rest = whole.clone();
        rest.as_object_mut().unwrap().remove("response");
        (rest["id"], done["id"]) = (Value::Null, Value::Null);
        // The second one finds its prompt in the cache.
        (rest["usage"]["cached_tokens"], done["usage"]["cached_tokens"]) = (Value::Null, Value::Null);
        // Where no seed was given each request has one of its own.
        if body.get("seed").is_none() {
            (rest["seed"], done["seed"]) = (Value::Null, Value::Null);
        }
        assert_eq!(done, rest, "`done` carries the fields of the whole answer");
    }
}

#[tokio::test]
async fn bare_text_for_who_accepts_it() {
    let daemon = Daemon::reciting("one\ntwo 🥊 ").await;
    let mut request = json_request("/stream-generate", json!({"prompt": "x", "max_tokens": 12}).to_string());
    request.headers_mut().insert(header::ACCEPT, "text/plain".parse().unwrap());
    let response = daemon.send(request).await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
    assert_eq!(text_of(response).await, "one\ntwo 🥊");
}

#[tokio::test]
async fn curls_own_accept_header_gets_events() {
    let daemon = Daemon::reciting("one ").await;
    for accept in ["*/*", "text/event-stream", "text/event-stream, text/plain"] {
        let mut request = json_request("/stream-generate", json!({"prompt": "x"}).to_string());
        request.headers_mut().insert(header::ACCEPT, accept.parse().unwrap());
        assert_eq!(daemon.send(request).await.headers()[header::CONTENT_TYPE], "text/event-stream", "{accept}");
    }
}

#[tokio::test]
async fn a_seed_that_was_chosen_gives_the_same_answer_again() {
    let daemon = Daemon::with(vec![Engine::new("scripted", Script::default())]).await;
    let mut body = json!({"prompt": "x", "temperature": 2.0, "max_tokens": 40});
    let (_, first) = daemon.ask("/generate", &body).await;
    body["seed"] = first["seed"].clone();
    let (_, again) = daemon.ask("/generate", &body).await;
    assert_eq!(first["response"], again["response"]);
    assert!(first["seed"].as_u64().unwrap() < 1 << 53, "JavaScript must read it exactly");
}

#[tokio::test]
async fn a_default_of_max_tokens_is_lowered_to_the_room_left() {
    let daemon = Daemon::reciting("abc").await;
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "x".repeat(505)})).await;
    assert_eq!((status, &answer["usage"]["completion_tokens"]), (StatusCode::OK, &json!(7)));
}

#[tokio::test]
async fn a_failure_in_the_middle_is_an_error_event_and_a_line() {
    let script = Script { fault: Some(Fault::FailsAt(3)), text: "abcdef".into(), ..Script::default() };
    let daemon = Daemon::with(vec![Engine::new("scripted", script)]).await;
    let events = events_of(daemon.post("/stream-generate", &json!({"prompt": "x"})).await).await;
    let (last, pieces) = events.split_last().unwrap();
    assert_eq!((pieces.len(), last.0.as_str()), (3, "error"));
    let error: Value = serde_json::from_str(&last.1).unwrap();
    assert_eq!(error["error"]["code"], "engine_failed");
    assert!(!last.1.contains("the script says so"), "the cause is for the diagnostic log alone");
    let line = daemon.log().pop().unwrap();
    assert_eq!((&line["finish_reason"], &line["status"], &line["response"]), (&json!("error"), &json!(500), &json!("abc")));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_answer_whose_line_can_not_be_written_does_not_leave() {
    // Each request has a daemon of its own: after a failure the log refuses for a moment.
    let full = || async {
        let daemon = Daemon::logging_to(Some(std::path::Path::new("/dev/full")), vec![Engine::new("scripted", Script::default())], 4);
        daemon.app.engines.open_default().await.unwrap();
        daemon
    };
    let body = json!({"prompt": "x", "max_tokens": 3});
    let (status, error) = full().await.ask("/generate", &body).await;
    assert_eq!((status.as_u16(), &error["error"]["code"]), (503, &json!("log_unavailable")));
    let events = events_of(full().await.post("/stream-generate", &body).await).await;
    assert_eq!(events.last().unwrap().0, "error", "{events:?}");
    assert!(events.iter().all(|(name, _)| name != "done"));
    let mut request = json_request("/stream-generate", body.to_string());
    request.headers_mut().insert(header::ACCEPT, "text/plain".parse().unwrap());
    let broken = full().await.send(request).await.into_body().collect().await;
    assert!(broken.is_err(), "bare text breaks off");
}

#[tokio::test]
async fn a_failure_of_a_whole_answer_is_500_and_a_line() {
    let script = Script { fault: Some(Fault::PanicsAt(1)), text: "abcdef".into(), ..Script::default() };
    let daemon = Daemon::with(vec![Engine::new("scripted", script)]).await;
    let (status, error) = daemon.ask("/generate", &json!({"prompt": "x"})).await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("engine_failed")));
    assert_eq!(daemon.log().len(), 1);
    assert_eq!(daemon.get("/ready").await.0, StatusCode::SERVICE_UNAVAILABLE);
    let (_, answer) = daemon.ask("/generate", &json!({"prompt": "x", "max_tokens": 1})).await;
    assert_eq!(answer["response"], "a", "the next request loads the model anew");
}
