//! What is computed on each row alone: layer norm, gelu, and the exponentials of a softmax.
//!
//! In a fixed order: of a sum, each lane's own, then the lanes', then what is left behind the last whole lanes.

use super::disjoint::Disjoint;
use super::isa::{Isa, Work};
use super::lanes::{LANES, Lanes};
use super::team::Team;

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
    pub(in crate::gpt2) fn forward(&self, x: &[f32], y: &mut [f32], team: &Team) {
        let width = self.weight.len();
        let (rows, y) = (x.len() / width, Disjoint::new(y));
        team.run(rows.div_ceil(ROWS_AT_ONCE), |part| {
            let (first, end) = (part * ROWS_AT_ONCE * width, rows.min((part + 1) * ROWS_AT_ONCE) * width);
            // SAFETY: each part is asked for once, and they don't overlap.
            let y = unsafe { y.part(first, end - first) };
            self.isa.run(Normalise { norm: self, x: &x[first..end], y });
        });
    }
}

struct Normalise<'a> {
    norm: &'a LayerNorm,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Work for Normalise<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { norm, x, y } = self;
        let width = norm.weight.len();
        for (x, y) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)) {
            normalise::<L>(norm, x, y);
        }
    }
}

#[inline(always)]
fn normalise<L: Lanes>(norm: &LayerNorm, x: &[f32], y: &mut [f32]) {
    let width = x.len() as f32;
    let mean = sum::<L>(x) / width;
    let (parts, rest) = x.as_chunks::<LANES>();
    let mut squares = L::splat(0.0);
    for part in parts {
        let difference = L::load(part).sub(L::splat(mean));
        squares = difference.multiply_add(difference, squares);
    }
    let squares = squares.sum() + rest.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>();
    let scale = 1.0 / (squares / width + norm.epsilon).sqrt();
    let ((weights, weights_rest), (biases, biases_rest)) = (norm.weight.as_chunks::<LANES>(), norm.bias.as_chunks::<LANES>());
    let (to, to_rest) = y.as_chunks_mut::<LANES>();
    for (((to, x), weight), bias) in to.iter_mut().zip(parts).zip(weights).zip(biases) {
        let normalised = L::load(x).sub(L::splat(mean)).mul(L::splat(scale));
        normalised.multiply_add(L::load(weight), L::load(bias)).store(to);
    }
    for (((y, x), weight), bias) in to_rest.iter_mut().zip(rest).zip(weights_rest).zip(biases_rest) {
        *y = (x - mean) * scale * weight + bias;
    }
}

/// `gelu_new(x)`: GPT-2's gelu, by a tanh (Hendrycks and Gimpel 2016).
#[inline(always)]
pub(super) fn gelu<L: Lanes>(x: L) -> L {
    // x · 0.5 · (1 + tanh(u)) is x / (1 + exp(-2u)), and this is -2 · sqrt(2 / pi).
    let factor = L::splat(-1.595_769);
    let cube = x.mul(x).mul(x);
    x.div(L::splat(1.0).add(exp(factor.mul(cube.multiply_add(L::splat(0.044_715), x)))))
}

/// `x += y`.
pub(in crate::gpt2) fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// Turns scores into the weights of a softmax, yet to be divided by the sum that is returned.
#[inline(always)]
pub(super) fn exponentials<L: Lanes>(scores: &mut [f32]) -> f32 {
    let (parts, rest) = scores.as_chunks_mut::<LANES>();
    let mut highest = L::splat(f32::NEG_INFINITY);
    for part in parts.iter() {
        highest = highest.max(L::load(part));
    }
    let highest = highest.largest();
    let highest = rest.iter().copied().fold(highest, f32::max);
    let mut sums = L::splat(0.0);
    for part in parts {
        let weights = exp(L::load(part).sub(L::splat(highest)));
        sums = sums.add(weights);
        weights.store(part);
    }
    // What is left is computed as a whole, so that a score's weight doesn't depend on its place.
    let mut last = [f32::NEG_INFINITY; LANES];
    last[..rest.len()].copy_from_slice(rest);
    let last = exp(L::load(&last).sub(L::splat(highest))).to_array();
    rest.copy_from_slice(&last[..rest.len()]);
    sums.sum() + rest.iter().sum::<f32>()
}

#[inline(always)]
fn sum<L: Lanes>(values: &[f32]) -> f32 {
    let (parts, rest) = values.as_chunks::<LANES>();
    let mut sums = L::splat(0.0);
    for part in parts {
        sums = sums.add(L::load(part));
    }
    sums.sum() + rest.iter().sum::<f32>()
}

/// `exp(x)` to 3e-7 of itself for -87 to 87, the nearer of these beyond.
#[inline(always)]
fn exp<L: Lanes>(x: L) -> L {
    // ln 2 in two parts, the first so short that its multiples are exact (Cephes).
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    // In this order a number that is none stays so.
    let x = L::splat(87.0).min(L::splat(-87.0).max(x));
    let power = x.mul(L::splat(std::f32::consts::LOG2_E)).round();
    let rest = power.multiply_add(L::splat(-LN_2[1]), power.multiply_add(L::splat(-LN_2[0]), x));
    // The series: at most 0.35 remains, and its eighth power over 8! is below the last bit.
    let mut series = L::splat(1.0 / 5040.0);
    for term in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series.multiply_add(rest, L::splat(term));
    }
    series.scale_by_power(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| ((i as f32 * 12.9898).sin() * 43_758.547).fract() * 12.0).collect()
    }

    /// Each value's exponential and gelu.
    fn functions(isa: Isa, x: &[f32]) -> [Vec<f32>; 2] {
        struct Functions<'a>(&'a [f32], &'a mut [Vec<f32>; 2]);
        impl Work for Functions<'_> {
            #[inline(always)]
            fn run<L: Lanes>(self) {
                for x in self.0.as_chunks::<LANES>().0 {
                    self.1[0].extend(exp(L::load(x)).to_array());
                    self.1[1].extend(gelu(L::load(x)).to_array());
                }
            }
        }
        let mut results = [Vec::new(), Vec::new()];
        isa.run(Functions(x, &mut results));
        results
    }

    #[test]
    fn exp_is_that_of_the_library() {
        let x: Vec<f32> = (-87_000..87_000).map(|step| step as f32 / 1000.0).collect();
        for isa in Isa::available() {
            let [seen, _] = functions(isa, &x);
            for (x, seen) in x.iter().zip(seen) {
                let (seen, wanted) = (f64::from(seen), f64::from(*x).exp());
                assert!((seen - wanted).abs() <= 3e-7 * wanted || wanted < 1.2e-38, "{isa:?}: exp({x}) is {seen}, not {wanted}");
            }
        }
    }

    #[test]
    fn exp_beyond_its_range_is_its_end_and_no_number_stays_none() {
        for isa in Isa::available() {
            let [seen, _] = functions(isa, &[[-1e30; 16], [1e30; 16], [f32::NAN; 16]].concat());
            assert!(seen[0] < 1e-37 && seen[0] >= 0.0 && seen[16].is_finite(), "{isa:?}");
            assert!(seen[32].is_nan(), "{isa:?}");
        }
    }

    #[test]
    fn gelu_is_candles() {
        let x = values(1008);
        let wanted: Vec<f32> = candle_core::Tensor::new(x.clone(), &candle_core::Device::Cpu).unwrap().gelu().unwrap().to_vec1().unwrap();
        for isa in Isa::available() {
            let [_, seen] = functions(isa, &x);
            for (seen, wanted) in seen.iter().zip(&wanted) {
                assert!((seen - wanted).abs() <= 2e-6 * wanted.abs().max(0.1), "{isa:?}: {seen} is not {wanted}");
            }
        }
    }

    #[test]
    fn weights_of_a_softmax_are_those_of_its_definition() {
        for (isa, count) in Isa::available().into_iter().flat_map(|isa| [1, 15, 16, 33, 100].map(|count| (isa, count))) {
            struct Exponentials<'a>(&'a mut [f32], &'a mut f32);
            impl Work for Exponentials<'_> {
                #[inline(always)]
                fn run<L: Lanes>(self) {
                    *self.1 = exponentials::<L>(self.0);
                }
            }
            let scores = values(count);
            let (mut weights, mut total) = (scores.clone(), 0.0);
            isa.run(Exponentials(&mut weights, &mut total));
            let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let wanted: Vec<f64> = scores.iter().map(|score| f64::from(score - highest).exp()).collect();
            assert!(weights.iter().zip(&wanted).all(|(seen, wanted)| (f64::from(*seen) - wanted).abs() < 1e-6), "{isa:?}, {count}");
            assert!((f64::from(total) - wanted.iter().sum::<f64>()).abs() < 1e-5 * f64::from(total), "{isa:?}, {count}");
        }
    }

    #[test]
    fn a_norm_is_what_its_definition_says() {
        for width in [1, 15, 16, 100, 768] {
            let (x, mut y) = (values(3 * width), vec![0.0; 3 * width]);
            let (weight, bias) = (values(width), values(width));
            let epsilon = 1e-5;
            for isa in Isa::available() {
                LayerNorm { weight: weight.clone(), bias: bias.clone(), epsilon, isa }.forward(&x, &mut y, &Team::new(2));
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
