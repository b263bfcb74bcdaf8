//! `minivault bench` as a process.
#![allow(clippy::unwrap_used)]

mod support;

use serde_json::{Value, json};
use support::*;

fn good() -> Vec<Step> {
    stream(&(piece("a") + &piece("b") + &done()), 4096)
}

#[test]
fn each_level_is_measured_with_prompts_of_its_own() {
    let daemon = Daemon::answering((0..7).map(|_| good()).collect());
    let output = run(&daemon.url, &["bench", "--clients", "2", "--requests", "2", "--max-tokens", "9", "--json", "Once"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["model"], &report["max_tokens"]), (&json!("distilgpt2"), &json!(9)));
    for (level, (clients, requests)) in report["levels"].as_array().unwrap().iter().zip([(1, 2), (2, 4)]) {
        assert_eq!((&level["clients"], &level["requests"], &level["failed"]), (&json!(clients), &json!(requests), &json!(0)));
        assert_eq!(level["tokens"], json!(2 * requests));
        assert!(level["tokens_per_second"].as_f64().unwrap() > 0.0, "{level}");
        assert!(level["first_token_ms"]["p50"].is_f64() && level["between_tokens_ms"]["p99"].is_f64(), "{level}");
    }
    assert_eq!(report["levels"].as_array().unwrap().len(), 2);
    let bodies: Vec<Value> = (0..7).map(|_| daemon.request().body).collect();
    let mut prompts: Vec<&str> = bodies.iter().map(|body| body["prompt"].as_str().unwrap()).collect();
    assert!(prompts.iter().all(|prompt| prompt.ends_with(": Once")) && bodies.iter().all(|body| body["max_tokens"] == 9));
    prompts.sort_unstable();
    prompts.dedup();
    assert_eq!(prompts.len(), 7, "each prompt once: {prompts:?}");
}

#[test]
fn a_level_that_is_refused_is_counted_and_charted() {
    let refused = answer("429 Too Many Requests", &error_json("the queue is full"));
    let daemon = Daemon::answering(vec![good(), good(), refused, good()]);
    let output = run(&daemon.url, &["bench", "--clients", "2", "--requests", "1"]);
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("distilgpt2 at http://127.0.0.1:") && lines[1].starts_with("CLIENTS  FAILED"), "{text}");
    assert!(lines[2].starts_with("1             0") && lines[2].contains('█') && lines[3].starts_with("2             1"), "{text}");
    assert!(!text.contains('\x1b') && lines.len() == 4, "{text}");
}

#[test]
fn the_first_refusal_ends_the_bench() {
    let daemon = Daemon::answering(vec![answer("404 Not Found", &error_json("no engine \"x\""))]);
    check(&run(&daemon.url, &["bench", "--model", "x"]), 1, "", "error: no engine \"x\"\n");
    check(&run(NOBODY, &["bench"]), 3, "", "`make run`");
}

#[test]
fn a_small_context_gets_shorter_answers() {
    let refused = || {
        let message = "the prompt has 30 tokens and max_tokens asks for 64 more; the model's context holds 64";
        answer("400 Bad Request", &error_json(message))
    };
    let daemon = Daemon::answering(vec![refused(), good(), good(), refused()]);
    let output = run(&daemon.url, &["bench", "--clients", "1", "--requests", "1", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(String::from_utf8(output.stderr).unwrap().ends_with("answers of 30 tokens are asked for instead of 64\n"));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["max_tokens"], 30);
    check(&run(&daemon.url, &["bench", "--max-tokens", "64"]), 1, "", "context holds 64; --max-tokens 30 fits");
}
