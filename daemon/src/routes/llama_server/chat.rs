//! `/chat/completions`: as below `/v1`, with the few things that llama.cpp's server sees otherwise.

use axum::extract::State;
use axum::response::Response;
use minivault_wire::chat::ChatBody;

use crate::error::ApiError;
use crate::routes::App;
use crate::routes::openai::{self, OpenAiBody};

/// Two messages of the assistant at the end are refused: there the last one would be gone on with.
pub(in crate::routes) async fn complete(State(app): State<App>, body: OpenAiBody<ChatBody>) -> Result<Response, ApiError> {
    if let [.., before, last] = &*body.0.messages
        && before.role == "assistant"
        && last.role == "assistant"
    {
        return Err(ApiError::invalid(Some("messages"), "messages end with two of the assistant's; nobody has said anything to answer"));
    }
    openai::chat::complete(State(app), body).await.map_err(ApiError::as_llama_server)
}
