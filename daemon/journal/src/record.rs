//! What a line of the log holds.

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer};

use crate::options::Recording;

/// One interaction. The fields stand in the line in this order, `seq` among them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// When the request arrived; UTC, to the microsecond.
    #[serde(serialize_with = "microseconds")]
    pub timestamp: Timestamp,
    /// The prompt as the model saw it; of a chat, what the template made of it.
    pub prompt: String,
    /// The text that was generated.
    pub response: String,
    /// The tools it called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<serde_json::Value>,
    /// The interaction's name.
    pub id: String,
    /// The interaction that it runs again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<String>,
    /// Its place in the log, from 1, without gaps; the journal fills it in.
    pub seq: u64,
    /// The route.
    pub endpoint: String,
    /// The name of the API key that the request came with; never the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The engine that answered.
    pub model: String,
    /// The backend that runs it.
    pub backend: String,
    /// A hash of all that decides its output.
    pub fingerprint: String,
    /// `bitwise`, `serial` or `none`: what may be relied on when this is run again.
    pub determinism: String,
    /// How it was computed.
    #[serde(default)]
    pub computation: Computation,
    /// The seed in force.
    pub seed: u64,
    /// The whole request with all effective settings, enough to run it again.
    pub request: serde_json::Value,
    /// The prompt's tokens; empty where the engine doesn't know them.
    pub prompt_token_ids: Vec<u32>,
    /// The answer's tokens.
    pub response_token_ids: Vec<u32>,
    /// How many tokens it took.
    pub usage: TokenUsage,
    /// How it ended.
    pub finish_reason: Outcome,
    /// The HTTP status of a whole answer that ends like this, also for streams, whose own was sent before; 499 when the client left.
    pub status: u16,
    /// What the client was told of a failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Milliseconds from the request to its first token.
    pub ttft_ms: Option<f64>,
    /// Milliseconds from the request to its end.
    pub duration_ms: f64,
    /// What of the interaction is recorded here.
    #[serde(default, skip_serializing_if = "Recording::is_full")]
    pub record: Recording,
    /// Something in it was blackened; tokens, which would tell it, are left out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
    /// Where hashes are recorded: of the tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_hashes: Option<TokenHashes>,
}

/// Keyed hashes of an interaction's tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenHashes {
    /// Of the prompt's.
    pub prompt: String,
    /// Of the answer's.
    pub response: String,
}

/// How an answer was computed. What isn't known is empty or 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Computation {
    /// The version of what computes.
    #[serde(default)]
    pub version: String,
    /// How the weights are kept in memory.
    #[serde(default)]
    pub dtype: String,
    /// The instructions that it is computed with.
    #[serde(default)]
    pub kernel: String,
    /// Threads that compute.
    #[serde(default)]
    pub threads: usize,
}

/// Tokens an interaction took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens generated.
    pub completion_tokens: usize,
    /// Both together.
    pub total_tokens: usize,
    /// Tokens of the prompt that an earlier interaction had left in the model's cache.
    #[serde(default)]
    pub cached_tokens: usize,
}

/// How an interaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The text was complete, or a stop string came.
    Stop,
    /// As many tokens as were allowed.
    Length,
    /// The model has called tools.
    #[serde(rename = "tool_calls")]
    ToolCalls,
    /// Its time was over; what was said until then was the answer.
    Timeout,
    /// The client left.
    Cancelled,
    /// The engine failed.
    Error,
}

impl Outcome {
    /// Its name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::ToolCalls => "tool_calls",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Error => "error",
        }
    }
}

fn microseconds<S: Serializer>(timestamp: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{timestamp:.6}"))
}
