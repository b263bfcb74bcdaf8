//! Plain Rust, in loops that compilers turn into the vector instructions of any machine.

use super::isa::for_rows;
use super::layout::{Block, GROUP_WORDS, Line, OUTPUTS, Pairs, from_bf16};
use super::matrix::Panel;

/// With eight outputs at a time, eight registers of four: what every machine has.
pub(super) const MOST_ROWS: usize = 4;
const OUTPUTS_AT_ONCE: usize = 8;

pub(super) fn product(panel: Panel<'_>, words: &[u32], products: &mut [Line]) {
    for first in (0..OUTPUTS).step_by(OUTPUTS_AT_ONCE) {
        match panel {
            Panel::F32(lines) => for_rows!(products.len(), 1 2 3 4, f32_rows(lines, words, products, first)),
            Panel::Bf16(pairs) => for_rows!(products.len(), 1 2 3 4, bf16_rows(pairs, words, products, first)),
            Panel::Q8(blocks) => for_rows!(products.len(), 1 2 3 4, q8_rows(blocks, words, products, first)),
        }
    }
}

type Sums<const ROWS: usize> = [[f32; OUTPUTS_AT_ONCE]; ROWS];

fn store<const ROWS: usize>(sums: Sums<ROWS>, products: &mut [Line], first: usize) {
    for (sums, products) in sums.iter().zip(products) {
        products.0[first..][..OUTPUTS_AT_ONCE].copy_from_slice(sums);
    }
}

fn add<const ROWS: usize>(sums: &mut Sums<ROWS>, weights: [f32; OUTPUTS_AT_ONCE], words: &[u32; ROWS]) {
    for (sums, &word) in sums.iter_mut().zip(words) {
        let input = f32::from_bits(word);
        for (sum, weight) in sums.iter_mut().zip(weights) {
            *sum += weight * input;
        }
    }
}

fn f32_rows<const ROWS: usize>(lines: &[Line], words: &[u32], products: &mut [Line], first: usize) {
    let mut sums = [[0.0; OUTPUTS_AT_ONCE]; ROWS];
    for (line, words) in lines.iter().zip(words.as_chunks::<ROWS>().0) {
        add(&mut sums, std::array::from_fn(|output| line.0[first + output]), words);
    }
    store(sums, products, first);
}

fn bf16_rows<const ROWS: usize>(pairs: &[Pairs], words: &[u32], products: &mut [Line], first: usize) {
    let mut sums = [[0.0; OUTPUTS_AT_ONCE]; ROWS];
    for (pairs, words) in pairs.iter().zip(words.as_chunks::<ROWS>().0.as_chunks::<2>().0) {
        let pairs: [u32; OUTPUTS_AT_ONCE] = std::array::from_fn(|output| pairs.0[first + output]);
        add(&mut sums, pairs.map(|pair| f32::from_bits(pair << 16)), &words[0]);
        add(&mut sums, pairs.map(|pair| f32::from_bits(pair & 0xFFFF_0000)), &words[1]);
    }
    store(sums, products, first);
}

fn q8_rows<const ROWS: usize>(blocks: &[Block], words: &[u32], products: &mut [Line], first: usize) {
    let mut sums = [[0.0; OUTPUTS_AT_ONCE]; ROWS];
    for (block, words) in blocks.iter().zip(words.as_chunks::<ROWS>().0.as_chunks::<GROUP_WORDS>().0) {
        let [words @ .., offsets, scales] = words;
        for row in 0..ROWS {
            let mut counts = [offsets[row] as i32; OUTPUTS_AT_ONCE];
            for (weights, words) in block.weights.iter().zip(words) {
                let inputs = words[row].to_le_bytes().map(|byte| i32::from(byte as i8));
                for (count, weights) in counts.iter_mut().zip(&weights[first..]) {
                    for (&weight, input) in weights.iter().zip(inputs) {
                        *count += i32::from(weight) * input;
                    }
                }
            }
            let scale = f32::from_bits(scales[row]);
            for ((sum, count), &weight_scale) in sums[row].iter_mut().zip(counts).zip(&block.scales[first..]) {
                *sum += count as f32 * (from_bf16(weight_scale) * scale);
            }
        }
    }
    store(sums, products, first);
}
