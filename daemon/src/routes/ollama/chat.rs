//! `/api/chat`: messages in, text or calls of tools out.

use std::time::Instant;

use axum::extract::State;
use axum::response::Response;
use minivault_engines::Prompt;
use minivault_engines::chat::{ChatMessage, ToolCall};
use minivault_wire::ollama::{ChatBody, Message};
use serde_json::Value;

use super::answer::{Asked, Endpoint, loaded, tell};
use super::{engine_of, refuse, thinks};
use crate::body::JsonBody;
use crate::error::ApiError;
use crate::routes::App;
use crate::routes::openai::tools;

pub(super) async fn answer(State(app): State<App>, JsonBody(body): JsonBody<ChatBody>) -> Result<Response, ApiError> {
    let started = Instant::now();
    refuse("think", thinks(body.think.as_ref()))?;
    let messages = body.messages.into_iter().enumerate().map(|(place, message)| of_message(place, message));
    let messages = messages.collect::<Result<Vec<ChatMessage>, ApiError>>()?;
    let tools = tools::offered(body.tools)?;
    app.check_prompt_bytes("messages", messages.iter().map(ChatMessage::bytes).sum())?;
    app.check_prompt_bytes("tools", tools.iter().map(|tool| tool.to_string().len()).sum())?;
    let name = engine_of(&app, &body.model).to_owned();
    let engine = app.engine(Some(&name), &mut app.patience()).await?.info();
    if messages.is_empty() {
        return Ok(loaded(body.model, Endpoint::Chat));
    }
    let asked = Asked {
        model: body.model,
        name,
        engine,
        endpoint: Endpoint::Chat,
        prompt: Prompt::Chat { messages, tools },
        format: body.format,
        options: body.options,
        stream: body.stream,
        started,
        found: Instant::now(),
    };
    tell(&app, asked).await
}

/// Calls have no names in this dialect; those of a conversation are counted.
fn of_message(place: usize, message: Message) -> Result<ChatMessage, ApiError> {
    let Message { role, content, tool_calls, images } = message;
    refuse(&format!("messages[{place}].images"), images.is_some_and(|images| !images.is_empty()))?;
    let calls = tool_calls.unwrap_or_default().into_iter().enumerate().map(|(index, call)| ToolCall {
        id: format!("call_{place}_{index}"),
        name: call.function.name,
        arguments: match call.function.arguments {
            // What a model wrote that is no JSON is told, and said again, as it is.
            Value::String(text) => text,
            Value::Null => "{}".to_owned(),
            other => other.to_string(),
        },
    });
    Ok(ChatMessage { tool_calls: calls.collect(), ..ChatMessage::new(role, content) })
}
