//! One interaction: asked of an engine, told to a client, kept in the log.
//!
//! Whatever happens leaves exactly one record. An [`Interaction`] owns its place in the journal; if it is dropped before its end, as
//! when the client leaves and the handler is dropped, it leaves a record that says `cancelled`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use minivault_engines::chat::ToolCall;
use minivault_engines::generation::{Finish, FinishReason};
use minivault_engines::{
    EngineError, EngineInfo, GenerateRequest, Generation, MaxTokens, Prompt, TextEngine, TextEvent, Token, TokenId, ToolCallPiece, Usage,
};
use minivault_journal::{Computation, Kept, Outcome, Place, Record, Recording, TokenUsage};
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::lease::Lease;
use crate::logging::Wish;
use crate::normalized::normalize;
use crate::patience::{Patience, Waited};
use crate::routes::App;

/// The status in the log when the client left before the end, as nginx counts it.
const CLIENT_LEFT: u16 = 499;
/// Between two looks whether a full engine has room for the rest of a list of prompts.
const LIST_GOES_ON_AFTER: Duration = Duration::from_millis(20);

/// What a route asks.
pub struct Question {
    /// The interaction's name; of several answers each adds its place.
    pub id: String,
    /// The route.
    pub endpoint: &'static str,
    /// The engine's name; `None` is the default one.
    pub model: Option<String>,
    /// What is asked of the engine, at least one request.
    pub requests: Vec<GenerateRequest>,
    /// Answers to each request.
    pub choices: usize,
    /// Fields of the request that concern the answer's form, for the log.
    pub form: Map<String, Value>,
    /// The interaction that is run again.
    pub replay_of: Option<String>,
}

/// A generation under way.
pub struct Interaction {
    generation: Generation,
    /// The engine, which stays in memory as long as it is here.
    handle: Lease,
    /// `None` once the record has been handed over.
    open: Option<Open>,
    /// Tokens of text that can't be shown yet, where log probabilities were asked for.
    unshown: Vec<Token>,
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
    app: App,
    /// The prompt as text.
    pub prompt: Arc<str>,
    /// The prompt as tokens; empty where the engine doesn't know them.
    pub prompt_tokens: Arc<[TokenId]>,
    /// The answer's tokens, once it is over.
    pub token_ids: Vec<TokenId>,
    /// The tools called so far.
    tool_calls: Vec<ToolCall>,
    /// Whether its line should be in the log and isn't.
    pub dropped: bool,
    wish: Wish,
}

/// What the record needs until the end.
struct Open {
    place: Place,
    record: Box<Record>,
    started: Instant,
}

/// What comes next of an interaction.
#[derive(Debug)]
pub enum Next {
    /// More text.
    Text(Piece),
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

/// An answer that the engine has begun, and its place in the log.
struct Begun {
    place: Place,
    generation: Generation,
    request: Map<String, Value>,
}

impl Interaction {
    /// Asks for one answer to one request.
    ///
    /// # Errors
    /// As [`Interaction::begin_all`].
    pub async fn begin(app: &App, question: Question) -> Result<Self, ApiError> {
        Self::begin_all(app, question).await?.pop().ok_or_else(ApiError::internal)
    }

    /// Reserves the records' places, then asks the engine: all answers begin, request by request, or none. Of a list that is longer than the
    /// engine's queue the later ones wait until earlier ones have been answered.
    ///
    /// # Errors
    /// Whatever refuses one of the requests; nothing is logged then.
    pub async fn begin_all(app: &App, question: Question) -> Result<Vec<Self>, ApiError> {
        let (started, timestamp) = (Instant::now(), Timestamp::now());
        let Question { id, endpoint, model, requests, choices, form, replay_of } = question;
        if app.is_draining() {
            return Err(ApiError::draining());
        }
        requests.iter().try_for_each(GenerateRequest::check)?;
        check_budget(&requests, choices, app.limits.answer_tokens)?;
        let (wish, mut patience) = (Wish::of_this_request(), app.patience());
        let engine = patience.wait_for(app.engines.find(model.as_deref())).await?;
        // That may have taken as long as a model takes to load.
        if app.is_draining() {
            return Err(ApiError::draining());
        }
        let mut begun = Vec::with_capacity(requests.len() * choices);
        let info = engine.info();
        for mut request in requests {
            request.client.clone_from(&wish.key);
            let place = |_| if wish.off { Ok(app.journal.unlogged()) } else { app.journal.reserve() };
            let places = (0..choices).map(place).collect::<Result<Vec<_>, _>>()?;
            let normalized = normalize(&request);
            let generations = loop {
                match engine.choices(request.clone(), choices).await {
                    // Its own earlier prompts may be what the engine is full of.
                    Err(EngineError::Busy { .. }) if !begun.is_empty() && !app.is_draining() => {
                        let pause = async { Ok(tokio::time::sleep(LIST_GOES_ON_AFTER).await) };
                        patience.wait_for(pause).await?;
                    }
                    generations => break generations.map_err(|error| ApiError::from(error).waiting(app.throughput.wait(&info.name)))?,
                }
            };
            let together = places.into_iter().zip(generations);
            begun.extend(together.map(|(place, generation)| Begun { place, generation, request: normalized.clone() }));
        }
        let alone = begun.len() == 1;
        let interactions = begun.into_iter().enumerate().map(|(index, Begun { place, generation, mut request })| {
            let beginning = generation.beginning();
            request.insert("max_tokens".into(), beginning.max_tokens.into());
            request.insert("seed".into(), beginning.seed.into());
            request.extend(form.clone());
            if !alone {
                request.insert("choice".into(), index.into());
            }
            let prompt_tokens = beginning.prompt_tokens.len();
            let record = Box::new(Record {
                timestamp,
                prompt: beginning.prompt_text.to_string(),
                response: String::new(),
                tool_calls: Vec::new(),
                id: if alone { id.clone() } else { format!("{id}-{index}") },
                replay_of: replay_of.clone(),
                seq: 0,
                endpoint: endpoint.to_owned(),
                key: wish.key.as_deref().map(str::to_owned),
                model: info.name.clone(),
                backend: info.backend.clone(),
                fingerprint: info.fingerprint.clone(),
                determinism: info.determinism.as_str().to_owned(),
                computation: computation(&info),
                seed: beginning.seed,
                request: Value::Object(request),
                prompt_token_ids: beginning.prompt_tokens.to_vec(),
                response_token_ids: Vec::new(),
                usage: TokenUsage { prompt_tokens, total_tokens: prompt_tokens, ..TokenUsage::default() },
                finish_reason: Outcome::Cancelled,
                status: CLIENT_LEFT,
                error: None,
                ttft_ms: None,
                duration_ms: 0.0,
                record: Recording::Full,
                redacted: false,
                token_hashes: None,
            });
            let (seed, prompt, prompt_tokens) = (beginning.seed, beginning.prompt_text.clone(), beginning.prompt_tokens.clone());
            let open = Some(Open { place, record, started });
            let (handle, engine) = (engine.clone(), info.clone());
            Self {
                generation,
                handle,
                open,
                unshown: Vec::new(),
                end: None,
                patience: patience.clone(),
                app: app.clone(),
                id: id.clone(),
                engine,
                seed,
                prompt,
                prompt_tokens,
                token_ids: Vec::new(),
                tool_calls: Vec::new(),
                dropped: false,
                wish: wish.clone(),
            }
        });
        Ok(interactions.collect())
    }

    /// What the model thinks of the tokens of this interaction's prompt.
    ///
    /// # Errors
    /// The engine can't tell, or it failed.
    pub async fn score(&mut self, prompt: &Prompt, alternatives: usize) -> Result<Vec<Token>, ApiError> {
        Ok(self.handle.score(prompt, alternatives).await?)
    }

    /// Ends the answers to a request that an error ends before the first byte: a refused one leaves no lines.
    ///
    /// # Errors
    /// A line could not be written.
    pub async fn end_all(interactions: Vec<Self>, error: &ApiError) -> Result<(), ApiError> {
        for mut interaction in interactions {
            if error.is_refusal() {
                interaction.open = None;
            } else {
                interaction.fail(error).await?;
            }
        }
        Ok(())
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
                Waited::Late => Ok(TextEvent::Finished(Finish::new(FinishReason::Timeout, self.usage()))),
                Waited::GivenUp(error) => {
                    self.fail(&error).await?;
                    return Err(error);
                }
            };
            match event {
                Ok(TextEvent::Text { text, tokens }) => {
                    self.add(&text, &tokens);
                    self.unshown.extend(tokens.into_iter().filter(|token| token.logprob.is_some()));
                    if !text.is_empty() {
                        return Ok(Next::Text(Piece { text, tokens: std::mem::take(&mut self.unshown) }));
                    }
                }
                Ok(TextEvent::ToolCall(piece)) => {
                    piece.add_to(&mut self.tool_calls);
                    return Ok(Next::ToolCall(piece));
                }
                Ok(TextEvent::Finished(finish)) => {
                    let tokens = std::mem::take(&mut self.unshown);
                    // Those of a stop string are never shown.
                    if tokens.is_empty() || matches!(finish.reason, FinishReason::StopString(_)) {
                        return self.finish(finish).await;
                    }
                    self.end = Some(finish);
                    return Ok(Next::Text(Piece { text: String::new(), tokens }));
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
                Next::Text(Piece { text, tokens }) => {
                    whole.text.push_str(&text);
                    whole.tokens.extend(tokens);
                }
                // They are kept together.
                Next::ToolCall(_) => {}
                Next::Finished(finish) => return Ok(Answer { piece: whole, tool_calls: std::mem::take(&mut self.tool_calls), finish }),
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
        self.close(outcome, 200, None, Some(finish.usage)).await?;
        Ok(Next::Finished(finish))
    }

    /// What it took so far.
    fn usage(&self) -> Usage {
        let told = self.open.as_ref().map(|open| open.record.usage).unwrap_or_default();
        Usage { prompt_tokens: told.prompt_tokens, completion_tokens: told.completion_tokens, cached_tokens: told.cached_tokens }
    }

    async fn fail(&mut self, error: &ApiError) -> Result<(), ApiError> {
        self.close(Outcome::Error, error.status.as_u16(), Some(error.message().to_owned()), None).await
    }

    fn add(&mut self, text: &str, tokens: &[Token]) {
        let Some(Open { record, started, .. }) = &mut self.open else { return };
        record.response.push_str(text);
        // An upstream tells tokens only where log probabilities are asked for.
        if !tokens.is_empty() || !text.is_empty() {
            record.ttft_ms.get_or_insert_with(|| milliseconds(*started));
        }
        record.response_token_ids.extend(tokens.iter().map(|token| token.id));
        let usage = &mut record.usage;
        usage.completion_tokens += tokens.len();
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
    }

    async fn close(&mut self, outcome: Outcome, status: u16, error: Option<String>, usage: Option<Usage>) -> Result<(), ApiError> {
        let Some(Open { place, mut record, started }) = self.open.take() else { return Ok(()) };
        self.app.throughput.note(&self.engine.name);
        if let Some(Usage { prompt_tokens, completion_tokens, cached_tokens }) = usage {
            record.usage = TokenUsage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens, cached_tokens };
        }
        self.token_ids.clone_from(&record.response_token_ids);
        record.tool_calls = self.tool_calls.iter().map(as_logged).collect();
        (record.finish_reason, record.status, record.error, record.duration_ms) = (outcome, status, error, milliseconds(started));
        if place.write(*record).wait().await? == Kept::Dropped {
            self.dropped = true;
            self.wish.note_dropped();
        }
        Ok(())
    }
}

impl Drop for Interaction {
    fn drop(&mut self) {
        if let Some(Open { place, mut record, started }) = self.open.take() {
            self.app.throughput.note(&self.engine.name);
            record.tool_calls = self.tool_calls.iter().map(as_logged).collect();
            if std::thread::panicking() {
                (record.finish_reason, record.status) = (Outcome::Error, 500);
            }
            record.duration_ms = milliseconds(started);
            // Nobody is left to wait for it.
            drop(place.write(*record));
        }
    }
}

/// Refuses several answers that may be longer than the limit together.
fn check_budget(requests: &[GenerateRequest], choices: usize, limit: usize) -> Result<(), ApiError> {
    let answers = requests.len() * choices;
    let most = requests.iter().map(|request| match request.max_tokens {
        MaxTokens::Exactly(tokens) => tokens,
        // Nobody has asked for so many.
        MaxTokens::AtMost(_) | MaxTokens::Remaining => 0,
    });
    let tokens = most.fold(0, usize::saturating_add).saturating_mul(choices);
    if answers > 1 && tokens > limit {
        let message = format!("{answers} answers may have {tokens} tokens together; the limit is {limit}");
        return Err(ApiError::invalid(Some("max_tokens"), message));
    }
    Ok(())
}

fn computation(info: &EngineInfo) -> Computation {
    let minivault_engines::Computation { version, dtype, kernel, threads } = info.computation.clone();
    Computation { version, dtype, kernel, threads }
}

/// A call in OpenAI's words.
fn as_logged(call: &ToolCall) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_micros() as f64 / 1000.0
}
