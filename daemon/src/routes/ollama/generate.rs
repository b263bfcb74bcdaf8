//! `/api/generate`: a prompt in, answered as the only message of a conversation where the model knows conversations, and continued otherwise.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use minivault_engines::Prompt;
use minivault_engines::chat::ChatMessage;
use minivault_wire::ollama::GenerateBody;

use super::answer::{Asked, Endpoint, loaded, tell};
use super::{engine_of, refuse, thinks};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::routes::App;

pub(super) async fn answer(State(app): State<App>, JsonBody(body): JsonBody<GenerateBody>) -> Result<Response, ApiError> {
    let started = Instant::now();
    refuse("suffix", body.suffix.is_some_and(|suffix| !suffix.is_empty()))?;
    refuse("template", body.template.is_some_and(|template| !template.is_empty()))?;
    refuse("images", body.images.is_some_and(|images| !images.is_empty()))?;
    refuse("context", body.context.is_some_and(|context| !context.is_empty()))?;
    refuse("think", thinks(body.think.as_ref()))?;
    let system = body.system.filter(|system| !system.is_empty());
    app.check_prompt_bytes("prompt", body.prompt.len() + system.as_ref().map_or(0, String::len))?;
    let name = engine_of(&app, &body.model).to_owned();
    let engine = app.engine(Some(&name), &mut app.patience()).await?.info();
    if body.prompt.is_empty() {
        return Ok(loaded(body.model, Endpoint::Generate));
    }
    let converses = engine.capabilities.chat_template && body.raw != Some(true);
    let prompt = match system {
        Some(_) if !converses => {
            let message =
                format!("engine `{}` is asked without a template here, so no `system` has a place; put it into the prompt", engine.name);
            return Err(ApiError::unsupported_field("system", message));
        }
        system if converses => {
            let told = system.map(|system| ChatMessage::new("system", system));
            Prompt::Chat { messages: told.into_iter().chain([ChatMessage::new("user", body.prompt)]).collect(), tools: Vec::new() }
        }
        _ => Prompt::Text(body.prompt),
    };
    let asked = Asked {
        model: body.model,
        name,
        engine,
        endpoint: Endpoint::Generate,
        prompt,
        format: body.format,
        options: body.options,
        stream: body.stream,
        started,
        found: Instant::now(),
    };
    tell(&app, asked).await
}
