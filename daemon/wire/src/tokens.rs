//! `/tokenize` and `/detokenize`, in the shape of llama.cpp's server.

use serde::{Deserialize, Serialize};

/// The body of `/tokenize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TokenizeBody {
    /// The text.
    pub content: String,
    /// The engine whose tokens they are; left out, the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Whether the tokens that the model expects before a text are put in front.
    #[serde(default)]
    pub add_special: bool,
    /// Whether each token's text is told.
    #[serde(default)]
    pub with_pieces: bool,
    /// Whether spellings of control tokens become control tokens; they never do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parse_special: Option<bool>,
}

/// What `/tokenize` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenizeAnswer {
    /// The tokens.
    pub tokens: Vec<TokenOrPiece>,
}

/// A token, with its text if asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum TokenOrPiece {
    /// Its number.
    Token(u32),
    /// Its number and its text.
    Piece(Piece),
}

/// A token and its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = TokenPiece))]
pub struct Piece {
    /// The token's number.
    pub id: u32,
    /// Its text.
    pub piece: Spelling,
}

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum Spelling {
    /// Whole characters.
    Text(String),
    /// Bytes that are none.
    Bytes(Vec<u8>),
}

/// The body of `/detokenize`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct DetokenizeBody {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The engine whose tokens they are; left out, the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// What `/detokenize` answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DetokenizeAnswer {
    /// The text; bytes that make no whole character become U+FFFD.
    pub content: String,
}
