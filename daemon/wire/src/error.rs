//! The one error body.

use serde::{Deserialize, Serialize};

/// What every refused or failed request is answered with, and the data of a stream's `event: error`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ErrorDetail {
    /// What was wrong, the value seen and the limit.
    pub message: String,
    /// `invalid_request_error` for what the client did, `server_error` for what happened here.
    pub r#type: String,
    /// A word for programs, such as `context_length_exceeded`.
    pub code: String,
    /// The field that is wrong, where there is one.
    pub param: Option<String>,
    /// Tokens of a prompt that doesn't fit the context (as llama.cpp's server tells them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_prompt_tokens: Option<usize>,
    /// Tokens that the context holds, in the same case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_ctx: Option<usize>,
}
