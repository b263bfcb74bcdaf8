//! GPT-2.
//!
//! [`Gpt2Loader`] reads a folder in Hugging Face layout: `architecture` is what `config.json` says, `weights` the tensors that it asks for.
//! `network` is the forward pass over the rows of all sequences of a step at once, `kernels` the arithmetic,
//! `cache` the keys and values; `plain` is the same network in candle's operations, to compare with; `model` keeps the slots.
//!
//! The engine is [`bitwise`](crate::Determinism::Bitwise): a token's logits have the same bits whatever shares its step, in whatever
//! chunks its prompt came, and with any number of threads. `kernels` says how; all else works on each row alone.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Result;
use crate::hub::{Found, Hub, ModelSource};
use crate::local::{LocalEngine, LocalOptions};
use crate::registry::{Backend, Opening, check_range};
use crate::text_engine::TextEngine;
use crate::threads::Threads;

mod architecture;
mod cache;
mod kernels;
mod loader;
#[cfg(feature = "testkit")]
pub mod measured;
mod model;
mod network;
mod plain;
mod weights;

pub use loader::{Arithmetic, Gpt2Loader, LoadedGpt2};
pub use model::Gpt2Model;

/// The backend `gpt2`.
pub struct Gpt2;

/// Its table in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt2Config {
    /// A folder in Hugging Face layout, or a repository on the hub.
    pub model: String,
    /// Branch, tag or commit on the hub.
    #[serde(default)]
    pub revision: Option<String>,
    /// Sequences computed side by side, 1 to 256. A slot takes its cache's memory when first used.
    #[serde(default = "Gpt2Config::default_slots")]
    pub slots: usize,
    /// Requests that may wait for a slot, 1 to 65536.
    #[serde(default = "Gpt2Config::default_queue")]
    pub queue: usize,
    /// Tokens computed in one step over all sequences, at least `slots`, at most 4096. More make long prompts faster and running answers choppier.
    #[serde(default = "Gpt2Config::default_step_tokens")]
    pub step_tokens: usize,
    /// Whether embeddings are offered: the mean of the last hidden states.
    #[serde(default)]
    pub embeddings: bool,
    /// How the weights are kept in memory.
    #[serde(default)]
    pub dtype: Dtype,
    /// Threads that compute.
    #[serde(default)]
    pub threads: Threads,
    /// Whether guesses at the next tokens are verified beside them, which makes text that repeats faster and changes no answer.
    #[serde(default = "Gpt2Config::default_speculation")]
    pub speculation: bool,
}

/// How the weights of linear layers and embeddings are kept in memory; sums, norms and the KV cache are f32 always.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// As published: exact.
    #[default]
    F32,
    /// Rounded to 8 bits of precision: half the memory, nearly twice as fast.
    Bf16,
    /// Bytes with a scale for every 32 of them: a quarter of the memory, four times as fast. Inputs of linear layers are rounded to bytes, too.
    Q8,
}

impl Dtype {
    /// Bytes of so many values.
    fn bytes(self, values: u64) -> u64 {
        match self {
            Self::F32 => values * 4,
            Self::Bf16 => values * 2,
            // Scales of two bytes among them.
            Self::Q8 => values + values / 32 * 2,
        }
    }

    /// As the configuration says it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
        }
    }
}

impl Gpt2Config {
    /// The defaults, for this model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            revision: None,
            slots: Self::default_slots(),
            queue: Self::default_queue(),
            step_tokens: Self::default_step_tokens(),
            embeddings: false,
            dtype: Dtype::default(),
            threads: Threads::default(),
            speculation: Self::default_speculation(),
        }
    }

    /// Checks each setting against its limits.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming the key, the value and the limit.
    pub fn check(&self) -> Result<()> {
        check_range("slots", self.slots, 1..=256)?;
        check_range("queue", self.queue, 1..=65536)?;
        check_range("step_tokens", self.step_tokens, self.slots..=4096)?;
        self.threads.asked().map_or(Ok(()), |threads| check_range("threads", threads, 1..=256))
    }

    fn default_slots() -> usize {
        8
    }

    fn default_queue() -> usize {
        64
    }

    /// A prompt of 512 tokens beside 16 answers.
    fn default_step_tokens() -> usize {
        528
    }

    fn default_speculation() -> bool {
        true
    }

    async fn find(&self, opening: &Opening) -> Result<Found> {
        let source = ModelSource {
            model: self.model.clone(),
            base: opening.base.clone(),
            revision: self.revision.clone(),
            ..ModelSource::default()
        };
        Hub::from_env()?.folder(&source).await
    }
}

#[async_trait]
impl Backend for Gpt2 {
    type Config = Gpt2Config;

    fn check(&self, config: &Gpt2Config) -> Result<()> {
        config.check()
    }

    fn reference(&self, config: &Gpt2Config) -> Option<Gpt2Config> {
        (config.dtype != Dtype::F32).then(|| Gpt2Config { dtype: Dtype::F32, ..config.clone() })
    }

    async fn fetch(&self, opening: &Opening, config: &Gpt2Config) -> Result<Vec<PathBuf>> {
        Ok(vec![config.find(opening).await?.path])
    }

    async fn open(&self, opening: &Opening, config: &Gpt2Config) -> Result<Arc<dyn TextEngine>> {
        let Found { path, origin } = config.find(opening).await?;
        let loader = Gpt2Loader { name: opening.name.clone(), folder: path, origin, config: config.clone() };
        // Bitwise, so neither changes an answer.
        let options = LocalOptions { queue: config.queue, reuse: true, speculation: config.speculation };
        Ok(Arc::new(LocalEngine::start(options, loader).await?))
    }
}
