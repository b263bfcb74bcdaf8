//! What the two processes tell each other.

use std::path::PathBuf;

use serde_json::Value;

use super::wire::{choice, record};
use crate::error::{EngineError, Result};
use crate::generation::{Beginning, TextEvent, Token};
use crate::model::Logits;
use crate::request::{GenerateRequest, Prompt, TokenId};
use crate::text_engine::{Embedding, EngineInfo, Health, RenderedPrompt};

/// What an engine's process is told.
#[derive(Debug)]
pub(super) enum Ask {
    /// Which engine it is: once, first.
    Start(Start),
    /// What is asked of the engine; the answer has the same number. Generations have numbers of their own, counting up from the call's.
    Call { id: u64, call: Call },
    /// The next rows of logits are wanted.
    More { id: u64 },
    /// So many numbers from this one on are wanted no longer.
    Cancel { first: u64, count: usize },
}

choice!(Ask {
    0 => Start { 0: start },
    1 => Call { id: id, call: call },
    2 => More { id: id },
    3 => Cancel { first: first, count: count },
});

/// An engine as the configuration has it.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub backend: String,
    /// Its table.
    pub table: Value,
    /// As in [`crate::Opening`].
    pub name: String,
    /// As in [`crate::Opening`].
    pub base: PathBuf,
    /// Bytes that the process may have.
    pub memory_limit: Option<u64>,
    /// Where the turn to compute is found that it takes part in; empty where there is none between processes.
    pub turn: Vec<PathBuf>,
}

record!(Start { backend, table, name, base, memory_limit, turn });

/// A call of [`crate::TextEngine`].
#[derive(Debug, Clone)]
pub(super) enum Call {
    Choices { request: GenerateRequest, count: usize },
    Score { prompt: Prompt, alternatives: usize },
    TokenBytes(Vec<TokenId>),
    PromptPrefix,
    Tokenize(String),
    Detokenize(Vec<TokenId>),
    Embed(Vec<Prompt>),
    Logits(Vec<TokenId>),
    Render(GenerateRequest),
}

choice!(Call {
    0 => Choices { request: request, count: count },
    1 => Score { prompt: prompt, alternatives: alternatives },
    2 => TokenBytes { 0: tokens },
    3 => PromptPrefix {},
    4 => Tokenize { 0: text },
    5 => Detokenize { 0: tokens },
    6 => Embed { 0: texts },
    7 => Logits { 0: tokens },
    8 => Render { 0: request },
});

/// What an engine's process tells.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // Few are about at a time, and the large one comes once.
pub(super) enum Tell {
    /// The engine is open.
    Serving {
        info: EngineInfo,
        health: Health,
    },
    /// It can't be opened; the process ends.
    Refused(EngineError),
    /// How it is, whenever that has changed.
    Health(Health),
    Answer {
        id: u64,
        answer: Result<Answer>,
    },
    /// Events of one generation, all that there were.
    Events {
        id: u64,
        events: Vec<Result<TextEvent>>,
    },
}

choice!(Tell {
    0 => Serving { info: info, health: health },
    1 => Refused { 0: error },
    2 => Health { 0: health },
    3 => Answer { id: id, answer: answer },
    4 => Events { id: id, events: events },
});

/// What a call returned.
#[derive(Debug)]
pub(super) enum Answer {
    Begun(Vec<Beginning>),
    Scored(Vec<Token>),
    Bytes(Vec<Vec<u8>>),
    Tokens(Vec<TokenId>),
    Text(String),
    Embedded(Vec<Embedding>),
    /// Logits are ready to be read.
    Readable,
    /// The next of them; `None` at the end.
    Rows(Option<Logits>),
    Rendered(RenderedPrompt),
}

choice!(Answer {
    0 => Begun { 0: beginnings },
    1 => Scored { 0: tokens },
    2 => Bytes { 0: bytes },
    3 => Tokens { 0: tokens },
    4 => Text { 0: text },
    5 => Embedded { 0: embeddings },
    6 => Readable {},
    7 => Rows { 0: rows },
    8 => Rendered { 0: prompt },
});
