//! Language models on this machine, behind one trait.
//!
//! The way of a request: the daemon hands a [`GenerateRequest`] to a [`TextEngine`] and reads the [`Generation`] it gets. For a model
//! that runs in this process, [`local::LocalEngine`] is that engine: it renders and encodes the prompt, queues it, and its one
//! thread feeds a [`model::Model`] step by step, all requests side by side; [`decoding`] chooses each token and turns bytes into text.
//!
//! - [`text_engine`]: the trait that the daemon sees
//! - [`request`], [`generation`], [`error`]: what goes in, what comes out, what can go wrong; [`events`]: the way it comes out
//! - [`registry`]: backends by name, those of this crate and those of others
//! - [`model`]: the seam for local engines
//! - [`local`]: admission, the engine's thread, continuous batching
//! - `isolated`: engines in a process of their own (Unix)
//! - [`meter`]: what an engine's steps have been
//! - [`memory`]: whether a model fits
//! - [`threads`], [`turn`]: how many threads compute, and whose turn it is
//! - [`decoding`]: sampling, stop strings, whole characters, answers of a given form
//! - [`chat`]: conversations, chat templates, calls of tools
//! - [`hub`], [`checksum`]: where model files come from, and what they are
//! - [`checkpoint`], [`gguf`], `vocabulary`: what lies in them: folders in Hugging Face layout, GGUF files, tokens; `foreign`: what is never loaded
//! - [`gpt2`]: GPT-2, its forward pass included
//! - `llama`: GGUF on llama.cpp (feature `llama-cpp`)
//! - [`remote`]: upstream servers that speak OpenAI's API
//! - [`candle_models`]: Llama and its relatives as candle-transformers computes them
//! - `testkit`: a scripted model and the conformance kit (feature `testkit`)

pub mod candle_models;
pub mod chat;
pub mod checkpoint;
pub mod checksum;
pub mod decoding;
pub mod error;
pub mod events;
mod foreign;
pub mod generation;
pub mod gguf;
pub mod gpt2;
pub mod hub;
#[cfg(unix)]
pub mod isolated;
#[cfg(feature = "llama-cpp")]
pub mod llama;
pub mod local;
mod lock;
pub mod memory;
pub mod meter;
pub mod model;
pub mod registry;
pub mod remote;
pub mod request;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod text_engine;
pub mod threads;
pub mod turn;
mod vocabulary;
mod web;

pub use error::EngineError;
pub use generation::{
    Alternative, Beginning, Completion, Finish, FinishReason, Generation, PromptProgress, TextEvent, Token, ToolCallPiece, Usage,
};
pub use registry::{Backend, Engines, Opening};
pub use request::{Constraint, GenerateRequest, MaxTokens, Prompt, RequestOptions, Sampling, TokenId, ToolChoice};
pub use text_engine::{
    Capabilities, Circumstance, Computation, Determinism, Embedding, EngineInfo, Health, LogitRows, RenderedPrompt, State, TextEngine,
};
pub use threads::Threads;
