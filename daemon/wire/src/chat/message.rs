//! Messages of a conversation, as a request tells them.

use serde::{Deserialize, Serialize};

use crate::tools::ToolCall;

/// One message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said; an assistant's that calls tools may have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
    /// The tools an assistant called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    /// Who among several of the same role says it, or which tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

impl Message {
    /// A message of text.
    pub fn text(role: &str, content: impl Into<String>) -> Self {
        Self { role: role.to_owned(), content: Some(Content::Text(content.into())), ..Self::default() }
    }
}

/// What a message says: a string or a list of parts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged, expecting = "content must be a string or a list of parts, each with a type")]
pub enum Content {
    /// `"content": "Hello"`
    Text(String),
    /// `"content": [{"type": "text", "text": "Hello"}]`
    Parts(Vec<Part>),
}

/// A part of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Part {
    /// `text`; others, such as `image_url`, are refused.
    pub r#type: String,
    /// The text of a part of that type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}
