//! GGUF models on llama.cpp.
//!
//! llama.cpp ends the process where it meets something it didn't expect. So nothing reaches it unchecked: [`processor`] before
//! anything else, then the file's header ([`crate::gguf`]) and what it says of the model ([`description`]), the configuration
//! ([`config`]), and in each step the batch ([`network`]).
//!
//! - [`loader`]: puts it all together on the engine's thread
//! - [`vocabulary`]: tokens and chat template
//! - [`embedder`]: vectors of texts
//! - [`log`]: llama.cpp's reasons, which it tells only in its log

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;

use crate::error::{EngineError, Result};
use crate::hub::{Found, Hub, ModelSource};
use crate::local::{LocalEngine, LocalOptions};
use crate::registry::{Backend, Opening};
use crate::text_engine::TextEngine;

mod config;
mod description;
mod embedder;
mod loader;
mod log;
mod network;
mod processor;
mod vocabulary;

pub use config::{CacheType, FlashAttention, LlamaConfig, Pooling, Reuse};
pub use description::Description;
pub use loader::LlamaLoader;
pub use vocabulary::LlamaVocabulary;

/// The backend `llama-cpp`.
pub struct LlamaCpp;

#[async_trait]
impl Backend for LlamaCpp {
    type Config = LlamaConfig;

    fn check(&self, config: &LlamaConfig) -> Result<()> {
        config.check()
    }

    fn may_end_the_process(&self) -> bool {
        true
    }

    fn check_machine(&self) -> Result<()> {
        processor::check_instructions()
    }

    async fn fetch(&self, opening: &Opening, config: &LlamaConfig) -> Result<Vec<PathBuf>> {
        Ok(vec![find(opening, config).await?.path])
    }

    async fn open(&self, opening: &Opening, config: &LlamaConfig) -> Result<Arc<dyn TextEngine>> {
        // A processor that can't run it shouldn't have to fetch it first.
        processor::check_instructions()?;
        let Found { path, origin } = find(opening, config).await?;
        let chat_template = config.chat_template.as_deref().map(|file| read(&opening.base.join(file))).transpose()?;
        let loader = LlamaLoader { name: opening.name.clone(), file: path, origin, chat_template, config: config.clone() };
        let options = LocalOptions { queue: config.queue, reuse: config.reuse == Reuse::Fast, speculation: config.speculation };
        Ok(Arc::new(LocalEngine::start(options, loader).await?))
    }
}

fn read(file: &Path) -> Result<String> {
    let unavailable = |error| EngineError::Unavailable(format!("the chat template {} can't be read: {error}", file.display()));
    std::fs::read_to_string(file).map_err(unavailable)
}

async fn find(opening: &Opening, config: &LlamaConfig) -> Result<Found> {
    let source = ModelSource {
        model: config.model.clone(),
        base: opening.base.clone(),
        revision: config.revision.clone(),
        wheel: config.wheel.clone(),
        sha256: config.sha256.clone(),
    };
    Hub::from_env()?.file(&source).await
}
