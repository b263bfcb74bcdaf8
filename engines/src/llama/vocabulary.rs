//! A GGUF's vocabulary and chat template.

use std::collections::HashSet;
use std::sync::Arc;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::token_type::LlamaTokenAttr;

use super::description::Description;
use crate::chat::{ChatMessage, ChatTemplate, RenderedChat, render_transcript};
use crate::error::{EngineError, Result};
use crate::gguf::Texts;
use crate::model::{Specials, TokenKind, Vocabulary};
use crate::request::TokenId;

/// The vocabulary of a loaded model. It keeps the model alive, because llama.cpp's tokenizer is part of it.
pub struct LlamaVocabulary {
    model: Arc<LlamaModel>,
    tokens: Vec<TokenEntry>,
    /// The bytes of all tokens, one after the other.
    bytes: Vec<u8>,
    end_tokens: Vec<TokenId>,
    prompt_prefix: Vec<TokenId>,
    chat: Chat,
    fallback: Option<ByteFallback>,
}

/// What is known of one token without asking llama.cpp.
struct TokenEntry {
    kind: TokenKind,
    /// Where its bytes end in the table; they begin where the one before ends.
    end: usize,
}

/// How conversations are rendered.
enum Chat {
    Template(Box<ChatTemplate>),
    /// The file has one that can't be used, for this reason.
    Broken(String),
    /// The file has none.
    Transcript,
}

impl LlamaVocabulary {
    /// Reads all that can be known ahead, so that a token never makes llama.cpp look beyond its tables.
    pub fn new(model: Arc<LlamaModel>, description: &Description, spellings: &Texts) -> Self {
        let vocabulary = model.vocab();
        let mut tokens = Vec::new();
        let mut bytes = Vec::new();
        let mut end_tokens = Vec::new();
        for token in vocabulary.tokens() {
            let attributes = vocabulary.attr(token);
            let textless =
                attributes.is_empty() || attributes.intersects(LlamaTokenAttr::Control | LlamaTokenAttr::Unknown | LlamaTokenAttr::Unused);
            let kind = match textless {
                true => TokenKind::Control,
                false if attributes.contains(LlamaTokenAttr::Byte) => TokenKind::Byte,
                false => TokenKind::Normal,
            };
            if kind != TokenKind::Control {
                bytes.extend_from_slice(&vocabulary.token_to_piece(token, false, None));
            }
            tokens.push(TokenEntry { kind, end: bytes.len() });
            if vocabulary.is_eog(token) {
                end_tokens.push(token.0.unsigned_abs());
            }
        }
        let known = |token: LlamaToken| usize::try_from(token.0).is_ok_and(|id| id < tokens.len());
        let begin = Some(vocabulary.bos()).filter(|&token| known(token));
        let end = Some(vocabulary.eos()).filter(|&token| known(token));
        let prompt_prefix = begin.filter(|_| vocabulary.should_add_bos()).map(|token| token.0.unsigned_abs()).into_iter().collect();
        let spell = |token: LlamaToken| vocabulary.text(token).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default();
        let chat = match &description.chat_template {
            None => Chat::Transcript,
            Some(source) => {
                let controls = vocabulary.tokens().filter(|token| tokens[token.0.unsigned_abs() as usize].kind == TokenKind::Control);
                let spell_optional = |token: Option<LlamaToken>| token.map(spell).unwrap_or_default();
                match ChatTemplate::new(source.clone(), spell_optional(begin), spell_optional(end), controls.map(spell)) {
                    Ok(template) => Chat::Template(Box::new(template)),
                    Err(error) => {
                        tracing::warn!(%error, "conversations with this model are refused");
                        Chat::Broken(error.to_string())
                    }
                }
            }
        };
        let fallback = description.sentencepiece.then(|| ByteFallback::new(spellings));
        Self { tokens, bytes, end_tokens, prompt_prefix, chat, fallback, model }
    }

    /// Whether conversations are rendered with the model's own template.
    pub fn has_chat_template(&self) -> bool {
        matches!(self.chat, Chat::Template(_))
    }

    fn entry(&self, id: TokenId) -> Option<&TokenEntry> {
        self.tokens.get(id as usize)
    }
}

impl Vocabulary for LlamaVocabulary {
    fn size(&self) -> usize {
        self.tokens.len()
    }

    fn encode(&self, text: &str, specials: Specials) -> Result<Vec<TokenId>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        if i32::try_from(text.len()).is_err() {
            return Err(EngineError::invalid("prompt", format!("the text has {} bytes; llama.cpp takes at most {}", text.len(), i32::MAX)));
        }
        if let Some(fallback) = &self.fallback {
            fallback.check(text)?;
        }
        let tokens = self.model.vocab().tokenize(text.as_bytes(), false, specials == Specials::Parse);
        Ok(tokens.into_iter().map(|token| token.0.unsigned_abs()).collect())
    }

    fn push_bytes(&self, id: TokenId, bytes: &mut Vec<u8>) {
        if let Some(entry) = self.entry(id) {
            let begin = id.checked_sub(1).and_then(|before| self.entry(before)).map_or(0, |before| before.end);
            bytes.extend_from_slice(&self.bytes[begin..entry.end]);
        }
    }

    fn kind(&self, id: TokenId) -> TokenKind {
        self.entry(id).map_or(TokenKind::Control, |entry| entry.kind)
    }

    fn name(&self, id: TokenId) -> String {
        match i32::try_from(id) {
            Ok(token) if (id as usize) < self.tokens.len() => {
                self.model.vocab().text(LlamaToken(token)).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    fn end_tokens(&self) -> &[TokenId] {
        &self.end_tokens
    }

    fn prompt_prefix(&self) -> &[TokenId] {
        &self.prompt_prefix
    }

    fn render_chat(&self, messages: &[ChatMessage], tools: &[serde_json::Value]) -> Result<RenderedChat> {
        match &self.chat {
            Chat::Template(template) => template.render(messages, tools),
            Chat::Broken(reason) => Err(EngineError::Unsupported { engine: String::new(), what: format!("conversations: {reason}") }),
            Chat::Transcript if !tools.is_empty() => {
                Err(EngineError::Unsupported { engine: String::new(), what: "tools: the model has no chat template".into() })
            }
            Chat::Transcript => render_transcript(messages),
        }
    }
}

/// Which characters a SentencePiece vocabulary can spell.
///
/// A character that is no token itself is spelled byte by byte with the tokens `<0x00>` to `<0xFF>`, and llama.cpp ends the
/// process where one of those is missing.
struct ByteFallback {
    missing: [bool; 256],
    any_missing: bool,
    characters: HashSet<char>,
}

impl ByteFallback {
    fn new(spellings: &Texts) -> Self {
        let spellings: HashSet<&[u8]> = spellings.iter().collect();
        let missing = std::array::from_fn(|byte| {
            let named = spellings.contains(format!("<0x{byte:02X}>").as_bytes());
            !named && !spellings.contains(&[byte as u8][..])
        });
        let any_missing = missing.contains(&true);
        let single = |spelling: &&[u8]| {
            let mut characters = std::str::from_utf8(spelling).ok()?.chars();
            characters.next().filter(|_| characters.next().is_none())
        };
        let characters = if any_missing { spellings.iter().filter_map(single).collect() } else { HashSet::new() };
        Self { missing, any_missing, characters }
    }

    fn check(&self, text: &str) -> Result<()> {
        if !self.any_missing {
            return Ok(());
        }
        // A blank is put in front of the text and spelled `▁` wherever it stands; `▁` is then needed even where the text has none.
        let spelled = std::iter::once('▁').chain(text.chars().map(|character| if character == ' ' { '▁' } else { character }));
        let unknown = |character: &char| {
            let mut buffer = [0; 4];
            let bytes = character.encode_utf8(&mut buffer).as_bytes();
            !self.characters.contains(character) && bytes.iter().any(|&byte| self.missing[usize::from(byte)])
        };
        match spelled.into_iter().find(unknown) {
            None => Ok(()),
            Some(character) => Err(EngineError::invalid(
                "prompt",
                format!("the text holds `{character}` (U+{:04X}), which this model's vocabulary can't spell", character as u32),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::Gguf;
    use crate::gguf::sample::{Sample, texts_value};

    fn check(tokens: &[&str], text: &str, unknown: Option<&str>) {
        let bytes = Sample::model().with("tokenizer.ggml.tokens", texts_value(tokens)).bytes();
        let gguf = Gguf::read(&bytes[..], bytes.len() as u64).unwrap();
        let refused = ByteFallback::new(gguf.tokens().unwrap()).check(text).err().map(|error| error.to_string());
        assert_eq!(refused.is_some(), unknown.is_some(), "{refused:?}");
        assert!(refused.unwrap_or_default().contains(unknown.unwrap_or_default()));
    }

    #[test]
    fn only_characters_that_can_be_spelled_are_let_through() {
        check(&["▁", "a", "é"], "a é a", None);
        check(&["▁", "a"], "a é", Some("`é` (U+00E9)"));
        check(&["▁", "a", "<0xC3>", "<0xA9>"], "a é", None);
        check(&["a"], "a", Some("`▁` (U+2581)"));
        let bytes: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
        check(&bytes.iter().map(String::as_str).collect::<Vec<_>>(), "日本 \u{0}", None);
    }
}
