//! The choice of the next token.

use std::collections::HashMap;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::{EngineError, Result};
use crate::request::{Sampling, TokenId};

/// Candidates tried first when only a probability mass is asked for; each further try takes eight times as many.
const FIRST_CANDIDATES: usize = 256;

/// One request's sampling settings, its random generator, and what it has said so far.
///
/// Every token drawn takes exactly one number from the generator, so the text depends on nothing but logits, settings and seed.
#[derive(Debug)]
pub struct Sampler {
    settings: Sampling,
    random: ChaCha12Rng,
    /// Tokens of prompt and output; the number counts those of the output alone.
    seen: HashMap<TokenId, u32>,
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
        Self { settings, random: ChaCha12Rng::from_seed(key), seen }
    }

    /// Chooses the next token. `logits` has one entry for each token of the vocabulary and is changed.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when the logits are not numbers.
    pub fn choose(&mut self, logits: &mut [f32]) -> Result<TokenId> {
        // What the model itself says must be numbers; penalties and biases keep them so.
        let mut best = argmax(logits)?;
        if self.shift(logits) {
            best = argmax(logits)?;
        }
        let chosen = if self.settings.temperature == 0.0 { best } else { self.draw(logits, logits[best as usize]) };
        if self.counts_output() {
            *self.seen.entry(chosen).or_insert(0) += 1;
        }
        Ok(chosen)
    }

    fn counts_output(&self) -> bool {
        let Sampling { repetition_penalty, presence_penalty, frequency_penalty, .. } = self.settings;
        repetition_penalty != 1.0 || presence_penalty != 0.0 || frequency_penalty != 0.0
    }

    /// Biases and penalties; they touch only tokens that were named or seen. Returns whether there were any.
    fn shift(&self, logits: &mut [f32]) -> bool {
        let settings = &self.settings;
        for &(id, bias) in &settings.logit_bias {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit += bias;
            }
        }
        for (&id, &count) in &self.seen {
            let Some(logit) = logits.get_mut(id as usize) else { continue };
            *logit = if *logit < 0.0 { *logit * settings.repetition_penalty } else { *logit / settings.repetition_penalty };
            if count > 0 {
                *logit -= settings.presence_penalty + settings.frequency_penalty * count as f32;
            }
            *logit = logit.clamp(f32::MIN, f32::MAX);
        }
        !settings.logit_bias.is_empty() || !self.seen.is_empty()
    }

    /// Draws from what the filters leave: temperature, then top-k, top-p and min-p.
    fn draw(&mut self, logits: &[f32], maximum: f32) -> TokenId {
        let uniform = (self.random.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64);
        let Sampling { temperature, top_k, top_p, min_p, .. } = self.settings;
        let weight = |logit: f32| f64::from((logit - maximum) / temperature).exp();
        let limited = top_k > 0 && top_k < logits.len();
        if !limited && top_p >= 1.0 && min_p == 0.0 {
            return pick(uniform, logits.iter().map(|&logit| weight(logit)).enumerate().map(|(id, weight)| (id as TokenId, weight)));
        }
        let candidates = if limited {
            let candidates = weigh(&largest(logits, top_k), weight);
            let total = candidates.iter().map(|&(_, weight)| weight).sum();
            nucleus(candidates, total, top_p).unwrap_or_else(|all| all)
        } else {
            let total = logits.iter().map(|&logit| weight(logit)).sum();
            let mut count = FIRST_CANDIDATES;
            loop {
                match nucleus(weigh(&largest(logits, count), weight), total, top_p) {
                    Ok(candidates) => break candidates,
                    Err(all) if count >= logits.len() => break all,
                    // With min-p alone the candidates end where the weights fall below it.
                    Err(some) if some.last().is_some_and(|&(_, weight)| weight < f64::from(min_p)) => break some,
                    Err(_) => count *= 8,
                }
            }
        };
        // The likeliest token weighs 1, so min-p is a bound on the weights themselves.
        pick(uniform, candidates.into_iter().filter(|&(_, weight)| weight >= f64::from(min_p)))
    }
}

fn weigh(tokens: &[(TokenId, f32)], weight: impl Fn(f32) -> f64) -> Vec<(TokenId, f64)> {
    tokens.iter().map(|&(id, logit)| (id, weight(logit))).collect()
}

/// Tokens with their weights.
type Candidates = Vec<(TokenId, f64)>;

/// The shortest beginning of the candidates, likeliest first, that holds the share `top_p` of `total`. `Err` returns them all:
/// they don't hold it.
fn nucleus(mut candidates: Candidates, total: f64, top_p: f32) -> Result<Candidates, Candidates> {
    if top_p >= 1.0 {
        return Err(candidates);
    }
    let enough = total * f64::from(top_p);
    let mut sum = 0.0;
    for index in 0..candidates.len() {
        sum += candidates[index].1;
        if sum >= enough {
            candidates.truncate(index + 1);
            return Ok(candidates);
        }
    }
    Err(candidates)
}

/// The token at the place `uniform` (0 to 1) of the candidates' weights, laid end to end in their order.
fn pick(uniform: f64, candidates: impl Iterator<Item = (TokenId, f64)> + Clone) -> TokenId {
    let total: f64 = candidates.clone().map(|(_, weight)| weight).sum();
    let mut left = uniform * total;
    let mut last = 0;
    for (id, weight) in candidates {
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

/// The most likely token; of equals the first one.
fn argmax(logits: &[f32]) -> Result<TokenId> {
    let mut best = 0;
    let mut maximum = f32::NEG_INFINITY;
    let mut numbers = true;
    for (id, &logit) in logits.iter().enumerate() {
        numbers &= !logit.is_nan();
        if logit > maximum {
            (best, maximum) = (id, logit);
        }
    }
    if !numbers || !maximum.is_finite() {
        return Err(EngineError::failed("the model's logits are not finite numbers"));
    }
    Ok(best as TokenId)
}

/// The `count` largest logits, largest first; of equals the first one first.
pub(super) fn largest(logits: &[f32], count: usize) -> Vec<(TokenId, f32)> {
    let order = |a: &(TokenId, f32), b: &(TokenId, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count == 0 {
        return Vec::new();
    }
    let mut tokens: Vec<(TokenId, f32)> = logits.iter().enumerate().map(|(id, &logit)| (id as TokenId, logit)).collect();
    if count < tokens.len() {
        tokens.select_nth_unstable_by(count - 1, order);
        tokens.truncate(count);
    }
    tokens.sort_unstable_by(order);
    tokens
}

#[cfg(test)]
mod tests;
