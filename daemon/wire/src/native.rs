//! `/generate` and `/stream-generate`.

use serde::{Deserialize, Serialize};

use crate::Stop;

/// The body of both endpoints. What is left out comes from the daemon's `[generation]` settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct GenerateBody {
    /// What the answer continues.
    pub prompt: String,
    /// The engine to ask, by its name in the daemon's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The most tokens the answer may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// 0 takes the most likely token always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Only the so many most likely tokens; 0 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Only the most likely tokens that together reach this probability.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Only tokens at least this fraction as likely as the most likely one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Makes tokens of prompt and answer less likely; 1 changes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Starts the random generator; the same seed gives the same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Text that ends the answer and is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// The same request with the same seed must get the same answer: an engine that promises this only for requests that run alone
    /// runs it alone, one that never does refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic: Option<bool>,
    /// Puts the prompt in front of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
}

/// What `/generate` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GenerateAnswer {
    /// The new text, behind the prompt if `echo` was asked for.
    pub response: String,
    /// All the rest.
    #[serde(flatten)]
    pub done: Done,
}

/// How an answer ended; also the data of a stream's last event, `event: done`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Done {
    /// The interaction's name in the log.
    pub id: String,
    /// The engine that answered.
    pub model: String,
    /// `stop` or `length`.
    pub finish_reason: String,
    /// The seed in force; with it the same request gives the same answer.
    pub seed: u64,
    /// Tokens it took.
    pub usage: Usage,
    /// `false` where the interaction should be in the log and could not be written; otherwise it isn't there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<bool>,
}

/// The data of a stream's unnamed events: one piece of text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Piece {
    /// The text; the pieces joined are the answer.
    pub token: String,
}

/// Tokens a request took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Both together.
    pub total_tokens: usize,
    /// Tokens of the prompt that an earlier request had left in the model's cache.
    #[serde(default)]
    pub cached_tokens: usize,
}
