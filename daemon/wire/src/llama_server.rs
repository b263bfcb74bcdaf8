//! `/completion`, `/apply-template`, `/props` and `/slots`, as far as clients of llama.cpp's server need them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Stop;

/// The body of `/completion`. What is left out comes from the daemon's `[generation]` settings; fields that it doesn't know are passed over
/// by serde, and the daemon refuses those that would change the answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LlamaCompletionBody))]
pub struct CompletionBody {
    /// What the answers continue.
    pub prompt: PromptOrPrompts,
    /// The engine to ask; left out, the default one answers.
    #[serde(default)]
    pub model: Option<String>,
    /// The most tokens each answer may have; -1, the rest of the context.
    #[serde(default)]
    pub n_predict: Option<i64>,
    /// 0 takes the most likely token always.
    #[serde(default)]
    pub temperature: Option<f32>,
    /// Only the so many most likely tokens; 0 is off.
    #[serde(default)]
    pub top_k: Option<usize>,
    /// Only the most likely tokens that together reach this probability.
    #[serde(default)]
    pub top_p: Option<f32>,
    /// Only tokens at least this fraction as likely as the most likely one.
    #[serde(default)]
    pub min_p: Option<f32>,
    /// Makes tokens of prompt and answer less likely; 1 changes nothing.
    #[serde(default)]
    pub repeat_penalty: Option<f32>,
    /// Subtracted once from tokens of the answer.
    #[serde(default)]
    pub presence_penalty: Option<f32>,
    /// Subtracted for each occurrence from tokens of the answer.
    #[serde(default)]
    pub frequency_penalty: Option<f32>,
    /// What is added to the logits of single tokens.
    #[serde(default)]
    pub logit_bias: Option<Biases>,
    /// Starts the random generator; -1 is none.
    #[serde(default)]
    pub seed: Option<i64>,
    /// Text that ends an answer and is never shown.
    #[serde(default)]
    pub stop: Option<Stop>,
    /// Whether the answer comes as server-sent events.
    #[serde(default)]
    pub stream: Option<bool>,
    /// The log probability of each token is told, and of so many of its likeliest alternatives; 0 is off.
    #[serde(default)]
    pub n_probs: Option<usize>,
    /// Whether a whole answer tells its tokens.
    #[serde(default)]
    pub return_tokens: Option<bool>,
    /// With `n_probs`, probabilities are those of the draw, after all settings, instead of the model's own.
    #[serde(default)]
    pub post_sampling_probs: Option<bool>,
    /// The model can't end the text; left out, as the daemon's settings have it.
    #[serde(default)]
    pub ignore_eos: Option<bool>,
    /// `false`: the whole prompt is computed, whatever of it is in the cache.
    #[serde(default)]
    pub cache_prompt: Option<bool>,
    /// Whether each event of a stream tells how long it has taken so far.
    #[serde(default)]
    pub timings_per_token: Option<bool>,
    /// Whether a stream tells how far the prompt has been read.
    #[serde(default)]
    pub return_progress: Option<bool>,
    /// A grammar that the answer follows.
    #[serde(default)]
    pub grammar: Option<String>,
    /// A schema that the answer follows.
    #[serde(default)]
    pub json_schema: Option<Value>,
    /// The same request with the same seed must get the same answer.
    #[serde(default)]
    pub deterministic: Option<bool>,
}

/// One prompt, or several in a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LlamaPromptOrPrompts))]
#[serde(untagged, expecting = "prompt must be a string, a list of tokens and strings, or a list of such prompts")]
pub enum PromptOrPrompts {
    /// `"prompt": ["Hello", [1, 2]]`
    Several(Vec<Prompt>),
    /// `"prompt": "Hello"`
    One(Prompt),
}

/// A prompt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LlamaPrompt))]
#[serde(untagged)]
pub enum Prompt {
    /// A text.
    Text(String),
    /// A text in an object, beside which images would stand.
    Object {
        /// The text.
        prompt_string: String,
        /// Images; refused.
        #[serde(default)]
        multimodal_data: Option<Value>,
    },
    /// Tokens, and texts between them.
    Mixed(Vec<TokenOrText>),
}

/// A part of a prompt.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum TokenOrText {
    /// A token.
    Token(u32),
    /// A text.
    Text(String),
}

/// Shifts of logits, in either form.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "logit_bias must be a list of pairs of a token or a text and its bias, or an object")]
pub enum Biases {
    /// `[[15043, 1.0], ["Hello", -0.5]]`; `false` in place of a number forbids the token.
    Pairs(Vec<(TokenOrText, Bias)>),
    /// `{"15043": 1.0}`
    Map(BTreeMap<String, Bias>),
}

/// What is added to a logit.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Bias {
    /// So much.
    Number(f32),
    /// `false`: the token never comes.
    Never(bool),
}

/// What `/completion` answers to a prompt; in a stream, its last event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LlamaCompletionAnswer))]
pub struct CompletionAnswer {
    /// The prompt's place.
    pub index: usize,
    /// The text; empty at the end of a stream.
    pub content: String,
    /// Its tokens, if asked for.
    pub tokens: Vec<u32>,
    /// Always `true`.
    pub stop: bool,
    /// The engine that answered.
    pub model: String,
    /// Tokens generated.
    pub tokens_predicted: usize,
    /// Tokens of the prompt.
    pub tokens_evaluated: usize,
    /// Tokens of the prompt that an earlier request had left in the model's cache.
    pub tokens_cached: usize,
    /// What was in force.
    pub generation_settings: Value,
    /// The prompt as text.
    pub prompt: String,
    /// Whether the text has more than one line.
    pub has_new_line: bool,
    /// Always `false`: a prompt is never cut.
    pub truncated: bool,
    /// `eos`, `word` or `limit`.
    pub stop_type: String,
    /// The stop string that ended it.
    pub stopping_word: String,
    /// How long it took.
    pub timings: Timings,
    /// What the model thought of each token, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_probabilities: Option<Vec<TokenProbability>>,
}

/// What `/completion` answers: to one prompt, or to a list of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LlamaCompletionAnswers))]
#[serde(untagged)]
pub enum CompletionAnswers {
    /// One prompt's.
    One(Box<CompletionAnswer>),
    /// In the order of the prompts.
    Several(Vec<CompletionAnswer>),
}

/// One event of a stream but the last.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = LlamaCompletionPiece))]
pub struct CompletionPiece {
    /// The prompt's place.
    pub index: usize,
    /// More text.
    pub content: String,
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// Always `false`.
    pub stop: bool,
    /// What the model thought of each token, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completion_probabilities: Option<Vec<TokenProbability>>,
    /// How long it has taken so far, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Timings>,
    /// How far the prompt has been read, if asked for; such an event has no text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_progress: Option<PromptProgress>,
}

/// How far a prompt has been read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct PromptProgress {
    /// Its tokens.
    pub total: usize,
    /// Those that were found in the cache.
    pub cache: usize,
    /// Those that have been read, the cached ones among them.
    pub processed: usize,
    /// Milliseconds since the request came.
    pub time_ms: f64,
}

/// How long an answer took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Timings {
    /// Tokens of the prompt that were found in the cache.
    pub cache_n: usize,
    /// Those that were read.
    pub prompt_n: usize,
    /// Until the first token, waiting included.
    pub prompt_ms: f64,
    /// Of these, for each token that was read.
    pub prompt_per_token_ms: f64,
    /// Tokens read in a second.
    pub prompt_per_second: f64,
    /// Tokens generated.
    pub predicted_n: usize,
    /// From the first token to the end.
    pub predicted_ms: f64,
    /// Of these, for each token.
    pub predicted_per_token_ms: f64,
    /// Tokens generated in a second.
    pub predicted_per_second: f64,
}

/// What the model thought of one token, or how likely it was to be drawn.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenProbability {
    /// The token.
    pub id: u32,
    /// Its text.
    pub token: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The natural logarithm of the probability that the model gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logprob: Option<f32>,
    /// The likeliest tokens at its place; none of them has any of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(no_recursion))]
    pub top_logprobs: Vec<TokenProbability>,
    /// In place of these with `post_sampling_probs`: the probability of drawing it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prob: Option<f32>,
    /// And the tokens that were likeliest to be drawn.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(no_recursion))]
    pub top_probs: Vec<TokenProbability>,
}

/// What `/apply-template` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AppliedTemplate {
    /// The conversation as the model's template renders it.
    pub prompt: String,
}

/// What `/chat/completions/input_tokens` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct InputTokens {
    /// `response.input_tokens`.
    pub object: String,
    /// Tokens of the conversation as the model's template renders it.
    pub input_tokens: usize,
}

/// What `/props` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Props {
    /// Where the default engine's model was found.
    pub model_path: String,
    /// Requests it computes side by side.
    pub total_slots: usize,
    /// What is in force where a request says nothing.
    pub default_generation_settings: DefaultSettings,
    /// The daemon's name and version.
    pub build_info: String,
}

/// What is in force where a request says nothing.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DefaultSettings {
    /// Tokens one request may hold.
    pub n_ctx: usize,
    /// The sampling settings.
    pub params: Value,
}

/// One slot, as `/slots` tells of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SlotState {
    /// Its place.
    pub id: usize,
    /// Tokens it can hold.
    pub n_ctx: usize,
    /// Whether a request has it.
    pub is_processing: bool,
}
