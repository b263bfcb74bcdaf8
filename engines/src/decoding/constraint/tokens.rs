//! A vocabulary as llguidance reads it.

use std::sync::Arc;

use toktrie::{ApproximateTokEnv, INVALID_TOKEN, TokEnv, TokRxInfo, TokTrie};

use crate::model::{TokenKind, Vocabulary};
use crate::request::TokenId;

/// Longer tokens are never allowed: the trie holds no more than a thousand bytes a token.
const LONGEST: usize = 512;

/// All tokens by their bytes. What is forced by a grammar is left to the model to split into tokens, because a vocabulary's own way to do
/// so is known for whole texts only.
pub fn environment(vocabulary: &dyn Vocabulary) -> TokEnv {
    let words: Vec<Vec<u8>> = (0..vocabulary.size()).map(|id| word(vocabulary, id as TokenId)).collect();
    let end_tokens = vocabulary.end_tokens();
    let first = end_tokens.first().copied().unwrap_or(INVALID_TOKEN);
    let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first), &words);
    let trie = if end_tokens.is_empty() { trie } else { trie.with_eos_tokens(end_tokens) };
    Arc::new(ApproximateTokEnv::new(trie))
}

/// The bytes of one token; the name of a control token behind a marker; nothing for a token that no grammar may use.
fn word(vocabulary: &dyn Vocabulary, id: TokenId) -> Vec<u8> {
    let mut bytes = Vec::new();
    // An end token ends the answer whatever its bytes are, so it is never text.
    if vocabulary.kind(id) == TokenKind::Control || vocabulary.end_tokens().contains(&id) {
        bytes.push(TokTrie::SPECIAL_TOKEN_MARKER);
        bytes.extend_from_slice(vocabulary.name(id).as_bytes());
        bytes.truncate(LONGEST);
        return bytes;
    }
    vocabulary.push_bytes(id, &mut bytes);
    // No text has the byte that is the marker.
    if bytes.len() > LONGEST || bytes.contains(&TokTrie::SPECIAL_TOKEN_MARKER) { Vec::new() } else { bytes }
}
