//! What is asked of an engine, and the checks that hold for every engine.

use std::ops::Not;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::chat::ChatMessage;
use crate::error::{EngineError, Result};

/// A token's number in its model's vocabulary.
pub type TokenId = u32;

/// One request for text.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// What the text continues.
    pub prompt: Prompt,
    /// How many tokens the answer may have.
    pub max_tokens: MaxTokens,
    /// How each token is chosen.
    pub sampling: Sampling,
    /// Text that ends the answer and is never shown. At most [`MAX_STOPS`], none of them empty.
    pub stop: Vec<String>,
    /// `Some(n)`: each token's log probability, and those of the `n` most likely alternatives. At most [`MAX_LOGPROBS`].
    pub logprobs: Option<usize>,
    /// What form the answer must have.
    pub constraint: Option<Constraint>,
    /// Whether the model calls one of the conversation's tools.
    pub tool_choice: ToolChoice,
    /// Whether the answer must be one that the same request gets again: an engine that promises that for requests alone computes it alone, one
    /// that promises nothing refuses it.
    pub deterministic: bool,
    /// Whether it may call several at once.
    pub parallel_tool_calls: bool,
    /// Who asks, where that is known: those that wait for a slot are served in turn. It changes no answer and isn't written down.
    pub client: Option<Arc<str>>,
    /// What is wanted besides.
    pub options: RequestOptions,
}

/// What few requests want; nothing of it by default. An engine that can't do what would change the text refuses it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RequestOptions {
    /// The model can't end the text: only its limit, a stop string or its form does.
    #[serde(skip_serializing_if = "Not::not")]
    pub ignore_eos: bool,
    /// A chat ends with the beginning of the answer, which goes on from there.
    #[serde(skip_serializing_if = "Not::not")]
    pub continue_final_message: bool,
    /// Log probabilities are those of the draw, after biases, penalties, temperature and filters, instead of the model's own.
    #[serde(skip_serializing_if = "Not::not")]
    pub logprobs_of_draw: bool,
    /// The whole prompt is computed, whatever of it an earlier one left in the cache.
    #[serde(skip_serializing_if = "Not::not")]
    pub without_cache: bool,
    /// It is told how far the prompt has been read.
    #[serde(skip)]
    pub progress: bool,
}

/// What the text continues.
#[derive(Debug, Clone, PartialEq)]
pub enum Prompt {
    /// Plain text; what looks like a control token in it is text.
    Text(String),
    /// Tokens of the engine's own vocabulary, used as they are.
    Tokens(Vec<TokenId>),
    /// A conversation. A local engine renders it with the model's template; an upstream one passes it on.
    Chat {
        /// The conversation so far, oldest first.
        messages: Vec<ChatMessage>,
        /// Tools the model may call, as JSON in OpenAI's form.
        tools: Vec<Value>,
    },
}

/// Whether the model calls a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// As it sees fit.
    #[default]
    Auto,
    /// It doesn't, and isn't told of them.
    None,
    /// It calls one.
    Required,
    /// It calls this one.
    Named(String),
}

impl ToolChoice {
    /// The choice in OpenAI's words.
    pub fn to_json(&self) -> Value {
        match self {
            Self::Auto => "auto".into(),
            Self::None => "none".into(),
            Self::Required => "required".into(),
            Self::Named(name) => json!({"type": "function", "function": {"name": name}}),
        }
    }
}

/// How many tokens an answer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MaxTokens {
    /// The request insists: refused when the context can't hold it. 0: the prompt is only checked and measured.
    Exactly(usize),
    /// A default, at least 1: lowered to the room that the prompt leaves.
    AtMost(usize),
    /// Whatever room the prompt leaves.
    Remaining,
}

/// How each token is chosen. Filters apply in the order of the fields, as Transformers does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Added to the logits of single tokens before anything else, -100 to 100.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// Divides positive and multiplies negative logits of tokens in prompt and output (CTRL, Keskar et al. 2019, as Transformers
    /// does it); 1 changes nothing; over 0, at most 100.
    pub repetition_penalty: f32,
    /// Subtracted once from the logits of tokens in the output, -2 to 2 (OpenAI).
    pub presence_penalty: f32,
    /// Subtracted for each occurrence from the logits of tokens in the output, -2 to 2 (OpenAI).
    pub frequency_penalty: f32,
    /// Logits are divided by it; 0 takes the most likely token always; at most 100.
    pub temperature: f32,
    /// Only the `top_k` most likely tokens; 0 is off.
    pub top_k: usize,
    /// Only the most likely tokens that together reach this probability (nucleus, Holtzman et al. 2020); over 0, 1 is off.
    pub top_p: f32,
    /// Only tokens at least this fraction as likely as the most likely one; 0 is off, at most 1.
    pub min_p: f32,
    /// Starts the request's own random generator. `None`: the engine chooses one and says which.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    /// Plain sampling from the model's own distribution.
    fn default() -> Self {
        Self {
            logit_bias: Vec::new(),
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: None,
        }
    }
}

impl Sampling {
    /// The most likely token, always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }
}

/// What form an answer must have.
#[derive(Debug, Clone, PartialEq)]
pub enum Constraint {
    /// Any JSON object.
    JsonObject,
    /// JSON that this schema describes.
    JsonSchema(Value),
    /// Text that this grammar derives, in llguidance's Lark form or llama.cpp's GBNF.
    Grammar(String),
    /// Text that this regular expression matches as a whole.
    Regex(String),
}

impl Constraint {
    /// The field of a request that holds it.
    pub fn param(&self) -> &'static str {
        match self {
            Self::JsonObject | Self::JsonSchema(_) => "response_format",
            Self::Grammar(_) => "grammar",
            Self::Regex(_) => "regex",
        }
    }

    /// Refuses one that is too long.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`].
    pub fn check_length(&self) -> Result<()> {
        let (length, limit) = match self {
            Self::JsonObject => return Ok(()),
            Self::JsonSchema(schema) => (schema.to_string().len(), MAX_GRAMMAR_BYTES),
            Self::Grammar(grammar) => (grammar.len(), MAX_GRAMMAR_BYTES),
            Self::Regex(regex) => (regex.len(), MAX_REGEX_BYTES),
        };
        if length <= limit {
            return Ok(());
        }
        Err(EngineError::invalid(self.param(), format!("the {} has {length} bytes; the limit is {limit}", self.noun())))
    }

    /// What it is called in a sentence.
    pub(crate) fn noun(&self) -> &'static str {
        match self {
            Self::JsonObject | Self::JsonSchema(_) => "schema",
            Self::Grammar(_) => "grammar",
            Self::Regex(_) => "regular expression",
        }
    }
}

/// The seed of one of several answers to the same request. The first one's is the request's own, so an answer alone and the first of
/// several are the same; the others' are mixed from both (SplitMix64, Steele et al. 2014), below 2^53 so that JavaScript reads them exactly.
pub fn seed_of_choice(seed: u64, choice: usize) -> u64 {
    if choice == 0 {
        return seed;
    }
    let mut mixed = seed.wrapping_add((choice as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (mixed ^ (mixed >> 31)) >> 11
}

/// Bytes of a schema or grammar.
const MAX_GRAMMAR_BYTES: usize = 64 * 1024;
/// Bytes of a regular expression.
const MAX_REGEX_BYTES: usize = 8 * 1024;
/// Stop strings a request may have.
pub const MAX_STOPS: usize = 16;
/// Bytes a stop string may have.
pub const MAX_STOP_BYTES: usize = 1024;
/// Alternatives a request may ask for with each token (OpenAI's limit).
pub const MAX_LOGPROBS: usize = 20;
/// Tokens whose logits a request may shift.
pub const MAX_LOGIT_BIASES: usize = 1024;

impl GenerateRequest {
    /// A request for the continuation of a text, with plain sampling.
    pub fn text(prompt: impl Into<String>, max_tokens: MaxTokens) -> Self {
        Self {
            prompt: Prompt::Text(prompt.into()),
            max_tokens,
            sampling: Sampling::default(),
            stop: Vec::new(),
            logprobs: None,
            constraint: None,
            tool_choice: ToolChoice::Auto,
            deterministic: false,
            parallel_tool_calls: true,
            client: None,
            options: RequestOptions::default(),
        }
    }

    /// Checks all that can be checked without a model.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] with the field, the value and the limit.
    pub fn check(&self) -> Result<()> {
        match &self.prompt {
            Prompt::Text(text) if text.is_empty() => {
                return Err(EngineError::invalid("prompt", "prompt is empty; it needs at least one character"));
            }
            Prompt::Tokens(tokens) if tokens.is_empty() => {
                return Err(EngineError::invalid("prompt", "prompt is empty; it needs at least one token"));
            }
            Prompt::Chat { messages, .. } if messages.is_empty() => {
                return Err(EngineError::invalid("messages", "messages is empty; it needs at least one message"));
            }
            _ => {}
        }
        if let MaxTokens::AtMost(0) = self.max_tokens {
            return Err(EngineError::invalid("max_tokens", "max_tokens is 0; it must be at least 1"));
        }
        if self.stop.len() > MAX_STOPS {
            return Err(EngineError::invalid("stop", format!("stop has {} strings; the limit is {MAX_STOPS}", self.stop.len())));
        }
        for stop in &self.stop {
            if stop.is_empty() {
                return Err(EngineError::invalid("stop", "a stop string is empty; it needs at least one character"));
            }
            if stop.len() > MAX_STOP_BYTES {
                return Err(EngineError::invalid("stop", format!("a stop string has {} bytes; the limit is {MAX_STOP_BYTES}", stop.len())));
            }
        }
        if let Some(constraint) = &self.constraint {
            constraint.check_length()?;
        }
        if let Some(count) = self.logprobs
            && count > MAX_LOGPROBS
        {
            return Err(EngineError::invalid("logprobs", format!("logprobs is {count}; the limit is {MAX_LOGPROBS}")));
        }
        self.sampling.check()
    }
}

impl Sampling {
    fn check(&self) -> Result<()> {
        let within = |param: &'static str, value: f32, holds: bool, limits: &str| {
            if holds { Ok(()) } else { Err(EngineError::invalid(param, format!("{param} is {value}; it must be {limits}"))) }
        };
        // A NaN fails each of these comparisons, as it should.
        within("temperature", self.temperature, (0.0..=100.0).contains(&self.temperature), "between 0 and 100")?;
        within("top_p", self.top_p, self.top_p > 0.0 && self.top_p <= 1.0, "over 0 and at most 1")?;
        within("min_p", self.min_p, (0.0..=1.0).contains(&self.min_p), "between 0 and 1")?;
        let penalty = self.repetition_penalty;
        within("repetition_penalty", penalty, penalty > 0.0 && penalty <= 100.0, "over 0 and at most 100")?;
        within("presence_penalty", self.presence_penalty, (-2.0..=2.0).contains(&self.presence_penalty), "between -2 and 2")?;
        within("frequency_penalty", self.frequency_penalty, (-2.0..=2.0).contains(&self.frequency_penalty), "between -2 and 2")?;
        if self.logit_bias.len() > MAX_LOGIT_BIASES {
            let count = self.logit_bias.len();
            return Err(EngineError::invalid("logit_bias", format!("logit_bias has {count} entries; the limit is {MAX_LOGIT_BIASES}")));
        }
        self.logit_bias
            .iter()
            .try_for_each(|&(_, bias)| within("logit_bias", bias, (-100.0..=100.0).contains(&bias), "between -100 and 100"))
    }
}
