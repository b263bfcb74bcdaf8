//! A conversation as the engine takes it.

use minivault_engines::chat::ChatMessage;
use minivault_wire::chat::{Content, Message, Part};

use super::tools;
use crate::error::ApiError;

/// The messages of a conversation.
///
/// # Errors
/// Whatever is no text, by its name and place.
pub(super) fn conversation(messages: Vec<Message>) -> Result<Vec<ChatMessage>, ApiError> {
    messages.into_iter().enumerate().map(|(place, message)| of_message(message, place)).collect()
}

/// A `name` isn't passed on: no chat template of these models has a place for it.
fn of_message(message: Message, place: usize) -> Result<ChatMessage, ApiError> {
    let content = match message.content {
        Some(Content::Text(text)) => text,
        Some(Content::Parts(parts)) => joined(parts, place)?,
        None if message.tool_calls.is_some() => String::new(),
        None => {
            let field = format!("messages[{place}].content");
            return Err(ApiError::invalid(Some(&field), format!("messages[{place}]: `content` is missing")));
        }
    };
    Ok(ChatMessage { role: message.role, content, tool_calls: tools::called(message.tool_calls), tool_call_id: message.tool_call_id })
}

/// Parts of text, each on a line of its own as other local servers join them.
fn joined(parts: Vec<Part>, place: usize) -> Result<String, ApiError> {
    let texts = parts.into_iter().enumerate().map(|(part, Part { r#type, text })| {
        let field = format!("messages[{place}].content[{part}]");
        match (r#type.as_str(), text) {
            ("text", Some(text)) => Ok(text),
            ("text", None) => Err(ApiError::invalid(Some(&field), format!("{field}: `text` is missing"))),
            ("image_url" | "input_audio" | "file" | "video_url" | "refusal", _) => {
                Err(ApiError::unsupported_field(&field, format!("{field} is `{type}`; the models here read text alone", type = r#type)))
            }
            (other, _) => Err(ApiError::invalid(Some(&field), format!("{field}.type is `{other}`; it must be text"))),
        }
    });
    Ok(texts.collect::<Result<Vec<_>, _>>()?.join("\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[allow(clippy::needless_pass_by_value)] // Written in place.
    fn check(message: Value, expected: Result<&str, &str>) {
        let seen = conversation(vec![serde_json::from_value(message.clone()).unwrap()]);
        match (&seen, expected) {
            (Ok(messages), Ok(content)) => assert_eq!(messages[0].content, content, "{message}"),
            (Err(error), Err(part)) => assert!(error.message().contains(part), "{message}: {}", error.message()),
            _ => panic!("{message}: {seen:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn content_is_text_or_parts_of_text() {
        check(json!({"role": "user", "content": "Hi"}), Ok("Hi"));
        let parts = json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]);
        check(json!({"role": "user", "content": parts, "name": "Ann"}), Ok("one\ntwo"));
        check(json!({"role": "user", "content": []}), Ok(""));
    }

    #[test]
    fn what_is_no_text_is_refused_by_name() {
        let with = |part: Value| json!({"role": "user", "content": [{"type": "text", "text": "a"}, part]});
        check(with(json!({"type": "image_url", "image_url": {"url": "a"}})), Err("messages[0].content[1] is `image_url`"));
        check(with(json!({"type": "input_audio"})), Err("`input_audio`"));
        check(with(json!({"type": "smell"})), Err("`smell`"));
        check(with(json!({"type": "text"})), Err("`text` is missing"));
        check(json!({"role": "user", "content": null}), Err("`content` is missing"));
    }
}
