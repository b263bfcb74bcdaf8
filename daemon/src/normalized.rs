//! A request as the log keeps it, and back.
//!
//! [`normalize`] writes down all that is asked of an engine, and [`restore`] reads it again; what is written by one is understood by the
//! other, so that whatever stands in the log can be asked again.

use minivault_engines::chat::ChatMessage;
use minivault_engines::{Constraint, GenerateRequest, MaxTokens, Prompt, Sampling, TokenId, ToolChoice};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A request with all its effective settings, as the log keeps it.
pub fn normalize(request: &GenerateRequest) -> Map<String, Value> {
    let GenerateRequest { prompt, max_tokens, sampling, stop, logprobs, constraint, tool_choice, deterministic } = request;
    let mut object = Map::new();
    match prompt {
        // The record's own `prompt` is the text.
        Prompt::Text(_) => {}
        Prompt::Tokens(tokens) => drop(object.insert("prompt_tokens".into(), json!(tokens))),
        Prompt::Chat { messages, tools } => {
            object.insert("messages".into(), json!(messages));
            if !tools.is_empty() {
                object.insert("tools".into(), json!(tools));
                object.insert("tool_choice".into(), tool_choice_as_asked(tool_choice));
            }
        }
    }
    object.insert("max_tokens".into(), Value::Null);
    let named = matches!(max_tokens, MaxTokens::Exactly(_));
    object.insert("max_tokens_named".into(), named.into());
    let Ok(Value::Object(settings)) = serde_json::to_value(sampling) else { return object };
    object.extend(settings.into_iter().map(|(key, value)| (key, as_typed(value))));
    object.insert("stop".into(), json!(stop));
    if *deterministic {
        object.insert("deterministic".into(), true.into());
    }
    if let Some(alternatives) = logprobs {
        object.insert("logprobs".into(), (*alternatives).into());
    }
    if let Some(constraint) = constraint {
        let (field, value) = match constraint {
            Constraint::JsonObject => ("response_format", json!({"type": "json_object"})),
            Constraint::JsonSchema(schema) => ("response_format", json!({"type": "json_schema", "json_schema": {"schema": schema}})),
            Constraint::Grammar(grammar) => ("grammar", json!(grammar)),
            Constraint::Regex(regex) => ("regex", json!(regex)),
        };
        object.insert(field.into(), value);
    }
    object
}

/// The choice in OpenAI's words.
fn tool_choice_as_asked(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!("auto"),
        ToolChoice::None => json!("none"),
        ToolChoice::Required => json!("required"),
        ToolChoice::Named(name) => json!({"type": "function", "function": {"name": name}}),
    }
}

/// A setting as people type it: widened to 64 bits, 0.95 would be told as 0.949999988079071.
fn as_typed(value: Value) -> Value {
    match value {
        Value::Number(number) if number.is_f64() => {
            let single = number.as_f64().unwrap_or_default() as f32;
            single.to_string().parse::<f64>().map_or(Value::Number(number), Value::from)
        }
        Value::Array(values) => values.into_iter().map(as_typed).collect(),
        other => other,
    }
}

/// The request that was normalized into this, with the seed and the room for its answer that were settled then. `prompt` is the text.
///
/// # Errors
/// What is missing or isn't as [`normalize`] writes it, in words.
pub fn restore(object: &Map<String, Value>, prompt: &str) -> Result<GenerateRequest, String> {
    let messages: Option<Vec<ChatMessage>> = field(object, "messages")?;
    let tokens: Option<Vec<TokenId>> = field(object, "prompt_tokens")?;
    let prompt = match (messages, tokens) {
        (Some(messages), _) => Prompt::Chat { messages, tools: field(object, "tools")?.unwrap_or_default() },
        (None, Some(tokens)) => Prompt::Tokens(tokens),
        (None, None) => Prompt::Text(prompt.to_owned()),
    };
    let tokens: usize = field(object, "max_tokens")?.ok_or("`max_tokens` is missing")?;
    let max_tokens = match (field(object, "max_tokens_named")?, tokens) {
        (Some(true), tokens) => MaxTokens::Exactly(tokens),
        // An upstream server of which not even its context is known.
        (_, 0) => MaxTokens::Remaining,
        (_, tokens) => MaxTokens::AtMost(tokens),
    };
    let sampling = Sampling::deserialize(Value::Object(object.clone())).map_err(|cause| format!("its sampling settings: {cause}"))?;
    Ok(GenerateRequest {
        prompt,
        max_tokens,
        sampling,
        stop: field(object, "stop")?.unwrap_or_default(),
        logprobs: field(object, "logprobs")?,
        constraint: constraint(object)?,
        tool_choice: object.get("tool_choice").map_or(Ok(ToolChoice::Auto), tool_choice)?,
        deterministic: field(object, "deterministic")?.unwrap_or(false),
    })
}

fn field<T: DeserializeOwned>(object: &Map<String, Value>, name: &str) -> Result<Option<T>, String> {
    let value = object.get(name).filter(|value| !value.is_null());
    value.map(|value| T::deserialize(value).map_err(|cause| format!("`{name}`: {cause}"))).transpose()
}

fn constraint(object: &Map<String, Value>) -> Result<Option<Constraint>, String> {
    if let Some(format) = object.get("response_format") {
        let schema = format.pointer("/json_schema/schema");
        return Ok(Some(schema.map_or(Constraint::JsonObject, |schema| Constraint::JsonSchema(schema.clone()))));
    }
    let grammar = field(object, "grammar")?.map(Constraint::Grammar);
    Ok(grammar.or(field(object, "regex")?.map(Constraint::Regex)))
}

fn tool_choice(choice: &Value) -> Result<ToolChoice, String> {
    match choice.as_str() {
        Some("auto") => Ok(ToolChoice::Auto),
        Some("none") => Ok(ToolChoice::None),
        Some("required") => Ok(ToolChoice::Required),
        _ => {
            let name = choice.pointer("/function/name").and_then(Value::as_str);
            name.map(|name| ToolChoice::Named(name.to_owned())).ok_or_else(|| format!("`tool_choice` is {choice}"))
        }
    }
}
