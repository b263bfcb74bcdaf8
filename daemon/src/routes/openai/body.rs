//! Bodies in OpenAI's dialect, and the fields in them that only other servers have.
//!
//! Clients send much that concerns other servers' accounts, caches and bills; that is passed over. What would change the answer and isn't
//! done here is refused by its name, unless it has the value that changes nothing.

use std::fmt;

use axum::extract::{FromRequest, Request};
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::body::{parse, receive};
use crate::error::ApiError;
use crate::routes::App;

/// A JSON body in OpenAI's dialect.
#[derive(Debug)]
pub(in crate::routes) struct OpenAiBody<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for OpenAiBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = receive(request, app).await?;
        let body = parse(&bytes)?;
        refuse_elsewhere(&bytes)?;
        Ok(Self(body))
    }
}

/// Fields that would change the answer: OpenAI's own that no engine here has, and those of other local servers.
const ELSEWHERE: &[&str] = &[
    // OpenAI
    "functions",
    "function_call",
    "modalities",
    "suffix",
    "web_search_options",
    // vLLM
    "allowed_token_ids",
    "bad_words",
    "chat_template",
    "chat_template_kwargs",
    "continue_final_message",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "length_penalty",
    "min_tokens",
    "prompt_logprobs",
    "stop_token_ids",
    "structured_outputs",
    "truncate_prompt_tokens",
    "use_beam_search",
    // llama.cpp's server and those around it
    "dry_multiplier",
    "dynatemp_range",
    "ignore_eos",
    "input_prefix",
    "input_suffix",
    "lora",
    "mirostat",
    "samplers",
    "tfs_z",
    "top_a",
    "typical_p",
    "xtc_probability",
];

fn refuse_elsewhere(bytes: &[u8]) -> Result<(), ApiError> {
    // The body has been read already, so this can't fail.
    let Elsewhere(fields) = serde_json::from_slice(bytes).unwrap_or_default();
    match fields.iter().find(|(name, value)| !changes_nothing(name, value)) {
        None => Ok(()),
        Some((name, _)) => Err(ApiError::unsupported(Some(name), format!("`{name}` isn't supported here; leave it out"))),
    }
}

fn changes_nothing(name: &str, value: &Value) -> bool {
    let empty = match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
    };
    let neutral = match name {
        "length_penalty" | "tfs_z" | "typical_p" => value.as_f64() == Some(1.0),
        "function_call" => value == "none" || value == "auto",
        "modalities" => *value == json!(["text"]),
        _ => false,
    };
    empty || neutral
}

/// Those of a body's fields that are of another place.
#[derive(Default)]
struct Elsewhere(Vec<(&'static str, Value)>);

impl<'de> Deserialize<'de> for Elsewhere {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Elsewhere;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Elsewhere, A::Error> {
                let mut found = Vec::new();
                while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
                    match ELSEWHERE.iter().find(|name| **name == key) {
                        Some(name) => found.push((*name, map.next_value()?)),
                        None => drop(map.next_value::<IgnoredAny>()?),
                    }
                }
                Ok(Elsewhere(found))
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &Value, refused: Option<&str>) {
        let seen = refuse_elsewhere(body.to_string().as_bytes());
        match refused {
            None => assert_eq!(seen, Ok(()), "{body}"),
            Some(name) => assert!(seen.is_err_and(|error| error.message().contains(&format!("`{name}`"))), "{body}"),
        }
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        check(&json!({"modalities": ["text", "audio"], "audio": {"voice": "ash"}}), Some("modalities"));
        check(&json!({"functions": [{"name": "f"}]}), Some("functions"));
        check(&json!({"suffix": "!"}), Some("suffix"));
        check(&json!({"a": {"suffix": "!"}, "min_tokens": 7}), Some("min_tokens"));
        check(&json!({"typical_p": 0.5}), Some("typical_p"));
    }

    #[test]
    fn what_changes_nothing_is_accepted() {
        check(&json!({"modalities": ["text"], "audio": {"voice": "ash"}, "suffix": null, "functions": [], "function_call": "none"}), None);
        check(&json!({"typical_p": 1.0, "min_tokens": 0, "ignore_eos": false, "chat_template_kwargs": {}}), None);
        check(&json!({"store": true, "service_tier": "auto", "reasoning_effort": "low", "prediction": {"type": "content"}}), None);
    }
}
