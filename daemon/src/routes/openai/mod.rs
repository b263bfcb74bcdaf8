//! The routes that speak OpenAI's dialect, and what their bodies become.
//!
//! - [`chat`][], [`completions`][]: the two endpoints
//! - [`body`][]: their bodies, and the fields that only other servers have
//! - [`messages`][], [`tools`][]: conversations, and what a model may call in them
//! - [`prompts`][]: what completions continue
//! - [`sampling`][]: the settings of both endpoints, with OpenAI's defaults
//! - [`format`][]: the form an answer must have
//! - [`choices`][]: several answers to one request, whole or as they go on
//! - [`logprobs`][]: what the model thought of its tokens, in either shape
//! - [`usage`][]: tokens, counted as OpenAI does

mod body;
pub(super) mod chat;
mod choices;
pub(super) mod completions;
pub(super) mod embeddings;
mod format;
mod logprobs;
mod messages;
mod prompts;
mod sampling;
pub(super) mod tools;
mod usage;

use std::collections::BTreeMap;
use std::sync::Arc;

use minivault_engines::EngineInfo;
use serde_json::{Map, Value, json};

use crate::error::ApiError;
use crate::interaction::Interaction;

pub(super) use body::{LeftAside, OpenAiBody};
pub(super) use format::{Form, of_schema};
pub(super) use logprobs::NEVER;
pub(super) use prompts::MAX_CHOICES;

/// What all answers to a request tell of it: its name, and the engine.
fn told_of(interactions: &[Interaction]) -> Result<(String, Arc<EngineInfo>), ApiError> {
    interactions.first().map(|first| (first.id.clone(), first.engine.clone())).ok_or_else(ApiError::internal)
}

/// Seconds since 1970.
fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

/// What of a body is for the log alone.
fn for_the_log(
    stream: Option<bool>,
    user: Option<String>,
    metadata: Option<BTreeMap<String, String>>,
    ignored: &LeftAside,
) -> Map<String, Value> {
    let mut form: Map<String, Value> = ignored.fields().collect();
    form.insert("stream".into(), stream.unwrap_or(false).into());
    form.extend(user.map(|user| ("user".to_owned(), user.into())));
    form.extend(metadata.map(|metadata| ("metadata".to_owned(), json!(metadata))));
    form
}
