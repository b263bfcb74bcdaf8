//! `/v1/chat/completions`: messages in, text out, whole or streamed.

use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use minivault_engines::chat::{ChatMessage, ToolCall};
use minivault_engines::{EngineInfo, GenerateRequest, MaxTokens, Prompt, RequestOptions};
use minivault_wire::chat::{AnswerMessage, ChatAnswer, ChatBody, ChatChunk, Choice, ChoiceDelta, Delta};
use minivault_wire::events::StreamEvent;
use minivault_wire::llama_server::{CompletionAnswer, PromptProgress, Timings};
use minivault_wire::usage::OpenAiUsage;
use serde_json::Value;

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
use crate::routes::llama_server::{Stopwatch, verbose};

/// What is wanted of the answer besides its text.
#[derive(Clone, Copy)]
struct Extras {
    started: Instant,
    logprobs: bool,
    usage: bool,
    timings: bool,
    progress: bool,
    verbose: bool,
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
    let extras = Extras {
        started: Instant::now(),
        logprobs: body.logprobs.unwrap_or(false),
        usage: body.stream_options.is_some_and(|options| options.include_usage),
        timings: body.timings_per_token.unwrap_or(false),
        progress: body.return_progress.unwrap_or(false),
        verbose: body.verbose.unwrap_or(false),
    };
    let question = question(&app, body, &left_aside)?;
    let settings = question.requests.first().map(|request| verbose::settings(&request.sampling, request.max_tokens));
    let interactions = Interaction::begin_all(&app, question).await.map_err(|error| error.about("prompt", "messages"))?;
    let response = if stream { events(interactions, extras) } else { whole(interactions, extras, settings.unwrap_or_default()).await? };
    Ok(left_aside.told_in(response))
}

async fn whole(mut interactions: Vec<Interaction>, extras: Extras, settings: Value) -> Result<Response, ApiError> {
    let mut stopwatch = Stopwatch::new(extras.started);
    let answers = choices::collect_watched(&mut interactions, |next| stopwatch.watch(next)).await?;
    let (id, engine) = told_of(&interactions)?;
    let usage = usage::sum(answers.iter().map(|answer| answer.finish.usage), answers.len());
    let choice = |(index, Answer { piece, tool_calls, finish }): (usize, Answer)| Choice {
        index,
        message: message(piece.text, tool_calls),
        logprobs: extras.logprobs.then(|| logprobs::of_chat(&piece.tokens)),
        finish_reason: finish.reason.as_str().into(),
    };
    let told = interactions.first().zip(answers.first()).filter(|_| extras.verbose);
    let verbose = told.and_then(|(interaction, answer)| {
        let Answer { piece, finish, .. } = answer;
        let new_line = piece.text.contains('\n');
        let end = verbose::answer(0, interaction, finish.clone(), &settings, new_line, stopwatch.timings());
        serde_json::to_value(CompletionAnswer { content: piece.text.clone(), ..end }).ok()
    });
    let answer = ChatAnswer {
        id,
        object: "chat.completion".into(),
        created: now(),
        model: engine.name.clone(),
        choices: answers.into_iter().enumerate().map(choice).collect(),
        usage,
        system_fingerprint: engine.fingerprint.clone(),
        timings: extras.timings.then(|| stopwatch.timings()),
        verbose,
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

/// What a chunk tells beside its choice.
#[derive(Clone, Copy, Default)]
struct Beside {
    timings: Option<Timings>,
    prompt_progress: Option<PromptProgress>,
}

impl Chunks {
    fn delta(&self, index: usize, delta: Delta, beside: Beside) -> Result<Event, axum::Error> {
        self.choice(ChoiceDelta { index, delta, logprobs: None, finish_reason: None }, beside)
    }

    fn choice(&self, choice: ChoiceDelta, beside: Beside) -> Result<Event, axum::Error> {
        self.chunk(vec![choice], None, beside)
    }

    fn usage(&self, usage: OpenAiUsage, beside: Beside) -> Result<Event, axum::Error> {
        self.chunk(Vec::new(), Some(usage), beside)
    }

    fn chunk(&self, choices: Vec<ChoiceDelta>, usage: Option<OpenAiUsage>, beside: Beside) -> Result<Event, axum::Error> {
        let Beside { timings, prompt_progress } = beside;
        Event::default().json_data(ChatChunk {
            id: self.id.clone(),
            object: "chat.completion.chunk".into(),
            created: self.created,
            model: self.engine.name.clone(),
            choices,
            usage,
            system_fingerprint: self.engine.fingerprint.clone(),
            timings,
            prompt_progress,
        })
    }
}

fn events(interactions: Vec<Interaction>, extras: Extras) -> Response {
    let answers = interactions.len();
    let stream = async_stream::stream! {
        let Ok((id, engine)) = told_of(&interactions) else { return };
        let chunks = Chunks { id, created: now(), engine };
        for index in 0..answers {
            yield chunks.delta(index, Delta { role: Some("assistant".into()), ..Delta::default() }, Beside::default());
        }
        let mut ends = Ends::new(answers);
        // One for each answer, and one for all.
        let mut stopwatches = vec![Stopwatch::new(extras.started); answers];
        let mut of_all = Stopwatch::new(extras.started);
        let mut events = choices::events(interactions);
        while let Some((index, next)) = events.next().await {
            if let Ok(next) = &next {
                stopwatches[index].watch(next);
                of_all.watch(next);
            }
            let timings = |stopwatch: &Stopwatch| Beside { timings: extras.timings.then(|| stopwatch.timings()), prompt_progress: None };
            match next {
                Ok(Next::Reading(_)) if !extras.progress => {}
                Ok(Next::Reading(_)) => {
                    let beside = timings(&stopwatches[index]);
                    let prompt_progress = Some(stopwatches[index].progress());
                    yield chunks.delta(index, Delta::default(), Beside { prompt_progress, ..beside });
                }
                Ok(Next::Text(piece)) => {
                    let delta = Delta { content: Some(piece.text), ..Delta::default() };
                    let logprobs = extras.logprobs.then(|| logprobs::of_chat(&piece.tokens));
                    yield chunks.choice(ChoiceDelta { index, delta, logprobs, finish_reason: None }, timings(&stopwatches[index]));
                }
                Ok(Next::ToolCall(piece)) => {
                    let delta = Delta { tool_calls: Some(vec![tools::delta(piece)]), ..Delta::default() };
                    yield chunks.delta(index, delta, timings(&stopwatches[index]));
                }
                Ok(Next::Finished(finish)) => {
                    let finish_reason = Some(finish.reason.as_str().to_owned());
                    let choice = ChoiceDelta { index, delta: Delta::default(), logprobs: None, finish_reason };
                    yield chunks.choice(choice, timings(&stopwatches[index]));
                    if let Some(usages) = ends.note(index, finish.usage).filter(|_| extras.usage) {
                        yield chunks.usage(usage::sum(usages, answers), timings(&of_all));
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

fn question(app: &App, mut body: ChatBody, left_aside: &LeftAside) -> Result<Question, ApiError> {
    let (model, choices) = (body.model.take(), prompts::answers("n", body.n, 1)?);
    let form = for_the_log(body.stream, body.user.take(), body.metadata.take(), left_aside);
    let request = request(app, body)?;
    Ok(Question {
        id: format!("chatcmpl-{}", uuid::Uuid::now_v7().simple()),
        endpoint: "/v1/chat/completions",
        model,
        requests: vec![request],
        choices,
        replay_of: None,
        form,
    })
}

/// What is asked of the engine.
///
/// # Errors
/// What of the body can't be asked.
pub(in crate::routes) fn request(app: &App, body: ChatBody) -> Result<GenerateRequest, ApiError> {
    let continue_final_message = body.continue_final_message.unwrap_or(false);
    if continue_final_message && body.add_generation_prompt == Some(true) {
        let message =
            "`continue_final_message` and `add_generation_prompt` are both true; a begun answer is gone on with, or a new one begun";
        return Err(ApiError::invalid(Some("continue_final_message"), message));
    }
    let options = RequestOptions {
        ignore_eos: body.ignore_eos.unwrap_or(false),
        continue_final_message,
        without_cache: body.cache_prompt == Some(false),
        progress: body.return_progress.unwrap_or(false) || body.timings_per_token.unwrap_or(false),
        logprobs_of_draw: false,
    };
    let messages = conversation(body.messages)?;
    let tools = tools::offered(body.tools)?;
    app.check_prompt_bytes("messages", messages.iter().map(ChatMessage::bytes).sum())?;
    app.check_prompt_bytes("tools", tools.iter().map(|tool| tool.to_string().len()).sum())?;
    let form = Form { response_format: body.response_format, grammar: body.grammar, regex: body.regex, json_schema: body.json_schema };
    Ok(GenerateRequest {
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
        options,
    })
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
