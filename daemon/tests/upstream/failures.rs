//! Servers that break off, stall, or talk nonsense, and clients that leave.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use minivault_engines::{GenerateRequest, MaxTokens, TextEvent};
use serde_json::json;

use crate::fixture::{Fixture, Reply};
use crate::{open, text};

fn request() -> GenerateRequest {
    GenerateRequest::text("Hi", MaxTokens::AtMost(9))
}

#[tokio::test]
async fn as_long_as_nothing_was_passed_on_the_next_server_takes_over() {
    let failures: [fn() -> Reply; 6] = [
        || Reply::whole(500, "no"),
        || Reply::whole(429, "later"),
        || Reply::whole(404, "what?"),
        || Reply::events(&[]),
        || Reply::events(&[r#"{"error":{"message":"broken","code":500}}"#]),
        || Reply::events(&["{nonsense"]),
    ];
    for failure in failures {
        let bad = Fixture::start(move |_, _| failure()).await;
        let good = Fixture::start(|_, _| Reply::text(&["good"])).await;
        let engine = open(&[&bad.url, &good.url], &json!({})).await.unwrap();
        for _ in 0..4 {
            assert_eq!(text(&*engine, request()).await.unwrap(), "good");
        }
        assert_eq!(good.asked().len(), 4);
        assert!(!bad.asked().is_empty());
    }
}

#[tokio::test]
async fn a_refused_request_is_not_tried_elsewhere() {
    let first = Fixture::start(|_, _| Reply::whole(400, r#"{"error":"wrong"}"#)).await;
    let second = Fixture::start(|_, _| Reply::text(&["good"])).await;
    let engine = open(&[&first.url, &second.url], &json!({})).await.unwrap();
    assert!(text(&*engine, request()).await.is_err());
    assert_eq!(second.asked().len(), 0);
}

#[tokio::test]
async fn after_the_first_piece_a_failure_is_an_error() {
    let piece = r#"{"choices":[{"index":0,"text":"some"}]}"#;
    let endings: [Vec<&'static str>; 3] = [vec![piece], vec![piece, r#"{"error":"SECRET"}"#], vec![piece, "SECRET"]];
    for events in endings {
        let bad = Fixture::start(move |_, _| Reply::events(&events)).await;
        let good = Fixture::start(|_, _| Reply::text(&["good"])).await;
        let engine = open(&[&bad.url, &good.url], &json!({})).await.unwrap();
        let mut generation = engine.generate(request()).await.unwrap();
        assert!(matches!(generation.next().await, Some(Ok(TextEvent::Text { text, .. })) if text == "some"));
        let error = generation.next().await.unwrap().unwrap_err().to_string();
        assert!(error.starts_with("the upstream server failed: ") && !error.contains("SECRET"), "{error}");
        assert!(generation.next().await.is_none());
        assert_eq!(text(&*engine, request()).await.unwrap(), "good");
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_given_up() {
    let silent = Fixture::start(|_, _| Reply::pieces(&[]).stalling()).await;
    let stuck = Fixture::start(|_, _| Reply::events(&[r#"{"choices":[{"text":"some"}]}"#]).stalling()).await;
    for server in [&silent, &stuck] {
        let engine = open(&[&server.url], &json!({"idle_timeout": 0.2})).await.unwrap();
        let begin = Instant::now();
        let error = text(&*engine, request()).await.unwrap_err();
        assert_eq!(error.to_string(), "the upstream server failed: it sent nothing for too long");
        assert!(begin.elapsed() >= Duration::from_millis(200), "{:?}", begin.elapsed());
        server.left().await;
    }
}

#[tokio::test]
async fn garbage_is_given_up_and_not_passed_on() {
    let endless = || "x".repeat(5 << 20);
    let garbage: [fn() -> Reply; 5] = [
        || Reply::whole(200, "<html>SECRET</html>").with("x-filler", "1"),
        || Reply::pieces(&["<html>SECRET</html>\n\n".into()]),
        || Reply::events(&["SECRET"]),
        || Reply::events(&[r#"{"choices":"SECRET"}"#]),
        || Reply::events(&[r#"{"choices":[{"text":7}]}"#]),
    ];
    for reply in garbage {
        let server = Fixture::start(move |_, _| reply()).await;
        let engine = open(&[&server.url], &json!({})).await.unwrap();
        let error = text(&*engine, request()).await.unwrap_err();
        assert_eq!(error.to_string(), "the upstream server failed: its answer makes no sense", "{:?}", reply());
    }
    let server = Fixture::start(move |_, _| Reply::pieces(&[endless()]).stalling()).await;
    let engine = open(&[&server.url], &json!({})).await.unwrap();
    assert!(text(&*engine, request()).await.unwrap_err().to_string().ends_with("makes no sense"), "a line without an end");
    server.left().await;
}

#[tokio::test]
async fn dropping_an_answer_closes_its_connection() {
    let server = Fixture::start(|_, _| Reply::events(&[r#"{"choices":[{"text":"some"}]}"#]).stalling()).await;
    let engine = open(&[&server.url], &json!({"slots": 1})).await.unwrap();
    let mut generation = engine.generate(request()).await.unwrap();
    generation.next().await.unwrap().unwrap();
    assert!(engine.generate(request()).await.is_err(), "its only place is taken");
    drop(generation);
    server.left().await;
    assert_eq!(engine.health().active, 0);

    // Before the server has said anything, too.
    let mute = Fixture::start(|_, _| Reply::pieces(&[]).stalling()).await;
    let engine = open(&[&mute.url], &json!({})).await.unwrap();
    drop(engine.generate(request()).await.unwrap());
    mute.left().await;
}

#[tokio::test]
async fn dropping_the_engine_ends_its_answers() {
    let server = Fixture::start(|_, _| Reply::events(&[r#"{"choices":[{"text":"some"}]}"#]).stalling()).await;
    let engine = open(&[&server.url], &json!({})).await.unwrap();
    let generation = engine.generate(request()).await.unwrap();
    drop(engine);
    let error = generation.collect().await.unwrap_err();
    assert_eq!(error.to_string(), "the engine has stopped");
    server.left().await;
}
