//! `/generate` and `/stream-generate`.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use minivault_engines::generation::Finish;
use minivault_engines::{GenerateRequest, MaxTokens, Prompt, RequestOptions, Sampling, ToolChoice, Usage};
use minivault_wire::events::StreamEvent;
use minivault_wire::native::{self, Done, GenerateAnswer, GenerateBody, Piece};

use super::App;
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::interaction::{Answer, Interaction, Next, Question};
use crate::openapi::Asking;

/// Continues a prompt; the whole answer at once.
#[utoipa::path(
    post,
    path = "/generate",
    tag = "native",
    request_body = GenerateBody,
    responses((status = 200, description = "The answer", body = GenerateAnswer), Asking)
)]
pub(super) async fn generate(State(app): State<App>, JsonBody(body): JsonBody<GenerateBody>) -> Result<Json<GenerateAnswer>, ApiError> {
    let (question, mut response) = question(&app, "/generate", body)?;
    let mut interaction = Interaction::begin(&app, question).await?;
    let Answer { piece, finish, .. } = interaction.collect().await?;
    response.push_str(&piece.text);
    Ok(Json(GenerateAnswer { response, done: done(&interaction, &finish) }))
}

/// Continues a prompt; the answer piece by piece.
///
/// As server-sent events: `data: {"token"}` for each piece, then `event: done` with how it ended, or `event: error` with the error
/// body. Bare text for who accepts `text/plain`.
#[utoipa::path(
    post,
    path = "/stream-generate",
    tag = "native",
    request_body = GenerateBody,
    responses(
        (
            status = 200,
            description = "The answer; the data of its events are a Piece each, and of the last one, `done`, a Done",
            content((StreamEvent = "text/event-stream"), (String = "text/plain"))
        ),
        Asking,
    )
)]
pub(super) async fn stream_generate(
    State(app): State<App>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<GenerateBody>,
) -> Result<Response, ApiError> {
    let (question, echo) = question(&app, "/stream-generate", body)?;
    let interaction = Interaction::begin(&app, question).await?;
    let mut response = if wants_plain_text(&headers) { plain_text(interaction, echo) } else { events(interaction, echo) };
    // A proxy that collects a stream before it passes it on defeats its purpose.
    response.headers_mut().insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn events(mut interaction: Interaction, echo: String) -> Response {
    let stream = async_stream::stream! {
        if !echo.is_empty() {
            yield piece(echo);
        }
        loop {
            match interaction.next().await {
                Ok(Next::Text(more)) => yield piece(more.text),
                // Nobody asked how far the prompt is, and without tools there are no calls.
                Ok(Next::Reading(_) | Next::ToolCall(_)) => {}
                Ok(Next::Finished(finish)) => {
                    yield Event::default().event("done").json_data(done(&interaction, &finish));
                    return;
                }
                Err(error) => {
                    yield Event::default().event("error").json_data(error.body());
                    return;
                }
            }
        }
    };
    Sse::new(stream).keep_alive(KeepAlive::default()).into_response()
}

fn piece(token: String) -> Result<Event, axum::Error> {
    Event::default().json_data(Piece { token })
}

/// Bare text. A failure after the first byte breaks the connection off, so that no client takes a part for the whole.
fn plain_text(mut interaction: Interaction, echo: String) -> Response {
    let stream = async_stream::stream! {
        yield Ok::<_, std::io::Error>(Bytes::from(echo));
        loop {
            match interaction.next().await {
                Ok(Next::Text(more)) => yield Ok(Bytes::from(more.text)),
                Ok(Next::Reading(_) | Next::ToolCall(_)) => {}
                Ok(Next::Finished(_)) => return,
                Err(error) => {
                    yield Err(std::io::Error::other(error.message().to_owned()));
                    return;
                }
            }
        }
    };
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(stream)).into_response()
}

fn wants_plain_text(headers: &HeaderMap) -> bool {
    let ranges = || headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let names = |name: &str| ranges().any(|range| range.split(';').next().is_some_and(|range| range.trim().eq_ignore_ascii_case(name)));
    names("text/plain") && !names("text/event-stream")
}

/// The question for the engine, and the text that stands in front of the answer.
fn question(app: &App, endpoint: &'static str, body: GenerateBody) -> Result<(Question, String), ApiError> {
    app.check_prompt_bytes("prompt", body.prompt.len())?;
    if body.max_tokens == Some(0) {
        return Err(ApiError::invalid(Some("max_tokens"), "max_tokens is 0; it must be at least 1"));
    }
    let defaults = &app.configured.generation;
    let sampling = Sampling {
        temperature: body.temperature.unwrap_or(defaults.temperature),
        top_k: body.top_k.unwrap_or(defaults.top_k),
        top_p: body.top_p.unwrap_or(defaults.top_p),
        min_p: body.min_p.unwrap_or(defaults.min_p),
        repetition_penalty: body.repetition_penalty.unwrap_or(defaults.repetition_penalty),
        seed: body.seed,
        ..Sampling::default()
    };
    let echo = if body.echo == Some(true) { body.prompt.clone() } else { String::new() };
    let request = GenerateRequest {
        prompt: Prompt::Text(body.prompt),
        max_tokens: body.max_tokens.map_or(MaxTokens::AtMost(defaults.max_tokens), MaxTokens::Exactly),
        sampling,
        stop: body.stop.map(Into::into).unwrap_or_default(),
        logprobs: None,
        constraint: None,
        tool_choice: ToolChoice::Auto,
        deterministic: body.deterministic.unwrap_or(false),
        parallel_tool_calls: true,
        client: None,
        options: RequestOptions { ignore_eos: defaults.ignore_eos, ..RequestOptions::default() },
    };
    let form = [("echo".to_owned(), body.echo.unwrap_or(false).into())].into_iter().collect();
    let id = uuid::Uuid::now_v7().to_string();
    Ok((Question { id, endpoint, model: body.model, requests: vec![request], choices: 1, form, replay_of: None }, echo))
}

fn done(interaction: &Interaction, finish: &Finish) -> Done {
    Done {
        id: interaction.id.clone(),
        model: interaction.engine.name.clone(),
        finish_reason: finish.reason.as_str().to_owned(),
        seed: interaction.seed,
        usage: usage(finish.usage),
        logged: interaction.dropped.then_some(false),
    }
}

fn usage(usage: Usage) -> native::Usage {
    let Usage { prompt_tokens, completion_tokens, cached_tokens } = usage;
    native::Usage { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens, cached_tokens }
}
