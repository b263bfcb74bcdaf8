//! What clients of llama.cpp's server ask for, over the same path as everything else.
//!
//! - [`chat`][]: `/chat/completions`
//! - [`completion`][]: `/completion`
//! - [`prompts`][]: its prompts and biases, in which texts and tokens may be mixed
//! - [`status`][]: `/props` and `/slots`

pub(super) mod chat;
pub(super) mod completion;
mod prompts;
pub(super) mod status;
