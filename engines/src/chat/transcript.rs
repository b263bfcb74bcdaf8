//! The plain transcript for models that come without a chat template (DistilGPT2).

use super::{ChatMessage, RenderedChat};
use crate::error::{EngineError, Result};
use crate::model::Specials;

/// Writes the conversation as `User: …` and `Assistant: …` paragraphs, a system message in front of them as it is, and ends with `Assistant:`.
///
/// The turn ends where the model begins the user's next line.
///
/// # Errors
/// [`EngineError::InvalidRequest`] for a role other than `system`, `developer`, `user` and `assistant`.
pub fn render_transcript(messages: &[ChatMessage]) -> Result<RenderedChat> {
    let mut text = String::new();
    for ChatMessage { role, content, .. } in messages {
        let speaker = match role.as_str() {
            "system" | "developer" => "",
            "user" => "User: ",
            "assistant" => "Assistant: ",
            other => {
                let message = format!("role is `{other}`; a model without a chat template knows system, user and assistant");
                return Err(EngineError::invalid("messages", message));
            }
        };
        text.push_str(speaker);
        text.push_str(content);
        text.push_str("\n\n");
    }
    text.push_str("Assistant:");
    // It has no control tokens of its own, so whatever looks like one is a person's.
    Ok(RenderedChat { pieces: vec![text], specials: Specials::Literal, stop: vec!["\nUser:".to_owned()], tool_form: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_ends_where_the_assistant_speaks() {
        let message = |role: &str, content: &str| ChatMessage::new(role, content);
        let chat = [message("system", "Be brief."), message("user", "Hi"), message("assistant", "Hello."), message("user", "Who are you?")];
        let rendered = render_transcript(&chat).unwrap();
        assert_eq!(rendered.text(), "Be brief.\n\nUser: Hi\n\nAssistant: Hello.\n\nUser: Who are you?\n\nAssistant:");
        let error = render_transcript(&[message("tool", "42")]).unwrap_err();
        assert!(error.to_string().contains("`tool`"), "{error}");
    }
}
