//! Conversations, and what a model's template makes of them.

use serde::{Deserialize, Serialize};

use crate::model::Specials;

mod template;
mod transcript;

pub use template::ChatTemplate;
pub use transcript::render_transcript;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who said it: `system`, `user`, `assistant`, or what else the template knows.
    pub role: String,
    /// What was said.
    pub content: String,
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
}

impl RenderedChat {
    /// The whole text.
    pub fn text(&self) -> String {
        self.pieces.concat()
    }
}
