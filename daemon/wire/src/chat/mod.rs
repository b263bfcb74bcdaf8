//! `/v1/chat/completions`, in OpenAI's form: messages in, text out.

mod answer;
mod message;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Stop;
use crate::format::ResponseFormat;
pub use crate::sampling::StreamOptions;
use crate::tools::{Tool, ToolChoice};

pub use answer::{AnswerMessage, ChatAnswer, ChatChunk, ChatLogprobs, Choice, ChoiceDelta, Delta, TokenLogprob, TopLogprob};
pub use message::{Content, Message, Part};

/// The body of a request. Fields that it doesn't know are passed over by serde; the daemon refuses those that would change the answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ChatBody {
    /// The conversation, oldest message first.
    pub messages: Vec<Message>,
    /// The engine to ask; left out, the default one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The most tokens the answer may have; left out, the rest of the context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
    /// The same under its newer name, which goes first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_completion_tokens: Option<usize>,
    /// 0 takes the most likely token always; left out, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Only the so many most likely tokens; left out, off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<usize>,
    /// Only the most likely tokens that together reach this probability; left out, off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Only tokens at least this fraction as likely as the most likely one; left out, off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Makes tokens of prompt and answer less likely; left out, off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f32>,
    /// Subtracted once from tokens of the answer; left out, 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// Subtracted for each occurrence from tokens of the answer; left out, 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Added to the logits of single tokens: a token's number and what is added, -100 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_bias: Option<BTreeMap<String, f32>>,
    /// Starts the random generator; the same seed gives the same answers.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "crate::sampling::seed")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<i64>))]
    pub seed: Option<u64>,
    /// Text that ends the answer and is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Whether the answer comes as server-sent events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// What a stream tells besides its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Answers to choose from; left out, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// Whether the log probability of each token is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<bool>,
    /// With `logprobs`, how many of the likeliest alternatives are told of each token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_logprobs: Option<usize>,
    /// The answer's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// A grammar that the answer follows (beyond OpenAI's fields).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grammar: Option<String>,
    /// A regular expression that the whole answer matches (beyond OpenAI's fields).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// The same request with the same seed must get the same answer: an engine that promises this only for requests that run alone
    /// runs it alone, one that never does refuses it (beyond OpenAI's fields).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deterministic: Option<bool>,
    /// A schema that the answer follows, as llama.cpp's server takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json_schema: Option<serde_json::Value>,
    /// The model can't end the answer (beyond OpenAI's fields, as the following ones).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
    /// The last message is the beginning of the answer, which goes on from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub continue_final_message: Option<bool>,
    /// Whether the assistant's turn is begun; it isn't where the last message is gone on with, and can't be left out elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_generation_prompt: Option<bool>,
    /// `false`: the whole prompt is computed, whatever of it is in the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_prompt: Option<bool>,
    /// Whether it is told how long the answer takes, as llama.cpp's server does: in each chunk but the first, and with a whole answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timings_per_token: Option<bool>,
    /// Whether a stream tells how far the prompt has been read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub return_progress: Option<bool>,
    /// Whether a whole answer tells, in `__verbose`, the prompt as the model read it and all settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbose: Option<bool>,
    /// Tools the model may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<Tool>>,
    /// Whether it may, must or must not call one; left out, it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<ToolChoice>,
    /// Whether it may call several at once; left out, it may.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel_tool_calls: Option<bool>,
    /// Who asks, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whatever the client wants to find in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}
