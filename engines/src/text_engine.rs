//! `TextEngine`: all that the daemon ever sees of an engine.

use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};
use crate::generation::{Generation, Token};
use crate::meter::Measured;
use crate::model::Logits;
use crate::request::{GenerateRequest, Prompt, TokenId, seed_of_choice};

/// Something that turns a prompt into text.
#[async_trait]
pub trait TextEngine: Send + Sync {
    /// What this engine is. It may change when a model is loaded anew.
    fn info(&self) -> Arc<EngineInfo>;

    /// How it is at this moment.
    fn health(&self) -> Health;

    /// Whether it comes back by itself once it has failed; another one has to be opened anew.
    fn recovers(&self) -> bool {
        false
    }

    /// Waits while it is on its way back.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] if it isn't.
    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    /// Begins a generation. It never waits for the model: a request that can't be served is refused here, before any text.
    ///
    /// # Errors
    /// Whatever of [`EngineError`] makes the request pointless or untimely.
    async fn generate(&self, request: GenerateRequest) -> Result<Generation>;

    /// Begins several generations from one request, each with the seed that [`seed_of_choice`] gives it: either all of them or none.
    /// An engine that can reads their prompt once.
    ///
    /// # Errors
    /// As [`TextEngine::generate`].
    async fn choices(&self, request: GenerateRequest, count: usize) -> Result<Vec<Generation>> {
        let mut generations = Vec::with_capacity(count);
        for choice in 0..count {
            let mut request = request.clone();
            request.sampling.seed = request.sampling.seed.map(|seed| seed_of_choice(seed, choice));
            generations.push(self.generate(request).await?);
        }
        Ok(generations)
    }

    /// A request's prompt as the model reads it: a conversation as its template renders it.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where the engine doesn't see that, or as [`TextEngine::generate`] for a prompt it can't take.
    async fn render(&self, _request: &GenerateRequest) -> Result<RenderedPrompt> {
        Err(self.unsupported("rendered prompts"))
    }

    /// Reads a prompt for what the model thinks of each of its tokens after those before it. `alternatives`: how many of the likeliest
    /// tokens are told beside each. Of the first token, which follows nothing, nothing is known.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`], or [`EngineError::InvalidRequest`] as [`TextEngine::logits`].
    async fn score(&self, _prompt: &Prompt, _alternatives: usize) -> Result<Vec<Token>> {
        Err(self.unsupported("log probabilities of a prompt"))
    }

    /// The bytes each of these tokens stands for.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`], or [`EngineError::InvalidRequest`] for a token outside the vocabulary.
    async fn token_bytes(&self, _tokens: &[TokenId]) -> Result<Vec<Vec<u8>>> {
        Err(self.unsupported("detokenize"))
    }

    /// Tokens that the model expects before a plain text.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where the engine doesn't know its vocabulary.
    async fn prompt_prefix(&self) -> Result<Vec<TokenId>> {
        Err(self.unsupported("tokenize"))
    }

    /// The tokens of a text, without any that the model puts in front of a prompt.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where the engine doesn't know its vocabulary.
    async fn tokenize(&self, _text: &str) -> Result<Vec<TokenId>> {
        Err(self.unsupported("tokenize"))
    }

    /// The text of tokens; bytes that are no whole character become U+FFFD.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`], or [`EngineError::InvalidRequest`] for a token outside the vocabulary.
    async fn detokenize(&self, _tokens: &[TokenId]) -> Result<String> {
        Err(self.unsupported("detokenize"))
    }

    /// One vector for each text, of length 1, so that the product of two is the cosine of their angle.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where the model has no embeddings, [`EngineError::InvalidRequest`] for a text that is empty or too long.
    async fn embed(&self, _texts: &[Prompt]) -> Result<Vec<Embedding>> {
        Err(self.unsupported("embeddings"))
    }

    /// Reads a text, of tokens as [`TextEngine::tokenize`] gives them, for the logits after each of its tokens. What the model expects before
    /// a prompt is put in front by the engine.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`], or [`EngineError::InvalidRequest`] for an empty text, one that is longer than the context, or a token
    /// outside the vocabulary.
    async fn logits(&self, _tokens: &[TokenId]) -> Result<LogitRows> {
        Err(self.unsupported("logits"))
    }

    /// Refuses a request that insists on being answered the same again where the engine promises nothing.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`].
    fn check_determinism(&self, request: &GenerateRequest) -> Result<()> {
        if request.deterministic && self.info().determinism == Determinism::None {
            return Err(self.unsupported("`deterministic`: nothing is promised of what it answers when it is asked again"));
        }
        Ok(())
    }

    /// The error for something this engine never does.
    fn unsupported(&self, what: &str) -> EngineError {
        EngineError::Unsupported { engine: self.info().name.clone(), what: what.to_owned() }
    }
}

/// Rows of logits as wide as the vocabulary, one after each token of a text, a few at a time. They are computed as they are taken; dropping
/// it ends the reading.
pub type LogitRows = Pin<Box<dyn Stream<Item = Result<Logits>> + Send>>;

/// A prompt as a model reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedPrompt {
    /// As text.
    pub text: String,
    /// As tokens.
    pub tokens: Vec<TokenId>,
}

/// The vector of one text.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// The vector, of length 1 and as wide as the model's hidden state.
    pub vector: Vec<f32>,
    /// Tokens of the text.
    pub tokens: usize,
}

/// What an engine is.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineInfo {
    /// Its name in the configuration.
    pub name: String,
    /// The backend that runs it.
    pub backend: String,
    /// The model, as a person would name it.
    pub model: String,
    /// Where the model was found: a folder, a file, a URL.
    pub source: String,
    /// A hash of all that decides its output: weights, tokenizer, configuration.
    pub fingerprint: String,
    /// Tokens that one request may hold, prompt and output together.
    pub context_length: usize,
    /// What may be relied on when a request is run again.
    pub determinism: Determinism,
    /// What it can do besides generating text.
    pub capabilities: Capabilities,
    /// How it computes.
    pub computation: Computation,
}

/// How an engine computes, for the log. What isn't known is empty or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computation {
    /// The version of what computes.
    pub version: String,
    /// How the weights are kept in memory.
    pub dtype: String,
    /// The instructions that it is computed with.
    pub kernel: String,
    /// Threads that compute.
    pub threads: usize,
}

/// What an engine can do besides generating text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// The model comes with a chat template of its own; without one a plain transcript is used.
    pub chat_template: bool,
    /// Log probabilities of tokens.
    pub logprobs: bool,
    /// `tokenize` and `detokenize`.
    pub tokenize: bool,
    /// `embed`.
    pub embeddings: bool,
}

/// What may be relied on when a request is run again with the same seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Determinism {
    /// The same bytes, whatever else the engine does at that moment.
    Bitwise,
    /// The same bytes when nothing else runs on the engine.
    Serial,
    /// Nothing.
    None,
}

impl Determinism {
    /// The word used in the configuration, in `/v1/models` and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bitwise => "bitwise",
            Self::Serial => "serial",
            Self::None => "none",
        }
    }

    /// Whether the bytes stay the same when one circumstance changes.
    pub fn holds(self, circumstance: Circumstance) -> bool {
        match self {
            Self::Bitwise => circumstance != Circumstance::CpuKind,
            Self::Serial => circumstance == Circumstance::Repeated,
            Self::None => false,
        }
    }
}

/// What may differ between two runs of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Circumstance {
    /// Nothing: the same request, alone, again.
    Repeated,
    /// What else the engine serves meanwhile.
    Load,
    /// The sizes of the chunks in which the prompt is fed.
    ChunkSize,
    /// How much of the prompt is found in the KV cache.
    PrefixReuse,
    /// Whether drafts are verified beside the tokens.
    Speculation,
    /// The number of threads.
    Threads,
    /// The kind of processor.
    CpuKind,
}

impl Circumstance {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Repeated, Self::Load, Self::ChunkSize, Self::PrefixReuse, Self::Speculation, Self::Threads, Self::CpuKind];
}

/// How an engine is at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Whether it can answer.
    pub state: State,
    /// Requests being computed.
    pub active: usize,
    /// Requests that wait for a slot.
    pub queued: usize,
    /// Requests it can compute side by side.
    pub slots: usize,
    /// What it has done since it was loaded.
    pub measured: Measured,
    /// How often it was started anew since then, because the process that it had of its own ended.
    pub restarts: u64,
}

/// Whether an engine can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not yet: its model is on the way.
    Loading,
    /// It can.
    Ready,
    /// It can't, for this reason.
    Failed(String),
}
