//! Real models follow random JSON schemas: 20 of them, or as many as `MINIVAULT_TEST_SCHEMAS` says (`make test-schemas`: 200).
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use figment::Figment;
use figment::value::Value as Setting;
use futures_util::StreamExt;
use minivault_engines::decoding::constraint::Grammars;
use minivault_engines::testkit::{ScriptedVocabulary, random_schema};
use minivault_engines::{Constraint, Engines, FinishReason, GenerateRequest, MaxTokens, Opening, Sampling, TextEngine, TextEvent};
use serde_json::{Value, json};

/// Schemas that are under way at once. Each has two answers, and a step of 16 rows takes much less than four of 4.
const TOGETHER: usize = 8;
const SLOTS: usize = 2 * TOGETHER;

async fn open(backend: &str, table: Value) -> Arc<dyn TextEngine> {
    let table: Setting = Figment::from(figment::providers::Serialized::defaults(table)).extract().unwrap();
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

/// The first schemas whose shortest answer has at most so many bytes; no model needs more tokens for it.
fn schemas(count: usize, bytes: usize) -> impl Iterator<Item = (u64, Value)> {
    let grammars = Grammars::new(Arc::new(ScriptedVocabulary));
    let fits = move |schema: &Value| {
        let matcher = grammars.compile(&Constraint::JsonSchema(schema.clone())).unwrap();
        matcher.shortest().is_some_and(|shortest| shortest <= bytes)
    };
    (0..).map(|seed| (seed, random_schema(seed))).filter(move |(_, schema)| fits(schema)).take(count)
}

fn request(schema: &Value, seed: u64, max_tokens: usize) -> GenerateRequest {
    let sampling = Sampling { temperature: 0.8, top_p: 0.95, seed: Some(seed), ..Sampling::default() };
    GenerateRequest {
        constraint: Some(Constraint::JsonSchema(schema.clone())),
        sampling,
        ..GenerateRequest::text("Here is an example as JSON: ", MaxTokens::Exactly(max_tokens))
    }
}

/// Every schema's answer, whole and streamed, validates. Returns how many tokens they took.
async fn check(engine: &dyn TextEngine, count: usize, max_tokens: usize) {
    let answers = futures_util::stream::iter(schemas(count, max_tokens)).map(|(seed, schema)| async move {
        let asked = || engine.generate(request(&schema, seed, max_tokens));
        let whole = async { asked().await.unwrap().collect().await.unwrap() };
        let streamed = async {
            let (mut streamed, mut events) = (String::new(), asked().await.unwrap());
            while let Some(event) = events.next().await {
                match event.unwrap() {
                    TextEvent::Text { text, .. } => streamed.push_str(&text),
                    TextEvent::Finished(finish) => assert_eq!(finish.reason, FinishReason::EndOfText, "{seed}: {streamed}"),
                    TextEvent::Reading(_) => panic!("nobody asked how far the prompt is"),
                    TextEvent::ToolCall(_) => panic!("nobody offered a tool"),
                }
            }
            streamed
        };
        let (whole, streamed) = futures_util::join!(whole, streamed);
        assert_eq!(whole.finish.reason, FinishReason::EndOfText, "{seed}: {}", whole.text);
        for text in [&whole.text, &streamed] {
            let answer: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{seed}: {error}: {text} for {schema}"));
            assert!(jsonschema::is_valid(&schema, &answer), "{seed}: {text} for {schema}");
        }
        whole.finish.usage.completion_tokens
    });
    let tokens: Vec<usize> = answers.buffer_unordered(TOGETHER).collect().await;
    println!("{} schemas, whole and streamed: all answers validate; {} tokens", tokens.len(), tokens.iter().sum::<usize>());
    assert_eq!(tokens.len(), count);
}

#[cfg(feature = "llama-cpp")]
#[tokio::test]
async fn smollm2_follows_random_schemas() {
    let Some(file) = given("MINIVAULT_TEST_SMOLLM2") else { return };
    let count = std::env::var("MINIVAULT_TEST_SCHEMAS").ok().and_then(|count| count.parse().ok()).unwrap_or(20);
    // Alone, 200 of them keep all cores busy for some minutes; among other tests a core less is faster than waiting for one that is taken.
    let threads = if count > 20 { json!(std::thread::available_parallelism().unwrap().get()) } else { json!("auto") };
    let engine = open("llama-cpp", json!({"model": file, "slots": SLOTS, "queue": SLOTS, "context": 512, "threads": threads})).await;
    check(&*engine, count, 120).await;
}

#[tokio::test]
async fn tarotble_follows_random_schemas() {
    let Some(folder) = given("MINIVAULT_TEST_TAROTBLE") else { return };
    for speculation in [false, true] {
        let table = json!({"model": folder, "slots": SLOTS, "queue": SLOTS, "speculation": speculation});
        check(&*open("gpt2", table).await, 20, 40).await;
    }
}

#[tokio::test]
async fn drafts_change_no_byte_of_an_answer_with_a_form() {
    let Some(folder) = given("MINIVAULT_TEST_TAROTBLE") else { return };
    let mut answers = Vec::new();
    for speculation in [false, true] {
        let engine = open("gpt2", json!({"model": folder, "speculation": speculation})).await;
        let mut texts = Vec::new();
        for (seed, schema) in schemas(20, 40) {
            texts.push(engine.generate(request(&schema, seed, 40)).await.unwrap().collect().await.unwrap());
        }
        answers.push(texts);
    }
    let texts = |answers: &[minivault_engines::Completion]| answers.iter().map(|answer| answer.text.clone()).collect::<Vec<_>>();
    assert_eq!(texts(&answers[0]), texts(&answers[1]));
}
