//! One answer: from the server that gives it, or the next one as long as nothing was passed on.

use std::sync::Arc;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::chunk::Chunk;
use super::complaint::Complaint;
use super::events::{Event, Events};
use super::failure::Failure;
use super::fleet::{Engaged, Fleet};
use super::names::Names;
use super::question::Question;
use crate::error::{EngineError, Result};
use crate::generation::{Finish, FinishReason, TextEvent, Usage};

/// What marks the end of a stream.
const DONE: &str = "[DONE]";

/// An answer under way. Dropping it closes its connection, by which the server knows that it can stop.
pub(super) struct Answer {
    context: Context,
    question: Question,
    /// Servers that failed with this question.
    tried: Vec<usize>,
    /// Why the last of them failed.
    failure: Option<Failure>,
    /// The server that answers.
    line: Option<(Engaged, Events)>,
    /// Whether anything was passed on: then no other server can take over.
    begun: bool,
    /// Pieces of text, which count as tokens where the server doesn't tell a usage.
    pieces: usize,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

/// What an answer has from its engine.
pub(super) struct Context {
    pub engine: String,
    pub fleet: Arc<Fleet>,
    pub names: Arc<Names>,
    /// Closed once the engine is dropped.
    pub engine_lives: watch::Receiver<()>,
}

impl Answer {
    pub fn new(context: Context, question: Question, permit: OwnedSemaphorePermit) -> Self {
        Self {
            context,
            question,
            tried: Vec::new(),
            failure: None,
            line: None,
            begun: false,
            pieces: 0,
            finish: None,
            usage: None,
            over: false,
            _permit: permit,
        }
    }

    pub fn question(&self) -> &Question {
        &self.question
    }

    /// Asks one server after the other until one begins to answer.
    pub async fn connect(&mut self) -> Result<()> {
        while let Some(engaged) = self.context.fleet.choose(&self.tried) {
            let Question { endpoint, body, .. } = &self.question;
            match engaged.server().ask(endpoint, body, &self.context.engine).await {
                Ok(events) => {
                    self.line = Some((engaged, events));
                    return Ok(());
                }
                // The request left open how long its answer may get, so it is asked for what fits.
                Err(Failure::TooLong { prompt_tokens, limit }) if self.question.settle_for(limit.saturating_sub(prompt_tokens)) => {}
                Err(failure) => self.give_up(engaged, failure)?,
            }
        }
        Err(self.failure.take().map_or(EngineError::Stopped, |failure| failure.into_error(None)))
    }

    /// What comes next; `None` after the end.
    pub async fn next(&mut self) -> Option<Result<TextEvent>> {
        if self.over {
            return None;
        }
        let mut engine_lives = self.context.engine_lives.clone();
        let event = tokio::select! {
            event = self.event() => event,
            // Nothing is ever sent through it.
            _ = engine_lives.changed() => Err(EngineError::Stopped),
        };
        self.over = !matches!(event, Ok(TextEvent::Text { .. }));
        if self.over {
            self.line = None;
        }
        Some(event)
    }

    async fn event(&mut self) -> Result<TextEvent> {
        loop {
            let Some((_, events)) = &mut self.line else {
                self.connect().await?;
                continue;
            };
            let next = events.next().await;
            match self.read(next) {
                Ok(Some(event)) => return Ok(event),
                Ok(None) => {}
                // Nothing is missing of it.
                Err(_) if self.finish.is_some() => return Ok(self.end()),
                Err(failure) => {
                    let Some((engaged, _)) = self.line.take() else { return Err(failure.into_error(None)) };
                    self.give_up(engaged, failure)?;
                }
            }
        }
    }

    /// Takes what the server sent. `None`: it adds nothing that could be passed on.
    fn read(&mut self, next: Result<Option<Event>, Failure>) -> Result<Option<TextEvent>, Failure> {
        let Some(Event { name, data }) = next? else {
            return if self.finish.is_some() { Ok(Some(self.end())) } else { Err(Failure::cut_off()) };
        };
        if data == DONE {
            // A server that says that it is done and not why: it said all it had to say.
            self.finish.get_or_insert(FinishReason::EndOfText);
            return Ok(Some(self.end()));
        }
        let value: Value = serde_json::from_str(&data).map_err(|_| Failure::nonsense(&data))?;
        if let Some(complaint) = Complaint::in_event(&value) {
            return Err(Failure::event(complaint, &self.context.engine));
        }
        if name == "error" {
            return Err(Failure::event(Complaint::read(&data), &self.context.engine));
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(|error| Failure::nonsense(format!("{error}: {data}")))?;
        let Question { logprobs, stop, .. } = &self.question;
        let addition = chunk.addition(*logprobs, stop, &self.context.names);
        self.finish = addition.finish.or(self.finish.take());
        self.usage = addition.usage.or(self.usage);
        if addition.text.is_empty() && addition.tokens.is_empty() {
            return Ok(None);
        }
        if !self.begun {
            if logprobs.is_some() && addition.tokens.is_empty() {
                let what = "logprobs: its upstream server tells none".to_owned();
                return Err(Failure::Refused(EngineError::Unsupported { engine: self.context.engine.clone(), what }));
            }
            if let Some((engaged, _)) = &self.line {
                engaged.succeeded();
            }
        }
        self.begun = true;
        self.pieces += 1;
        Ok(Some(TextEvent::Text { text: addition.text, tokens: addition.tokens }))
    }

    fn end(&mut self) -> TextEvent {
        if let Some((engaged, events)) = self.line.take() {
            engaged.succeeded();
            // Behind the reader's back: it need not wait for the connection.
            tokio::spawn(events.drain());
        }
        let usage = self.usage.unwrap_or(Usage { completion_tokens: self.pieces, ..Usage::default() });
        TextEvent::Finished(Finish { reason: self.finish.take().unwrap_or(FinishReason::EndOfText), usage })
    }

    /// Notes a failure. An error where no other server can help.
    fn give_up(&mut self, engaged: Engaged, failure: Failure) -> Result<()> {
        let (engine, server) = (&self.context.engine, engaged.server().address());
        match &failure {
            Failure::Busy { wait, said } => {
                tracing::warn!(engine, server, said, "an upstream server is busy or loading");
                engaged.is_busy_for(*wait);
            }
            Failure::Broken { told, said } => {
                let rest = engaged.failed().as_secs();
                tracing::warn!(engine, server, said, begun = self.begun, rest, "an upstream server failed: {told}");
            }
            Failure::Refused(error) => tracing::info!(engine, server, %error, "an upstream server refused a request"),
            Failure::TooLong { .. } => {}
        }
        self.tried.push(engaged.index());
        if self.begun || !failure.is_the_servers() {
            return Err(failure.into_error(self.question.insists_on));
        }
        // One that is only busy may take it in a moment, whatever is wrong with the others.
        if !matches!(self.failure, Some(Failure::Busy { .. })) {
            self.failure = Some(failure);
        }
        Ok(())
    }
}
