//! `/metrics`: what was done is counted, under labels that strangers can't multiply.

use axum::body::Body;
use axum::http::Request;
use serde_json::json;

use crate::support::{Daemon, text_of};

async fn scrape(daemon: &Daemon) -> String {
    let response = daemon.send(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert_eq!(response.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    text_of(response).await
}

/// The number behind a line's name and labels.
#[track_caller]
fn number(text: &str, line: &str) -> f64 {
    let found = text.lines().find_map(|told| told.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {line} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn requests_tokens_times_and_the_log_are_counted() {
    let daemon = Daemon::reciting("abc").await;
    for _ in 0..3 {
        let (status, _) = daemon.ask("/generate", &json!({"prompt": "secret words", "max_tokens": 4})).await;
        assert_eq!(status, 200);
    }
    daemon.ask("/generate", &json!({"prompt": "x", "max_tokens": -1})).await;
    daemon.ask("/no/such/path-7", &json!({})).await;
    let foreign = Request::post("/generate").header("host", "evil.example").body(Body::from("{}")).unwrap();
    assert_eq!(daemon.send(foreign).await.status(), 403);
    let text = scrape(&daemon).await;
    for (line, expected) in [
        (r#"minivault_http_requests_total{route="/generate",method="POST",status="200"}"#, 3.0),
        (r#"minivault_http_requests_total{route="/generate",method="POST",status="400"}"#, 1.0),
        (r#"minivault_http_requests_total{route="none",method="POST",status="404"}"#, 1.0),
        (r#"minivault_http_requests_total{route="/generate",method="POST",status="403"}"#, 1.0),
        (r#"minivault_engine_restarts_total{engine="scripted"}"#, 0.0),
        (r#"minivault_answers_total{engine="scripted",route="/generate",outcome="length"}"#, 3.0),
        (r#"minivault_generated_tokens_total{engine="scripted"}"#, 12.0),
        (r#"minivault_time_to_first_token_seconds_count{engine="scripted"}"#, 3.0),
        (r#"minivault_time_per_output_token_seconds_count{engine="scripted"}"#, 9.0),
        (r#"minivault_request_duration_seconds_count{engine="scripted"}"#, 3.0),
        (r#"minivault_queue_time_seconds_count{engine="scripted"}"#, 3.0),
        (r#"minivault_engine_up{engine="scripted"}"#, 1.0),
        (r#"minivault_requests_running{engine="scripted"}"#, 0.0),
        ("minivault_log_lines_total", 3.0),
        ("minivault_log_dropped_lines_total", 0.0),
        ("minivault_log_failing", 0.0),
    ] {
        assert!((number(&text, line) - expected).abs() < 1e-9, "{line} in {text}");
    }
    // Each request was computed alone: a step for the prompt, which has the first token, and one for each of the others.
    assert!(number(&text, r#"minivault_step_width_count{engine="scripted"}"#) >= 12.0, "{text}");
    assert!(number(&text, r#"minivault_step_width_bucket{engine="scripted",le="1"}"#) >= 12.0, "{text}");
    assert!(!text.contains("secret") && !text.contains("path-7"), "no text of anybody is in it: {text}");
}

#[tokio::test]
async fn the_dashboard_asks_for_what_there_is() {
    let daemon = Daemon::reciting("abc").await;
    daemon.ask("/generate", &json!({"prompt": "x", "max_tokens": 4})).await;
    let text = scrape(&daemon).await;
    let dashboard = include_str!("../../../dist/grafana/minivault.json");
    let names: std::collections::BTreeSet<&str> = dashboard
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("minivault_"))
        .collect();
    assert!(names.len() > 15, "{names:?}");
    for name in names {
        let is_told = text.lines().any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])));
        assert!(is_told, "{name} is in the dashboard and not in {text}");
    }
}
