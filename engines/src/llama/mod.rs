//! GGUF models on llama.cpp.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::{EngineError, Result};
use crate::registry::{Backend, Opening};
use crate::text_engine::TextEngine;

/// The backend `llama-cpp`.
pub struct LlamaCpp;

/// Its table in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlamaConfig {
    /// A folder in Hugging Face layout, or a repository on the hub.
    pub model: String,
}

#[async_trait]
impl Backend for LlamaCpp {
    type Config = LlamaConfig;

    async fn open(&self, _opening: &Opening, _config: &LlamaConfig) -> Result<Arc<dyn TextEngine>> {
        Err(EngineError::Stopped)
    }
}
