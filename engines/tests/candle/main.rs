//! The backend `candle`: folders of made-up weights, and SmolLM2 beside llama.cpp.
#![allow(clippy::unwrap_used)]

mod checkpoints;
mod conformance;
mod files;
mod sequences;
mod smollm2;
mod support;
