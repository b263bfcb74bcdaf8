//! One answer on its way through a grammar.

use std::time::Instant;

use llguidance::{TokenParser, panic_utils};
use toktrie::SimpleVob;

use super::ending::{self, Ending};
use crate::error::{EngineError, Result};
use crate::request::TokenId;

/// Tokens that may come next.
pub type Mask = SimpleVob;

/// Follows an answer through its grammar.
///
/// It always knows one way to end the answer, from where the answer stands. A token that would leave too few tokens for any ending is
/// replaced by the first one of that way: so an answer that can be ended within its tokens is.
pub struct Matcher {
    parser: TokenParser,
    /// The field of the request that the grammar came in.
    param: &'static str,
    /// What it is called.
    noun: &'static str,
    /// Computed ahead, for the place where the answer stands.
    mask: Option<Mask>,
    /// A way to the end that is known to hold here; `None` where none was found that fits.
    ending: Option<Ending>,
}

impl Clone for Matcher {
    /// A matcher that shares nothing: the parser's own clone would share its lexer, behind one lock.
    fn clone(&self) -> Self {
        Self { parser: self.parser.deep_clone(), param: self.param, noun: self.noun, mask: self.mask.clone(), ending: self.ending.clone() }
    }
}

impl Matcher {
    /// At the beginning of an answer, with its first mask and the shortest way to the end that a thorough search finds.
    pub(super) fn new(parser: TokenParser, param: &'static str, noun: &'static str, deadline: Instant) -> Result<Self> {
        let mut matcher = Self { parser, param, noun, mask: None, ending: None };
        if matcher.parser.is_fresh() {
            matcher.parser.start_without_prompt();
        }
        matcher.guarded(|matcher| {
            matcher.ending = ending::shortest(&matcher.parser, deadline);
            Ok(())
        })?;
        matcher.prepare()?;
        Ok(matcher)
    }

    /// How many tokens the shortest known answer has.
    pub fn shortest(&self) -> Option<usize> {
        self.ending.as_ref().map(Ending::len)
    }

    /// Computes the mask ahead, if that hasn't been done.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] when the grammar turns out to be too much work.
    pub fn prepare(&mut self) -> Result<()> {
        if self.mask.is_none() && !self.is_over() {
            self.mask = Some(self.guarded(|matcher| matcher.parser.compute_mask().map_err(|error| error.to_string()))?);
        }
        Ok(())
    }

    /// Whether the mask has been computed ahead.
    pub fn is_prepared(&self) -> bool {
        self.mask.is_some()
    }

    /// The tokens that may come next, end tokens among them where the answer may end.
    ///
    /// # Errors
    /// As [`Matcher::prepare`].
    pub fn take_mask(&mut self) -> Result<Mask> {
        self.prepare()?;
        self.mask.take().ok_or_else(|| EngineError::failed("an answer that is over was asked to go on"))
    }

    /// Takes the token that was chosen, which the mask allows, or another one where there would be no end within the `left` tokens that may
    /// follow it. Returns the token taken.
    ///
    /// # Errors
    /// As [`Matcher::prepare`].
    pub fn take(&mut self, chosen: TokenId, left: usize) -> Result<TokenId> {
        self.guarded(|matcher| {
            let ends = matcher.parser.token_env.tok_trie().eos_tokens().contains(&chosen);
            let taken = match matcher.ending.take() {
                _ if ends => chosen,
                Some(ending) => {
                    let (taken, ending) = ending.after(&mut matcher.parser, chosen, left);
                    matcher.ending = ending;
                    taken
                }
                None => {
                    matcher.ending = ending::quick(&matcher.parser, Some(chosen), left);
                    chosen
                }
            };
            matcher.parser.consume_token(taken).map_err(|error| error.to_string())?;
            matcher.parser.check_stop().map_err(|error| error.to_string())?;
            Ok(taken)
        })
    }

    /// How many of these tokens, one after the other, the grammar allows.
    pub fn allowed(&mut self, tokens: &[TokenId]) -> usize {
        // A draft that can't be judged is no draft.
        self.guarded(|matcher| matcher.parser.validate_tokens_raw(tokens).map_err(|error| error.to_string())).unwrap_or(0)
    }

    /// Whether nothing but the end can follow.
    pub fn is_over(&self) -> bool {
        self.parser.stopped()
    }

    /// llguidance keeps its promises by assertions; one that fails must not take the engine with it.
    fn guarded<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, String>) -> Result<T> {
        let mut failure = None;
        let outcome =
            panic_utils::catch_unwind(std::panic::AssertUnwindSafe(|| Ok(work(self).map_err(|reason| failure = Some(reason)).ok())));
        let reason = match outcome {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => failure.unwrap_or_default(),
            Err(panic) => panic.to_string(),
        };
        let reason = super::limits::reason(&reason);
        Err(EngineError::invalid(self.param, format!("the {} can't be followed any further: {reason}", self.noun)))
    }
}
