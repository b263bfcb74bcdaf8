//! Log probabilities: what the model itself thought, before any sampling setting.

use super::scratch::Scratch;
use super::weights::Softmax;
use crate::error::Result;
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
    pub fn new(logits: &[f32], alternatives: usize, Scratch { blocks, candidates, weights, .. }: &mut Scratch) -> Self {
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

/// Log probabilities of given tokens. Its memory is kept from row to row.
#[derive(Debug, Default)]
pub struct Scorer {
    scratch: Scratch,
}

impl Scorer {
    /// What a row of logits, one for each token of the vocabulary, says of a token and of the `alternatives` likeliest ones.
    ///
    /// # Errors
    /// [`EngineError::Failed`](crate::EngineError::Failed) when the logits are not numbers.
    pub fn score(&mut self, logits: &[f32], token: TokenId, alternatives: usize) -> Result<Logprobs> {
        self.scratch.blocks.read(logits)?;
        Ok(Opinion::new(logits, alternatives, &mut self.scratch).of(logits[token as usize]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_are_those_of_a_full_softmax() {
        let mut noise = 1u32;
        let mut random = || {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 8) as f32 / (1 << 24) as f32
        };
        for width in [1, 7, 257, 50_257] {
            let logits: Vec<f32> = (0..width).map(|_| random() * 40.0 - 20.0).collect();
            let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let total: f64 = logits.iter().map(|&logit| f64::from(logit - maximum).exp()).sum();
            let exact = |id: TokenId| f64::from(logits[id as usize] - maximum) - total.ln();
            let token = (width / 2) as TokenId;
            let Logprobs { chosen, top } = Scorer::default().score(&logits, token, 20).unwrap();
            assert!((f64::from(chosen) - exact(token)).abs() < 1e-5, "{chosen} {}", exact(token));
            assert_eq!(top.len(), width.min(20));
            assert!(top.iter().all(|&(id, logprob)| (f64::from(logprob) - exact(id)).abs() < 1e-5), "{top:?}");
        }
    }
}
