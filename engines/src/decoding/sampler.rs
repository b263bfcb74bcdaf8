//! The choice of the next token.

use std::collections::HashMap;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::constraint::Matcher;
use super::logprobs::{Logprobs, Opinion};
use super::scratch::Scratch;
use super::weights::Softmax;
use crate::error::Result;
use crate::request::{Sampling, TokenId};

/// Candidates sorted first when only a probability mass is asked for.
const FIRST_CANDIDATES: usize = 128;
/// Each further lot of candidates reaches down to tokens so many times less likely than the last ones.
const NEXT_LOT: f32 = 3.0;
/// Lots after which all that is left comes in one.
const LOTS: usize = 24;

/// One request's sampling settings, its random generator, and what it has said so far.
///
/// Every token drawn takes exactly one number from the generator, so the text depends on nothing but logits, settings and seed.
///
/// No row is ever sorted. One pass finds the largest logit of each block of 64; whatever asks for the likeliest tokens then looks
/// into the blocks that can hold one of them, and only what is found there is put in order.
#[derive(Debug)]
pub struct Sampler {
    settings: Sampling,
    random: ChaCha12Rng,
    /// Tokens of prompt and output; the number counts those of the output alone.
    seen: HashMap<TokenId, u32>,
    /// Whether log probabilities are those of the draw.
    tells_draw: bool,
}

impl Sampler {
    /// A sampler for checked settings.
    ///
    /// `prompt` counts for the repetition penalty.
    pub fn new(settings: Sampling, seed: u64, prompt: &[TokenId]) -> Self {
        // The seed's bytes are the generator's key, spelt out here so that no library's way of stretching a seed is part of the promise.
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        let seen = if settings.repetition_penalty == 1.0 { HashMap::new() } else { prompt.iter().map(|&id| (id, 0)).collect() };
        Self { settings, random: ChaCha12Rng::from_seed(key), seen, tells_draw: false }
    }

    /// The same, but the log probabilities that it tells are those of the draw, after all settings, and no longer the model's own.
    #[must_use]
    pub fn telling_the_draw(self, tells_draw: bool) -> Self {
        Self { tells_draw, ..self }
    }

    /// Chooses the next token. `logits` has one entry for each token of the vocabulary and is changed; what `scratch` held is lost.
    ///
    /// # Errors
    /// [`EngineError::Failed`](crate::EngineError::Failed) when the logits are not numbers.
    pub fn choose(&mut self, logits: &mut [f32], scratch: &mut Scratch) -> Result<TokenId> {
        scratch.blocks.read(logits)?;
        self.shift(logits, scratch);
        let chosen = self.pick(logits, scratch);
        self.count(chosen);
        Ok(chosen)
    }

    /// Chooses as [`Sampler::choose`] does, and tells what the model thought of the token and of the `alternatives` likeliest ones.
    ///
    /// # Errors
    /// As [`Sampler::choose`].
    pub fn choose_with_logprobs(&mut self, logits: &mut [f32], alternatives: usize, scratch: &mut Scratch) -> Result<(TokenId, Logprobs)> {
        scratch.blocks.read(logits)?;
        if self.tells_draw {
            self.shift(logits, scratch);
            let chosen = self.pick(logits, scratch);
            self.count(chosen);
            return Ok((chosen, self.draw_of(chosen, logits, alternatives, scratch)));
        }
        let opinion = Opinion::new(logits, alternatives, scratch);
        self.shift(logits, scratch);
        let chosen = self.pick(logits, scratch);
        self.count(chosen);
        let logit = scratch.unshifted(logits, chosen);
        Ok((chosen, opinion.of(logit)))
    }

    /// Chooses among the tokens that a matcher allows, and moves the matcher on; `left` tokens may follow this one. Log probabilities, of
    /// `alternatives` others where they are asked for, are those among all tokens.
    ///
    /// # Errors
    /// As [`Sampler::choose`], and as [`Matcher::prepare`].
    pub fn choose_allowed(
        &mut self,
        logits: &mut [f32],
        alternatives: Option<usize>,
        matcher: &mut Matcher,
        left: usize,
        scratch: &mut Scratch,
    ) -> Result<(TokenId, Option<Logprobs>)> {
        scratch.blocks.read(logits)?;
        let own = alternatives.filter(|_| !self.tells_draw);
        let opinion = own.map(|count| Opinion::new(logits, count, scratch));
        // The forbidden ones are overwritten, and the matcher may take another token than was drawn.
        let original = opinion.is_some().then(|| logits.to_vec());
        self.shift(logits, scratch);
        let mask = matcher.take_mask()?;
        forbid(logits, mask.as_slice());
        scratch.blocks.read(logits)?;
        let drawn = self.pick(logits, scratch);
        let chosen = matcher.take(drawn, left)?;
        self.count(chosen);
        let told = match alternatives.filter(|_| self.tells_draw) {
            // What the form forces is the only way.
            Some(_) if chosen != drawn => Some(certain(chosen)),
            Some(alternatives) => Some(self.draw_of(chosen, logits, alternatives, scratch)),
            None => opinion.zip(original).map(|(opinion, original)| opinion.of(original[chosen as usize])),
        };
        Ok((chosen, told))
    }

    /// Of the draw just made: how likely `chosen` was, and the `alternatives` likeliest of those that could have come.
    fn draw_of(&self, chosen: TokenId, logits: &[f32], alternatives: usize, scratch: &mut Scratch) -> Logprobs {
        let (settings, Scratch { blocks, candidates, weights, shares, .. }) = (&self.settings, scratch);
        if settings.temperature == 0.0 {
            return certain(chosen);
        }
        if shares.is_empty() {
            // Nothing is filtered, so any token could have come.
            let maximum = blocks.maximum();
            let total = weights.total(logits, Softmax::new(maximum, settings.temperature)).ln();
            let logprob = |logit: f32| (f64::from(logit - maximum) / f64::from(settings.temperature) - total) as f32;
            blocks.largest(logits, alternatives, candidates);
            let possible = candidates.iter_from(0).filter(|&(_, logit)| logit > f32::MIN);
            return Logprobs { chosen: logprob(logits[chosen as usize]), top: possible.map(|(id, logit)| (id, logprob(logit))).collect() };
        }
        let total = shares.iter().map(|&(_, weight)| weight).sum::<f64>();
        let logprob = |weight: f64| (weight / total).ln() as f32;
        let own = shares.iter().find(|&&(id, _)| id == chosen).map_or(f32::NEG_INFINITY, |&(_, weight)| logprob(weight));
        let possible = shares.iter().filter(|&&(_, weight)| weight > 0.0).take(alternatives);
        Logprobs { chosen: own, top: possible.map(|&(id, weight)| (id, logprob(weight))).collect() }
    }

    fn pick(&mut self, logits: &[f32], scratch: &mut Scratch) -> TokenId {
        if self.settings.temperature == 0.0 { scratch.blocks.best(logits) } else { self.draw(logits, scratch) }
    }

    /// The penalties of the tokens to come count this one.
    fn count(&mut self, chosen: TokenId) {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.settings;
        if repetition_penalty != 1.0 || presence_penalty != 0.0 || frequency_penalty != 0.0 {
            *self.seen.entry(chosen).or_insert(0) += 1;
        }
    }

    /// Biases and penalties; they touch only tokens that were named or seen. What the model itself says are numbers, and they keep them so.
    fn shift(&self, logits: &mut [f32], Scratch { shifted, blocks, .. }: &mut Scratch) {
        let Self { settings, seen, .. } = self;
        shifted.clear();
        for &(id, bias) in &settings.logit_bias {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            shifted.push((id, *logit));
            *logit += bias;
        }
        for (&id, &count) in seen {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            shifted.push((id, *logit));
            *logit = if *logit < 0.0 { *logit * settings.repetition_penalty } else { *logit / settings.repetition_penalty };
            if count > 0 {
                *logit -= settings.presence_penalty + settings.frequency_penalty * count as f32;
            }
            *logit = logit.clamp(f32::MIN, f32::MAX);
        }
        blocks.changed(logits, shifted);
    }

    /// Draws from what the filters leave: temperature, then top-k, top-p and min-p.
    fn draw(&mut self, logits: &[f32], scratch: &mut Scratch) -> TokenId {
        let uniform = (self.random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.settings;
        let maximum = scratch.blocks.maximum();
        let limited = top_k > 0 && top_k < logits.len();
        if !limited && top_p >= 1.0 && min_p == 0.0 {
            scratch.shares.clear();
            return scratch.weights.pick(uniform, logits, Softmax::new(maximum, temperature));
        }
        if limited {
            scratch.blocks.largest(logits, top_k, &mut scratch.candidates);
            scratch.weigh_from(0, maximum, temperature);
            let total = scratch.shares.iter().map(|&(_, weight)| weight).sum();
            scratch.keep_nucleus(top_p, total, 0, 0.0);
        } else {
            self.collect_nucleus(logits, maximum, scratch);
        }
        // The likeliest token weighs 1, so min-p is a bound on the weights themselves.
        let likely = scratch.shares.iter().take_while(|&&(_, weight)| weight >= f64::from(min_p)).count();
        scratch.shares.truncate(likely);
        pick(uniform, &scratch.shares)
    }

    /// The candidates without a top-k: lot by lot, until they hold the nucleus or reach below min-p.
    fn collect_nucleus(&self, logits: &[f32], maximum: f32, scratch: &mut Scratch) {
        let Sampling { temperature, top_p, min_p, .. } = self.settings;
        let total = if top_p < 1.0 { scratch.weights.total(logits, Softmax::new(maximum, temperature)) } else { 0.0 };
        // No token below it weighs as much as min-p, by a margin for rounding.
        let floor = if min_p > 0.0 { maximum + temperature * (min_p.ln() * 1.0001 - 1e-4) - maximum.abs() * 1e-6 } else { f32::MIN };
        let (mut ceiling, mut sum) = (f32::INFINITY, 0.0);
        // Without a mass to reach, all that min-p leaves comes at once.
        let mut bound = if top_p < 1.0 { scratch.blocks.bound(FIRST_CANDIDATES).max(floor) } else { floor };
        scratch.candidates.clear();
        scratch.shares.clear();
        for lot in 0.. {
            let place = scratch.candidates.len();
            scratch.blocks.collect(logits, bound, ceiling, &mut scratch.candidates);
            scratch.candidates.sort_from(place);
            scratch.weigh_from(place, maximum, temperature);
            match scratch.keep_nucleus(top_p, total, place, sum) {
                Some(reached) if bound > floor => sum = reached,
                _ => return,
            }
            ceiling = bound;
            bound = if lot < LOTS { (bound - temperature * NEXT_LOT.ln()).max(floor) } else { floor };
        }
    }
}

/// Of a token that had to come.
fn certain(id: TokenId) -> Logprobs {
    Logprobs { chosen: 0.0, top: vec![(id, 0.0)] }
}

/// Makes the tokens impossible whose bits aren't set; bits that are missing at the end aren't.
fn forbid(logits: &mut [f32], allowed: &[u32]) {
    let words = allowed.iter().copied().chain(std::iter::repeat(0));
    for (logits, word) in logits.chunks_mut(u32::BITS as usize).zip(words) {
        match word {
            u32::MAX => {}
            0 => logits.fill(f32::NEG_INFINITY),
            word => {
                let forbidden = logits.iter_mut().enumerate().filter(|(bit, _)| word >> bit & 1 == 0);
                forbidden.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
            }
        }
    }
}

/// The token at the place `uniform` (0 to 1) of the shares, laid end to end in their order.
fn pick(uniform: f64, shares: &[(TokenId, f64)]) -> TokenId {
    let total: f64 = shares.iter().map(|&(_, weight)| weight).sum();
    let mut left = uniform * total;
    let mut last = 0;
    for &(id, weight) in shares {
        if weight > 0.0 {
            last = id;
            if left < weight {
                return id;
            }
        }
        left -= weight;
    }
    // Rounding may leave a crumb behind the last one.
    last
}

#[cfg(test)]
mod tests;
