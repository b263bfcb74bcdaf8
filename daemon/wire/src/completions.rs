//! `/v1/completions`, in OpenAI's form: prompts in, their continuations out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Stop;
use crate::format::ResponseFormat;
use crate::sampling::StreamOptions;
use crate::usage::OpenAiUsage;

/// The body of a request. Fields that it doesn't know are passed over by serde; the daemon refuses those that would change the answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompletionBody {
    /// What the answers continue.
    pub prompt: Prompts,
    /// The engine to ask; left out, the default one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The most tokens each answer may have; left out, 16. With `echo` it may be 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<usize>,
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
    /// Text that ends an answer and is never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Whether the answers come as server-sent events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// What a stream tells besides its text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_options: Option<StreamOptions>,
    /// Answers to each prompt; left out, 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n: Option<usize>,
    /// Answers that are generated for each prompt, of which the `n` likeliest are told; left out, `n`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best_of: Option<usize>,
    /// Puts the prompt in front of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
    /// The log probability of each token is told, and of so many of its likeliest alternatives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<usize>,
    /// The answer's form (beyond OpenAI's fields).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<ResponseFormat>,
    /// The model can't end the answers (beyond OpenAI's fields).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
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
    /// Who asks, for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whatever the client wants to find in the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<BTreeMap<String, String>>,
}

/// One prompt or several, as text or as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "prompt must be a string, a list of strings, a list of tokens or a list of lists of tokens")]
pub enum Prompts {
    /// `"prompt": "Hello"`
    Text(String),
    /// `"prompt": ["Hello", "Good day"]`
    Texts(Vec<String>),
    /// `"prompt": [15496, 995]`
    Tokens(Vec<u32>),
    /// `"prompt": [[15496], [995]]`
    TokenLists(Vec<Vec<u32>>),
}

impl Default for Prompts {
    fn default() -> Self {
        Self::Text(String::new())
    }
}

/// A whole answer; in a stream, what a chunk adds to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompletionAnswer {
    /// The interaction's name in the log.
    pub id: String,
    /// `text_completion`.
    pub object: String,
    /// Seconds since 1970.
    pub created: i64,
    /// The engine that answered.
    pub model: String,
    /// `n` choices for each prompt, prompt by prompt; in a chunk one, or none in the one that carries the usage.
    pub choices: Vec<CompletionChoice>,
    /// Tokens it took; in a stream in the last chunk, and only if asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<OpenAiUsage>,
    /// The model's fingerprint.
    pub system_fingerprint: String,
}

/// One answer among those asked for, or more of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompletionChoice {
    /// Its place.
    pub index: usize,
    /// The text, or more of it.
    pub text: String,
    /// What the model thought of the tokens, if asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// `stop` or `length`; `null` in all chunks but a choice's last one.
    pub finish_reason: Option<String>,
}

/// What the model thought of a text's tokens; one entry for each in every list, and a last one, without text, for the token that ended it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CompletionLogprobs {
    /// Their text; one whose bytes are no whole character is written as `bytes:\xf0\x9f`.
    pub tokens: Vec<String>,
    /// The natural logarithms of their probabilities; 0 for the first token of a prompt, which follows nothing.
    pub token_logprobs: Vec<f32>,
    /// The likeliest tokens at their places and the token itself; `null` where none were asked for or nothing is known.
    pub top_logprobs: Option<Vec<Option<BTreeMap<String, f32>>>>,
    /// Where each begins in the choice's text, in characters.
    pub text_offset: Vec<usize>,
}
