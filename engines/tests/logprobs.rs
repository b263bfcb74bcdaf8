//! The log probabilities that llama.cpp's engine tells are those of a full softmax, in f64, of the very logits that the model gave.
#![cfg(feature = "llama-cpp")]
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use minivault_engines::llama::{LlamaConfig, LlamaLoader};
use minivault_engines::local::{LocalEngine, LocalOptions, Serve};
use minivault_engines::model::{Feed, Limits, Logits, Model, ModelLoader, Slot};
use minivault_engines::{
    Constraint, EngineError, GenerateRequest, MaxTokens, Prompt, RequestOptions, Sampling, TextEngine, Threads, Token,
};

const ALTERNATIVES: usize = 20;
const TOLERANCE: f64 = 1e-4;

type Rows = Arc<Mutex<Vec<Vec<f32>>>>;

/// A model whose rows are kept as they leave it.
struct Recorded<'a> {
    model: &'a mut dyn Model,
    rows: Rows,
}

impl Model for Recorded<'_> {
    fn limits(&self) -> Limits {
        self.model.limits()
    }

    fn step(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> Result<(), EngineError> {
        let before = logits.rows();
        self.model.step(feeds, logits)?;
        self.rows.lock().unwrap().extend((before..logits.rows()).map(|row| logits.row(row).to_vec()));
        Ok(())
    }

    fn truncate(&mut self, slot: Slot, length: usize) -> usize {
        self.model.truncate(slot, length)
    }

    fn release(&mut self, slot: Slot) {
        self.model.release(slot);
    }
}

struct Recorder {
    loader: LlamaLoader,
    rows: Rows,
}

impl ModelLoader for Recorder {
    fn run(self: Box<Self>, serve: Serve) -> Result<(), EngineError> {
        let Self { loader, rows } = *self;
        loader.lend(|info, vocabulary, model| serve.serve(info, vocabulary, &mut Recorded { model, rows }))
    }
}

/// The tokens' log probabilities, and those of their alternatives, against the rows they came from.
fn check(what: &str, tokens: &[Token], rows: &[Vec<f32>]) {
    assert_eq!(tokens.len(), rows.len(), "{what}: a row for each token");
    let mut furthest = 0.0_f64;
    for (token, row) in tokens.iter().zip(rows) {
        let maximum = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|&logit| (f64::from(logit) - f64::from(maximum)).exp()).sum();
        let exact = |id: u32| f64::from(row[id as usize]) - f64::from(maximum) - total.ln();
        assert_eq!(token.top.len(), ALTERNATIVES);
        let told = token.top.iter().map(|other| (other.id, other.logprob)).chain([(token.id, token.logprob.unwrap())]);
        for (id, logprob) in told {
            let difference = (f64::from(logprob) - exact(id)).abs();
            assert!(difference < TOLERANCE, "{what}: token {id}: {logprob} instead of {}", exact(id));
            furthest = furthest.max(difference);
        }
        let mut sorted: Vec<f32> = row.clone();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let likeliest = token.top.iter().map(|other| row[other.id as usize]);
        assert!(likeliest.eq(sorted[..ALTERNATIVES].iter().copied()), "{what}: the likeliest of all, in their order");
    }
    println!("{what}: {} tokens, at most {furthest:.1e} off", tokens.len());
}

async fn check_model(file: PathBuf, context: Option<usize>) {
    let rows = Rows::default();
    let config = LlamaConfig { threads: Threads::exactly(1).unwrap(), context, ..LlamaConfig::new("test") };
    let loader = LlamaLoader { name: "test".into(), file, origin: "a test".into(), chat_template: None, config };
    let recorder = Recorder { loader, rows: rows.clone() };
    let engine = LocalEngine::start(LocalOptions { queue: 4, ..LocalOptions::default() }, recorder).await.unwrap();
    let vocabulary = {
        let prompt = Prompt::Text("The best thing to do".into());
        let scored = engine.score(&prompt, ALTERNATIVES).await.unwrap();
        let taken = std::mem::take(&mut *rows.lock().unwrap());
        // The first token follows nothing, and nothing follows the last row.
        assert_eq!(scored[0].logprob, None);
        check("a prompt", &scored[1..], &taken[taken.len() - scored.len()..taken.len() - 1]);
        taken[0].len()
    };
    let plain = GenerateRequest { logprobs: Some(ALTERNATIVES), ..GenerateRequest::text("The best thing", MaxTokens::Exactly(12)) };
    let shifted = Sampling {
        temperature: 0.8,
        top_p: 0.9,
        repetition_penalty: 1.3,
        frequency_penalty: 0.5,
        logit_bias: vec![(0, 20.0), (vocabulary as u32 - 1, -20.0)],
        seed: Some(7),
        ..Sampling::default()
    };
    let ignore_eos = RequestOptions { ignore_eos: true, ..RequestOptions::default() };
    for (what, request) in [
        ("an answer", GenerateRequest { sampling: Sampling::greedy(), ..plain.clone() }),
        ("an answer with settings", GenerateRequest { sampling: shifted.clone(), options: ignore_eos, ..plain.clone() }),
        ("an answer in a form", GenerateRequest { constraint: Some(Constraint::Regex("[a-z ]{12}".into())), sampling: shifted, ..plain }),
    ] {
        let answer = engine.generate(request).await.unwrap().collect().await.unwrap();
        let rows = std::mem::take(&mut *rows.lock().unwrap());
        check(what, &answer.tokens, &rows[..answer.tokens.len()]);
    }
}

#[tokio::test]
async fn those_of_smollm2_are_of_a_full_softmax() {
    let Some(file) = std::env::var_os("MINIVAULT_TEST_SMOLLM2") else { return println!("skipped: MINIVAULT_TEST_SMOLLM2 isn't set") };
    check_model(file.into(), Some(256)).await;
}

#[tokio::test]
async fn those_of_a_gpt2_are_of_a_full_softmax() {
    let Some(folder) = std::env::var_os("MINIVAULT_TEST_TAROTBLE") else { return println!("skipped: MINIVAULT_TEST_TAROTBLE isn't set") };
    check_model(PathBuf::from(folder).join("tarotble-f32.gguf"), None).await;
}
