//! `/api/…`, in Ollama's form: what tools that know only Ollama ask. Fields that aren't here are passed over, as Ollama does.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Stop;

/// The body of `/api/generate`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GenerateBody {
    /// The engine to ask; `:latest` behind its name is no part of it.
    pub model: String,
    /// The prompt; empty, the engine is only loaded.
    #[serde(default)]
    pub prompt: String,
    /// What the model is told first, where it knows such a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// Whether the prompt is continued as it is, and not answered as a message in a conversation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<bool>,
    /// Whether the answer comes line by line; left out, it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// `"json"`, or a JSON schema: the answer's form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Value>,
    /// How tokens are chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
    /// Refused unless empty, as the following ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suffix: Option<String>,
    /// See `suffix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// See `suffix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<Value>>,
    /// See `suffix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Vec<u32>>,
    /// Refused unless `false`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<Value>,
}

/// The body of `/api/chat`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatBody {
    /// As in [`GenerateBody`].
    pub model: String,
    /// The conversation, oldest message first; without any, the engine is only loaded.
    #[serde(default)]
    pub messages: Vec<Message>,
    /// What the model may call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools: Option<Vec<crate::tools::Tool>>,
    /// As in [`GenerateBody`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<bool>,
    /// As in [`GenerateBody`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<Value>,
    /// As in [`GenerateBody`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub options: Option<Options>,
    /// As in [`GenerateBody`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub think: Option<Value>,
}

/// One message of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    #[serde(default)]
    pub content: String,
    /// The tools an assistant called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// Refused unless empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<Value>>,
}

/// One call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What is called.
    pub function: FunctionCall,
}

/// A function with its arguments.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FunctionCall {
    /// The function's name.
    pub name: String,
    /// Its arguments: an object.
    #[serde(default)]
    pub arguments: Value,
}

/// How tokens are chosen. What concerns the machine alone (threads, layers on a GPU) is passed over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// Tokens of the answer, at most, which must fit into the context; below 0, the rest of it, and so if left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_predict: Option<i64>,
    /// Left out, 0.8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// Left out, 40; 0 or less is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<i64>,
    /// Left out, 0.9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// Left out, off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f32>,
    /// Left out, 1.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_penalty: Option<f32>,
    /// Left out, 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence_penalty: Option<f32>,
    /// Left out, 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frequency_penalty: Option<f32>,
    /// Below 0, or left out, a new one each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// Text that ends the answer and is never shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
    /// Tokens that the context must hold; more than the engine has are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_ctx: Option<usize>,
    /// Left aside, and named in the answer's head: the penalty is for all of prompt and answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repeat_last_n: Option<i64>,
    /// Refused unless 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirostat: Option<f32>,
    /// Refused unless 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tfs_z: Option<f32>,
    /// Refused unless 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical_p: Option<f32>,
}

/// A line of an answer, or the whole of it: of `/api/generate` with `response`, of `/api/chat` with `message`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The model's name as the request had it.
    pub model: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// Text of `/api/generate`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Text and calls of `/api/chat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// Whether this is the end.
    pub done: bool,
    /// At the end: `stop`, `length`, `load`, or `timeout`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_reason: Option<String>,
    /// At the end of `/api/generate`: prompt and answer as tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<Vec<u32>>,
    /// At the end, what it took.
    #[serde(flatten)]
    pub took: Option<Took>,
}

/// What an answer took; times in nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Took {
    /// From the request to its end.
    pub total_duration: u64,
    /// Of it, until the engine was there.
    pub load_duration: u64,
    /// Tokens of the prompt.
    pub prompt_eval_count: usize,
    /// From then to the first token.
    pub prompt_eval_duration: u64,
    /// Tokens of the answer.
    pub eval_count: usize,
    /// From the first token to the end.
    pub eval_duration: u64,
}

/// The body of `/api/embed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbedBody {
    /// As in [`GenerateBody`].
    pub model: String,
    /// A text or a list of them.
    pub input: crate::embeddings::Input,
    /// How wide the vectors shall be; only the model's own width can be had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<usize>,
}

/// The body of `/api/embeddings`, which `/api/embed` has replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmbeddingsBody {
    /// As in [`GenerateBody`].
    pub model: String,
    /// The text.
    pub prompt: String,
}

/// The answer of `/api/embed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbedAnswer {
    /// The model's name as the request had it.
    pub model: String,
    /// A vector of length 1 for each text.
    pub embeddings: Vec<Vec<f32>>,
    /// Nanoseconds.
    pub total_duration: u64,
    /// Nanoseconds of it, until the engine was there.
    pub load_duration: u64,
    /// Tokens of all texts.
    pub prompt_eval_count: usize,
}

/// The answer of `/api/embeddings`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EmbeddingsAnswer {
    /// The vector.
    pub embedding: Vec<f32>,
}

/// The answer of `/api/tags` and `/api/ps`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Models {
    /// The engines, or those that are loaded.
    pub models: Vec<Model>,
}

/// One engine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Model {
    /// Its name, with `:latest` behind it.
    pub name: String,
    /// The same.
    pub model: String,
    /// When the daemon started: RFC 3339.
    pub modified_at: String,
    /// Bytes, which aren't known: 0.
    pub size: u64,
    /// The model's fingerprint, once it is loaded.
    pub digest: String,
    /// What kind of model it is.
    pub details: Details,
}

/// What kind of model it is, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// Empty: no model is made of another one here.
    pub parent_model: String,
    /// The backend.
    pub format: String,
    /// The model's own name, once it is loaded.
    pub family: String,
    /// The same.
    pub families: Vec<String>,
    /// Empty: it isn't known.
    pub parameter_size: String,
    /// The type in which it is computed, once it is loaded.
    pub quantization_level: String,
}

/// The body of `/api/show`; older clients say `name`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShowBody {
    /// As in [`GenerateBody`].
    #[serde(alias = "name")]
    pub model: String,
}

/// The answer of `/api/show`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ShowAnswer {
    /// What would choose this engine here: its table's name.
    pub modelfile: String,
    /// Empty: engines have no settings of their own.
    pub parameters: String,
    /// Empty: the template stays in the engine.
    pub template: String,
    /// As in [`Model`].
    pub details: Details,
    /// `general.architecture`, and once it is loaded `general.basename` and the length of its context.
    pub model_info: serde_json::Map<String, Value>,
    /// `completion`, and `embedding` where it is loaded and can.
    pub capabilities: Vec<String>,
    /// As in [`Model`].
    pub modified_at: String,
}

/// The answer of `/api/version`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionAnswer {
    /// This daemon's.
    pub version: String,
}

/// The body of errors, in this dialect.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorAnswer {
    /// What was wrong.
    pub error: String,
}
