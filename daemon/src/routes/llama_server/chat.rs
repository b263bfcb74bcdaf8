//! `/chat/completions`: as below `/v1`, with the few things that llama.cpp's server sees otherwise.

use axum::extract::State;
use axum::response::Response;
use minivault_wire::chat::{ChatBody, Content};

use crate::error::ApiError;
use crate::routes::App;
use crate::routes::openai::{self, OpenAiBody};

/// An answer that the conversation ends with is gone on with. Two messages of the assistant at the end are refused.
pub(in crate::routes) async fn complete(
    State(app): State<App>,
    OpenAiBody(mut body, left_aside): OpenAiBody<ChatBody>,
) -> Result<Response, ApiError> {
    go_on_with_a_begun_answer(&mut body);
    body.verbose = body.verbose.or(Some(app.configured.tells.verbose));
    if let [.., before, last] = &*body.messages
        && before.role == "assistant"
        && last.role == "assistant"
    {
        return Err(ApiError::invalid(Some("messages"), "messages end with two of the assistant's; nobody has said anything to answer"));
    }
    openai::chat::complete(State(app), OpenAiBody(body, left_aside)).await.map_err(ApiError::as_llama_server)
}

/// Unless it says otherwise, a conversation that ends with the assistant's words is one whose answer is begun.
pub(super) fn go_on_with_a_begun_answer(body: &mut ChatBody) {
    let several = body.messages.len() > 1;
    let begun = body.messages.last_mut().filter(|last| several && last.role == "assistant" && last.tool_calls.is_none());
    let Some(begun) = begun.filter(|_| body.continue_final_message != Some(false) && body.add_generation_prompt != Some(true)) else {
        return;
    };
    body.continue_final_message = Some(true);
    // There, and there alone, an empty line joins its parts.
    if let Some(Content::Parts(parts)) = &begun.content
        && parts.iter().all(|part| part.r#type == "text" && part.text.is_some())
    {
        let texts: Vec<&str> = parts.iter().filter_map(|part| part.text.as_deref()).collect();
        begun.content = Some(Content::Text(texts.join("\n\n")));
    }
}
