//! Tools: what the model may call, as the engine takes it.

use minivault_wire::chat::ChatBody;

use crate::error::ApiError;

/// Refuses tools by name, except where the request itself forbids their use.
pub(super) fn refuse(body: &ChatBody) -> Result<(), ApiError> {
    let offered = body.tools.as_ref().is_some_and(|tools| !tools.is_empty());
    let forbidden = matches!(&body.tool_choice, Some(minivault_wire::tools::ToolChoice::Mode(mode)) if mode == "none");
    let called = body.messages.iter().any(|message| message.tool_calls.as_ref().is_some_and(|calls| !calls.is_empty()));
    if (offered && !forbidden) || called {
        let field = if called { "tool_calls" } else { "tools" };
        return Err(ApiError::unsupported(Some(field), format!("`{field}` isn't supported; leave it out for an answer in plain text")));
    }
    Ok(())
}
