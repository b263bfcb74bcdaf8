//! One row of logits with the largest of each block of it, so that what asks for the likeliest tokens looks at few of the others.

use crate::error::{EngineError, Result};
use crate::request::TokenId;

/// Logits of one block. 50,257 logits make 786 blocks, and the fifty likeliest tokens lie in fifty of them at most.
pub(super) const BLOCK: usize = 64;
/// Maxima side by side: the processor's widest registers hold them all.
const LANES: usize = 16;

/// The largest logit of each block of a row. The memory is kept from row to row.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    maxima: Vec<f32>,
    /// The maxima again, to be put in order.
    order: Vec<f32>,
}

/// Tokens in order: the largest logit first, of equals the lowest token first.
///
/// A candidate is one number, the logit's bits in front and the token behind, made so that larger is earlier.
#[derive(Debug, Default)]
pub(super) struct Candidates(Vec<u64>);

impl Blocks {
    /// Reads a row and returns its maximum.
    ///
    /// # Errors
    /// [`EngineError::Failed`] when one is not a number, or the largest is not finite.
    pub fn read(&mut self, logits: &[f32]) -> Result<f32> {
        self.maxima.clear();
        let mut all_numbers = true;
        for block in logits.chunks(BLOCK) {
            let (maximum, numbers) = maximum(block);
            all_numbers &= numbers;
            self.maxima.push(maximum);
        }
        let maximum = self.maximum();
        if !all_numbers || !maximum.is_finite() {
            return Err(EngineError::failed("the model's logits are not finite numbers"));
        }
        Ok(maximum)
    }

    /// The largest logit of the row.
    pub fn maximum(&self) -> f32 {
        maximum(&self.maxima).0
    }

    /// Some logits of the row have changed; `before` says what they were.
    pub fn changed(&mut self, logits: &[f32], before: &[(TokenId, f32)]) {
        let block = |id: TokenId| id as usize / BLOCK;
        // Raised ones first: a block whose largest falls is read again as it is now.
        for &(id, _) in before {
            let (largest, logit) = (&mut self.maxima[block(id)], logits[id as usize]);
            *largest = largest.max(logit);
        }
        for &(id, before) in before {
            let index = block(id);
            if before >= self.maxima[index] && logits[id as usize] < before {
                let start = index * BLOCK;
                self.maxima[index] = maximum(&logits[start..logits.len().min(start + BLOCK)]).0;
            }
        }
    }

    /// The most likely token; of equals the first one.
    pub fn best(&self, logits: &[f32]) -> TokenId {
        let maximum = self.maximum();
        let block = self.maxima.iter().position(|&largest| largest == maximum).unwrap_or(0) * BLOCK;
        (block + logits[block..].iter().position(|&logit| logit == maximum).unwrap_or(0)) as TokenId
    }

    /// A logit that at least `count` tokens reach, close to the highest such; less than any other where that isn't known. Tokens that are
    /// impossible, at minus infinity, don't count.
    pub fn bound(&mut self, count: usize) -> f32 {
        // So many blocks each hold a token that reaches the smallest of their maxima.
        if count == 0 || count > self.maxima.len() {
            return f32::MIN;
        }
        self.order.clear();
        self.order.extend_from_slice(&self.maxima);
        self.order.select_nth_unstable_by(count - 1, |a, b| b.total_cmp(a)).1.max(f32::MIN)
    }

    /// Adds the tokens whose logits lie from `bound` to below `ceiling`.
    pub fn collect(&self, logits: &[f32], bound: f32, ceiling: f32, candidates: &mut Candidates) {
        for (index, (block, &largest)) in logits.chunks(BLOCK).zip(&self.maxima).enumerate() {
            if largest < bound {
                continue;
            }
            for (offset, &logit) in block.iter().enumerate() {
                if logit >= bound && logit < ceiling {
                    candidates.push((index * BLOCK + offset) as TokenId, logit);
                }
            }
        }
    }

    /// The `count` likeliest tokens, in order.
    pub fn largest(&mut self, logits: &[f32], count: usize, candidates: &mut Candidates) {
        candidates.clear();
        if count > 0 {
            let bound = self.bound(count);
            self.collect(logits, bound, f32::INFINITY, candidates);
            candidates.keep(count);
            candidates.sort_from(0);
        }
    }
}

impl Candidates {
    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, id: TokenId, logit: f32) {
        let bits = logit.to_bits();
        // As unsigned numbers the bits of floats are in order once negative ones are inverted and positive ones set above them.
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        self.0.push(u64::from(ordered) << 32 | u64::from(!id));
    }

    /// Keeps the first `count` in their order, unsorted.
    fn keep(&mut self, count: usize) {
        if count < self.0.len() {
            self.0.select_nth_unstable_by(count - 1, |a, b| b.cmp(a));
            self.0.truncate(count);
        }
    }

    /// Sorts those from this place on.
    pub fn sort_from(&mut self, place: usize) {
        self.0[place..].sort_unstable_by(|a, b| b.cmp(a));
    }

    /// Tokens and their logits from this place on.
    pub fn iter_from(&self, place: usize) -> impl Iterator<Item = (TokenId, f32)> + '_ {
        self.0[place..].iter().map(|&key| {
            let ordered = (key >> 32) as u32;
            let bits = if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered };
            (!(key as u32), f32::from_bits(bits))
        })
    }
}

/// The largest of some logits, and whether all are numbers.
fn maximum(block: &[f32]) -> (f32, bool) {
    let mut maxima = [f32::NEG_INFINITY; LANES];
    let mut strange = [0u32; LANES];
    let rows = block.chunks_exact(LANES);
    let rest = rows.remainder();
    for row in rows {
        for lane in 0..LANES {
            let logit = row[lane];
            maxima[lane] = if logit > maxima[lane] { logit } else { maxima[lane] };
            strange[lane] |= u32::from(logit.is_nan());
        }
    }
    for (lane, &logit) in rest.iter().enumerate() {
        maxima[lane] = if logit > maxima[lane] { logit } else { maxima[lane] };
        strange[lane] |= u32::from(logit.is_nan());
    }
    let largest = maxima.into_iter().fold(f32::NEG_INFINITY, |largest, logit| if logit > largest { logit } else { largest });
    (largest, strange.iter().all(|&strange| strange == 0))
}
