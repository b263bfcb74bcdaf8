//! A request as the log keeps it, and back.
//!
//! [`normalize`] writes down all that is asked of an engine, and [`restore`] reads it again; what is written by one is understood by the
//! other, so that whatever stands in the log can be asked again.

use minivault_engines::chat::ChatMessage;
use minivault_engines::{Constraint, GenerateRequest, MaxTokens, Prompt, RequestOptions, Sampling, TokenId, ToolChoice};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

/// A request with all its effective settings, as the log keeps it.
pub fn normalize(request: &GenerateRequest) -> Map<String, Value> {
    let GenerateRequest {
        prompt,
        max_tokens,
        sampling,
        stop,
        logprobs,
        constraint,
        tool_choice,
        deterministic,
        parallel_tool_calls,
        options,
        // Whose it was stands beside it, by the key's name.
        client: _,
    } = request;
    let mut object = Map::new();
    match prompt {
        // The record's own `prompt` is the text.
        Prompt::Text(_) => {}
        Prompt::Tokens(tokens) => drop(object.insert("prompt_tokens".into(), json!(tokens))),
        Prompt::Chat { messages, tools } => {
            object.insert("messages".into(), json!(messages));
            if !tools.is_empty() {
                object.insert("tools".into(), json!(tools));
                object.insert("tool_choice".into(), tool_choice.to_json());
                object.insert("parallel_tool_calls".into(), (*parallel_tool_calls).into());
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
    // Only those that are wanted.
    if let Ok(Value::Object(options)) = serde_json::to_value(options) {
        object.extend(options);
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
        parallel_tool_calls: field(object, "parallel_tool_calls")?.unwrap_or(true),
        client: None,
        options: RequestOptions::deserialize(Value::Object(object.clone())).map_err(|cause| format!("its options: {cause}"))?,
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

#[cfg(test)]
mod tests {
    use minivault_engines::chat::ToolCall;
    use proptest::prelude::*;

    use super::*;

    /// A request of each kind; the seed and the room for the answer are settled, as the log has them.
    fn requests() -> impl Strategy<Value = GenerateRequest> {
        let call = (".*", "[a-z]{1,8}", ".*").prop_map(|(id, name, arguments)| ToolCall { id, name, arguments });
        let message = ("[a-z]{1,9}", ".*", prop::collection::vec(call, 0..2), prop::option::of(".*"));
        let message = message.prop_map(|(role, content, tool_calls, tool_call_id)| ChatMessage { role, content, tool_calls, tool_call_id });
        let tools = prop::collection::vec(".*".prop_map(|name| json!({"type": "function", "function": {"name": name}})), 0..3);
        let prompt = prop_oneof![
            ".*".prop_map(Prompt::Text),
            prop::collection::vec(any::<TokenId>(), 0..9).prop_map(Prompt::Tokens),
            (prop::collection::vec(message, 0..4), tools).prop_map(|(messages, tools)| Prompt::Chat { messages, tools }),
        ];
        let max_tokens = prop_oneof![
            any::<u32>().prop_map(|tokens| MaxTokens::Exactly(tokens as usize)),
            (1..=u32::MAX).prop_map(|tokens| MaxTokens::AtMost(tokens as usize)),
            Just(MaxTokens::Remaining),
        ];
        let number = || any::<f32>().prop_filter("JSON has no other numbers", |number| number.is_finite());
        let numbers = (number(), number(), number(), number(), number(), number());
        let sampling = (prop::collection::vec((any::<TokenId>(), number()), 0..4), numbers, any::<u32>(), any::<u64>());
        let sampling = sampling.prop_map(|(logit_bias, numbers, top_k, seed)| {
            let (repetition_penalty, presence_penalty, frequency_penalty, temperature, top_p, min_p) = numbers;
            let (top_k, seed) = (top_k as usize, Some(seed));
            Sampling { logit_bias, repetition_penalty, presence_penalty, frequency_penalty, temperature, top_k, top_p, min_p, seed }
        });
        let constraint = prop_oneof![
            Just(None),
            Just(Some(Constraint::JsonObject)),
            ".*".prop_map(|title| Some(Constraint::JsonSchema(json!({"title": title, "type": "object"})))),
            ".*".prop_map(|grammar| Some(Constraint::Grammar(grammar))),
            ".*".prop_map(|regex| Some(Constraint::Regex(regex))),
        ];
        let choice =
            prop_oneof![Just(ToolChoice::Auto), Just(ToolChoice::None), Just(ToolChoice::Required), ".*".prop_map(ToolChoice::Named),];
        let options = any::<[bool; 4]>().prop_map(|[ignore_eos, continue_final_message, logprobs_of_draw, without_cache]| RequestOptions {
            ignore_eos,
            continue_final_message,
            logprobs_of_draw,
            without_cache,
            progress: false,
        });
        let rest = (prop::collection::vec(".*", 0..3), prop::option::of(0..20usize), constraint, choice, any::<bool>(), options);
        (prompt, max_tokens, sampling, rest).prop_map(
            |(prompt, max_tokens, sampling, (stop, logprobs, constraint, tool_choice, deterministic, options))| {
                // Without tools there is nothing to choose.
                let has_tools = matches!(&prompt, Prompt::Chat { tools, .. } if !tools.is_empty());
                let tool_choice = if has_tools { tool_choice } else { ToolChoice::Auto };
                let parallel_tool_calls = !has_tools || logprobs.is_none();
                GenerateRequest {
                    prompt,
                    max_tokens,
                    sampling,
                    stop,
                    logprobs,
                    constraint,
                    tool_choice,
                    deterministic,
                    parallel_tool_calls,
                    options,
                    client: None,
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_was_asked_is_read_from_the_log_again(request in requests()) {
            let mut object = normalize(&request);
            // As the interaction does once the engine has settled them; an upstream server settles no room.
            object.insert("max_tokens".into(), match request.max_tokens {
                MaxTokens::Exactly(tokens) | MaxTokens::AtMost(tokens) => tokens.into(),
                MaxTokens::Remaining => 0.into(),
            });
            object.insert("seed".into(), request.sampling.seed.into());
            // Through text, as in the log, and with what the route adds.
            object.insert("stream".into(), true.into());
            let text = serde_json::to_string(&object).unwrap();
            let prompt = if let Prompt::Text(text) = &request.prompt { text } else { "rendered" };
            let restored = restore(&serde_json::from_str(&text).unwrap(), prompt).unwrap();
            prop_assert_eq!(restored, request);
        }
    }

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let whole = normalize(&GenerateRequest::text("a", MaxTokens::Exactly(1)));
        let check = |change: &dyn Fn(&mut Map<String, Value>), words: &str| {
            let mut object = whole.clone();
            object.insert("max_tokens".into(), 1.into());
            change(&mut object);
            let error = restore(&object, "a").unwrap_err();
            assert!(error.contains(words), "{error}");
        };
        check(&|object| drop(object.remove("max_tokens")), "`max_tokens` is missing");
        check(&|object| drop(object.remove("top_p")), "missing field `top_p`");
        check(&|object| drop(object.insert("stop".into(), 7.into())), "`stop`: invalid type");
        check(&|object| drop(object.insert("tool_choice".into(), 7.into())), "`tool_choice` is 7");
    }
}
