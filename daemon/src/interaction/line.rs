//! An interaction's line in the log: prepared before the engine is asked, and written once, whatever happens.

use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use minivault_engines::chat::ToolCall;
use minivault_engines::generation::Beginning;
use minivault_engines::{EngineInfo, GenerateRequest, Prompt, Token, TokenId, Usage};
use minivault_journal::{Computation, Kept, Outcome, Place, Record, Recording, TokenUsage};
use prometheus_client::metrics::histogram::Histogram;
use serde_json::{Map, Value, json};
use tracing::Span;

use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::observation;

/// The status in the log when the client left before the end, as nginx counts it.
const CLIENT_LEFT: u16 = 499;

/// A record and its place in the log. Dropped before its end, as when the client leaves and the handler is dropped, it becomes a line that says
/// `cancelled`.
pub(super) struct Line {
    /// `None` once it was handed over, or isn't to be written.
    open: Option<(Place, Box<Record>)>,
    started: Instant,
    /// The tools called so far.
    pub calls: Vec<ToolCall>,
    /// When the last tokens came.
    last: Option<Instant>,
    /// Where it counts the time from one token to the next: looked up once, and not for each of them.
    next_token: Histogram,
    metrics: Arc<Metrics>,
    span: Span,
}

/// What all lines of one question say.
pub(super) struct About {
    pub id: String,
    /// Whether it has one answer; of several each adds its place to the name.
    pub alone: bool,
    pub endpoint: &'static str,
    pub replay_of: Option<String>,
    pub arrived: Timestamp,
    pub started: Instant,
    pub engine: Arc<EngineInfo>,
    pub metrics: Arc<Metrics>,
    /// The name of the key that the request came with.
    pub key: Option<Arc<str>>,
}

/// How an interaction ended.
pub(super) struct End {
    pub outcome: Outcome,
    pub status: u16,
    /// What the client was told of a failure.
    pub error: Option<String>,
    /// `None`: what has been counted so far.
    pub usage: Option<Usage>,
    /// When.
    pub at: Instant,
}

impl About {
    /// The line of the answer at this place, which is about to be asked for. `asked` is its request in the log's form.
    ///
    /// The seed, the prompt as the model sees it and its tokens are what the request says of them until the engine has settled them.
    pub fn line(&self, place: Place, index: usize, request: &GenerateRequest, mut asked: Map<String, Value>) -> Line {
        let (prompt, prompt_token_ids) = match &request.prompt {
            Prompt::Text(text) => (text.clone(), Vec::new()),
            Prompt::Tokens(tokens) => (String::new(), tokens.clone()),
            Prompt::Chat { .. } => (String::new(), Vec::new()),
        };
        if !self.alone {
            asked.insert("choice".into(), index.into());
        }
        let record = Box::new(Record {
            timestamp: self.arrived,
            prompt,
            response: String::new(),
            tool_calls: Vec::new(),
            id: if self.alone { self.id.clone() } else { format!("{}-{index}", self.id) },
            replay_of: self.replay_of.clone(),
            seq: 0,
            endpoint: self.endpoint.to_owned(),
            key: self.key.as_deref().map(str::to_owned),
            model: self.engine.name.clone(),
            backend: self.engine.backend.clone(),
            fingerprint: self.engine.fingerprint.clone(),
            determinism: self.engine.determinism.as_str().to_owned(),
            computation: computation(&self.engine),
            seed: request.sampling.seed.unwrap_or_default(),
            request: Value::Object(asked),
            usage: tokens_read(prompt_token_ids.len()),
            prompt_token_ids,
            response_token_ids: Vec::new(),
            finish_reason: Outcome::Cancelled,
            status: CLIENT_LEFT,
            error: None,
            ttft_ms: None,
            duration_ms: 0.0,
            record: Recording::Full,
            redacted: false,
            token_hashes: None,
        });
        Line {
            span: observation::answer(&record),
            open: Some((place, record)),
            started: self.started,
            calls: Vec::new(),
            last: None,
            next_token: self.metrics.next_token(&self.engine.name),
            metrics: self.metrics.clone(),
        }
    }
}

impl Line {
    /// The engine has settled what it answers to.
    pub fn begins(&mut self, beginning: &Beginning) {
        let Some((_, record)) = &mut self.open else { return };
        record.seed = beginning.seed;
        record.prompt = beginning.prompt_text.to_string();
        record.prompt_token_ids = beginning.prompt_tokens.to_vec();
        record.usage = tokens_read(beginning.prompt_tokens.len());
        if let Value::Object(asked) = &mut record.request {
            asked.insert("max_tokens".into(), beginning.max_tokens.into());
            asked.insert("seed".into(), beginning.seed.into());
        }
    }

    /// More of the answer came at this moment.
    pub fn add(&mut self, at: Instant, text: &str, tokens: &[Token]) {
        let since = self.started;
        let Some((_, record)) = &mut self.open else { return };
        record.response.push_str(text);
        // An upstream tells tokens only where log probabilities are asked for.
        if !tokens.is_empty() || !text.is_empty() {
            record.ttft_ms.get_or_insert_with(|| milliseconds(since, at));
            // Text that was held back comes with no token.
            let count = if record.response_token_ids.is_empty() { tokens.len().max(1) } else { tokens.len() };
            if let Some(last) = self.last.replace(at).filter(|_| count > 0) {
                let after = at.saturating_duration_since(last);
                (0..count).for_each(|_| self.next_token.observe(after.as_secs_f64() / count as f64));
            }
        }
        record.response_token_ids.extend(tokens.iter().map(|token| token.id));
        let usage = &mut record.usage;
        usage.completion_tokens += tokens.len();
        usage.total_tokens = usage.prompt_tokens + usage.completion_tokens;
    }

    /// The answer's tokens so far.
    pub fn tokens(&self) -> &[TokenId] {
        self.open.as_ref().map_or(&[], |(_, record)| &record.response_token_ids)
    }

    /// What it took so far.
    pub fn usage(&self) -> Usage {
        let told = self.open.as_ref().map(|(_, record)| record.usage).unwrap_or_default();
        Usage { prompt_tokens: told.prompt_tokens, completion_tokens: told.completion_tokens, cached_tokens: told.cached_tokens }
    }

    /// Writes it and waits until the kernel has it. Returns whether it was dropped, though it should be in the log; a line that is written already
    /// stays as it is.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn close(&mut self, end: End) -> Result<bool, ApiError> {
        let Some((place, mut record)) = self.open.take() else { return Ok(false) };
        if let Some(Usage { prompt_tokens, completion_tokens, cached_tokens }) = end.usage {
            record.usage = TokenUsage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens, cached_tokens };
        }
        record.tool_calls = self.calls.iter().map(as_logged).collect();
        record.duration_ms = milliseconds(self.started, end.at);
        (record.finish_reason, record.status, record.error) = (end.outcome, end.status, end.error);
        self.tell(&record);
        Ok(place.write(*record).wait().await? == Kept::Dropped)
    }

    fn tell(&self, record: &Record) {
        self.metrics.ended(record);
        observation::ended(&self.span, record);
    }

    /// Nothing is to be told of it.
    pub fn forget(&mut self) {
        self.open = None;
    }

    /// Ends it with an error that the client is told of: a refused request leaves no line. Otherwise as [`Line::close`].
    ///
    /// # Errors
    /// It could not be written.
    pub async fn end(&mut self, error: &ApiError) -> Result<bool, ApiError> {
        if error.is_refusal() {
            self.forget();
        }
        self.close(End::error(error)).await
    }
}

impl Drop for Line {
    /// Writes it as it is; nobody is left to wait for it.
    fn drop(&mut self) {
        let Some((place, mut record)) = self.open.take() else { return };
        record.tool_calls = self.calls.iter().map(as_logged).collect();
        if std::thread::panicking() {
            (record.finish_reason, record.status) = (Outcome::Error, 500);
        }
        record.duration_ms = milliseconds(self.started, Instant::now());
        self.tell(&record);
        drop(place.write(*record));
    }
}

impl End {
    /// An error that the client is told of.
    pub fn error(error: &ApiError) -> Self {
        Self {
            outcome: Outcome::Error,
            status: error.status.as_u16(),
            error: Some(error.message().to_owned()),
            usage: None,
            at: Instant::now(),
        }
    }
}

fn tokens_read(prompt_tokens: usize) -> TokenUsage {
    TokenUsage { prompt_tokens, total_tokens: prompt_tokens, ..TokenUsage::default() }
}

fn computation(info: &EngineInfo) -> Computation {
    let minivault_engines::Computation { version, dtype, kernel, threads } = info.computation.clone();
    Computation { version, dtype, kernel, threads }
}

/// A call in OpenAI's words.
fn as_logged(call: &ToolCall) -> Value {
    json!({"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}})
}

fn milliseconds(since: Instant, until: Instant) -> f64 {
    until.saturating_duration_since(since).as_micros() as f64 / 1000.0
}
