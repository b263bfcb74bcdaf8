//! The seam for local engines: what the author of a model writes. [`crate::local::LocalEngine`] makes a
//! [`crate::TextEngine`] of it.

use crate::chat::{ChatMessage, RenderedChat};
use crate::error::{EngineError, Result};
use crate::local::Serve;
use crate::request::TokenId;

/// A network with a KV cache of several slots, each holding one sequence.
///
/// It need not be `Send`: it lives and dies on the engine's thread.
pub trait Model {
    /// What it can hold. Constant over its life.
    fn limits(&self) -> Limits;

    /// Appends each feed's tokens to its slot and writes the logits of the rows it asks for, feed by feed.
    ///
    /// At most `limits().step_tokens` tokens in all, none of the feeds empty, each slot at most once, no slot beyond its
    /// context. After an error the slots of all feeds hold nothing that can be relied on; they are released.
    ///
    /// # Errors
    /// [`EngineError::Failed`] with the cause.
    fn step(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> Result<()>;

    /// Shortens a slot to its first `length` tokens. Returns the length really kept, at most `length`; after 0 the sequence starts again.
    fn truncate(&mut self, slot: Slot, length: usize) -> usize;

    /// Copies the first `length` tokens of one slot's cache over to an empty slot. Returns how many were copied.
    fn copy_prefix(&mut self, _from: Slot, _to: Slot, _length: usize) -> usize {
        0
    }

    /// Tokens of the longest sequence that [`Model::embed`] takes, at most a slot's context.
    fn longest_embedding(&self) -> usize {
        self.limits().step_tokens.min(self.limits().context)
    }

    /// The vector of one sequence of at most [`Model::longest_embedding`] tokens, of whatever length, using no slot.
    ///
    /// # Errors
    /// [`EngineError::Unsupported`] where there are none.
    fn embed(&mut self, _tokens: &[TokenId]) -> Result<Vec<f32>> {
        Err(EngineError::Unsupported { engine: String::new(), what: "embeddings".into() })
    }

    /// Empties a slot.
    fn release(&mut self, slot: Slot);
}

/// What a model can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Sequences side by side.
    pub slots: usize,
    /// Tokens in one step, over all feeds.
    pub step_tokens: usize,
    /// Tokens in one slot.
    pub context: usize,
    /// Logits in one row; at least the vocabulary's size, the rest is never sampled.
    pub logits_width: usize,
}

/// A place for one sequence, from 0 to `Limits::slots` exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub usize);

/// Tokens to append to one slot.
#[derive(Debug, Clone, Copy)]
pub struct Feed<'a> {
    /// The sequence they belong to.
    pub slot: Slot,
    /// The tokens, at least one.
    pub tokens: &'a [TokenId],
    /// The tokens after which the next one's logits are wanted.
    pub rows: Rows,
}

/// The tokens of a feed after which the next one's logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// After none.
    None,
    /// After the last one.
    Last,
    /// After the token at this place in the feed and all that follow it.
    From(usize),
    /// After each.
    All,
}

impl Rows {
    /// The places in a feed of `length` tokens, which are always its end.
    pub fn range(self, length: usize) -> std::ops::Range<usize> {
        match self {
            Self::None => length..length,
            Self::Last => length.saturating_sub(1)..length,
            Self::From(first) => first.min(length)..length,
            Self::All => 0..length,
        }
    }
}

/// Rows of logits, `[rows, width]`, in the order of the feeds that asked for them.
#[derive(Debug, Default)]
pub struct Logits {
    width: usize,
    rows: usize,
    /// Memory of at least these rows.
    data: Vec<f32>,
}

impl Logits {
    /// No rows yet, each to be `width` wide.
    pub fn new(width: usize) -> Self {
        Self { width, rows: 0, data: Vec::new() }
    }

    /// Forgets all rows and keeps their memory.
    pub fn clear(&mut self) {
        self.rows = 0;
    }

    /// Appends one row.
    ///
    /// # Panics
    /// If the row isn't `width` wide.
    pub fn push(&mut self, row: &[f32]) {
        assert_eq!(row.len(), self.width, "a row of logits must be as wide as the model's limits say");
        self.extend(1).copy_from_slice(row);
    }

    /// Appends `rows` rows and lends them for writing, `[rows, width]`. What is in them means nothing: clearing them would cost as much as a
    /// tenth of a small step.
    pub fn extend(&mut self, rows: usize) -> &mut [f32] {
        let start = self.rows * self.width;
        self.rows += rows;
        let end = self.rows * self.width;
        if self.data.len() < end {
            self.data.resize(end, 0.0);
        }
        &mut self.data[start..end]
    }

    /// Logits in each row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// One row.
    ///
    /// # Panics
    /// If there are not that many.
    pub fn row(&self, index: usize) -> &[f32] {
        assert!(index < self.rows, "row {index} of {}", self.rows);
        &self.data[index * self.width..(index + 1) * self.width]
    }

    /// All rows in turn, for the sampler to work in.
    pub fn rows_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.data[..self.rows * self.width].chunks_exact_mut(self.width.max(1))
    }
}

/// Between text and tokens.
pub trait Vocabulary: Send + Sync {
    /// Number of tokens; ids are below it.
    fn size(&self) -> usize;

    /// The tokens of a text, with nothing put in front.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] for a text that has no tokens in this vocabulary.
    fn encode(&self, text: &str, specials: Specials) -> Result<Vec<TokenId>>;

    /// Appends the bytes a token stands for; a control token stands for none.
    fn push_bytes(&self, id: TokenId, bytes: &mut Vec<u8>);

    /// What sort of token it is.
    fn kind(&self, id: TokenId) -> TokenKind;

    /// How the vocabulary spells it, for people to read.
    fn name(&self, id: TokenId) -> String;

    /// Tokens with which the model says that the text is complete.
    fn end_tokens(&self) -> &[TokenId];

    /// Tokens that the model expects before a plain text; often none, or one for the beginning.
    fn prompt_prefix(&self) -> &[TokenId] {
        &[]
    }

    /// A conversation as the model was trained to see it, ready for the assistant's next words.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] where the template refuses the messages, [`EngineError::Unsupported`] where it knows no tools.
    fn render_chat(&self, messages: &[ChatMessage], tools: &[serde_json::Value]) -> Result<RenderedChat>;
}

/// How the spelling of a control token in a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specials {
    /// As the control token: for text that a template wrote.
    Parse,
    /// As the characters it consists of: for text that a person wrote.
    Literal,
}

/// What sort of token it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// Text.
    Normal,
    /// A single byte.
    Byte,
    /// No text: beginning, end, roles.
    Control,
}

/// Loads a model on the engine's own thread.
pub trait ModelLoader: Send + 'static {
    /// Loads, then lends the model to `serve` until the engine is stopped. A model that borrows from its weights may live on
    /// this function's stack.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with what is wrong with the model.
    fn run(self: Box<Self>, serve: Serve) -> Result<()>;
}
