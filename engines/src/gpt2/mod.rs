//! GPT-2 on candle.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::{EngineError, Result};
use crate::registry::{Backend, Opening};
use crate::text_engine::TextEngine;

/// The backend `gpt2`.
pub struct Gpt2;

/// Its table in the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpt2Config {
    /// A folder in Hugging Face layout, or a repository on the hub.
    pub model: String,
}

#[async_trait]
impl Backend for Gpt2 {
    type Config = Gpt2Config;

    async fn open(&self, _opening: &Opening, _config: &Gpt2Config) -> Result<Arc<dyn TextEngine>> {
        Err(EngineError::Stopped)
    }
}
