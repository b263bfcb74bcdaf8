//! What the model thought of its tokens, in the shape of either endpoint.

use minivault_engines::decoding::WholeCharacters;
use minivault_engines::{Alternative, Token};
use minivault_wire::chat::{ChatLogprobs, TokenLogprob, TopLogprob};
use minivault_wire::completions::CompletionLogprobs;

/// What stands for the logarithm of no probability at all, which JSON can't write; OpenAI's number.
pub(in crate::routes) const NEVER: f32 = -9999.0;

/// What stands for a prompt's first token, which follows nothing: OpenAI's clients read numbers alone here, and with it the sum is what the
/// rest has.
const FOLLOWS_NOTHING: f32 = 0.0;

/// In the shape of chats.
pub(super) fn of_chat(tokens: &[Token]) -> ChatLogprobs {
    let top = |alternative: &Alternative| TopLogprob {
        token: spelling(&alternative.bytes, ""),
        logprob: alternative.logprob.max(NEVER),
        bytes: Some(alternative.bytes.clone()),
    };
    let of_token = |token: &Token| TokenLogprob {
        token: spelling(&token.bytes, ""),
        logprob: token.logprob.unwrap_or(NEVER).max(NEVER),
        bytes: Some(token.bytes.clone()),
        top_logprobs: token.top.iter().map(top).collect(),
    };
    ChatLogprobs { content: tokens.iter().map(of_token).collect(), refusal: None }
}

/// In the shape of completions, which tells where in the choice's text each token begins.
#[derive(Default)]
pub(super) struct Offsets {
    characters: usize,
    whole: WholeCharacters,
}

impl Offsets {
    /// The next tokens of the text. `alternatives`: how many of the likeliest tokens are told.
    pub fn next(&mut self, tokens: &[Token], alternatives: usize) -> CompletionLogprobs {
        let mut logprobs = CompletionLogprobs { top_logprobs: (alternatives > 0).then(Vec::new), ..CompletionLogprobs::default() };
        for token in tokens {
            let text = spelling(&token.bytes, "bytes:");
            if let Some(top_logprobs) = &mut logprobs.top_logprobs {
                top_logprobs.push(token.logprob.map(|logprob| {
                    let top = token.top.iter().rev().map(|other| (spelling(&other.bytes, "bytes:"), other.logprob.max(NEVER)));
                    // Of two tokens with one spelling the likelier one stays; the token itself is always among them.
                    top.chain([(text.clone(), logprob.max(NEVER))]).collect()
                }));
            }
            logprobs.tokens.push(text);
            logprobs.token_logprobs.push(token.logprob.unwrap_or(FOLLOWS_NOTHING).max(NEVER));
            logprobs.text_offset.push(self.characters);
            self.characters += self.whole.push(&token.bytes).chars().count();
        }
        logprobs
    }
}

/// A token's text; where its bytes make none, their numbers, as OpenAI writes them.
fn spelling(bytes: &[u8], mark: &str) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().fold(mark.to_owned(), |text, byte| format!("{text}\\x{byte:02x}")),
    }
}

/// The mean log probability of a text's tokens; a text of none is as good as it gets.
pub(super) fn mean(tokens: &[Token]) -> f64 {
    let sum: f64 = tokens.iter().filter_map(|token| token.logprob).map(f64::from).sum();
    if tokens.is_empty() { 0.0 } else { sum / tokens.len() as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(bytes: &[u8], logprob: f32) -> Token {
        let top = vec![Alternative { id: 1, bytes: b"a".to_vec(), logprob: -0.5 }];
        Token { id: 7, bytes: bytes.to_vec(), logprob: Some(logprob), top }
    }

    #[test]
    fn bytes_that_are_no_text_are_spelt_out() {
        let tokens = [token(b"\xf0\x9f", -1.0), token(b"\x99\x82", f32::NEG_INFINITY), token("é".as_bytes(), -2.0)];
        let chat = of_chat(&tokens).content;
        assert_eq!(chat.iter().map(|token| token.token.as_str()).collect::<Vec<_>>(), [r"\xf0\x9f", r"\x99\x82", "é"]);
        assert_eq!((chat[1].logprob, chat[2].bytes.as_deref()), (NEVER, Some(&[0xc3, 0xa9][..])));
        let completion = Offsets::default().next(&tokens, 1);
        assert_eq!(completion.tokens, [r"bytes:\xf0\x9f", r"bytes:\x99\x82", "é"]);
        assert_eq!(completion.text_offset, [0, 0, 1], "in characters");
        let top = completion.top_logprobs.unwrap()[2].clone().unwrap();
        assert_eq!((top["a"], top["é"]), (-0.5, -2.0), "the token itself is always told");
    }
}
