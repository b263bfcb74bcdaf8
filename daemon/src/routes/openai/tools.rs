//! Tools: what the model may call, as the engine takes it, and its calls, as clients take them.

use minivault_engines::{ToolCallPiece, ToolChoice, chat};
use minivault_wire::tools::{self as wire, FunctionCall, FunctionDelta, Tool, ToolCallDelta};
use serde_json::Value;

use crate::error::ApiError;

/// The tools that a request offers, in the form in which templates are written for them.
///
/// # Errors
/// One that is no function, or has no name that can be called.
pub(in crate::routes) fn offered(tools: Option<Vec<Tool>>) -> Result<Vec<Value>, ApiError> {
    let tools = tools.unwrap_or_default().into_iter().enumerate();
    tools.map(|(place, tool)| of_tool(&tool, &format!("tools[{place}]"))).collect()
}

fn of_tool(tool: &Tool, field: &str) -> Result<Value, ApiError> {
    if tool.r#type != "function" {
        let message = format!("{field}.type is `{}`; it must be function", tool.r#type);
        return Err(ApiError::invalid(Some(&format!("{field}.type")), message));
    }
    let name = tool.function.as_ref().map_or("", |function| &function.name);
    let letters = |name: &str| name.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.'));
    if name.is_empty() || name.len() > 64 || !letters(name) {
        let message = format!("{field}.function.name is `{name}`; it must have 1 to 64 of the characters a-z, A-Z, 0-9, _, - and .");
        return Err(ApiError::invalid(Some(&format!("{field}.function.name")), message));
    }
    serde_json::to_value(tool).map_err(|_| ApiError::internal())
}

/// Whether one of them is to be called.
///
/// # Errors
/// A choice that is none.
pub(super) fn choice(choice: Option<wire::ToolChoice>) -> Result<ToolChoice, ApiError> {
    let invalid = |seen: &str| {
        let message = format!("tool_choice is `{seen}`; it must be auto, none, required, or the function to call");
        ApiError::invalid(Some("tool_choice"), message)
    };
    match choice {
        None => Ok(ToolChoice::Auto),
        Some(wire::ToolChoice::Mode(mode)) => match mode.as_str() {
            "auto" => Ok(ToolChoice::Auto),
            "none" => Ok(ToolChoice::None),
            // Any is LangChain's word for it.
            "required" | "any" => Ok(ToolChoice::Required),
            other => Err(invalid(other)),
        },
        Some(wire::ToolChoice::Named(named)) => match named.function {
            Some(function) if named.r#type == "function" => Ok(ToolChoice::Named(function.name)),
            _ => Err(invalid(&named.r#type)),
        },
    }
}

/// Calls in an earlier message, as the engine takes them.
pub(super) fn called(calls: Option<Vec<wire::ToolCall>>) -> Vec<chat::ToolCall> {
    let call = |wire::ToolCall { id, function: FunctionCall { name, arguments }, .. }| chat::ToolCall { id, name, arguments };
    calls.unwrap_or_default().into_iter().map(call).collect()
}

/// The calls of an answer; `None` where there are none.
pub(super) fn told(calls: Vec<chat::ToolCall>) -> Option<Vec<wire::ToolCall>> {
    let call = |chat::ToolCall { id, name, arguments }| wire::ToolCall {
        id,
        r#type: "function".to_owned(),
        function: FunctionCall { name, arguments },
    };
    (!calls.is_empty()).then(|| calls.into_iter().map(call).collect())
}

/// A piece of a call in a stream.
pub(super) fn delta(piece: ToolCallPiece) -> ToolCallDelta {
    let ToolCallPiece { index, id, name, arguments } = piece;
    let r#type = id.is_some().then(|| "function".to_owned());
    ToolCallDelta { index, id, r#type, function: Some(FunctionDelta { name, arguments: Some(arguments) }) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_choice_is_a_word_or_a_function() {
        let of = |value: Value| choice(serde_json::from_value(value).unwrap()).map_err(|error| error.message().to_owned());
        assert_eq!(of(json!("auto")), Ok(ToolChoice::Auto));
        assert_eq!(of(json!("required")), Ok(ToolChoice::Required));
        assert_eq!(of(json!({"type": "function", "function": {"name": "a"}})), Ok(ToolChoice::Named("a".into())));
        assert!(of(json!("perhaps")).unwrap_err().contains("`perhaps`"));
        assert!(of(json!({"type": "custom"})).unwrap_err().contains("`custom`"));
    }

    #[test]
    fn a_tool_is_a_function_with_a_name() {
        let of = |value: Value| offered(Some(vec![serde_json::from_value(value).unwrap()])).map_err(|error| error.message().to_owned());
        let whole = json!({"type": "function", "function": {"name": "a-b_c", "description": "d", "parameters": {"type": "object"}}});
        assert_eq!(of(whole.clone()), Ok(vec![whole]));
        assert!(of(json!({"type": "function"})).unwrap_err().contains("tools[0].function.name"));
        assert!(of(json!({"type": "function", "function": {"name": "a b"}})).unwrap_err().contains("`a b`"));
        assert!(of(json!({"type": "web_search"})).unwrap_err().contains("`web_search`"));
    }
}
