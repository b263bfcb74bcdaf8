//! Log probabilities: what the model itself thought, before any sampling setting.

use crate::decoding::sampler::largest;
use crate::request::TokenId;

/// What the model thought of one place.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// The natural logarithm of the chosen token's probability.
    pub chosen: f32,
    /// The likeliest tokens, likeliest first.
    pub top: Vec<(TokenId, f32)>,
}

/// The log probability of `chosen` and of the `alternatives` likeliest tokens under the softmax of `logits`.
pub fn logprobs(logits: &[f32], chosen: TokenId, alternatives: usize) -> Logprobs {
    let maximum = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&logit| f64::from(logit - maximum).exp()).sum();
    let normalizer = maximum + sum.ln() as f32;
    let top = largest(logits, alternatives).into_iter().map(|(id, logit)| (id, logit - normalizer)).collect();
    Logprobs { chosen: logits[chosen as usize] - normalizer, top }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_and_the_likeliest_comes_first() {
        let logits = [1.0, 3.0, 2.0, -1.0];
        let found = logprobs(&logits, 2, 4);
        let total: f32 = found.top.iter().map(|(_, logprob)| logprob.exp()).sum();
        assert!((total - 1.0).abs() < 1e-6, "{total}");
        assert_eq!(found.top.iter().map(|&(id, _)| id).collect::<Vec<_>>(), [1, 2, 0, 3]);
        assert_eq!(found.chosen, found.top[1].1);
    }
}
