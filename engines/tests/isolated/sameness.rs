//! What comes through the socket is what the engine says without one.

use futures_util::future::join_all;
use minivault_engines::testkit::conformance::{Open, Subject, check};
use minivault_engines::{Circumstance, EngineError, GenerateRequest, MaxTokens, Prompt, TextEngine, ToolChoice};
use serde_json::json;

use crate::{open, opening, prepared};

fn opens(backend: &'static str, table: serde_json::Value) -> Open {
    Box::new(move || {
        let table = table.clone();
        Box::pin(async move { open(backend, &table).await })
    })
}

fn subject(backend: &'static str, table: &serde_json::Value, prompt: &str, others: &[&str]) -> Subject {
    Subject {
        open: opens(backend, table.clone()),
        prompt: prompt.into(),
        others: others.iter().map(|&other| other.to_owned()).collect(),
        capacity: None,
        variants: Vec::new(),
        reuses_prefixes: false,
        knows_tokens_alone: true,
    }
}

#[tokio::test]
async fn a_scripted_engine_passes_the_conformance_kit_in_a_process_of_its_own() {
    let others = ["Deich", "naïve 日本語", "🥊"];
    let subject = Subject {
        capacity: Some(8),
        variants: vec![(Circumstance::ChunkSize, opens("narrow", json!({})))],
        reuses_prefixes: true,
        knows_tokens_alone: false,
        ..subject("scripted", &json!({}), "Zwölf Box", &others)
    };
    check(&subject).await;
}

/// All refusals that a request can meet, as they are told.
async fn refusals(engine: &dyn TextEngine) -> Vec<String> {
    let plain = GenerateRequest::text("Zwölf", MaxTokens::Exactly(4));
    let requests = [
        GenerateRequest { max_tokens: MaxTokens::Exactly(100_000), ..plain.clone() },
        GenerateRequest::text("x".repeat(100_000), MaxTokens::AtMost(1)),
        GenerateRequest { prompt: Prompt::Tokens(vec![1, 4_000_000]), ..plain.clone() },
        GenerateRequest { prompt: Prompt::Tokens(vec![]), ..plain.clone() },
        GenerateRequest { logprobs: Some(21), ..plain.clone() },
        GenerateRequest { stop: vec![String::new()], ..plain.clone() },
        GenerateRequest { constraint: Some(minivault_engines::Constraint::Grammar("root ::= (".into())), ..plain.clone() },
        GenerateRequest { constraint: Some(minivault_engines::Constraint::JsonSchema(json!({"type": 7}))), ..plain.clone() },
        GenerateRequest {
            prompt: Prompt::Chat { messages: vec![minivault_engines::chat::ChatMessage::new("user", "Hi")], tools: vec![json!({})] },
            tool_choice: ToolChoice::Named("nothing".into()),
            ..plain.clone()
        },
    ];
    let told = |error: Option<EngineError>| format!("{error:?}");
    let mut refusals = Vec::new();
    for request in requests {
        refusals.push(told(engine.generate(request).await.err()));
    }
    refusals.push(told(engine.choices(plain, 1000).await.err()));
    refusals.push(told(engine.detokenize(&[4_000_000]).await.err()));
    refusals.push(told(engine.token_bytes(&[4_000_000]).await.err()));
    refusals.push(told(engine.embed(&[Prompt::Text(String::new())]).await.err()));
    refusals.push(told(engine.logits(&[]).await.err()));
    refusals.push(told(engine.score(&Prompt::Tokens(vec![]), 3).await.err()));
    assert!(refusals.iter().all(|refusal| refusal != "None"), "{refusals:#?}");
    refusals
}

#[tokio::test]
async fn refusals_are_the_same() {
    let near = prepared("scripted", &json!({})).open(&opening()).await.unwrap();
    let apart = open("scripted", &json!({})).await.unwrap();
    assert_eq!(refusals(&*apart).await, refusals(&*near).await);
    assert_eq!(apart.info(), near.info());
    // One that can't be opened says so in the same words.
    let table = json!({"model": "./nowhere"});
    let said = |error: Option<EngineError>| error.unwrap().to_string();
    assert_eq!(said(open("gpt2", &table).await.err()), said(prepared("gpt2", &table).open(&opening()).await.err()));
    let missing = prepared("candle", &table).isolated(crate::isolation()).open(&opening()).await.err();
    assert_eq!(said(missing), said(prepared("candle", &table).open(&opening()).await.err()));
}

#[tokio::test]
async fn who_reads_slowly_holds_nobody_up() {
    let engine = crate::fragile().await;
    let endless = GenerateRequest { max_tokens: MaxTokens::Remaining, ..GenerateRequest::text("Zwölf", MaxTokens::Remaining) };
    let unread = engine.generate(endless.clone()).await.unwrap();
    let whole = join_all((0..3).map(async |_| engine.generate(endless.clone()).await.unwrap().collect().await.unwrap())).await;
    assert!(whole.iter().all(|answer| answer.tokens.len() > 4000));
    assert!(unread.collect().await.unwrap().tokens.len() > 4000, "all of it was kept for it");
}

#[cfg(feature = "llama-cpp")]
mod smollm2 {
    use futures_util::TryStreamExt;
    use minivault_engines::{Completion, Sampling};

    use super::*;
    use crate::given;

    #[tokio::test]
    async fn smollm2_passes_the_conformance_kit_in_a_process_of_its_own() {
        let Some(file) = given("MINIVAULT_TEST_SMOLLM2") else { return };
        let table = json!({"model": file, "slots": 3, "queue": 4, "context": 256, "threads": 1});
        let others = ["List the emojis 🥊🇩🇪:", "def main():", "日本語"];
        check(&Subject { capacity: Some(7), ..subject("llama-cpp", &table, "Once upon a time", &others) }).await;
    }

    async fn answers(engine: &dyn TextEngine) -> Vec<Completion> {
        let sampling = Sampling { temperature: 1.1, top_p: 0.9, top_k: 50, repetition_penalty: 1.1, seed: Some(7), ..Sampling::default() };
        let request = GenerateRequest { sampling, logprobs: Some(20), ..GenerateRequest::text("Once upon a time", MaxTokens::AtMost(40)) };
        let chat = minivault_engines::chat::ChatMessage::new("user", "Name a colour as JSON.");
        let schema = json!({"type": "object", "properties": {"colour": {"enum": ["red", "blue"]}}, "required": ["colour"]});
        let formed = GenerateRequest {
            prompt: Prompt::Chat { messages: vec![chat], tools: vec![] },
            constraint: Some(minivault_engines::Constraint::JsonSchema(schema)),
            ..request.clone()
        };
        let mut answers = Vec::new();
        for request in [request, formed] {
            let generation = engine.generate(GenerateRequest { deterministic: true, ..request }).await.unwrap();
            answers.push(generation.collect().await.unwrap());
        }
        answers
    }

    /// The bits of all logits after a text, folded, and of its log probabilities.
    async fn readings(engine: &dyn TextEngine) -> (usize, blake3::Hash, Vec<u32>) {
        let tokens = engine.tokenize("The quick brown fox jumps over the lazy dog. 🦊").await.unwrap();
        let rows: Vec<_> = engine.logits(&tokens).await.unwrap().try_collect().await.unwrap();
        let mut hash = blake3::Hasher::new();
        let mut count = 0;
        for logits in &rows {
            for row in 0..logits.rows() {
                count += 1;
                for logit in logits.row(row) {
                    hash.update(&logit.to_le_bytes());
                }
            }
        }
        let scored = engine.score(&Prompt::Tokens(tokens), 5).await.unwrap();
        let logprobs = scored.iter().flat_map(|token| token.logprob.into_iter().chain(token.top.iter().map(|other| other.logprob)));
        (count, hash.finalize(), logprobs.map(f32::to_bits).collect())
    }

    #[tokio::test]
    async fn smollm2_says_the_same_to_the_last_bit() {
        let Some(file) = given("MINIVAULT_TEST_SMOLLM2") else { return };
        let table = json!({"model": file, "slots": 2, "queue": 4, "context": 512, "threads": 1, "pooling": "mean"});
        let near = prepared("llama-cpp", &table).open(&opening()).await.unwrap();
        let apart = open("llama-cpp", &table).await.unwrap();
        assert_eq!(apart.info(), near.info());
        let (said, expected) = (answers(&*apart).await, answers(&*near).await);
        let bits = |answers: &[Completion]| {
            let tokens = answers.iter().flat_map(|answer| &answer.tokens);
            tokens
                .flat_map(|token| token.logprob.into_iter().chain(token.top.iter().map(|other| other.logprob)))
                .map(f32::to_bits)
                .collect()
        };
        let (said_bits, expected_bits): (Vec<u32>, Vec<u32>) = (bits(&said), bits(&expected));
        assert!(said_bits.len() > 300);
        assert_eq!(said_bits, expected_bits);
        assert_eq!(said, expected);
        assert!(said[1].text.contains("colour"));
        assert_eq!(readings(&*apart).await, readings(&*near).await);
        let texts = [Prompt::Text("a".into()), Prompt::Text("Viktor jagt".into())];
        assert_eq!(apart.embed(&texts).await.unwrap(), near.embed(&texts).await.unwrap());
        assert_eq!(apart.prompt_prefix().await.unwrap(), near.prompt_prefix().await.unwrap());
        assert_eq!(apart.token_bytes(&[100, 200]).await.unwrap(), near.token_bytes(&[100, 200]).await.unwrap());
    }
}
