//! The routes that speak OpenAI's dialect.

pub(super) mod chat;
pub(super) mod embeddings;
