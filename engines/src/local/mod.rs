//! `LocalEngine`: a [`TextEngine`] of any [`crate::model::Model`] in this process.

use std::sync::Arc;

use async_trait::async_trait;
use serde::Deserialize;

use crate::error::{EngineError, Result};
use crate::generation::Generation;
use crate::model::{Model, ModelLoader, Vocabulary};
use crate::request::GenerateRequest;
use crate::text_engine::{EngineInfo, Health, TextEngine};

/// Settings that every local engine has; flatten-free: a backend's configuration names them itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct LocalOptions {
    /// Requests that may wait for a slot.
    pub queue: usize,
}

/// Handed to the loader on the engine's thread; consumed once the model is up.
pub struct Serve {
    _private: (),
}

impl Serve {
    /// Serves requests with this model until the engine is stopped.
    ///
    /// # Errors
    /// None so far.
    pub fn serve(self, _info: EngineInfo, _vocabulary: Arc<dyn Vocabulary>, _model: &mut dyn Model) -> Result<()> {
        Ok(())
    }
}

/// A model on a thread of its own.
pub struct LocalEngine {}

impl LocalEngine {
    /// Starts the thread and waits until the model is loaded.
    ///
    /// # Errors
    /// Whatever the loader says.
    pub async fn start(_options: LocalOptions, _loader: impl ModelLoader) -> Result<Self> {
        Err(EngineError::Stopped)
    }
}

#[async_trait]
impl TextEngine for LocalEngine {
    fn info(&self) -> Arc<EngineInfo> {
        unreachable!()
    }

    fn health(&self) -> Health {
        unreachable!()
    }

    async fn generate(&self, _request: GenerateRequest) -> Result<Generation> {
        Err(EngineError::Stopped)
    }
}
