//! What the daemon says of itself, as JSON: each answer in the spans of its request, and no text of anybody.

use std::io::Read;

use serde_json::{Value, json};

use super::kit::Daemon;

#[test]
fn an_answer_is_told_in_the_spans_of_its_request_and_without_its_text() {
    let daemon = Daemon::start_as("engine = \"parrot\"", |command| {
        command.env("MINIVAULTD_DIAGNOSTICS__FORMAT", "json").env("MINIVAULTD_DIAGNOSTICS__FILTER", "info").env_remove("RUST_LOG");
    });
    let (status, answer) = daemon.ask("/generate", &json!({"prompt": "squawk", "max_tokens": 3}));
    assert_eq!(status, 200);
    let line = daemon.hears("answered");
    assert!(!line.contains("squawk"), "{line}");
    let told: Value = serde_json::from_str(&line).unwrap();
    let [request, spoken] = &told["spans"].as_array().unwrap()[..] else { panic!("{told}") };
    assert_eq!([&request["name"], &spoken["name"]], ["request", "answer"]);
    assert_eq!([&request["http.route"], &request["http.request.method"]], ["/generate", "POST"]);
    assert_eq!([&spoken["gen_ai.response.id"], &spoken["gen_ai.request.model"]], [&answer["id"], &json!("parrot")]);
    assert_eq!([&spoken["gen_ai.usage.output_tokens"], &spoken["gen_ai.response.finish_reasons"]], [&json!(3), &json!("length")]);
    assert!(spoken["ttft_ms"].as_f64().unwrap() <= spoken["duration_ms"].as_f64().unwrap(), "{told}");
}

#[test]
fn what_it_says_is_filtered_as_configured() {
    let daemon = Daemon::start_as("engine = \"parrot\"", |command| {
        command.env("MINIVAULTD_DIAGNOSTICS__FILTER", "minivault_daemon=debug").env("RUST_LOG", "error");
    });
    assert_eq!(daemon.ask("/generate", &json!({"prompt": "squawk", "max_tokens": 3})).0, 200);
    let mut answer = String::new();
    daemon.send("GET", "/health", "").read_to_string(&mut answer).unwrap();
    assert!(daemon.said.try_iter().all(|line| !line.contains("answer")), "RUST_LOG comes first");
}
