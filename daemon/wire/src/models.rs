//! `/v1/models`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The engines there are, in OpenAI's form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelList {
    /// `list`.
    pub object: String,
    /// One entry for each engine of the configuration; the default one first.
    pub data: Vec<Model>,
}

/// One engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Model {
    /// Its name in the configuration, which is what a request's `model` names.
    pub id: String,
    /// `model`.
    pub object: String,
    /// Seconds since 1970: when the daemon started.
    pub created: i64,
    /// `minivault`.
    pub owned_by: String,
    /// All names that a request may call it by, its own among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Words that the configuration describes it with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What MiniVault knows besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minivault: Option<ModelDetails>,
}

/// What MiniVault tells of an engine beyond OpenAI's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelDetails {
    /// Whether it answers when a request names no model.
    pub default: bool,
    /// `loading`, `ready`, `failed`, or `idle` for one that no request has named yet.
    pub state: String,
    /// The backend that runs it.
    pub backend: String,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The engine that answers in its place because its own model can't be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answered_by: Option<String>,
    /// What is known once it is loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<LoadedModel>,
}

/// A model that is loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LoadedModel {
    /// The model, as a person would name it.
    pub model: String,
    /// Where it was found.
    pub source: String,
    /// A hash of all that decides its output.
    pub fingerprint: String,
    /// Tokens one request may hold.
    pub context_length: usize,
    /// `bitwise`, `serial` or `none`.
    pub determinism: String,
    /// Which changes of circumstance leave the bytes as they are.
    pub same_bytes: BTreeMap<String, bool>,
    /// Requests it computes side by side.
    pub slots: usize,
    /// Requests being computed.
    pub active: usize,
    /// Requests that wait.
    pub queued: usize,
}
