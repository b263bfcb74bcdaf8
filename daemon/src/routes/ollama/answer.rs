//! How an answer is told: whole, or a line of JSON for each piece.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use minivault_engines::generation::{Finish, FinishReason};
use minivault_engines::{Constraint, EngineInfo, GenerateRequest, Prompt, RequestOptions, ToolChoice, chat};
use minivault_wire::ollama::{Answer, ErrorAnswer, FunctionCall, Message, Options, Took, ToolCall};
use serde::Serialize;
use serde_json::Value;

use super::nanoseconds;
use super::options::Chosen;
use crate::error::ApiError;
use crate::interaction::{self, Interaction, Next, Question};
use crate::routes::llama_server::Stopwatch;
use crate::routes::openai::{LeftAside, of_schema};
use crate::routes::{App, checked};

/// A question whose engine is there, and how it is to be answered.
pub(super) struct Asked {
    /// The model's name as the request had it.
    pub model: String,
    /// The engine's, as it is asked for.
    pub name: String,
    pub engine: Arc<EngineInfo>,
    pub endpoint: Endpoint,
    pub prompt: Prompt,
    pub format: Option<Value>,
    pub options: Option<Options>,
    pub stream: Option<bool>,
    /// When the request came, and when its engine was there.
    pub started: Instant,
    pub found: Instant,
}

/// Which of the two it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endpoint {
    Generate,
    Chat,
}

/// Tells one answer.
struct Teller {
    model: String,
    endpoint: Endpoint,
    started: Instant,
    found: Instant,
    stopwatch: Stopwatch,
}

/// Asks, and tells the answer.
///
/// # Errors
/// Whatever refuses the question, or ends a whole answer.
pub(super) async fn tell(app: &App, asked: Asked) -> Result<Response, ApiError> {
    let Asked { model, name, engine, endpoint, prompt, format, options, stream, started, found } = asked;
    let Chosen { max_tokens, sampling, stop, left_aside } = Chosen::of(options, &engine)?;
    let (stream, left_aside) = (stream.unwrap_or(true), LeftAside::of(left_aside));
    let request = GenerateRequest {
        prompt,
        max_tokens,
        sampling,
        stop,
        logprobs: None,
        constraint: constraint(format)?,
        tool_choice: ToolChoice::Auto,
        deterministic: false,
        parallel_tool_calls: true,
        client: None,
        options: RequestOptions::default(),
    };
    let question = Question {
        id: uuid::Uuid::now_v7().to_string(),
        endpoint: match endpoint {
            Endpoint::Generate => "/api/generate",
            Endpoint::Chat => "/api/chat",
        },
        model: Some(name),
        requests: vec![checked(request)?],
        choices: 1,
        replay_of: None,
        form: left_aside.fields().chain([("stream".to_owned(), stream.into())]).collect(),
    };
    let mut interaction = Interaction::begin(app, question).await?;
    let mut teller = Teller { model, endpoint, started, found, stopwatch: Stopwatch::new(found) };
    let response = if stream {
        lines(teller, interaction)
    } else {
        let interaction::Answer { piece, tool_calls, finish } = interaction.collect_watched(|next| teller.stopwatch.watch(next)).await?;
        Json(teller.end(&interaction, &finish, piece.text, tool_calls)).into_response()
    };
    Ok(left_aside.told_in(response))
}

/// An answer without any text: the engine is loaded.
pub(super) fn loaded(model: String, endpoint: Endpoint) -> Response {
    let now = Instant::now();
    let teller = Teller { model, endpoint, started: now, found: now, stopwatch: Stopwatch::new(now) };
    let answer = Answer { done: true, done_reason: Some("load".into()), ..teller.piece(String::new(), Vec::new()) };
    Json(answer).into_response()
}

fn lines(mut teller: Teller, mut interaction: Interaction) -> Response {
    let stream = async_stream::stream! {
        let mut calls: Vec<chat::ToolCall> = Vec::new();
        loop {
            let next = interaction.next().await;
            if let Ok(next) = &next {
                teller.stopwatch.watch(next);
            }
            match next {
                Ok(Next::Text(piece)) => yield line(&teller.piece(piece.text, Vec::new())),
                // Whole ones alone are understood.
                Ok(Next::ToolCall(piece)) => piece.add_to(&mut calls),
                Ok(Next::Reading(_)) => {}
                Ok(Next::Finished(finish)) => {
                    if !calls.is_empty() {
                        yield line(&teller.piece(String::new(), std::mem::take(&mut calls)));
                    }
                    yield line(&teller.end(&interaction, &finish, String::new(), Vec::new()));
                    return;
                }
                Err(error) => {
                    yield line(&ErrorAnswer { error: error.message().to_owned() });
                    return;
                }
            }
        }
    };
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(stream)).into_response()
}

fn line(value: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line.into())
}

impl Teller {
    fn piece(&self, text: String, calls: Vec<chat::ToolCall>) -> Answer {
        let (response, message) = match self.endpoint {
            Endpoint::Generate => (Some(text), None),
            Endpoint::Chat => (None, Some(message(text, calls))),
        };
        Answer { model: self.model.clone(), created_at: jiff::Timestamp::now().to_string(), response, message, ..Answer::default() }
    }

    fn end(&self, interaction: &Interaction, finish: &Finish, text: String, calls: Vec<chat::ToolCall>) -> Answer {
        let timings = self.stopwatch.timings();
        let took = Took {
            total_duration: nanoseconds(self.started.elapsed()),
            load_duration: nanoseconds(self.found - self.started),
            prompt_eval_count: finish.usage.prompt_tokens,
            prompt_eval_duration: (timings.prompt_ms * 1e6) as u64,
            eval_count: finish.usage.completion_tokens,
            eval_duration: (timings.predicted_ms * 1e6) as u64,
        };
        let reason = match finish.reason {
            FinishReason::ToolCalls => "stop",
            ref reason => reason.as_str(),
        };
        let context = || interaction.prompt_tokens.iter().chain(&interaction.token_ids).copied().collect();
        Answer {
            done: true,
            done_reason: Some(reason.to_owned()),
            context: (self.endpoint == Endpoint::Generate).then(context),
            took: Some(took),
            ..self.piece(text, calls)
        }
    }
}

fn message(text: String, calls: Vec<chat::ToolCall>) -> Message {
    let call = |chat::ToolCall { name, arguments, .. }: chat::ToolCall| {
        // What a model writes need not be JSON; then it is told as it is.
        let arguments = serde_json::from_str(&arguments).unwrap_or(Value::String(arguments));
        ToolCall { function: FunctionCall { name, arguments } }
    };
    let tool_calls = (!calls.is_empty()).then(|| calls.into_iter().map(call).collect());
    Message { role: "assistant".into(), content: text, tool_calls, images: None }
}

/// The form that an answer must have: `"json"`, a schema, or any.
fn constraint(format: Option<Value>) -> Result<Option<Constraint>, ApiError> {
    match format {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(word)) if word.is_empty() => Ok(None),
        Some(Value::String(word)) if word == "json" => Ok(Some(Constraint::JsonObject)),
        Some(schema @ Value::Object(_)) => of_schema(schema).map(Some),
        Some(other) => Err(ApiError::invalid(Some("format"), format!("format is {other}; it must be \"json\" or a JSON schema"))),
    }
}
