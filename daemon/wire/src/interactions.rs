//! `/interactions/{id}/replay`. What is logged itself crosses the border as it stands in the log.

use serde::{Deserialize, Serialize};

/// The header with which `/interactions` says that there may be more: what to ask as `before` for the next page.
pub const NEXT: &str = "x-minivault-next";

/// The body of a request to run an interaction again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ReplayBody {
    /// The engine to ask; left out, the one that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ReplayAnswer {
    /// The interaction that was run again.
    pub replay_of: String,
    /// The name of the new one in the log.
    pub id: String,
    /// Whether it is the same.
    pub verdict: Verdict,
    /// The engine that answered then.
    pub recorded_model: String,
    /// The engine that answered now.
    pub model: String,
    /// Whether both have the same weights, tokenizer and configuration.
    pub same_model: bool,
    /// What else there is to know: what is another one than it was then, what could not be compared.
    pub notes: Vec<String>,
    /// Tokens of the recorded answer; 0 where they aren't known.
    pub recorded_tokens: usize,
    /// Tokens of the new one; 0 where they aren't known.
    pub tokens: usize,
    /// The first place where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
}

/// Whether an answer is the same as the recorded one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Token by token.
    Identical,
    /// A token is another one.
    Differs,
    /// The text is; tokens could not be compared, or nothing is promised of them.
    SameText,
    /// The text isn't.
    DifferentText,
}

impl Verdict {
    /// Whether nothing differs.
    pub fn is_same(self) -> bool {
        matches!(self, Self::Identical | Self::SameText)
    }
}

/// The first place where two answers differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Difference {
    /// The token's place in the answer, from 0, where tokens were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<usize>,
    /// Bytes of text that both have in common.
    pub byte: usize,
    /// How the recorded answer goes on from there; the beginning of it.
    pub recorded: String,
    /// How the new one does.
    pub replayed: String,
}
