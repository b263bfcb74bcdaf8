//! What is answered to a conversation, whole or in chunks.

use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::llama_server::{PromptProgress, Timings};
use crate::tools::{ToolCall, ToolCallDelta};
use crate::usage::OpenAiUsage;

/// A whole answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatAnswer {
    /// The interaction's name in the log.
    pub id: String,
    /// `chat.completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The engine that answered.
    pub model: String,
    /// As many choices as were asked for.
    pub choices: Vec<Choice>,
    /// Tokens it took.
    pub usage: OpenAiUsage,
    /// The model's fingerprint.
    pub system_fingerprint: String,
    /// How long it took, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// The first answer with its prompt and settings, as `/completion` tells one, if asked for.
    #[serde(default, rename = "__verbose", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub verbose: Option<Value>,
}

/// One answer among those asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Choice {
    /// Its place.
    pub index: usize,
    /// What the assistant says.
    pub message: AnswerMessage,
    /// What the model thought of each token, if asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls`.
    pub finish_reason: String,
}

/// What the assistant says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AnswerMessage {
    /// `assistant`.
    pub role: String,
    /// The text; `null` where tools are called instead.
    pub content: Option<String>,
    /// Always `null`: no model here refuses in a field of its own.
    pub refusal: Option<String>,
    /// The tools it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
}

/// What the model thought of an answer's tokens.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatLogprobs {
    /// One entry for each token.
    pub content: Vec<TokenLogprob>,
    /// Always `null`.
    pub refusal: Option<Vec<TokenLogprob>>,
}

/// What the model thought of one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenLogprob {
    /// Its text; bytes that are no whole character are written as `\xf0`.
    pub token: String,
    /// The natural logarithm of its probability; -9999 for none at all.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Option<Vec<u8>>,
    /// The likeliest tokens at its place.
    pub top_logprobs: Vec<TopLogprob>,
}

/// One of the likeliest tokens at a place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TopLogprob {
    /// Its text, as of [`TokenLogprob`].
    pub token: String,
    /// The natural logarithm of its probability.
    pub logprob: f32,
    /// Its bytes.
    pub bytes: Option<Vec<u8>>,
}

/// One unnamed event of a stream; `[DONE]` follows the last one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatChunk {
    /// The interaction's name in the log, the same in all chunks.
    pub id: String,
    /// `chat.completion.chunk`.
    pub object: String,
    /// Seconds since 1970, the same in all chunks.
    pub created: i64,
    /// The engine that answers.
    pub model: String,
    /// One choice, or none in the chunk that carries the usage.
    pub choices: Vec<ChoiceDelta>,
    /// Tokens it took, in the last chunk and only if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<OpenAiUsage>,
    /// The model's fingerprint.
    pub system_fingerprint: String,
    /// How long it has taken so far, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// How far the prompt has been read, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_progress: Option<PromptProgress>,
}

/// What a chunk adds to a choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChoiceDelta {
    /// Its place.
    pub index: usize,
    /// What is added.
    pub delta: Delta,
    /// What the model thought of the tokens that are added, if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<ChatLogprobs>,
    /// `stop`, `length` or `tool_calls` in the last chunk, `null` before.
    pub finish_reason: Option<String>,
}

/// What is added to a message. The first chunk has a role and says of the content that there is none yet, which some clients look for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct Delta {
    /// `assistant`, in the first chunk.
    pub role: Option<String>,
    /// More text.
    pub content: Option<String>,
    /// More of the calls of tools.
    pub tool_calls: Option<Vec<ToolCallDelta>>,
}

impl Serialize for Delta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { role, content, tool_calls } = self;
        let mut map = serializer.serialize_map(None)?;
        if let Some(role) = role {
            map.serialize_entry("role", role)?;
        }
        if role.is_some() || content.is_some() {
            map.serialize_entry("content", content)?;
        }
        if let Some(calls) = tool_calls {
            map.serialize_entry("tool_calls", calls)?;
        }
        map.end()
    }
}
