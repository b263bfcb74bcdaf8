//! One interaction: asked of an engine, told to a client, kept in the log.
//!
//! Whatever happens leaves exactly one record: [`line`] has it from before the engine is [asked](asking) until the end. If it is dropped before,
//! as when the client leaves and the handler is dropped, it says `cancelled`.

mod asking;
mod line;

use std::sync::Arc;

use minivault_engines::chat::ToolCall;
use minivault_engines::generation::{Finish, FinishReason};
use minivault_engines::{EngineInfo, Generation, Prompt, PromptProgress, TextEngine, TextEvent, Token, TokenId, ToolCallPiece};
use minivault_journal::Outcome;

pub use asking::Question;

use crate::error::ApiError;
use crate::lease::Lease;
use crate::logging::Wish;
use crate::patience::{Patience, Waited};
use line::{End, Line};

/// A generation under way.
pub struct Interaction {
    generation: Generation,
    /// The engine, which stays in memory as long as it is here.
    handle: Lease,
    line: Line,
    /// Tokens of text that can't be shown yet, where log probabilities were asked for.
    unshown: Vec<Token>,
    /// Tokens that came since text was last shown.
    uncounted: usize,
    /// The end, when the last tokens had to be told first.
    end: Option<Finish>,
    /// How long it may still take.
    patience: Patience,
    /// The request's name; of several answers the log has it with each one's place behind it.
    pub id: String,
    /// The engine that answers.
    pub engine: Arc<EngineInfo>,
    /// The seed in force.
    pub seed: u64,
    /// The prompt as text.
    pub prompt: Arc<str>,
    /// The prompt as tokens; empty where the engine doesn't know them.
    pub prompt_tokens: Arc<[TokenId]>,
    /// The answer's tokens, once it is over.
    pub token_ids: Vec<TokenId>,
    /// Whether its line should be in the log and isn't.
    pub dropped: bool,
    wish: Wish,
}

/// What comes next of an interaction.
#[derive(Debug)]
pub enum Next {
    /// More text.
    Text(Piece),
    /// How far the prompt has been read, where that was asked for.
    Reading(PromptProgress),
    /// A piece of a call of a tool.
    ToolCall(ToolCallPiece),
    /// The end; its line is in the log.
    Finished(Finish),
}

/// More text. It is empty only where the last tokens make no whole character and their log probabilities were asked for.
#[derive(Debug, Default)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Where log probabilities were asked for, the tokens it is made of.
    pub tokens: Vec<Token>,
    /// How many tokens came with it, as far as the engine tells.
    pub count: usize,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// The text, and its tokens where log probabilities were asked for.
    pub piece: Piece,
    /// The tools it calls.
    pub tool_calls: Vec<ToolCall>,
    /// How it ended.
    pub finish: Finish,
}

impl Interaction {
    /// What the model thinks of the tokens of this interaction's prompt.
    ///
    /// # Errors
    /// The engine can't tell, or it failed.
    pub async fn score(&mut self, prompt: &Prompt, alternatives: usize) -> Result<Vec<Token>, ApiError> {
        Ok(self.handle.score(prompt, alternatives).await?)
    }

    /// Waits for more. The end comes only after its line has been accepted by the kernel; after it, or an error, nothing comes.
    ///
    /// # Errors
    /// The engine failed in the middle, or the line could not be written.
    pub async fn next(&mut self) -> Result<Next, ApiError> {
        if let Some(finish) = self.end.take() {
            return self.finish(finish).await;
        }
        loop {
            let event = match self.patience.next(&mut self.generation).await {
                Waited::Event(event) => event,
                Waited::Late => Ok(TextEvent::Finished(Finish::new(FinishReason::Timeout, self.line.usage()))),
                Waited::GivenUp(error) => {
                    self.fail(&error).await?;
                    return Err(error);
                }
            };
            match event {
                Ok(TextEvent::Text { text, tokens }) => {
                    self.line.add(self.generation.came_at(), &text, &tokens);
                    self.uncounted += tokens.len();
                    self.unshown.extend(tokens.into_iter().filter(|token| token.logprob.is_some()));
                    if !text.is_empty() {
                        let (tokens, count) = (std::mem::take(&mut self.unshown), std::mem::take(&mut self.uncounted));
                        return Ok(Next::Text(Piece { text, tokens, count }));
                    }
                }
                Ok(TextEvent::Reading(progress)) => return Ok(Next::Reading(progress)),
                Ok(TextEvent::ToolCall(piece)) => {
                    piece.add_to(&mut self.line.calls);
                    return Ok(Next::ToolCall(piece));
                }
                Ok(TextEvent::Finished(finish)) => {
                    let tokens = std::mem::take(&mut self.unshown);
                    // Those of a stop string are never shown.
                    if tokens.is_empty() || matches!(finish.reason, FinishReason::StopString(_)) {
                        return self.finish(finish).await;
                    }
                    self.end = Some(finish);
                    return Ok(Next::Text(Piece { text: String::new(), tokens, count: std::mem::take(&mut self.uncounted) }));
                }
                Err(error) => {
                    let error = ApiError::from(error);
                    self.fail(&error).await?;
                    return Err(error);
                }
            }
        }
    }

    /// The engine that answers, to be asked more.
    pub fn asked(&self) -> &dyn TextEngine {
        &*self.handle
    }

    /// The whole text and its end.
    ///
    /// # Errors
    /// As [`Interaction::next`].
    pub async fn collect(&mut self) -> Result<Answer, ApiError> {
        self.collect_watched(|_| {}).await
    }

    /// The whole text and its end, while somebody watches it come.
    ///
    /// # Errors
    /// As [`Interaction::next`].
    pub async fn collect_watched(&mut self, mut watch: impl FnMut(&Next)) -> Result<Answer, ApiError> {
        let mut whole = Piece::default();
        loop {
            let next = self.next().await?;
            watch(&next);
            match next {
                Next::Text(Piece { text, tokens, count }) => {
                    whole.text.push_str(&text);
                    whole.tokens.extend(tokens);
                    whole.count += count;
                }
                Next::Reading(_) => {}
                // They are kept together.
                Next::ToolCall(_) => {}
                Next::Finished(finish) => return Ok(Answer { piece: whole, tool_calls: std::mem::take(&mut self.line.calls), finish }),
            }
        }
    }

    async fn finish(&mut self, finish: Finish) -> Result<Next, ApiError> {
        let outcome = match finish.reason {
            FinishReason::Length => Outcome::Length,
            FinishReason::ToolCalls => Outcome::ToolCalls,
            FinishReason::Timeout => Outcome::Timeout,
            FinishReason::EndOfText | FinishReason::StopString(_) => Outcome::Stop,
        };
        self.close(End { outcome, status: 200, error: None, usage: Some(finish.usage), at: self.generation.came_at() }).await?;
        Ok(Next::Finished(finish))
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), ApiError> {
        self.close(End::error(error)).await
    }

    async fn close(&mut self, end: End) -> Result<(), ApiError> {
        self.token_ids = self.line.tokens().to_vec();
        if self.line.close(end).await? {
            self.dropped = true;
            self.wish.note_dropped();
        }
        Ok(())
    }
}
