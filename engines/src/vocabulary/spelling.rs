//! How a vocabulary spells the bytes of its tokens.

use std::collections::BTreeMap;

use tokenizers::Tokenizer;
use tokenizers::models::ModelWrapper;

use crate::model::TokenKind;

/// How a vocabulary spells the bytes of its tokens.
pub(super) enum Spelling {
    /// GPT-2's: a letter for each byte.
    Letters(BTreeMap<char, u8>),
    /// SentencePiece's: text with `▁` for a blank, and `<0x00>` to `<0xFF>` for bytes.
    Pieces,
}

impl Spelling {
    /// A vocabulary that falls back on bytes by name is SentencePiece's; the other one has letters for all of them.
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        match tokenizer.get_model() {
            ModelWrapper::BPE(model) if model.byte_fallback => Self::Pieces,
            _ => Self::Letters(letters()),
        }
    }

    /// The bytes that a token stands for; `None` if it isn't spelt in this way.
    pub(super) fn bytes(&self, name: &str) -> Option<(TokenKind, Vec<u8>)> {
        match self {
            Self::Letters(letters) => {
                let bytes: Vec<u8> = name.chars().map(|character| letters.get(&character).copied()).collect::<Option<_>>()?;
                let kind = if matches!(bytes[..], [128..=255]) { TokenKind::Byte } else { TokenKind::Normal };
                Some((kind, bytes))
            }
            Self::Pieces => match named_byte(name) {
                Some(byte) => Some((TokenKind::Byte, vec![byte])),
                None => Some((TokenKind::Normal, name.replace('▁', " ").into_bytes())),
            },
        }
    }

    /// What a token that isn't spelt so lacks, as the end of a sentence.
    pub(super) fn expected(&self) -> &'static str {
        match self {
            Self::Letters(_) => "is not spelt in bytes as GPT-2's tokens are",
            Self::Pieces => "is not spelt as SentencePiece's tokens are",
        }
    }
}

/// The byte of `<0x0A>`.
fn named_byte(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// GPT-2's spelling of bytes: itself where it is a visible character of Latin-1, and a letter from U+0100 on for each other one.
fn letters() -> BTreeMap<char, u8> {
    let visible = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=u8::MAX).filter(|&byte| !visible(byte)).zip('\u{100}'..).map(|(byte, letter)| (letter, byte));
    (0..=u8::MAX).filter(|&byte| visible(byte)).map(|byte| (char::from(byte), byte)).chain(others).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_text_with_blanks_or_bytes_by_name() {
        let check = |name: &str, kind, bytes: &[u8]| assert_eq!(Spelling::Pieces.bytes(name), Some((kind, bytes.to_vec())), "{name}");
        check("▁Hello▁", TokenKind::Normal, b" Hello ");
        check("<0x0A>", TokenKind::Byte, b"\n");
        check("<0xfF>", TokenKind::Byte, &[255]);
        check("<0x0>", TokenKind::Normal, b"<0x0>");
        check("<0x+1>", TokenKind::Normal, b"<0x+1>");
    }

    #[test]
    fn letters_are_bytes_and_nothing_else() {
        let letters = Spelling::Letters(letters());
        assert_eq!(letters.bytes("Ġa"), Some((TokenKind::Normal, b" a".to_vec())));
        assert_eq!(letters.bytes("ð"), Some((TokenKind::Byte, vec![0xF0])));
        assert_eq!(letters.bytes("日"), None);
    }
}
