//! Vectors of texts.
//!
//! llama.cpp would pool, too, but only over what it computes in one piece. So it hands out the last hidden state of each token, and texts
//! may be as long as the context. A context of its own, because one that hands them out does so in every step.

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaPoolingType;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::config::{LlamaConfig, Pooling};
use super::network::{Room, new_context};
use crate::error::Result;
use crate::request::TokenId;

/// A llama.cpp context for one text at a time.
pub struct Embedder<'model> {
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    pooling: Pooling,
    vocabulary: usize,
    /// Tokens of the longest text.
    length: usize,
    step_tokens: usize,
}

impl<'model> Embedder<'model> {
    /// A context for texts of up to `length` tokens.
    ///
    /// # Errors
    /// [`crate::EngineError::Unavailable`] where llama.cpp makes none.
    pub fn new(backend: &LlamaBackend, model: &'model LlamaModel, config: &LlamaConfig, length: usize, pooling: Pooling) -> Result<Self> {
        let context = new_context(backend, model, config, Room { slots: 1, length }, |parameters| {
            parameters.with_embeddings(true).with_pooling_type(LlamaPoolingType::None)
        })?;
        // llama.cpp lowers it where the context is smaller, and ends the process where a batch is larger.
        let step_tokens = config.step_tokens.min(context.n_batch() as usize);
        let vocabulary = usize::try_from(model.n_vocab()).unwrap_or(0);
        Ok(Self { batch: LlamaBatch::new(step_tokens, 1), context, pooling, vocabulary, length, step_tokens })
    }

    /// The vector of a text.
    ///
    /// # Errors
    /// A sentence for a text that is empty or too long, for a token outside the vocabulary, and where llama.cpp can't compute.
    pub fn embed(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>, String> {
        if tokens.is_empty() || tokens.len() > self.length {
            return Err(format!("{} tokens to embed; it must be between 1 and {}", tokens.len(), self.length));
        }
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= self.vocabulary) {
            return Err(format!("token {token} to embed; the vocabulary has {}", self.vocabulary));
        }
        self.context.clear_kv_cache();
        let mut pool = Pool { pooling: self.pooling, vector: Vec::new(), tokens: 0 };
        let mut position = 0;
        for chunk in tokens.chunks(self.step_tokens) {
            self.batch.clear();
            for &token in chunk {
                // Both are below i32::MAX: the context and the vocabulary were checked against it.
                self.batch.add(LlamaToken(token as i32), position, &[0], true).map_err(|error| error.to_string())?;
                position += 1;
            }
            self.context.decode(&mut self.batch).map_err(|error| format!("llama.cpp can't decode: {error}"))?;
            for row in 0..chunk.len() {
                let state = self.context.embeddings_ith(row as i32).map_err(|error| format!("llama.cpp has no hidden state: {error}"))?;
                pool.add(state);
            }
        }
        Ok(pool.vector())
    }
}

/// What becomes of the hidden states.
struct Pool {
    pooling: Pooling,
    vector: Vec<f32>,
    tokens: usize,
}

impl Pool {
    fn add(&mut self, state: &[f32]) {
        self.tokens += 1;
        match self.pooling {
            _ if self.tokens == 1 => self.vector = state.to_vec(),
            Pooling::Mean => self.vector.iter_mut().zip(state).for_each(|(sum, value)| *sum += value),
            Pooling::Cls => {}
            Pooling::Last => self.vector.copy_from_slice(state),
        }
    }

    fn vector(mut self) -> Vec<f32> {
        if self.pooling == Pooling::Mean {
            self.vector.iter_mut().for_each(|sum| *sum /= self.tokens as f32);
        }
        self.vector
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_pooled_as_named() {
        let check = |pooling, expected: [f32; 2]| {
            let mut pool = Pool { pooling, vector: Vec::new(), tokens: 0 };
            [[1.0, 2.0], [3.0, 6.0], [8.0, 1.0]].iter().for_each(|state| pool.add(state));
            assert_eq!(pool.vector(), expected, "{pooling:?}");
        };
        check(Pooling::Mean, [4.0, 3.0]);
        check(Pooling::Cls, [1.0, 2.0]);
        check(Pooling::Last, [8.0, 1.0]);
    }
}
