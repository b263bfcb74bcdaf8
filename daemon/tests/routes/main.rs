//! The routes through `oneshot`, on the scripted engine: its timing is exact.
#![allow(clippy::unwrap_used)]

mod support;

mod chat;
mod completions;
mod connections;
mod deadlines;
mod door;
mod embeddings;
mod forms;
mod interactions;
mod lifecycle;
mod llama_server;
mod loading;
mod logging;
mod metrics;
mod native;
mod ollama;
mod page;
mod refusals;
mod renewal;
mod replay;
mod reports;
mod strangers;
mod tokens;
