//! Conversations, and what a model's template makes of them.

use serde::{Deserialize, Serialize};

use crate::model::Specials;

mod json;
mod template;
pub mod tools;
mod transcript;

pub use template::ChatTemplate;
pub use tools::ToolForm;
pub use transcript::render_transcript;

/// One message of a conversation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who said it: `system`, `user`, `assistant`, `tool`, or what else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
    /// The tools that an assistant called.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl ChatMessage {
    /// A message of text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), ..Self::default() }
    }

    /// Bytes that it brings into a prompt, whatever a template adds.
    pub fn bytes(&self) -> usize {
        let called: usize = self.tool_calls.iter().map(|call| call.name.len() + call.arguments.len()).sum();
        self.role.len() + self.content.len() + called
    }
}

/// A call of a tool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What the tool's answer will refer to.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Its arguments: JSON, as text.
    pub arguments: String,
}

/// A conversation as text, ready for the assistant's next words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The text in pieces. Control tokens are recognised within a piece and never across two of them: a piece ends in the middle
    /// of whatever looks like a control token in a person's own words.
    pub pieces: Vec<String>,
    /// How the spelling of a control token in a piece is read.
    pub specials: Specials,
    /// Text that ends the assistant's turn, beside the model's own end tokens.
    pub stop: Vec<String>,
    /// How the model writes calls of the tools it has been told of; `None` where it has been told of none.
    pub tool_form: Option<ToolForm>,
}

impl RenderedChat {
    /// The whole text.
    pub fn text(&self) -> String {
        self.pieces.concat()
    }
}
