//! The JSON that crosses MiniVault's HTTP border, for the daemon and for clients alike.
//!
//! - [`native`][]: `/generate` and `/stream-generate`
//! - [`chat`][]: `/v1/chat/completions`; [`tools`][]: what a model may call there
//! - [`completions`][]: `/v1/completions`
//! - [`format`][], [`sampling`][], [`usage`][]: what several of OpenAI's bodies share
//! - [`embeddings`][]: `/v1/embeddings`
//! - [`interactions`][]: `/interactions`
//! - [`models`][]: `/v1/models`
//! - [`llama_server`][]: `/completion`, `/props` and `/slots`
//! - [`ollama`][]: `/api/…`
//! - [`tokens`][]: `/tokenize` and `/detokenize`
//! - [`status`][]: `/health` and `/ready`
//! - [`error`][]: the one error body
//! - [`events`][]: what streams are made of

pub mod chat;
pub mod completions;
pub mod embeddings;
pub mod error;
pub mod events;
pub mod format;
pub mod interactions;
pub mod llama_server;
pub mod models;
pub mod native;
pub mod ollama;
pub mod sampling;
pub mod status;
mod stop;
pub mod tokens;
pub mod tools;
pub mod usage;

pub use stop::Stop;
