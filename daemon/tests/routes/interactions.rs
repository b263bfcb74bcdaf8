//! The log over HTTP: found, counted, verified, run again.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use minivault_engines::Determinism;
use minivault_engines::testkit::Script;
use serde_json::{Value, json};

use crate::support::{Daemon, Engine, text_of};

/// Lines of a page, and where the next one begins.
async fn page(daemon: &Daemon, query: &str) -> (Vec<Value>, Option<u64>) {
    let response = daemon.send(Request::get(format!("/interactions?{query}")).body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let next = response.headers().get("x-minivault-next").map(|next| next.to_str().unwrap().parse().unwrap());
    (text_of(response).await.lines().map(|line| serde_json::from_str(line).unwrap()).collect(), next)
}

async fn generate(daemon: &Daemon, body: Value) -> String {
    let (status, answer) = daemon.ask("/generate", &body).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer["id"].as_str().unwrap().to_owned()
}

async fn replay(daemon: &Daemon, id: &str, body: Value) -> (StatusCode, Value) {
    daemon.ask(&format!("/interactions/{id}/replay"), &body).await
}

/// The last line of the log with some of it changed, in place of the log.
fn rewrite(daemon: &Daemon, change: impl FnOnce(&mut Value)) {
    let mut line = daemon.log().pop().unwrap();
    change(&mut line);
    std::fs::write(daemon.log_path(), format!("{line}\n")).unwrap();
}

#[tokio::test]
async fn interactions_are_found_page_by_page() {
    let daemon = Daemon::reciting("abcdefgh").await;
    for number in 0..5 {
        generate(&daemon, json!({"prompt": format!("number {number}"), "max_tokens": 3})).await;
    }
    let (lines, next) = page(&daemon, "limit=2").await;
    assert_eq!(lines.iter().map(|line| line["prompt"].as_str().unwrap()).collect::<Vec<_>>(), ["number 4", "number 3"]);
    let (lines, next) = page(&daemon, &format!("limit=3&before={}", next.unwrap())).await;
    assert_eq!(lines.len(), 3);
    assert_eq!(page(&daemon, &format!("before={}", next.unwrap())).await, (vec![], None));
    assert_eq!(page(&daemon, "grep=number+3").await.0.len(), 1);
    assert_eq!(page(&daemon, "grep=number+%5B23%5D&regex=true").await.0.len(), 2);
    assert_eq!(page(&daemon, "model=other").await.0.len(), 0);
    let (status, line) = daemon.get(&format!("/interactions/{}", lines[0]["id"].as_str().unwrap())).await;
    assert_eq!((status, &line), (StatusCode::OK, &lines[0]));
    let (status, stats) = daemon.get("/interactions/stats").await;
    assert_eq!((status, &stats["rows"][0]["requests"], &stats["rows"][0]["completion_tokens"]), (StatusCode::OK, &json!(5), &json!(15)));
    let (status, seen) = daemon.get("/interactions/verify").await;
    assert_eq!((status, &seen["lines"], &seen["fault"]), (StatusCode::OK, &json!(5), &Value::Null));
}

#[tokio::test]
async fn what_a_question_about_the_log_has_wrong_is_named() {
    let daemon = Daemon::reciting("abc").await;
    for (query, param, words) in [
        ("limit=0", "limit", "between 1 and 1000"),
        ("limit=x", "limit", "a whole number"),
        ("since=yesterday", "since", "2026-11-25T10:15:00Z"),
        ("grep=(&regex=true", "grep", "unclosed group"),
        ("finish_reason=done", "finish_reason", "cancelled"),
        ("sinse=1", "sinse", "did you mean `since`?"),
    ] {
        let (status, answer) = daemon.get(&format!("/interactions?{query}")).await;
        assert_eq!((status, &answer["error"]["param"]), (StatusCode::BAD_REQUEST, &json!(param)), "{query}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(words), "{answer}");
    }
    let (status, answer) = daemon.get("/interactions/nothing").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!("interaction_not_found")));
}

#[tokio::test]
async fn an_interaction_run_again_is_identical_and_logged_as_what_it_is() {
    let daemon = Daemon::with(vec![Engine::new("scripted", Script::default())]).await;
    let sampling = json!({"prompt": "Hello", "max_tokens": 12, "temperature": 1.7, "top_p": 0.95, "stop": ["zz"]});
    let id = generate(&daemon, sampling).await;
    let (status, answer) = replay(&daemon, &id, json!({})).await;
    assert_eq!((status, &answer["verdict"], &answer["same_model"]), (StatusCode::OK, &json!("identical"), &json!(true)), "{answer}");
    assert_eq!((&answer["notes"], &answer["recorded_tokens"], &answer["tokens"]), (&json!([]), &json!(12), &json!(12)));
    let log = daemon.log();
    let (first, again) = (&log[0], &log[1]);
    assert_eq!((&again["replay_of"], &again["endpoint"], &again["id"]), (&json!(id), &json!("/interactions/{id}/replay"), &answer["id"]));
    for same in ["prompt", "response", "seed", "response_token_ids", "computation", "fingerprint"] {
        assert_eq!(first[same], again[same], "{same}");
    }
    assert_eq!(first["computation"], json!({"version": "1", "dtype": "none", "kernel": "script", "threads": 1}));
    // A replay can be run again itself, and a chat, and each of several answers.
    assert_eq!(replay(&daemon, answer["id"].as_str().unwrap(), json!({})).await.1["verdict"], "identical");
    let chat = json!({"messages": [{"role": "user", "content": "Hi"}], "n": 2, "max_tokens": 9, "temperature": 2.0, "logprobs": true});
    let (_, chat) = daemon.ask("/v1/chat/completions", &chat).await;
    for choice in 0..2 {
        let (_, answer) = replay(&daemon, &format!("{}-{choice}", chat["id"].as_str().unwrap()), json!({})).await;
        assert_eq!(answer["verdict"], "identical", "{answer}");
    }
    let (_, tokens) = daemon.ask("/v1/completions", &json!({"prompt": [72, 105], "max_tokens": 5, "temperature": 0.5})).await;
    assert_eq!(replay(&daemon, tokens["id"].as_str().unwrap(), json!({})).await.1["verdict"], "identical");
}

#[tokio::test]
async fn the_first_token_that_differs_is_told_with_both_continuations_and_another_model_before() {
    let other = Script { text: "abcdXYZ".into(), fingerprint: "scripted-2", ..Script::default() };
    let engines = vec![
        Engine::new("scripted", Script { text: "abcdefgh".into(), ..Script::default() }),
        Engine::new("other", other),
        Engine::new("none", Script { text: "abcdXYZ".into(), determinism: Determinism::None, ..Script::default() }),
    ];
    let daemon = Daemon::with(engines).await;
    let id = generate(&daemon, json!({"prompt": "xx", "max_tokens": 6})).await;
    let (_, answer) = replay(&daemon, &id, json!({"engine": "other"})).await;
    assert_eq!((&answer["verdict"], &answer["same_model"]), (&json!("differs"), &json!(false)));
    assert!(answer["notes"][0].as_str().unwrap().starts_with("the model is another one: its fingerprint was scripted-1"), "{answer}");
    assert_eq!(answer["difference"], json!({"token": 4, "byte": 4, "recorded": "ef", "replayed": "XY"}));
    // Nothing is promised, so nothing is called identical.
    let (_, answer) = replay(&daemon, &id, json!({"engine": "none"})).await;
    assert_eq!(answer["verdict"], "different_text");
    assert_eq!(answer["difference"], json!({"byte": 4, "recorded": "ef", "replayed": "XY"}));
    let id = generate(&daemon, json!({"prompt": "xx", "max_tokens": 4})).await;
    assert_eq!(replay(&daemon, &id, json!({"engine": "none"})).await.1["verdict"], "same_text");
    let (status, answer) = replay(&daemon, &id, json!({"engine": "nobody"})).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!("model_not_found")));
}

#[tokio::test]
async fn an_answer_that_was_cut_off_is_compared_as_far_as_it_goes() {
    let daemon = Daemon::reciting("abcdefgh").await;
    let id = generate(&daemon, json!({"prompt": "xx", "max_tokens": 8})).await;
    let cut_off = |line: &mut Value| {
        line["finish_reason"] = json!("cancelled");
        line["response"] = json!("abc");
        line["response_token_ids"].as_array_mut().unwrap().truncate(4);
    };
    rewrite(&daemon, cut_off);
    let (_, answer) = replay(&daemon, &id, json!({})).await;
    assert_eq!((&answer["verdict"], &answer["recorded_tokens"], &answer["tokens"]), (&json!("identical"), &json!(4), &json!(8)));
    assert!(answer["notes"][0].as_str().unwrap().contains("cancelled after 4 tokens"), "{answer}");
}

#[tokio::test]
async fn what_was_not_recorded_whole_is_refused_with_the_reason() {
    let daemon = Daemon::reciting("abc").await;
    let id = generate(&daemon, json!({"prompt": "xx", "max_tokens": 3})).await;
    let whole = daemon.log().pop().unwrap();
    type Change<'a> = &'a dyn Fn(&mut Value);
    let changes: [(Change<'_>, &str); 4] = [
        (&|line| line["record"] = json!("hash"), "its texts weren't recorded (log.record was `hash`)"),
        (&|line| line["redacted"] = json!(true), "parts of its texts were redacted"),
        (&|line| drop(line["request"].as_object_mut().unwrap().remove("max_tokens")), "`max_tokens` is missing"),
        (&|line| drop(line.as_object_mut().unwrap().remove("seed")), "was written by another version: missing field `seed`"),
    ];
    for (change, reason) in changes {
        std::fs::write(daemon.log_path(), format!("{whole}\n")).unwrap();
        rewrite(&daemon, change);
        let (status, answer) = replay(&daemon, &id, json!({})).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::CONFLICT, &json!("not_replayable")), "{answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains(reason), "{answer}");
    }
}

#[tokio::test]
async fn a_request_says_that_it_must_be_deterministic_and_an_engine_without_a_promise_refuses() {
    let none = Script { determinism: Determinism::None, ..Script::default() };
    let engines = vec![Engine::new("serial", Script { determinism: Determinism::Serial, ..Script::default() }), Engine::new("none", none)];
    let daemon = Daemon::with(engines).await;
    generate(&daemon, json!({"prompt": "xx", "max_tokens": 3, "deterministic": true})).await;
    assert_eq!(daemon.log()[0]["request"]["deterministic"], true);
    for (path, body) in [
        ("/generate", json!({"prompt": "xx", "model": "none", "deterministic": true})),
        ("/v1/completions", json!({"prompt": "xx", "model": "none", "deterministic": true})),
        ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": "Hi"}], "model": "none", "deterministic": true})),
        ("/completion", json!({"prompt": "xx", "model": "none", "deterministic": true})),
    ] {
        let (status, answer) = daemon.ask(path, &body).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_IMPLEMENTED, &json!("unsupported")), "{path}: {answer}");
        assert!(answer["error"]["message"].as_str().unwrap().contains("engine `none`"), "{answer}");
    }
}
