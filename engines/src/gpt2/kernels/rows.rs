//! What is computed on each row alone: layer norm, gelu, the residual sum; and the loops that attention is made of.
//!
//! Plain loops in a fixed order, without fused products: every [`Isa`] gives the same bits.

use rayon::prelude::*;

use super::isa::{Isa, Work};
use super::threads::is_wide;

/// Partial sums of a reduction; the compiler keeps them in vector registers.
const LANES: usize = 16;
/// Rows that one thread takes at a time.
const ROWS_AT_ONCE: usize = 16;

/// Layer normalisation (Ba et al. 2016).
pub(in crate::gpt2) struct LayerNorm {
    pub(in crate::gpt2) weight: Vec<f32>,
    pub(in crate::gpt2) bias: Vec<f32>,
    pub(in crate::gpt2) epsilon: f32,
    pub(in crate::gpt2) isa: Isa,
}

impl LayerNorm {
    /// `x` and `y` are `[rows, width]`.
    pub(in crate::gpt2) fn forward(&self, x: &[f32], y: &mut [f32]) {
        struct Normalise<'a>(&'a LayerNorm, &'a [f32], &'a mut [f32]);
        impl Work for Normalise<'_> {
            #[inline(always)]
            fn run(self) {
                let Self(norm, x, y) = self;
                let width = norm.weight.len();
                for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
                    normalise(norm, x, y);
                }
            }
        }
        let part = ROWS_AT_ONCE * self.weight.len();
        if is_wide(x.len() / self.weight.len()) {
            y.par_chunks_mut(part).zip(x.par_chunks(part)).for_each(|(y, x)| self.isa.run(Normalise(self, x, y)));
        } else {
            self.isa.run(Normalise(self, x, y));
        }
    }
}

#[inline(always)]
fn normalise(norm: &LayerNorm, x: &[f32], y: &mut [f32]) {
    let width = x.len() as f32;
    let mean = sum(x, |value| value) / width;
    let variance = sum(x, |value| (value - mean) * (value - mean)) / width;
    let scale = 1.0 / (variance + norm.epsilon).sqrt();
    for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(&norm.weight).zip(&norm.bias) {
        *y = (x - mean) * scale * weight + bias;
    }
}

/// `x = gelu_new(x)`: GPT-2's gelu, by a tanh (Hendrycks and Gimpel 2016). `width` is that of a row.
pub(in crate::gpt2) fn gelu(x: &mut [f32], width: usize, isa: Isa) {
    struct Gelu<'a>(&'a mut [f32]);
    impl Work for Gelu<'_> {
        #[inline(always)]
        fn run(self) {
            for x in self.0 {
                // 0.5 · (1 + tanh(u)) is 1 / (1 + exp(-2u)), and this is -2 · sqrt(2 / pi).
                const FACTOR: f32 = -1.595_769;
                *x /= 1.0 + exp(FACTOR * (*x + 0.044_715 * *x * *x * *x));
            }
        }
    }
    if is_wide(x.len() / width) {
        x.par_chunks_mut(ROWS_AT_ONCE * width).for_each(|x| isa.run(Gelu(x)));
    } else {
        isa.run(Gelu(x));
    }
}

/// `x += y`.
pub(in crate::gpt2) fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// The scalar product.
#[inline(always)]
pub(in crate::gpt2) fn dot(left: &[f32], right: &[f32]) -> f32 {
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    fold(sums) + left_rest.iter().zip(right_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// Turns scores into the weights of a softmax, yet to be divided by the sum that is returned.
#[inline(always)]
pub(in crate::gpt2) fn exponentials(scores: &mut [f32]) -> f32 {
    let highest = highest(scores);
    for score in scores.iter_mut() {
        *score = exp(*score - highest);
    }
    sum(scores, |score| score)
}

#[inline(always)]
fn highest(values: &[f32]) -> f32 {
    let higher = |left: f32, right: f32| if right > left { right } else { left };
    let (values, rest) = values.as_chunks::<LANES>();
    let mut highest = [f32::NEG_INFINITY; LANES];
    for values in values {
        for lane in 0..LANES {
            highest[lane] = higher(highest[lane], values[lane]);
        }
    }
    highest.iter().chain(rest).copied().fold(f32::NEG_INFINITY, higher)
}

#[inline(always)]
fn sum(values: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (values, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for values in values {
        for lane in 0..LANES {
            sums[lane] += term(values[lane]);
        }
    }
    fold(sums) + rest.iter().map(|&value| term(value)).sum::<f32>()
}

#[inline(always)]
fn fold(mut sums: [f32; LANES]) -> f32 {
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0]
}

/// `exp(x)` to 3e-7 of itself for -87 to 87, the nearer of these beyond; without a branch, so that loops over it use vectors.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // 1.5 · 2^23: adding it leaves the nearest whole number in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts, the first so short that its multiples are exact (Cephes).
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    let x = x.clamp(-87.0, 87.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let power = shifted - ROUND;
    let rest = x - power * LN_2[0] - power * LN_2[1];
    // The series: at most 0.35 remains, and its eighth power over 8! is below the last bit.
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let value = series.iter().fold(1.0 / 5040.0, |sum, term| sum * rest + term);
    f32::from_bits((shifted.to_bits() << 23).wrapping_add(value.to_bits()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i as f32 * 12.9898).sin() * 43_758.547).fract() * 12.0).collect()
    }

    #[test]
    fn exp_is_that_of_the_library() {
        for step in -87_000..=87_000 {
            let x = step as f32 / 1000.0;
            let (seen, wanted) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((seen - wanted).abs() <= 3e-7 * wanted || wanted < 1.2e-38, "exp({x}) is {seen}, not {wanted}");
        }
    }

    #[test]
    fn exp_beyond_its_range_is_its_end_and_no_number_stays_none() {
        assert!(exp(-1e30) < 1e-37 && exp(-1e30) >= 0.0 && exp(1e30).is_finite());
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn gelu_is_candles_and_the_same_bits_on_every_machine() {
        let x = values(1000);
        let wanted: Vec<f32> = candle_core::Tensor::new(x.clone(), &candle_core::Device::Cpu).unwrap().gelu().unwrap().to_vec1().unwrap();
        let seen: Vec<Vec<f32>> = Isa::available()
            .into_iter()
            .map(|isa| {
                let mut y = x.clone();
                gelu(&mut y, 100, isa);
                y
            })
            .collect();
        for (seen, wanted) in seen[0].iter().zip(&wanted) {
            assert!((seen - wanted).abs() <= 2e-6 * wanted.abs().max(0.1), "{seen} is not {wanted}");
        }
        assert!(seen.iter().all(|other| other == &seen[0]));
    }

    #[test]
    fn a_norm_is_what_its_definition_says() {
        for width in [1, 15, 16, 100, 768] {
            let (x, mut y) = (values(3 * width), vec![0.0; 3 * width]);
            let (weight, bias) = (values(width), values(width));
            let epsilon = 1e-5;
            for isa in Isa::available() {
                LayerNorm { weight: weight.clone(), bias: bias.clone(), epsilon, isa }.forward(&x, &mut y);
                for (x, y) in x.chunks(width).zip(y.chunks(width)) {
                    let mean = x.iter().map(|&x| f64::from(x)).sum::<f64>() / width as f64;
                    let variance = x.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / width as f64;
                    for i in 0..width {
                        let wanted = (f64::from(x[i]) - mean) / (variance + f64::from(epsilon)).sqrt() * f64::from(weight[i]);
                        let wanted = wanted + f64::from(bias[i]);
                        assert!((f64::from(y[i]) - wanted).abs() < 1e-4, "{width} wide: {} is not {wanted}", y[i]);
                    }
                }
            }
        }
    }
}
