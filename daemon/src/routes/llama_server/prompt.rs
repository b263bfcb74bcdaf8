//! `/apply-template` and `/chat/completions/input_tokens`: what a model would read of a conversation, with nothing generated.

use axum::Json;
use axum::extract::State;
use minivault_engines::RenderedPrompt;
use minivault_wire::chat::ChatBody;
use minivault_wire::llama_server::{AppliedTemplate, InputTokens};

use crate::error::ApiError;
use crate::openapi::Asking;
use crate::routes::App;
use crate::routes::openai::{self, OpenAiBody};

/// A conversation as the model's template renders it.
#[utoipa::path(
    post,
    path = "/apply-template",
    tag = "llama-server",
    request_body = ChatBody,
    responses((status = 200, description = "The rendered conversation", body = AppliedTemplate), Asking)
)]
pub(in crate::routes) async fn apply_template(
    State(app): State<App>,
    OpenAiBody(body, _): OpenAiBody<ChatBody>,
) -> Result<Json<AppliedTemplate>, ApiError> {
    let rendered = rendered(&app, body).await?;
    Ok(Json(AppliedTemplate { prompt: rendered.text }))
}

/// The tokens that a conversation takes.
#[utoipa::path(
    post,
    path = "/v1/chat/completions/input_tokens",
    tag = "llama-server",
    request_body = ChatBody,
    responses((status = 200, description = "How many there are", body = InputTokens), Asking)
)]
pub(in crate::routes) async fn input_tokens(
    State(app): State<App>,
    OpenAiBody(body, _): OpenAiBody<ChatBody>,
) -> Result<Json<InputTokens>, ApiError> {
    let rendered = rendered(&app, body).await?;
    Ok(Json(InputTokens { object: "response.input_tokens".into(), input_tokens: rendered.tokens.len() }))
}

async fn rendered(app: &App, mut body: ChatBody) -> Result<RenderedPrompt, ApiError> {
    super::chat::go_on_with_a_begun_answer(&mut body);
    let model = body.model.take();
    let request = openai::chat::request(app, body)?;
    let engine = app.engines.find(model.as_deref()).await?;
    engine.render(&request).await.map_err(|error| ApiError::from(error).about("prompt", "messages"))
}
