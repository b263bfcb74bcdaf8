//! One answer: from the server that gives it, or the next one as long as nothing was passed on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::calls::Calls;
use super::chunk::{Addition, Chunk};
use super::complaint::Complaint;
use super::events::{Event, Events};
use super::failure::Failure;
use super::fleet::{Engaged, Fleet};
use super::question::Question;
use crate::error::{EngineError, Result};
use crate::events::EventSender;
use crate::generation::{Finish, FinishReason, TextEvent, Usage};

/// What marks the end of a stream.
const DONE: &str = "[DONE]";
/// How long a server may take to end a stream whose end it has told; longer, and its connection is not used again.
const LAST_BYTES_WITHIN: Duration = Duration::from_secs(2);

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
    /// What came in one event and is passed on as several.
    waiting: VecDeque<TextEvent>,
    /// Pieces of text, which count as tokens where the server doesn't tell a usage.
    pieces: usize,
    calls: Calls,
    finish: Option<FinishReason>,
    usage: Option<Usage>,
    over: bool,
    /// Given back before the end is told.
    permit: Option<OwnedSemaphorePermit>,
}

/// What an answer has from its engine.
pub(super) struct Context {
    pub engine: String,
    pub fleet: Arc<Fleet>,
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
            waiting: VecDeque::new(),
            pieces: 0,
            calls: Calls::default(),
            finish: None,
            usage: None,
            over: false,
            permit: Some(permit),
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
                Err(failure) => self.give_up(&engaged, failure)?,
            }
        }
        Err(self.failure.take().map_or(EngineError::Stopped, |failure| failure.into_error(None)))
    }

    /// What comes next; `None` after the end.
    async fn next(&mut self) -> Option<Result<TextEvent>> {
        if self.over {
            return None;
        }
        let mut engine_lives = self.context.engine_lives.clone();
        let event = tokio::select! {
            event = self.event() => event,
            // Nothing is ever sent through it.
            _ = engine_lives.changed() => Err(EngineError::Stopped),
        };
        self.over = matches!(event, Ok(TextEvent::Finished(_)) | Err(_));
        if self.over {
            (self.line, self.permit) = (None, None);
        }
        Some(event)
    }

    /// Tells all that comes, until the end or until nobody reads any more.
    pub async fn tell(mut self, events: EventSender) {
        loop {
            let event = tokio::select! {
                biased;
                () = events.closed() => return,
                event = self.next() => event,
            };
            let Some(event) = event else { return };
            if !events.send(event).await {
                return;
            }
        }
    }

    async fn event(&mut self) -> Result<TextEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Ok(event);
            }
            let Some((_, events)) = &mut self.line else {
                self.connect().await?;
                continue;
            };
            let next = events.next().await;
            match self.read(next) {
                Ok(()) => {}
                // Nothing is missing of it.
                Err(_) if self.finish.is_some() => return Ok(self.end()),
                Err(failure) => {
                    let Some((engaged, _)) = self.line.take() else { return Err(failure.into_error(None)) };
                    self.give_up(&engaged, failure)?;
                }
            }
        }
    }

    /// Takes what the server sent.
    fn read(&mut self, next: Result<Option<Event>, Failure>) -> Result<(), Failure> {
        let Some(Event { name, data }) = next? else {
            if self.finish.is_none() {
                return Err(Failure::cut_off());
            }
            let end = self.end();
            self.waiting.push_back(end);
            return Ok(());
        };
        if data == DONE {
            // A server that says that it is done and not why said all it had to say.
            let end = self.end();
            self.waiting.push_back(end);
            return Ok(());
        }
        let value: Value = serde_json::from_str(&data).map_err(|_| Failure::nonsense(&data))?;
        if let Some(complaint) = Complaint::in_event(&value) {
            return Err(Failure::event(&complaint, &self.context.engine));
        }
        if name == "error" {
            return Err(Failure::event(&Complaint::read(&data), &self.context.engine));
        }
        let chunk: Chunk = serde_json::from_value(value).map_err(|error| Failure::nonsense(format!("{error}: {data}")))?;
        self.add(chunk)
    }

    fn add(&mut self, chunk: Chunk) -> Result<(), Failure> {
        let Question { logprobs, stop, .. } = &self.question;
        let Addition { text, tokens, calls, finish, usage } = chunk.addition(*logprobs, stop);
        self.finish = finish.or(self.finish.take());
        self.usage = usage.or(self.usage);
        if text.is_empty() && tokens.is_empty() && calls.is_empty() {
            return Ok(());
        }
        if !self.begun {
            if logprobs.is_some() && tokens.is_empty() && !text.is_empty() {
                let what = "logprobs: its upstream server tells none".to_owned();
                return Err(Failure::Refused(EngineError::Unsupported { engine: self.context.engine.clone(), what }));
            }
            if let Some((engaged, _)) = &self.line {
                engaged.succeeded();
            }
        }
        self.begun = true;
        self.pieces += 1;
        if !text.is_empty() || !tokens.is_empty() {
            self.waiting.push_back(TextEvent::Text { text, tokens });
        }
        for call in calls {
            self.waiting.push_back(TextEvent::ToolCall(self.calls.in_order(call)?));
        }
        Ok(())
    }

    fn end(&mut self) -> TextEvent {
        if let Some((engaged, events)) = self.line.take() {
            engaged.succeeded();
            // Behind the reader's back: it need not wait for the connection.
            tokio::spawn(tokio::time::timeout(LAST_BYTES_WITHIN, events.drain()));
        }
        let usage = self.usage.unwrap_or(Usage { completion_tokens: self.pieces, ..Usage::default() });
        TextEvent::Finished(Finish { reason: self.finish.take().unwrap_or(FinishReason::EndOfText), usage, end: None })
    }

    /// Notes a failure. An error where no other server can help.
    fn give_up(&mut self, engaged: &Engaged, failure: Failure) -> Result<()> {
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
