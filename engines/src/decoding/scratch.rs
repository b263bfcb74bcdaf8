//! What looking at one row of logits after the other takes.

use super::blocks::{Blocks, Candidates};
use super::weights::Weights;
use crate::request::TokenId;

/// Memory for one row at a time, kept from row to row. Whoever chooses for many sequences has one for all of them: with a vocabulary of 50,000 it
/// comes to some 10 KiB.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(super) blocks: Blocks,
    pub(super) candidates: Candidates,
    pub(super) weights: Weights,
    /// The weights of the candidates, in their order.
    pub(super) shares: Vec<(TokenId, f64)>,
    /// The logits that biases and penalties changed in this row, as they were.
    pub(super) shifted: Vec<(TokenId, f32)>,
}

impl Scratch {
    /// What a token's logit was before biases and penalties.
    pub(super) fn unshifted(&self, logits: &[f32], id: TokenId) -> f32 {
        let shifted = self.shifted.iter().find(|&&(other, _)| other == id);
        shifted.map_or(logits[id as usize], |&(_, before)| before)
    }

    /// Weighs the candidates from this place on.
    pub(super) fn weigh_from(&mut self, place: usize, maximum: f32, temperature: f32) {
        let weight = |logit: f32| f64::from((logit - maximum) / temperature).exp();
        self.shares.truncate(place);
        self.shares.extend(self.candidates.iter_from(place).map(|(id, logit)| (id, weight(logit))));
    }

    /// Keeps the shortest beginning of the candidates that holds the share `top_p` of `total`; those before `place` hold `sum`.
    /// `Some`: all of them don't hold it, but so much.
    pub(super) fn keep_nucleus(&mut self, top_p: f32, total: f64, place: usize, mut sum: f64) -> Option<f64> {
        if top_p >= 1.0 {
            return Some(sum);
        }
        let enough = total * f64::from(top_p);
        for index in place..self.shares.len() {
            sum += self.shares[index].1;
            if sum >= enough {
                self.shares.truncate(index + 1);
                return None;
            }
        }
        Some(sum)
    }
}
