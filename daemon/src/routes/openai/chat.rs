//! `/v1/chat/completions`: messages in, text out, whole or streamed.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use minivault_engines::chat::{ChatMessage, ToolCall};
use minivault_engines::{EngineInfo, GenerateRequest, MaxTokens, Prompt};
use minivault_wire::chat::{AnswerMessage, ChatAnswer, ChatBody, ChatChunk, Choice, ChoiceDelta, Delta};
use minivault_wire::events::StreamEvent;
use minivault_wire::usage::OpenAiUsage;

use super::body::{LeftAside, OpenAiBody};
use super::choices::{self, Ends};
use super::format::Form;
use super::messages::conversation;
use super::sampling::sampling_of;
use super::{for_the_log, logprobs, now, prompts, told_of, tools, usage};
use crate::error::ApiError;
use crate::interaction::{Answer, Interaction, Next, Question};
use crate::openapi::Asking;
use crate::routes::App;

/// What is wanted of the answer besides its text.
#[derive(Clone, Copy)]
struct Extras {
    logprobs: bool,
    usage: bool,
}

/// Answers a conversation, whole or streamed.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "openai",
    request_body = ChatBody,
    responses(
        (
            status = 200,
            description = "The answer; in a stream the data are a ChatChunk each, and `[DONE]` last",
            content((ChatAnswer = "application/json"), (StreamEvent = "text/event-stream"))
        ),
        Asking,
    )
)]
pub(in crate::routes) async fn complete(
    State(app): State<App>,
    OpenAiBody(body, left_aside): OpenAiBody<ChatBody>,
) -> Result<Response, ApiError> {
    let stream = body.stream.unwrap_or(false);
    let extras =
        Extras { logprobs: body.logprobs.unwrap_or(false), usage: body.stream_options.is_some_and(|options| options.include_usage) };
    let question = question(&app, body, &left_aside)?;
    let interactions = Interaction::begin_all(&app, question).await.map_err(|error| error.about("prompt", "messages"))?;
    let response = if stream { events(interactions, extras) } else { whole(interactions, extras).await? };
    Ok(left_aside.told_in(response))
}

async fn whole(mut interactions: Vec<Interaction>, extras: Extras) -> Result<Response, ApiError> {
    let answers = choices::collect(&mut interactions).await?;
    let (id, engine) = told_of(&interactions)?;
    let usage = usage::sum(answers.iter().map(|answer| answer.finish.usage), answers.len());
    let choice = |(index, Answer { piece, tool_calls, finish }): (usize, Answer)| Choice {
        index,
        message: message(piece.text, tool_calls),
        logprobs: extras.logprobs.then(|| logprobs::of_chat(&piece.tokens)),
        finish_reason: finish.reason.as_str().into(),
    };
    let answer = ChatAnswer {
        id,
        object: "chat.completion".into(),
        created: now(),
        model: engine.name.clone(),
        choices: answers.into_iter().enumerate().map(choice).collect(),
        usage,
        system_fingerprint: engine.fingerprint.clone(),
    };
    Ok(Json(answer).into_response())
}

/// What the assistant says. Clients take `null` for what it doesn't say where it calls tools instead.
fn message(text: String, tool_calls: Vec<ToolCall>) -> AnswerMessage {
    let tool_calls = tools::told(tool_calls);
    let content = (!text.is_empty() || tool_calls.is_none()).then_some(text);
    AnswerMessage { role: "assistant".into(), content, tool_calls, ..AnswerMessage::default() }
}

/// What all chunks of a stream have in common.
struct Chunks {
    id: String,
    created: i64,
    engine: Arc<EngineInfo>,
}

impl Chunks {
    fn delta(&self, index: usize, delta: Delta) -> Result<Event, axum::Error> {
        self.choice(ChoiceDelta { index, delta, logprobs: None, finish_reason: None })
    }

    fn choice(&self, choice: ChoiceDelta) -> Result<Event, axum::Error> {
        self.chunk(vec![choice], None)
    }

    fn usage(&self, usage: OpenAiUsage) -> Result<Event, axum::Error> {
        self.chunk(Vec::new(), Some(usage))
    }

    fn chunk(&self, choices: Vec<ChoiceDelta>, usage: Option<OpenAiUsage>) -> Result<Event, axum::Error> {
        Event::default().json_data(ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: self.engine.name.clone(),
            choices,
            usage,
            system_fingerprint: self.engine.fingerprint.clone(),
        })
    }
}

fn events(interactions: Vec<Interaction>, extras: Extras) -> Response {
    let answers = interactions.len();
    let stream = async_stream::stream! {
        let Ok((id, engine)) = told_of(&interactions) else { return };
        let chunks = Chunks { id, created: now(), engine };
        for index in 0..answers {
            yield chunks.delta(index, Delta { role: Some("assistant".into()), ..Delta::default() });
        }
        let mut ends = Ends::new(answers);
        let mut events = choices::events(interactions);
        while let Some((index, next)) = events.next().await {
            match next {
                Ok(Next::Text(piece)) => {
                    let delta = Delta { content: Some(piece.text), ..Delta::default() };
                    let logprobs = extras.logprobs.then(|| logprobs::of_chat(&piece.tokens));
                    yield chunks.choice(ChoiceDelta { index, delta, logprobs, finish_reason: None });
                }
                Ok(Next::ToolCall(piece)) => {
                    yield chunks.delta(index, Delta { tool_calls: Some(vec![tools::delta(piece)]), ..Delta::default() });
                }
                Ok(Next::Finished(finish)) => {
                    let finish_reason = Some(finish.reason.as_str().to_owned());
                    yield chunks.choice(ChoiceDelta { index, delta: Delta::default(), logprobs: None, finish_reason });
                    if let Some(usages) = ends.note(index, finish.usage).filter(|_| extras.usage) {
                        yield chunks.usage(usage::sum(usages, answers));
                    }
                }
                Err(error) => {
                    // Clients of this dialect look for an `error` in unnamed events.
                    yield Event::default().json_data(error.body());
                    return;
                }
            }
        }
        yield Ok(Event::default().data("[DONE]"));
    };
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

fn question(app: &App, body: ChatBody, left_aside: &LeftAside) -> Result<Question, ApiError> {
    let messages = conversation(body.messages)?;
    let tools = tools::offered(body.tools)?;
    app.check_prompt_bytes("messages", messages.iter().map(bytes).sum())?;
    app.check_prompt_bytes("tools", tools.iter().map(|tool| tool.to_string().len()).sum())?;
    let form = Form { response_format: body.response_format, grammar: body.grammar, regex: body.regex, json_schema: body.json_schema };
    let request = GenerateRequest {
        prompt: Prompt::Chat { messages, tools },
        max_tokens: body.max_completion_tokens.or(body.max_tokens).map_or(MaxTokens::Remaining, MaxTokens::Exactly),
        sampling: sampling_of!(body)?,
        stop: body.stop.map(Into::into).unwrap_or_default(),
        logprobs: alternatives(body.logprobs, body.top_logprobs)?,
        constraint: form.constraint()?,
        tool_choice: tools::choice(body.tool_choice)?,
        deterministic: body.deterministic.unwrap_or(false),
        parallel_tool_calls: body.parallel_tool_calls.unwrap_or(true),
        client: None,
    };
    Ok(Question {
        id: format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()),
        endpoint: "/v1/chat/completions",
        model: body.model,
        requests: vec![request],
        choices: prompts::answers("n", body.n, 1)?,
        replay_of: None,
        form: for_the_log(body.stream, body.user, body.metadata, left_aside),
    })
}

/// Bytes that a message brings into the prompt.
fn bytes(message: &ChatMessage) -> usize {
    let called: usize = message.tool_calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
    message.role.len() + message.content.len() + called
}

/// How many alternatives are wanted of each token, if log probabilities are.
fn alternatives(logprobs: Option<bool>, top_logprobs: Option<usize>) -> Result<Option<usize>, ApiError> {
    match (logprobs.unwrap_or(false), top_logprobs) {
        (true, top) => Ok(Some(top.unwrap_or(0))),
        (false, None | Some(0)) => Ok(None),
        (false, Some(top)) => {
            let message = format!("top_logprobs is {top} and logprobs isn't true; the alternatives come with the tokens' own");
            Err(ApiError::invalid(Some("top_logprobs"), message))
        }
    }
}
