//! The same request gives the same bytes whatever else the engine does: 64 requests alone, then all at once, in steps of every width, with
//! drafts and without.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use figment::Figment;
use figment::providers::Serialized;
use figment::value::Value;
use futures_util::future::join_all;
use minivault_engines::{Completion, Engines, GenerateRequest, MaxTokens, Opening, Sampling, TextEngine, Token};
use serde_json::json;

/// Settings of the engine that decide its arithmetic. Each has texts of its own, the same under every load.
const ARITHMETIC: [&str; 3] = [r#"{"dtype": "f32"}"#, r#"{"dtype": "bf16"}"#, r#"{"dtype": "q8"}"#];
/// Settings that change no text, whatever the arithmetic.
const NEUTRAL: [&str; 2] = [r#"{"threads": 1}"#, r#"{"threads": 2}"#];
/// Tokens of a step, and sequences side by side.
const WIDTHS: [(usize, usize); 3] = [(16, 5), (64, 24), (512, 64)];
const REQUESTS: usize = 64;

/// Opens the GPT-2 at hand with the settings of several tables.
async fn open(tables: &[serde_json::Value]) -> Arc<dyn TextEngine> {
    let tiny: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests", "data", "gpt2-tiny"].iter().collect();
    let tarotble = std::env::var_os("MINIVAULT_TEST_TAROTBLE").filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut whole = Figment::from(Serialized::defaults(json!({"model": tarotble.unwrap_or(tiny), "queue": REQUESTS})));
    for table in tables {
        whole = whole.merge(Serialized::defaults(table));
    }
    let table: Value = whole.extract().unwrap();
    let prepared = Engines::builtin().prepare("gpt2", &table).unwrap().unwrap();
    prepared.open(&Opening { name: "subject".into(), ..Opening::default() }).await.unwrap()
}

/// Greedy and seeded, short and long; some repeat what their prompt says, some begin alike, some end at a stop string.
fn requests() -> Vec<GenerateRequest> {
    // The models' contexts are short, and one of them counts bytes.
    let system = "Read the cards. ";
    let prompts = |index: usize| match index % 5 {
        0 => format!("{system}{}:", index / 10),
        1 => "one two, one two, one two"[..9 + index % 16].to_owned(),
        2 => format!("It is{}", " very".repeat(index % 4)),
        3 => format!("{system}{system}"),
        _ => format!("Once upon {index} 🥊"),
    };
    let sampling = |index: usize| match index % 4 {
        0 => Sampling::greedy(),
        1 => Sampling { repetition_penalty: 1.1, top_k: 50, top_p: 0.95, seed: Some(index as u64), ..Sampling::default() },
        2 => Sampling { temperature: 0.3, top_p: 0.9, seed: Some(index as u64), ..Sampling::default() },
        _ => Sampling { temperature: 0.8, min_p: 0.02, frequency_penalty: 0.1, seed: Some(index as u64), ..Sampling::default() },
    };
    let request = |index: usize| GenerateRequest {
        sampling: sampling(index),
        stop: if index.is_multiple_of(6) { vec!["the".into(), "two, one tw".into()] } else { Vec::new() },
        logprobs: index.is_multiple_of(8).then_some(3),
        ..GenerateRequest::text(prompts(index), MaxTokens::AtMost(10 + index * 7 % 60))
    };
    (0..REQUESTS).map(request).collect()
}

async fn answer(engine: &dyn TextEngine, request: GenerateRequest) -> (String, Vec<Token>) {
    let Completion { text, tokens, .. } = engine.generate(request).await.unwrap().collect().await.unwrap();
    (text, tokens)
}

#[tokio::test]
async fn sixty_four_requests_at_once_are_answered_as_each_alone() {
    for arithmetic in ARITHMETIC.map(|table| serde_json::from_str::<serde_json::Value>(table).unwrap()) {
        let plain = open(&[arithmetic.clone(), json!({"speculation": false})]).await;
        let mut alone = Vec::new();
        for request in requests() {
            alone.push(answer(&*plain, request).await);
        }
        for neutral in NEUTRAL.map(|table| serde_json::from_str::<serde_json::Value>(table).unwrap()) {
            for (step_tokens, slots) in WIDTHS {
                for speculation in [true, false] {
                    let changed = json!({"step_tokens": step_tokens, "slots": slots, "speculation": speculation});
                    let engine = open(&[arithmetic.clone(), neutral.clone(), changed.clone()]).await;
                    // The second time the prompts are in the cache.
                    for round in ["first", "second"] {
                        let together = join_all(requests().into_iter().map(|request| answer(&*engine, request))).await;
                        for (index, (together, alone)) in together.iter().zip(&alone).enumerate() {
                            assert_eq!(together.0, alone.0, "request {index}, {round} round, {arithmetic}, {neutral}, {changed}");
                            assert_eq!(together.1, alone.1, "tokens of request {index}, {round} round, {arithmetic}, {neutral}, {changed}");
                        }
                    }
                }
            }
        }
    }
}
