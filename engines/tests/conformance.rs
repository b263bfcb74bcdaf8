//! Every built-in engine keeps what every engine promises, opened as the daemon opens it.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use figment::Figment;
use figment::value::Value;
use minivault_engines::error::Result;
use minivault_engines::testkit::conformance::{Open, Subject, check};
use minivault_engines::{Circumstance, Determinism, EngineError, Engines, Opening, TextEngine};

/// Opens an engine from a table of the configuration.
async fn open(backend: &str, table: serde_json::Value) -> Result<Arc<dyn TextEngine>> {
    let table: Value = Figment::from(figment::providers::Serialized::defaults(table)).extract().unwrap();
    let prepared = Engines::builtin().prepare(backend, &table).unwrap().unwrap();
    prepared.open(&Opening { name: "subject".into(), ..Opening::default() }).await
}

fn subject(backend: &'static str, table: serde_json::Value, prompt: &str, others: &[&str]) -> Subject {
    let with = |key: &str, value: serde_json::Value| {
        let mut table = table.clone();
        table[key] = value;
        opening(backend, table)
    };
    let gpt2 = backend == "gpt2";
    let mut variants = vec![(Circumstance::ChunkSize, with("step_tokens", 3.into()))];
    if gpt2 {
        variants.push((Circumstance::Speculation, with("speculation", false.into())));
        variants.extend([1, 2, 3].map(|threads| (Circumstance::Threads, with("threads", threads.into()))));
    }
    Subject {
        open: opening(backend, table),
        prompt: prompt.into(),
        others: others.iter().map(|&other| other.to_owned()).collect(),
        capacity: Some(7),
        variants,
        reuses_prefixes: gpt2,
        knows_tokens_alone: true,
    }
}

fn opening(backend: &'static str, table: serde_json::Value) -> Open {
    Box::new(move || Box::pin(open(backend, table.clone())))
}

/// A path from the environment; `None` and a printed reason where it isn't set.
fn given(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set");
    }
    path
}

fn tiny() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "data", "gpt2-tiny"].iter().collect()
}

const TALES: [&str; 3] = ["The best thing to", "Once upon a time", "I was told that 🥊"];

#[tokio::test]
async fn gpt2_of_random_weights_passes_the_conformance_kit() {
    for dtype in ["f32", "bf16", "q8"] {
        let table = serde_json::json!({"model": tiny(), "slots": 3, "queue": 4, "embeddings": true, "dtype": dtype});
        check(&subject("gpt2", table, "Hello", &["naïve", "🥊", "abc"])).await;
    }
}

#[tokio::test]
async fn gpt2_passes_the_conformance_kit() {
    let Some(folder) = given("MINIVAULT_TEST_TAROTBLE") else { return };
    check(&subject("gpt2", serde_json::json!({"model": folder, "slots": 3, "queue": 4}), "The best thing", &TALES)).await;
}

#[cfg(feature = "llama-cpp")]
#[tokio::test]
async fn llama_cpp_passes_the_conformance_kit() {
    let Some(folder) = given("MINIVAULT_TEST_TAROTBLE") else { return };
    let file = folder.join("tarotble-f32.gguf");
    check(&subject("llama-cpp", serde_json::json!({"model": file, "slots": 3, "queue": 4}), "The best thing", &TALES)).await;
}

#[cfg(feature = "llama-cpp")]
#[tokio::test]
async fn smollm2_passes_the_conformance_kit() {
    let Some(file) = given("MINIVAULT_TEST_SMOLLM2") else { return };
    let table = serde_json::json!({"model": file, "slots": 3, "queue": 4, "context": 256, "threads": 1});
    check(&subject("llama-cpp", table, "Once upon a time", &["List the emojis 🥊🇩🇪:", "def main():", "日本語"])).await;
}

#[cfg(feature = "llama-cpp")]
#[tokio::test]
async fn llama_cpp_that_reuses_and_guesses_passes_the_conformance_kit() {
    let Some(folder) = given("MINIVAULT_TEST_TAROTBLE") else { return };
    let table =
        serde_json::json!({"model": folder.join("tarotble-f32.gguf"), "slots": 3, "queue": 4, "reuse": "fast", "speculation": true});
    let engine = open("llama-cpp", table.clone()).await.unwrap();
    assert_eq!(engine.info().determinism, Determinism::None);
    check(&Subject { reuses_prefixes: true, ..subject("llama-cpp", table, "The best thing", &TALES) }).await;
}

#[tokio::test]
async fn a_model_that_is_not_there_is_told_with_its_place() {
    let error = open("gpt2", serde_json::json!({"model": "./nowhere"})).await.err();
    assert!(matches!(&error, Some(EngineError::Unavailable(reason)) if reason.contains("nowhere")), "{error:?}");
}
