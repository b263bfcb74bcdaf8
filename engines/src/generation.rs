//! What an engine answers: a stream of events that ends with one `Finished`.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use futures_core::Stream;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};

use crate::chat::ToolCall;
use crate::error::{EngineError, Result};
use crate::events::Timed;
use crate::request::TokenId;

/// One event of a generation.
#[derive(Debug, Clone, PartialEq)]
pub enum TextEvent {
    /// A piece of text in whole characters, and the tokens it came with.
    ///
    /// A piece may be empty (its token's bytes wait for the rest of a character or of a stop string), and a flush may bring
    /// text without a token.
    Text {
        /// Whole characters; the pieces joined are the answer.
        text: String,
        /// The tokens this event accounts for.
        tokens: Vec<Token>,
    },
    /// How far the prompt has been read, before any text and only where it was asked for.
    Reading(PromptProgress),
    /// A piece of a call of a tool; the tokens it is made of come in [`TextEvent::Text`].
    ToolCall(ToolCallPiece),
    /// The end, once and last.
    Finished(Finish),
}

/// How far a prompt has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptProgress {
    /// Its tokens.
    pub total: usize,
    /// Those that were still in the KV cache of an earlier request.
    pub cached: usize,
    /// Those that have been read, the cached ones among them.
    pub processed: usize,
}

/// A piece of a call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ToolCallPiece {
    /// The call's place among those of the answer; the next one begins when this one is whole.
    pub index: usize,
    /// What the tool's answer will refer to, in the call's first piece.
    pub id: Option<String>,
    /// The tool's name, in the call's first piece.
    pub name: Option<String>,
    /// More of its arguments: JSON, as text.
    pub arguments: String,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: TokenId,
    /// The bytes it stands for; often no whole character.
    pub bytes: Vec<u8>,
    /// The natural logarithm of the probability the model gave it, before any sampling setting; `None` unless asked for.
    pub logprob: Option<f32>,
    /// The likeliest tokens at this place, likeliest first; empty unless asked for.
    pub top: Vec<Alternative>,
}

/// A token that might have stood at a place.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// Its number in the vocabulary.
    pub id: TokenId,
    /// The bytes it stands for.
    pub bytes: Vec<u8>,
    /// The natural logarithm of the probability the model gave it.
    pub logprob: f32,
}

/// How a generation ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Finish {
    /// Why it ended.
    pub reason: FinishReason,
    /// What it took.
    pub usage: Usage,
    /// The token with which the model ended the text, where log probabilities were asked for. It counts as no token of the answer.
    pub end: Option<Token>,
}

impl Finish {
    /// An end that no token marks.
    pub fn new(reason: FinishReason, usage: Usage) -> Self {
        Self { reason, usage, end: None }
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FinishReason {
    /// The model said that the text is complete.
    EndOfText,
    /// This stop string would have come next.
    StopString(String),
    /// As many tokens as were allowed.
    Length,
    /// The model has called tools and waits for their answers.
    ToolCalls,
    /// Its time was over. No engine ends so of its own; whoever waits for it does.
    Timeout,
}

impl FinishReason {
    /// `stop`, `length` or `tool_calls`, the words that OpenAI's API made standard, or `timeout`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::EndOfText | Self::StopString(_) => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Timeout => "timeout",
        }
    }
}

/// Tokens a request took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated, an end-of-text token not counted.
    pub completion_tokens: usize,
    /// Tokens of the prompt that were still in the KV cache of an earlier request.
    pub cached_tokens: usize,
}

/// What an engine settled before it began; enough, with the request, to run it again.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Beginning {
    /// The seed in force: the request's, or the one chosen for it.
    pub seed: u64,
    /// The prompt as text; of a chat, what the template made of it.
    pub prompt_text: Arc<str>,
    /// The prompt as tokens; empty where the engine doesn't know them (an upstream).
    pub prompt_tokens: Arc<[TokenId]>,
    /// The most tokens this answer can have.
    pub max_tokens: usize,
}

/// A live stream of text. Dropping it cancels the work.
pub struct Generation {
    beginning: Beginning,
    events: Pin<Box<dyn Stream<Item = Timed> + Send>>,
    came_at: Instant,
    over: bool,
}

/// A whole answer, collected.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The text.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<Token>,
    /// The tools it calls.
    pub tool_calls: Vec<ToolCall>,
    /// How it ended.
    pub finish: Finish,
}

impl ToolCallPiece {
    /// Joins it to the calls so far; one beyond them begins the next call.
    pub fn add_to(&self, calls: &mut Vec<ToolCall>) {
        let place = self.index.min(calls.len());
        if place == calls.len() {
            calls.push(ToolCall::default());
        }
        let call = &mut calls[place];
        call.id.push_str(self.id.as_deref().unwrap_or_default());
        call.name.push_str(self.name.as_deref().unwrap_or_default());
        call.arguments.push_str(&self.arguments);
    }
}

impl Generation {
    /// A generation from its events, which come when they are read. What comes after the first `Finished` or error is dropped; a stream that
    /// ends without either ends with [`EngineError::Stopped`].
    pub fn new(beginning: Beginning, events: impl Stream<Item = Result<TextEvent>> + Send + 'static) -> Self {
        Self::timed(beginning, events.map(Timed::now))
    }

    /// A generation from its events, which know when they came.
    pub fn timed(beginning: Beginning, events: impl Stream<Item = Timed> + Send + 'static) -> Self {
        Self { beginning, events: Box::pin(events), came_at: Instant::now(), over: false }
    }

    /// When the last event that was read came; before the first one, when the generation began.
    pub fn came_at(&self) -> Instant {
        self.came_at
    }

    /// What was settled before the first token.
    pub fn beginning(&self) -> &Beginning {
        &self.beginning
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The error the stream ended with.
    pub async fn collect(mut self) -> Result<Completion> {
        let (mut text, mut tokens, mut tool_calls) = (String::new(), Vec::new(), Vec::new());
        while let Some(event) = self.next().await {
            match event? {
                TextEvent::Text { text: piece, tokens: new } => {
                    text.push_str(&piece);
                    tokens.extend(new);
                }
                TextEvent::Reading(_) => {}
                TextEvent::ToolCall(piece) => piece.add_to(&mut tool_calls),
                TextEvent::Finished(finish) => return Ok(Completion { text, tokens, tool_calls, finish }),
            }
        }
        Err(EngineError::Stopped)
    }
}

impl Stream for Generation {
    type Item = Result<TextEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        let next = ready!(self.events.as_mut().poll_next(cx));
        let Timed { at, event } = next.unwrap_or_else(|| Timed::now(Err(EngineError::Stopped)));
        self.came_at = at;
        self.over = matches!(event, Ok(TextEvent::Finished(_)) | Err(_));
        Poll::Ready(Some(event))
    }
}
