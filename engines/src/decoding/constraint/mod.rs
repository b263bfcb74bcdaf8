//! Answers of a given form: grammars over a model's own tokens.
//!
//! [`Grammars`] belongs to an engine: it knows the vocabulary as a [`tokens`] trie and compiles what a request asks for, after [`limits`]
//! has looked at it, into a [`Matcher`]. The matcher follows the answer token by token, says which tokens may come next, and sees
//! to it that the answer can still be ended ([`ending`]) within the tokens it has.
//!
//! The work on grammars is llguidance's.

mod ending;
mod gbnf;
mod limits;
mod matcher;
mod tokens;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use llguidance::api::{GrammarInit, ParserLimits, TopLevelGrammar};
use llguidance::{Logger, ParserFactory};
use toktrie::InferenceCapabilities;

pub use matcher::Matcher;

use crate::error::{EngineError, Result};
use crate::model::Vocabulary;
use crate::request::Constraint;

/// How long a grammar may take to compile; ordinary ones take a few milliseconds. The first one waits for the vocabulary's trie, too, and on a
/// machine where everything else computes that alone has taken more than five seconds.
pub const COMPILED_WITHIN: Duration = Duration::from_secs(20);
/// Stack for compiling: the compiler descends into grammars that may be as deep as they are long. Pages that aren't used cost nothing.
const STACK: usize = 256 << 20;
/// Compiled grammars that are kept: clients send the same few again and again.
const KEPT: usize = 32;

/// The grammars of one engine.
pub struct Grammars {
    vocabulary: Arc<dyn Vocabulary>,
    /// The vocabulary as llguidance reads it: 50,257 tokens take a third of a second, so it waits for the first grammar.
    factory: OnceLock<Result<ParserFactory, String>>,
    /// Grammars as they were before the first token, the last one used at the end.
    compiled: Mutex<VecDeque<(String, Matcher)>>,
}

impl Grammars {
    /// Grammars over this vocabulary.
    pub fn new(vocabulary: Arc<dyn Vocabulary>) -> Self {
        Self { vocabulary, factory: OnceLock::new(), compiled: Mutex::default() }
    }

    /// A matcher at the beginning of an answer, if this form has been asked for before.
    pub fn recall(&self, constraint: &Constraint) -> Option<Matcher> {
        let key = limits::key(constraint);
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        let place = compiled.iter().position(|(other, _)| *other == key)?;
        let entry = compiled.remove(place)?;
        let matcher = entry.1.clone();
        compiled.push_back(entry);
        Some(matcher)
    }

    /// Checks and compiles. It may take as long as [`COMPILED_WITHIN`] and longer, so it is no work for a thread that others wait for.
    ///
    /// # Errors
    /// [`EngineError::InvalidRequest`] that names what can't be done: the schema's keyword, the grammar's line.
    pub fn compile(&self, constraint: &Constraint) -> Result<Matcher> {
        let grammar = limits::checked(constraint)?;
        let deadline = Instant::now() + COMPILED_WITHIN;
        let build = || self.build(grammar, constraint, deadline);
        let matcher = std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().name("grammar".into()).stack_size(STACK).spawn_scoped(scope, build);
            let thread = thread.map_err(EngineError::failed)?;
            thread.join().map_err(|_| EngineError::failed("the compiler of grammars panicked"))?
        })?;
        if Instant::now() >= deadline {
            // Its search for the shortest ending may have been cut off; on another day it isn't.
            return Ok(matcher);
        }
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= KEPT {
            compiled.pop_front();
        }
        compiled.push_back((limits::key(constraint), matcher.clone()));
        Ok(matcher)
    }

    fn build(&self, grammar: TopLevelGrammar, constraint: &Constraint, deadline: Instant) -> Result<Matcher> {
        let (param, noun) = (constraint.param(), constraint.noun());
        let factory = self.factory.get_or_init(|| self.factory());
        let factory = factory.as_ref().map_err(|reason| EngineError::failed(reason.clone()))?;
        let parser = factory
            .create_parser_from_init_ext(
                GrammarInit::Serialized(grammar),
                Logger::new(0, 0),
                InferenceCapabilities::default(),
                factory.limits().clone(),
            )
            .map_err(|error| {
                let reason = limits::reason(&format!("{error:#}"));
                EngineError::invalid(param, format!("the {noun} can't be followed: {reason}"))
            })?;
        Matcher::new(parser, param, noun, deadline)
    }

    fn factory(&self) -> Result<ParserFactory, String> {
        let environment = tokens::environment(&*self.vocabulary);
        let mut factory = ParserFactory::new_simple(&environment).map_err(|error| format!("the vocabulary has no trie: {error:#}"))?;
        factory.quiet();
        // Messages go to whoever sent the grammar and need not repeat it.
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        Ok(factory)
    }
}

#[cfg(test)]
mod tests;
