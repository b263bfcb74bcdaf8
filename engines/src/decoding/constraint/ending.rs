//! The way to the end of an answer, in few tokens.
//!
//! llguidance says what may come next and not how it may end. Here the end is looked for byte by byte: what closes something comes
//! first, then what is short. JSON is ended that way without a detour but for places where several kinds of value may stand, and
//! the thorough search tries the others there.

use std::time::Instant;

use llguidance::TokenParser;
use llguidance::earley::Parser;
use toktrie::{INVALID_TOKEN, Recognizer};

use crate::request::TokenId;

/// Bytes that a way may have.
const LONGEST: usize = 4096;
/// Bytes tried in the thorough search, about a microsecond each.
const THOROUGH: usize = 20_000;
/// Turns other than the first one that the thorough search takes on one way.
const TURNS: usize = 2;
/// Bytes in the order in which they are tried: what closes, what comes between, the shortest values first. A number may have to be more than
/// 0, and zeros alone would never get there. Z ends a time of day, whose fractions of a second may go on for ever.
const ORDER: &[u8] = b"}]\",:Z1023456789.ntf[{-";
/// The same inside a string.
const ORDER_IN_STRINGS: &[u8] = b"\"}],:Z1023456789.ntf[{-";
/// Turns that are looked at in one place.
const FORKS: usize = 8;
/// Digits and letters among them.
const ALIKE: usize = 3;
/// How many of an order's bytes come before its digits.
const CLOSING: usize = 6;
/// What may follow a number.
const AFTER_NUMBERS: &[u8] = b",}]";

/// Tokens that end an answer, the last one first.
#[derive(Debug, Clone)]
pub struct Ending {
    tokens: Vec<TokenId>,
}

/// The shortest way from the beginning of an answer that a long search finds. Past the deadline nobody waits for it any more.
pub fn shortest(parser: &TokenParser, deadline: Instant) -> Option<Ending> {
    let mut search = Search::new(parser, None, LONGEST, THOROUGH)?;
    search.deadline = Some(deadline);
    for turns in 0..=TURNS {
        search.go(turns);
    }
    search.ending(parser)
}

/// A way of at most `left` tokens after one token more, looked for without turning back.
pub fn quick(parser: &TokenParser, chosen: Option<TokenId>, left: usize) -> Option<Ending> {
    let longest = LONGEST.min(left.saturating_mul(16));
    let mut search = Search::new(parser, chosen, longest, longest + 1)?;
    search.go(0);
    search.ending(parser).filter(|ending| ending.len() <= left)
}

impl Ending {
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The token to take, and the way to the end from there: the chosen one if a way of `left` tokens follows it, otherwise this way's
    /// first one, or the end itself.
    pub fn after(mut self, parser: &mut TokenParser, chosen: TokenId, left: usize) -> (TokenId, Option<Self>) {
        if self.tokens.len() > left.saturating_add(1) {
            // It never fitted; perhaps another one does.
            return (chosen, quick(parser, Some(chosen), left));
        }
        if self.tokens.last() == Some(&chosen) {
            self.tokens.pop();
            return (chosen, Some(self));
        }
        if self.tokens.len() <= left && self.holds_after(parser, chosen) {
            return (chosen, Some(self));
        }
        if let Some(other) = quick(parser, Some(chosen), left) {
            return (chosen, Some(other));
        }
        match self.tokens.pop().or_else(|| end_token(parser)) {
            Some(token) => (token, Some(self)),
            None => (chosen, None),
        }
    }

    /// Whether it still ends the answer after one token more, as it does in the middle of a string.
    fn holds_after(&self, parser: &mut TokenParser, chosen: TokenId) -> bool {
        let Some(end) = end_token(parser) else { return false };
        let way: Vec<TokenId> = std::iter::once(chosen).chain(self.tokens.iter().rev().copied()).chain([end]).collect();
        parser.validate_tokens_raw(&way).is_ok_and(|valid| valid == way.len())
    }
}

/// The token that ends an answer, if the vocabulary has one.
fn end_token(parser: &TokenParser) -> Option<TokenId> {
    parser.token_env.tok_trie().eos_tokens().first().copied().filter(|&end| end != INVALID_TOKEN)
}

/// A walk through the grammar on a parser of its own.
struct Search {
    parser: Parser,
    path: Vec<u8>,
    best: Option<Vec<u8>>,
    longest: usize,
    left: usize,
    deadline: Option<Instant>,
}

impl Search {
    /// `None` where the parser can't take steps back, or can't take the chosen token.
    fn new(parser: &TokenParser, chosen: Option<TokenId>, longest: usize, steps: usize) -> Option<Self> {
        let mut walker = parser.parser.clone();
        walker.rollback(0).ok()?;
        if let Some(chosen) = chosen {
            let bytes = parser.token_env.tok_trie().decode_raw(&[chosen]);
            walker.apply_token(&bytes, chosen).ok()?;
        }
        Some(Self { parser: walker, path: Vec::new(), best: None, longest, left: steps, deadline: None })
    }

    /// Walks to the end, and before that aside, in each place, as often as there are `turns`. Comes back to where it began.
    fn go(&mut self, turns: usize) {
        let begin = self.path.len();
        while self.left > 0 && self.path.len() < self.bound() {
            self.left -= 1;
            if self.deadline.is_some_and(|deadline| self.left.is_multiple_of(64) && Instant::now() > deadline) {
                self.left = 0;
            }
            if self.parser.is_accepting() {
                self.best = Some(self.path.clone());
                break;
            }
            let forks = self.forks(if turns == 0 { 1 } else { FORKS });
            let Some((&first, others)) = forks.split_first() else { break };
            for &byte in others {
                if self.push(byte) {
                    self.go(turns - 1);
                    self.pop(1);
                }
            }
            if !self.push(first) {
                break;
            }
        }
        self.pop(self.path.len() - begin);
    }

    /// Only what is shorter than the best so far is worth walking.
    fn bound(&self) -> usize {
        self.best.as_ref().map_or(self.longest, Vec::len)
    }

    /// Bytes that may come next, the most promising ones first. Of digits and letters the first few stand for all.
    fn forks(&mut self, limit: usize) -> Vec<u8> {
        self.parser.with_recognizer(|recognizer| {
            recognizer.trie_started("ending");
            // Either an object or an array is to be closed; where both brackets may come they are a string's.
            let in_string = b"}]".iter().all(|&bracket| recognizer.byte_allowed(bracket));
            let (closing, values) = if in_string { ORDER_IN_STRINGS } else { ORDER }.split_at(CLOSING);
            // A digit that can be a number's last one: a multiple of 2 goes on for ever with others.
            let mut is_last = |digit: &&u8| {
                let taken = recognizer.try_push_byte(**digit);
                let last = taken && AFTER_NUMBERS.iter().any(|&byte| recognizer.byte_allowed(byte));
                if taken {
                    recognizer.pop_bytes(1);
                }
                last
            };
            let last = if in_string { None } else { values.iter().filter(|byte| byte.is_ascii_digit()).find(&mut is_last) };
            let rest = (b' '..=b'~').chain(0x80..=0xF4).chain([b'\n', b'\t', b'\r']).filter(|byte| !ORDER.contains(byte));
            let mut forks = Vec::new();
            let mut alike = 0;
            let others = values.iter().filter(|byte| Some(*byte) != last);
            for byte in closing.iter().chain(last).chain(others).copied().chain(rest) {
                let one_of_many = byte.is_ascii_digit() || !ORDER.contains(&byte);
                if (!one_of_many || alike < ALIKE) && recognizer.try_push_byte(byte) {
                    recognizer.pop_bytes(1);
                    alike += usize::from(one_of_many);
                    forks.push(byte);
                    if forks.len() == limit {
                        break;
                    }
                }
            }
            recognizer.trie_finished();
            forks
        })
    }

    fn push(&mut self, byte: u8) -> bool {
        let taken = self.parser.apply_token(&[byte], INVALID_TOKEN).is_ok();
        if taken {
            self.path.push(byte);
        }
        taken
    }

    fn pop(&mut self, bytes: usize) {
        if bytes > 0 && self.parser.rollback(bytes).is_ok() {
            self.path.truncate(self.path.len() - bytes);
        }
    }

    /// The best way in tokens, if the vocabulary can spell it.
    fn ending(self, parser: &TokenParser) -> Option<Ending> {
        let trie = parser.token_env.tok_trie();
        let bytes = self.best?;
        let mut tokens = trie.greedy_tokenize(&bytes);
        if trie.decode_raw(&tokens) != bytes {
            return None;
        }
        tokens.reverse();
        Some(Ending { tokens })
    }
}
