//! Engines that are other servers: another minivaultd, Ollama's dialect, llama.cpp's server, and servers that fail in every way.
#![allow(clippy::unwrap_used)]

mod daemons;
mod dialects;
mod failures;
mod fixture;
mod llama_server;
mod refusals;
#[path = "../routes/support.rs"]
#[allow(dead_code)] // The routes' tests use all of it.
mod support;

use std::sync::Arc;

use minivault_daemon::config::EngineSettings;
use minivault_engines::error::Result;
use minivault_engines::{EngineError, Engines, GenerateRequest, TextEngine};
use serde_json::{Value, json};

/// The settings of an engine `upstream` whose servers these are.
fn settings(urls: &[&str], more: &Value) -> EngineSettings {
    let mut table = json!({"base_urls": urls, "model": "scripted", "connect_timeout": 5, "idle_timeout": 10});
    more.as_object().unwrap().iter().for_each(|(key, value)| table[key] = value.clone());
    support::settings_with(&Engines::builtin(), "openai", "upstream", &table)
}

/// That engine.
async fn open(urls: &[&str], more: &Value) -> Result<Arc<dyn TextEngine>> {
    let settings = settings(urls, more);
    settings.prepared.open(&settings.opening).await
}

/// The whole text of an answer.
async fn text(engine: &dyn TextEngine, request: GenerateRequest) -> Result<String, EngineError> {
    Ok(engine.generate(request).await?.collect().await?.text)
}
