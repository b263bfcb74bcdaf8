//! [`Vocabulary`] of the crate `tokenizers`: from a `tokenizer.json`, or from what a GGUF file says of its tokens ([`gguf`]).

use tokenizers::Tokenizer;

use crate::chat::{ChatMessage, ChatTemplate, RenderedChat, render_transcript};
use crate::error::{EngineError, Result};
use crate::model::{Specials, TokenKind, Vocabulary};
use crate::request::TokenId;
use spelling::Spelling;

pub(crate) mod gguf;
mod spelling;

/// A vocabulary whose tokens are read by a [`Tokenizer`].
pub(crate) struct TokenizerVocabulary {
    /// Reads spellings of control tokens as these tokens.
    parsing: Tokenizer,
    /// Reads them as the characters they consist of.
    literal: Tokenizer,
    tokens: Vec<Entry>,
    end_tokens: Vec<TokenId>,
    prompt_prefix: Vec<TokenId>,
    /// Whether each of the 256 bytes has a token, so that no text is without tokens.
    complete: bool,
    template: Option<ChatTemplate>,
}

#[derive(Clone)]
struct Entry {
    kind: TokenKind,
    bytes: Box<[u8]>,
}

/// What a model's files say of its conversations.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChatSettings {
    pub(crate) template: Option<String>,
    pub(crate) begin: String,
    pub(crate) end: String,
}

/// What is to be known of a vocabulary besides its tokens.
pub(crate) struct Particulars {
    /// The number of tokens that the network knows.
    pub(crate) limit: usize,
    pub(crate) end_tokens: Vec<TokenId>,
    pub(crate) prompt_prefix: Vec<TokenId>,
    pub(crate) chat: ChatSettings,
}

impl TokenizerVocabulary {
    /// Reads `tokenizer.json`. `limit` is the number of tokens that the network knows.
    ///
    /// # Errors
    /// A sentence naming the token or the template's fault.
    pub(crate) fn from_json(json: &[u8], limit: usize, end_tokens: Vec<TokenId>, chat: ChatSettings) -> Result<Self, String> {
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(|error| format!("it can't be read: {error}"))?;
        // Settings of a training run: with them a long prompt would be cut without a word.
        tokenizer.with_truncation(None).map_err(|error| error.to_string())?;
        tokenizer.with_padding(None);
        let prompt_prefix = prompt_prefix(&tokenizer);
        Self::new(tokenizer, Particulars { limit, end_tokens, prompt_prefix, chat })
    }

    /// # Errors
    /// A sentence naming the token or the template's fault.
    pub(crate) fn new(parsing: Tokenizer, particulars: Particulars) -> Result<Self, String> {
        let Particulars { limit, end_tokens, prompt_prefix, chat } = particulars;
        let mut literal = parsing.clone();
        literal.set_encode_special_tokens(true);
        let (tokens, control_names) = entries(&parsing, limit)?;
        let complete = (0..=u8::MAX).all(|byte| tokens.iter().any(|token| *token.bytes == [byte]));
        let template = match chat.template {
            Some(source) => Some(ChatTemplate::new(source, chat.begin, chat.end, control_names).map_err(|error| error.to_string())?),
            None => None,
        };
        Ok(Self { parsing, literal, tokens, end_tokens, prompt_prefix, complete, template })
    }

    /// Whether the model has a chat template of its own.
    pub(crate) fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    fn entry(&self, id: TokenId) -> Option<&Entry> {
        self.tokens.get(id as usize)
    }
}

/// The tokens that a tokenizer puts in front of a text.
fn prompt_prefix(tokenizer: &Tokenizer) -> Vec<TokenId> {
    let ids = |specials| tokenizer.encode_fast("a", specials).map(|encoding| encoding.get_ids().to_vec()).unwrap_or_default();
    let (plain, mut whole) = (ids(false), ids(true));
    let start = whole.windows(plain.len().max(1)).position(|window| window == plain);
    whole.truncate(start.unwrap_or(0));
    whole
}

impl Vocabulary for TokenizerVocabulary {
    fn size(&self) -> usize {
        self.tokens.len()
    }

    fn encode(&self, text: &str, specials: Specials) -> Result<Vec<TokenId>> {
        let tokenizer = match specials {
            Specials::Parse => &self.parsing,
            Specials::Literal => &self.literal,
        };
        let encoding = tokenizer
            .encode_fast(text, false)
            .map_err(|error| EngineError::invalid("prompt", format!("the model's tokenizer can't read the prompt: {error}")))?;
        let ids = encoding.get_ids().to_vec();
        let bytes: usize = ids.iter().filter_map(|&id| self.entry(id)).map(|token| token.bytes.len()).sum();
        if !self.complete && specials == Specials::Literal && bytes < text.len() {
            let message = format!("only {bytes} of the prompt's {} bytes have tokens in the model's vocabulary", text.len());
            return Err(EngineError::invalid("prompt", message));
        }
        Ok(ids)
    }

    fn push_bytes(&self, id: TokenId, bytes: &mut Vec<u8>) {
        if let Some(token) = self.entry(id) {
            bytes.extend_from_slice(&token.bytes);
        }
    }

    fn kind(&self, id: TokenId) -> TokenKind {
        self.entry(id).map_or(TokenKind::Control, |token| token.kind)
    }

    fn name(&self, id: TokenId) -> String {
        self.parsing.id_to_token(id).unwrap_or_else(|| format!("<{id}>"))
    }

    fn end_tokens(&self) -> &[TokenId] {
        &self.end_tokens
    }

    fn prompt_prefix(&self) -> &[TokenId] {
        &self.prompt_prefix
    }

    fn render_chat(&self, messages: &[ChatMessage], tools: &[serde_json::Value]) -> Result<RenderedChat> {
        match &self.template {
            Some(template) => template.render(messages, tools),
            None if !tools.is_empty() => {
                Err(EngineError::Unsupported { engine: String::new(), what: "tools: the model has no chat template".into() })
            }
            None => render_transcript(messages),
        }
    }
}

/// Every token up to the highest, and the names of those that are control tokens.
fn entries(tokenizer: &Tokenizer, limit: usize) -> Result<(Vec<Entry>, Vec<String>), String> {
    let vocabulary = tokenizer.get_vocab(true);
    let size = vocabulary.values().max().map_or(0, |&highest| highest as usize + 1);
    if size == 0 {
        return Err("it has no tokens".to_owned());
    }
    if size > limit {
        return Err(format!("its highest token is {}; vocab_size in config.json is {limit}", size - 1));
    }
    let (added, spelling) = (tokenizer.get_added_tokens_decoder(), Spelling::of(tokenizer));
    // A number that no token has is never text.
    let mut tokens = vec![Entry { kind: TokenKind::Control, bytes: Box::default() }; size];
    let mut control_names = Vec::new();
    for (name, id) in vocabulary {
        let (kind, bytes) = match added.get(&id) {
            Some(token) if token.special => {
                control_names.push(token.content.clone());
                (TokenKind::Control, Vec::new())
            }
            Some(token) => (TokenKind::Normal, token.content.clone().into_bytes()),
            None => spelling.bytes(&name).ok_or_else(|| format!("token {id}, `{name}`, {}", spelling.expected()))?,
        };
        tokens[id as usize] = Entry { kind, bytes: bytes.into() };
    }
    Ok((tokens, control_names))
}
