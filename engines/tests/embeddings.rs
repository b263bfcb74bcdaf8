//! Vectors of texts: the same weights on two engines, and what vectors are good for.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use minivault_engines::{EngineError, Engines, Opening, Prompt, TextEngine};
use serde_json::json;

async fn open(backend: &str, table: serde_json::Value) -> Arc<dyn TextEngine> {
    let table = figment::Figment::from(figment::providers::Serialized::defaults(table)).extract().unwrap();
    let prepared = Engines::builtin().prepare(backend, &table).unwrap().unwrap();
    prepared.open(&Opening { name: "subject".into(), ..Opening::default() }).await.unwrap()
}

/// A path from the environment; `None` and a printed reason where it isn't set.
fn given(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set");
    }
    path
}

async fn vectors(engine: &dyn TextEngine, texts: &[&str]) -> Vec<Vec<f32>> {
    let texts: Vec<Prompt> = texts.iter().map(|&text| Prompt::Text(text.into())).collect();
    engine.embed(&texts).await.unwrap().into_iter().map(|embedding| embedding.vector).collect()
}

/// The cosine of the angle between two vectors of length 1.
fn cosine(one: &[f32], other: &[f32]) -> f32 {
    one.iter().zip(other).map(|(a, b)| a * b).sum()
}

const TALES: [&str; 3] = ["The best thing to someone today", "Once upon a time there was", "Love"];

#[tokio::test]
async fn tokens_and_text_have_one_vector_and_the_limit_is_the_context() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/gpt2-tiny");
    let engine = open("gpt2", json!({"model": folder, "embeddings": true, "step_tokens": 8})).await;
    let text = "a text of some more tokens than a step has";
    let tokens = engine.tokenize(text).await.unwrap();
    assert!(tokens.len() > 8, "{}", tokens.len());
    let both = engine.embed(&[Prompt::Text(text.into()), Prompt::Tokens(tokens.clone())]).await.unwrap();
    assert_eq!((&both[0], both[0].tokens), (&both[1], tokens.len()));
    let whole = open("gpt2", json!({"model": folder, "embeddings": true})).await;
    assert_eq!(whole.embed(&[Prompt::Text(text.into())]).await.unwrap()[0], both[0], "chunks change no bit");
    let limit = engine.info().context_length;
    assert!(engine.embed(&[Prompt::Tokens(vec![1; limit])]).await.is_ok());
    let error = engine.embed(&[Prompt::Tokens(vec![1; limit + 1])]).await.unwrap_err();
    assert_eq!(error.to_string(), format!("input has {} tokens; it must have 1 to {limit}", limit + 1));
}

#[tokio::test]
async fn an_engine_that_has_none_says_so_with_its_name() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/gpt2-tiny");
    let error = open("gpt2", json!({ "model": folder })).await.embed(&[Prompt::Text("a".into())]).await.unwrap_err();
    assert!(matches!(&error, EngineError::Unsupported { engine, .. } if engine == "subject"), "{error:?}");
}

#[cfg(feature = "llama-cpp")]
#[tokio::test]
async fn two_engines_give_the_same_weights_the_same_vectors() {
    let Some(folder) = given("MINIVAULT_TEST_TAROTBLE") else { return };
    let ours = open("gpt2", json!({"model": folder, "embeddings": true})).await;
    let expected = vectors(&*ours, &TALES).await;
    for step_tokens in [4, 128] {
        let table = json!({"model": folder.join("tarotble-f32.gguf"), "pooling": "mean", "slots": 1, "step_tokens": step_tokens});
        let theirs = vectors(&*open("llama-cpp", table).await, &TALES).await;
        for ((text, one), other) in TALES.iter().zip(&expected).zip(&theirs) {
            assert!(cosine(one, other) > 0.9999, "{text}, steps of {step_tokens}: {}", cosine(one, other));
        }
    }
    // One token alone is the first, the last and the mean; of several, each has its own.
    let mut of = Vec::new();
    for pooling in ["mean", "cls", "last"] {
        let table = json!({"model": folder.join("tarotble-f32.gguf"), "pooling": pooling});
        of.push(vectors(&*open("llama-cpp", table).await, &["a", TALES[0]]).await);
    }
    assert!(cosine(&of[0][0], &of[1][0]) > 0.9999 && cosine(&of[0][0], &of[2][0]) > 0.9999);
    assert!(cosine(&of[0][1], &of[1][1]) < 0.999 && cosine(&of[1][1], &of[2][1]) < 0.999);
}

#[cfg(feature = "llama-cpp")]
#[tokio::test]
async fn texts_alike_are_nearer_than_others() {
    let Some(file) = given("MINIVAULT_TEST_SMOLLM2") else { return };
    let engine = open("llama-cpp", json!({"model": file, "pooling": "mean", "slots": 1, "context": 256, "threads": 1})).await;
    let texts = [
        "The cat sleeps on the warm sofa.",
        "A cat is sleeping on a warm couch.",
        "Interest rates rose by half a percent in the last quarter.",
        "fn main() { println!(\"hello\"); }",
    ];
    let vectors = vectors(&*engine, &texts).await;
    assert_eq!(vectors[0].len(), 576);
    let near = cosine(&vectors[0], &vectors[1]);
    for other in &vectors[2..] {
        assert!(cosine(&vectors[0], other) < near, "{} and {near}", cosine(&vectors[0], other));
    }
}
