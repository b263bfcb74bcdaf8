//! Bodies in OpenAI's dialect, and the fields in them that only other servers have.
//!
//! Clients send much that concerns other servers' accounts, caches and bills; that is passed over. What would change the answer and isn't
//! done here is refused by its name, unless it has the value that changes nothing. A few are no more than a wish of OpenAI's own service, and
//! its clients send them whoever answers: those are left aside, and the answer's head and the log name them.

use std::fmt;

use axum::extract::{FromRequest, Request};
use axum::http::HeaderValue;
use axum::response::Response;
use serde::de::{DeserializeOwned, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use crate::body::{parse, receive};
use crate::error::ApiError;
use crate::routes::App;

/// The header that names what was left aside.
const HEADER: &str = "x-minivault-ignored";

/// A JSON body in OpenAI's dialect, and what of it is left aside.
#[derive(Debug)]
pub(in crate::routes) struct OpenAiBody<T>(pub T, pub LeftAside);

/// Fields that would have changed the answer and didn't.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::routes) struct LeftAside(Vec<&'static str>);

impl LeftAside {
    /// These.
    pub fn of(names: &[&'static str]) -> Self {
        Self(names.to_vec())
    }

    /// What the log says of them, with their names in the body's order.
    pub fn fields(&self) -> impl Iterator<Item = (String, Value)> + use<> {
        (!self.0.is_empty()).then(|| ("ignored".to_owned(), json!(self.0))).into_iter()
    }

    /// An answer whose head names them.
    pub fn told_in(&self, mut response: Response) -> Response {
        if !self.0.is_empty()
            && let Ok(names) = HeaderValue::from_str(&self.0.join(", "))
        {
            response.headers_mut().insert(HEADER, names);
        }
        response
    }
}

impl<T: DeserializeOwned> FromRequest<App> for OpenAiBody<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let bytes = receive(request, app).await?;
        let body = parse(&bytes)?;
        Ok(Self(body, weigh(&bytes)?))
    }
}

/// Wishes of OpenAI's own service: what an answer is to lead to, where it is to look, how long it is to think and to talk, who is to watch.
const LEFT_ASIDE: &[&str] = &["moderation", "reasoning_effort", "suffix", "verbosity", "web_search_options"];

/// Fields that would change the answer: OpenAI's own that no engine here has, and those of other local servers.
const REFUSED: &[&str] = &[
    // OpenAI
    "functions",
    "function_call",
    "modalities",
    // vLLM
    "allowed_token_ids",
    "bad_words",
    "chat_template",
    "chat_template_kwargs",
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

/// What is left aside of a body.
///
/// # Errors
/// A field that is refused.
fn weigh(bytes: &[u8]) -> Result<LeftAside, ApiError> {
    // The body has been read already, so this can't fail.
    let Elsewhere(fields) = serde_json::from_slice(bytes).unwrap_or_default();
    // Functions, which tools have replaced, that aren't to be called need not be known.
    let calls_none = fields.iter().any(|(name, value)| *name == "function_call" && value == "none");
    let mut left_aside = Vec::new();
    for (name, _) in fields.into_iter().filter(|(name, value)| !(changes_nothing(name, value) || (*name == "functions" && calls_none))) {
        if REFUSED.contains(&name) {
            return Err(ApiError::unsupported_field(name, format!("`{name}` isn't supported here; leave it out")));
        }
        left_aside.push(name);
    }
    Ok(LeftAside(left_aside))
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
        "reasoning_effort" => value == "none",
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
                    match REFUSED.iter().chain(LEFT_ASIDE).find(|name| **name == key) {
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
        let seen = weigh(body.to_string().as_bytes());
        match refused {
            None => assert_eq!(seen, Ok(LeftAside::default()), "{body}"),
            Some(name) => assert!(seen.is_err_and(|error| error.message().contains(&format!("`{name}`"))), "{body}"),
        }
    }

    #[test]
    fn what_would_change_the_answer_is_refused_by_name() {
        check(&json!({"modalities": ["text", "audio"], "audio": {"voice": "ash"}}), Some("modalities"));
        check(&json!({"functions": [{"name": "f"}]}), Some("functions"));
        check(&json!({"suffix": "!", "min_tokens": 7}), Some("min_tokens"));
        check(&json!({"a": {"best": "!"}, "min_tokens": 7}), Some("min_tokens"));
        check(&json!({"typical_p": 0.5}), Some("typical_p"));
    }

    #[test]
    fn what_changes_nothing_is_accepted() {
        check(&json!({"modalities": ["text"], "audio": {"voice": "ash"}, "suffix": null, "functions": [], "function_call": "none"}), None);
        check(&json!({"functions": [{"name": "f"}], "function_call": "none"}), None);
        check(&json!({"typical_p": 1.0, "min_tokens": 0, "ignore_eos": false, "chat_template_kwargs": {}}), None);
        check(&json!({"store": true, "service_tier": "auto", "reasoning_effort": "none", "prediction": {"type": "content"}}), None);
    }

    #[test]
    fn wishes_of_openais_service_are_left_aside_and_named() {
        let body = json!({"suffix": "!", "n": 1, "web_search_options": {"search_context_size": "low"}, "verbosity": null});
        let left_aside = weigh(body.to_string().as_bytes()).unwrap();
        assert_eq!(left_aside.fields().collect::<Vec<_>>(), [("ignored".to_owned(), json!(["suffix", "web_search_options"]))]);
        assert_eq!(left_aside.told_in(Response::default()).headers()[HEADER], "suffix, web_search_options");
        assert!(LeftAside::default().told_in(Response::default()).headers().is_empty());
    }
}
