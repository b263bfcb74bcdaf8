//! Weights as the kernels read them: what 32 outputs need for a few inputs lies together, so that one kernel works on them side by side
//! and the whole matrix is one stream, read from front to back.

use super::memory::Plain;

/// Outputs of a panel.
pub(super) const OUTPUTS: usize = 32;
/// Inputs that share one scale in `q8`.
pub(super) const GROUP: usize = 32;
/// What is added to a weight of `q8` to store it: VNNI multiplies unsigned with signed bytes.
pub(super) const OFFSET: i32 = 128;
/// Words that a group of inputs of one row has: the values, four in a word, then what the offset adds to a sum, then the scale.
pub(super) const GROUP_WORDS: usize = GROUP / 4 + 2;

/// How far ahead weights are asked for: 3 KiB, further than the processor itself looks over the ends of pages.
#[cfg(target_arch = "x86_64")]
pub(super) const PREFETCHED_BYTES: usize = 3072;

/// `f32`: one value for each output of a panel, its weight for one input or its sum.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub(super) struct Line(pub(super) [f32; OUTPUTS]);

/// `bf16`: each output's weights for two inputs, the first one in the lower half.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub(super) struct Pairs(pub(super) [u32; OUTPUTS]);

/// `q8`: each output's weights for a group of inputs, four inputs together, and after them the outputs' scales in bf16.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Block {
    pub(super) weights: [[[u8; 4]; OUTPUTS]; GROUP / 4],
    pub(super) scales: [u16; OUTPUTS],
}

// SAFETY: numbers in arrays, without padding.
unsafe impl Plain for Line {}
// SAFETY: as above.
unsafe impl Plain for Pairs {}
// SAFETY: as above: 1024 bytes and 64.
unsafe impl Plain for Block {}

impl Line {
    pub(super) const ZERO: Self = Self([0.0; OUTPUTS]);
}

/// One of the layouts.
pub(super) trait Layout: Plain {
    /// Inputs of one of them.
    const INPUTS: usize;

    /// From the weights as they are, one line for each input, at most `INPUTS` of them; missing ones are zeros.
    fn encode(lines: &[Line]) -> Self;

    /// Adds one output's weights to as many values, at most `INPUTS`.
    fn add(&self, output: usize, to: &mut [f32]);
}

impl Layout for Line {
    const INPUTS: usize = 1;

    fn encode(lines: &[Line]) -> Self {
        lines[0]
    }

    fn add(&self, output: usize, to: &mut [f32]) {
        to[0] += self.0[output];
    }
}

impl Layout for Pairs {
    const INPUTS: usize = 2;

    fn encode(lines: &[Line]) -> Self {
        let half = |input: usize, output: usize| lines.get(input).map_or(0, |line| u32::from(to_bf16(line.0[output])));
        Self(std::array::from_fn(|output| half(0, output) | half(1, output) << 16))
    }

    fn add(&self, output: usize, to: &mut [f32]) {
        let halves = [self.0[output] << 16, self.0[output] & 0xFFFF_0000];
        to.iter_mut().zip(halves).for_each(|(to, half)| *to += f32::from_bits(half));
    }
}

impl Layout for Block {
    const INPUTS: usize = GROUP;

    fn encode(lines: &[Line]) -> Self {
        let mut largest = [0.0_f32; OUTPUTS];
        for line in lines {
            // `max` would drop what is no number.
            largest.iter_mut().zip(line.0).for_each(|(largest, weight)| {
                *largest = if weight.is_finite() && !largest.is_nan() { largest.max(weight.abs()) } else { f32::NAN };
            });
        }
        let mut block = Self { weights: [[[OFFSET as u8; 4]; OUTPUTS]; GROUP / 4], scales: [0; OUTPUTS] };
        let mut inverse = [0.0; OUTPUTS];
        for output in 0..OUTPUTS {
            // Rounded up, so that the largest weight is at most 127 of it; weights are counted in the scale that is stored.
            block.scales[output] = if largest[output].is_nan() { to_bf16(f32::NAN) } else { bf16_at_least(largest[output] / 127.0) };
            let scale = from_bf16(block.scales[output]);
            inverse[output] = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        }
        for (input, line) in lines.iter().enumerate() {
            let places = block.weights[input / 4].iter_mut().map(|weights| &mut weights[input % 4]);
            for ((place, weight), inverse) in places.zip(line.0).zip(inverse) {
                *place = rounded(weight * inverse + OFFSET as f32);
            }
        }
        block
    }

    fn add(&self, output: usize, to: &mut [f32]) {
        let scale = from_bf16(self.scales[output]);
        for (input, to) in to.iter_mut().enumerate() {
            *to += (i32::from(self.weights[input / 4][output][input % 4]) - OFFSET) as f32 * scale;
        }
    }
}

/// The nearest whole number from 0 to 255, of two the even one. Added to it, its digits are the last ones of the sum; a call of `round` for
/// each weight takes a third of the time of loading.
#[inline(always)]
fn rounded(value: f32) -> u8 {
    const LAST_DIGIT_IS_ONE: f32 = (1 << 23) as f32;
    (value + LAST_DIGIT_IS_ONE).to_bits() as u8
}

/// The nearest bf16, of two the even one.
#[inline(always)]
pub(super) fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    if value.is_nan() {
        // Rounding could carry it into infinity.
        return (bits >> 16) as u16 | 0x40;
    }
    (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16
}

#[inline(always)]
pub(super) fn from_bf16(value: u16) -> f32 {
    f32::from_bits(u32::from(value) << 16)
}

/// The smallest bf16 that is not below a positive number.
fn bf16_at_least(value: f32) -> u16 {
    (value.to_bits().wrapping_add(0xFFFF) >> 16) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_comes_back_as_near_as_its_type_allows() {
        fn check<T: Layout>(error: f32) {
            for count in [1, T::INPUTS.div_ceil(2), T::INPUTS] {
                let weight = |input: usize, output: usize| ((input * 37 + output * 11) as f32).sin() * 10_f32.powi(output as i32 % 9 - 6);
                let lines: Vec<Line> = (0..count).map(|input| Line(std::array::from_fn(|output| weight(input, output)))).collect();
                let encoded = T::encode(&lines);
                for output in 0..OUTPUTS {
                    let mut seen = vec![0.0; count];
                    encoded.add(output, &mut seen);
                    let largest = (0..count).map(|input| weight(input, output).abs()).fold(0.0, f32::max);
                    for (input, seen) in seen.iter().enumerate() {
                        let wanted = weight(input, output);
                        assert!((seen - wanted).abs() <= error * largest, "{seen}, wanted {wanted}");
                    }
                }
            }
        }
        check::<Line>(0.0);
        check::<Pairs>(1.0 / 256.0);
        check::<Block>(0.51 / 127.0);
    }

    #[test]
    fn weights_are_rounded_to_the_nearest_byte() {
        for (value, byte) in [(1.0, 1), (1.49, 1), (1.51, 2), (128.0, 128), (127.5, 128), (254.6, 255), (255.0, 255)] {
            assert_eq!(rounded(value), byte, "{value}");
        }
    }

    #[test]
    fn zeros_stay_zeros_and_numbers_that_are_none_stay_none() {
        let block = Block::encode(&[Line::ZERO]);
        let mut seen = vec![0.0; GROUP];
        block.add(3, &mut seen);
        assert!(seen.iter().all(|&value| value == 0.0));
        for broken in [f32::NAN, f32::INFINITY] {
            let mut lines = [Line::ZERO; 3];
            lines[1].0[5] = broken;
            lines[2].0[5] = 1.0;
            let block = Block::encode(&lines);
            let mut seen = [0.0; 3];
            block.add(5, &mut seen);
            assert!(seen.iter().all(|value| value.is_nan()), "{broken}: {seen:?}");
            assert_eq!(from_bf16(block.scales[4]), 0.0, "its neighbour is sound");
        }
        assert!(from_bf16(to_bf16(f32::NAN)).is_nan() && from_bf16(to_bf16(f32::from_bits(0x7F80_0001))).is_nan());
        assert_eq!((from_bf16(to_bf16(f32::INFINITY)), from_bf16(to_bf16(1.0))), (f32::INFINITY, 1.0));
    }
}
