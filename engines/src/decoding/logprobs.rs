//! Log probabilities: what the model itself thought, before any sampling setting.

use super::blocks::{Blocks, Candidates};
use super::weights::{Softmax, Weights};
use crate::request::TokenId;

/// What the model thought of one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The natural logarithm of the chosen token's probability.
    pub chosen: f32,
    /// The likeliest tokens, likeliest first.
    pub top: Vec<(TokenId, f32)>,
}

/// What the model thought before anything was shifted: what it takes to tell a token's log probability from its logit.
#[derive(Debug)]
pub(super) struct Opinion {
    normalizer: f32,
    top: Vec<(TokenId, f32)>,
}

impl Opinion {
    /// Of a row whose `blocks` have been read: the `alternatives` likeliest tokens under the softmax of `logits`.
    pub fn new(logits: &[f32], alternatives: usize, blocks: &mut Blocks, candidates: &mut Candidates, weights: &mut Weights) -> Self {
        let maximum = blocks.maximum();
        let normalizer = maximum + weights.total(logits, Softmax::new(maximum, 1.0)).ln() as f32;
        blocks.largest(logits, alternatives, candidates);
        Self { normalizer, top: candidates.iter_from(0).map(|(id, logit)| (id, logit - normalizer)).collect() }
    }

    /// With the token chosen, by the logit that the model gave it.
    pub fn of(self, logit: f32) -> Logprobs {
        Logprobs { chosen: logit - self.normalizer, top: self.top }
    }
}
