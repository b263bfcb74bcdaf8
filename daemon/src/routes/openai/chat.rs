//! `/v1/chat/completions`: messages in, text out, whole or streamed.

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use minivault_engines::chat::ChatMessage;
use minivault_engines::{GenerateRequest, MaxTokens, Prompt, Sampling, Usage};
use minivault_wire::chat::{ChatAnswer, ChatBody, ChatChunk, ChatUsage, Choice, ChoiceDelta, Delta, Message, PromptTokensDetails};

use crate::body::JsonBody;
use crate::error::ApiError;
use crate::interaction::{Interaction, Next, Question};
use crate::openapi::Asking;
use crate::routes::App;

/// Answers a conversation, whole or streamed.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "openai",
    request_body = ChatBody,
    responses(
        (status = 200, description = "The answer", content((ChatAnswer = "application/json"), (ChatChunk = "text/event-stream"))),
        Asking,
    )
)]
pub(in crate::routes) async fn complete(State(app): State<App>, JsonBody(body): JsonBody<ChatBody>) -> Result<Response, ApiError> {
    let stream = body.stream.unwrap_or(false);
    let include_usage = body.stream_options.is_some_and(|options| options.include_usage);
    refuse_unsupported(&body)?;
    let interaction = Interaction::begin(&app, question(&app, body)?).await.map_err(|error| error.about("prompt", "messages"))?;
    if stream { Ok(events(interaction, include_usage)) } else { whole(interaction).await }
}

async fn whole(mut interaction: Interaction) -> Result<Response, ApiError> {
    let (content, finish) = interaction.collect().await?;
    let message = Message { role: "assistant".into(), content };
    let answer = ChatAnswer {
        id: interaction.id.clone(),
        object: "chat.completion".into(),
        created: now(),
        model: interaction.engine.name.clone(),
        choices: vec![Choice { index: 0, message, finish_reason: finish.reason.as_str().into() }],
        usage: usage(finish.usage),
        system_fingerprint: interaction.engine.fingerprint.clone(),
    };
    Ok(Json(answer).into_response())
}

fn events(mut interaction: Interaction, include_usage: bool) -> Response {
    let created = now();
    let (id, engine) = (interaction.id.clone(), interaction.engine.clone());
    let chunk = move |choices: Vec<ChoiceDelta>, usage: Option<ChatUsage>| {
        Event::default().json_data(ChatChunk {
            id: id.clone(),
            object: "chat.completion.chunk".into(),
            created,
            model: engine.name.clone(),
            choices,
            usage,
            system_fingerprint: engine.fingerprint.clone(),
        })
    };
    let delta =
        |delta: Delta, finish_reason: Option<&str>| vec![ChoiceDelta { index: 0, delta, finish_reason: finish_reason.map(str::to_owned) }];
    let stream = async_stream::stream! {
        yield chunk(delta(Delta { role: Some("assistant".into()), content: Some(String::new()) }, None), None);
        loop {
            match interaction.next().await {
                Ok(Next::Text(text)) => yield chunk(delta(Delta { role: None, content: Some(text) }, None), None),
                Ok(Next::Finished(finish)) => {
                    yield chunk(delta(Delta::default(), Some(finish.reason.as_str())), None);
                    if include_usage {
                        yield chunk(Vec::new(), Some(usage(finish.usage)));
                    }
                    yield Ok(Event::default().data("[DONE]"));
                    return;
                }
                Err(error) => {
                    // Clients of this dialect look for an `error` in unnamed events.
                    yield Event::default().json_data(error.body());
                    return;
                }
            }
        }
    };
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

/// Refuses by name what would change the answer and isn't there yet.
fn refuse_unsupported(body: &ChatBody) -> Result<(), ApiError> {
    let asked = [
        ("n", body.n.is_some_and(|n| n != 1)),
        ("logprobs", body.logprobs == Some(true)),
        ("logit_bias", body.logit_bias.as_ref().is_some_and(|biases| !biases.is_empty())),
        ("response_format", body.response_format.as_ref().is_some_and(|format| format.r#type != "text")),
        ("tools", body.tools.as_ref().is_some_and(|tools| !tools.is_empty())),
    ];
    match asked.iter().find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((name, _)) => {
            Err(ApiError::unsupported(Some(name), format!("`{name}` isn't supported; leave it out for one answer in plain text")))
        }
    }
}

fn question(app: &App, body: ChatBody) -> Result<Question, ApiError> {
    let messages: Vec<ChatMessage> = body.messages.into_iter().map(|Message { role, content }| ChatMessage { role, content }).collect();
    app.check_prompt_bytes("messages", messages.iter().map(|message| message.role.len() + message.content.len()).sum())?;
    let plain = Sampling::default();
    let sampling = Sampling {
        temperature: body.temperature.unwrap_or(plain.temperature),
        top_k: body.top_k.unwrap_or(plain.top_k),
        top_p: body.top_p.unwrap_or(plain.top_p),
        min_p: body.min_p.unwrap_or(plain.min_p),
        repetition_penalty: body.repetition_penalty.unwrap_or(plain.repetition_penalty),
        presence_penalty: body.presence_penalty.unwrap_or(plain.presence_penalty),
        frequency_penalty: body.frequency_penalty.unwrap_or(plain.frequency_penalty),
        logit_bias: plain.logit_bias,
        seed: body.seed,
    };
    let request = GenerateRequest {
        prompt: Prompt::Chat { messages, tools: Vec::new() },
        max_tokens: body.max_tokens.map_or(MaxTokens::Remaining, MaxTokens::Exactly),
        sampling,
        stop: body.stop.map(Into::into).unwrap_or_default(),
        logprobs: None,
        constraint: None,
    };
    let form = [("stream".to_owned(), body.stream.unwrap_or(false).into())].into_iter().collect();
    let id = format!("chatcmpl-{}", uuid::Uuid::now_v7().simple());
    Ok(Question { id, endpoint: "/v1/chat/completions", model: body.model, request, form })
}

fn usage(usage: Usage) -> ChatUsage {
    let Usage { prompt_tokens, completion_tokens, cached_tokens } = usage;
    let prompt_tokens_details = PromptTokensDetails { cached_tokens };
    ChatUsage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens, prompt_tokens_details }
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}
