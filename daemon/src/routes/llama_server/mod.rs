//! What clients of llama.cpp's server ask for, over the same path as everything else.
//!
//! - [`chat`][]: `/chat/completions`
//! - [`completion`][]: `/completion`
//! - [`prompts`][]: its prompts and biases, in which texts and tokens may be mixed
//! - [`stopwatch`][]: how long an answer takes
//! - [`verbose`][]: an answer with all that led to it
//! - [`prompt`][]: `/apply-template` and `/chat/completions/input_tokens`
//! - [`status`][]: `/props` and `/slots`

pub(super) mod chat;
pub(super) mod completion;
pub(super) mod prompt;
mod prompts;
pub(super) mod status;
mod stopwatch;
pub(super) mod verbose;

pub(super) use stopwatch::Stopwatch;
