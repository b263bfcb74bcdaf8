//! Real models, run again: under load as alone, and not with other weights.

use std::path::{Path, PathBuf};

use axum::http::StatusCode;
use futures_util::future::join_all;
use minivault_engines::Engines;
use serde_json::{Value, json};

use crate::support::{Daemon, settings_with};

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../engines/tests/data/gpt2-tiny")
}

/// The folder with this many of the weights' last bytes changed, which are a weight.
fn with_another_weight(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(folder.join(name), copy.path().join(name)).unwrap();
    }
    let weights = copy.path().join("model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    // The last byte of the last number is its sign and most of its exponent.
    let last = bytes.len() - 1;
    bytes[last] ^= 0x80;
    std::fs::write(&weights, bytes).unwrap();
    copy
}

/// One engine, opened.
async fn daemon(backend: &str, table: Value, log: Option<&Path>) -> Daemon {
    let daemon = Daemon::of(log, vec![settings_with(&Engines::builtin(), backend, "real", &table)], 256);
    daemon.app.engines.open_default().await.unwrap();
    daemon
}

/// A request of another kind for each number.
fn request(number: usize) -> (&'static str, Value) {
    let prompt = ["Hello", "The best thing", "naïve", "abc abc abc", "🥊"][number % 5];
    let max_tokens = 3 + number % 11;
    match number % 4 {
        0 => ("/generate", json!({"prompt": prompt, "max_tokens": max_tokens, "temperature": 1.3})),
        1 => (
            "/v1/completions",
            json!({"prompt": prompt, "max_tokens": max_tokens, "seed": number, "logprobs": 2, "frequency_penalty": 0.3}),
        ),
        2 => ("/v1/chat/completions", json!({"messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens, "top_p": 0.9})),
        _ => ("/completion", json!({"prompt": prompt, "n_predict": max_tokens, "top_k": 40})),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_interactions_under_load_are_identical_when_they_are_run_again_alone() {
    let mut folders = vec![tiny()];
    match std::env::var_os("MINIVAULT_TEST_TAROTBLE").filter(|folder| !folder.is_empty()) {
        Some(folder) => folders.push(folder.into()),
        None => println!("skipped in part: MINIVAULT_TEST_TAROTBLE is not set"),
    }
    for folder in folders {
        let table = json!({"model": folder, "slots": 8, "queue": 128});
        let daemon = daemon("gpt2", table, None).await;
        let asked = join_all((0..100).map(async |number| {
            let (path, body) = request(number);
            let (status, answer) = daemon.ask(path, &body).await;
            assert_eq!(status, StatusCode::OK, "{answer}");
        }));
        asked.await;
        let log = daemon.log();
        assert_eq!(log.len(), 100);
        for line in &log {
            let (status, answer) = daemon.ask(&format!("/interactions/{}/replay", line["id"].as_str().unwrap()), &json!({})).await;
            assert_eq!(
                (status, &answer["verdict"], &answer["notes"]),
                (StatusCode::OK, &json!("identical"), &json!([])),
                "{line}\n{answer}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_changed_weight_is_another_model() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.jsonl");
    let before = daemon("gpt2", json!({"model": tiny()}), Some(&log)).await;
    let (_, answer) = before.ask("/generate", &json!({"prompt": "Hello", "max_tokens": 12})).await;
    let path = format!("/interactions/{}/replay", answer["id"].as_str().unwrap());
    before.app.journal.close();
    drop(before);
    let changed = with_another_weight(&tiny());
    let after = daemon("gpt2", json!({"model": changed.path()}), Some(&log)).await;
    let (status, answer) = after.ask(&path, &json!({})).await;
    assert_eq!((status, &answer["same_model"]), (StatusCode::OK, &json!(false)), "{answer}");
    assert!(answer["notes"][0].as_str().unwrap().starts_with("the model is another one: its fingerprint was "), "{answer}");
}

#[cfg(feature = "llama-cpp")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_llama_cpp_answers_to_a_deterministic_request_is_identical_again() {
    let Some(folder) = std::env::var_os("MINIVAULT_TEST_TAROTBLE").filter(|folder| !folder.is_empty()) else {
        println!("skipped: MINIVAULT_TEST_TAROTBLE is not set");
        return;
    };
    let table = json!({"model": Path::new(&folder).join("tarotble-f32.gguf"), "slots": 4, "queue": 32, "threads": 1});
    let daemon = daemon("llama-cpp", table, None).await;
    join_all((0..16).map(async |number| {
        let body = json!({"prompt": "The best thing", "max_tokens": 16, "seed": number, "deterministic": number % 2 == 0});
        daemon.ask("/generate", &body).await
    }))
    .await;
    for line in daemon.log().iter().filter(|line| line["request"]["deterministic"] == true) {
        let (_, answer) = daemon.ask(&format!("/interactions/{}/replay", line["id"].as_str().unwrap()), &json!({})).await;
        assert_eq!(answer["verdict"], "identical", "{line}\n{answer}");
    }
}
