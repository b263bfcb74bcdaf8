//! AVX2 with FMA: 32 outputs are four registers.

use std::arch::x86_64::{
    __m256, __m256i, _MM_HINT_T0, _mm_load_si128, _mm_prefetch, _mm256_abs_epi8, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_ps,
    _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_fmadd_ps, _mm256_load_ps, _mm256_load_si256, _mm256_madd_epi16, _mm256_maddubs_epi16,
    _mm256_mul_ps, _mm256_set1_epi8, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps, _mm256_setzero_si256,
    _mm256_sign_epi8, _mm256_slli_epi32, _mm256_store_ps, _mm256_xor_si256,
};

use super::isa::{Work, for_rows};
use super::lanes::Avx2;
use super::layout::{Block, GROUP_WORDS, Line, OUTPUTS, PREFETCHED_BYTES, Pairs};
use super::matrix::Panel;

/// 12 registers of sums (of half a line each), two of weights and one of inputs, out of 16.
pub(super) const MOST_ROWS: usize = 6;

#[target_feature(enable = "avx2,fma")]
pub(super) fn run(work: impl Work) {
    work.run::<Avx2>();
}

/// Few rows take whole lines; with more of them the panel is read twice, the second time from a cache.
#[target_feature(enable = "avx2,fma")]
pub(super) fn product(panel: Panel<'_>, words: &[u32], products: &mut [Line]) {
    match panel {
        Panel::F32(lines) if products.len() <= 3 => for_rows!(products.len(), 1 2 3, f32_rows, 4(lines, words, products, 0)),
        Panel::Bf16(pairs) if products.len() <= 3 => for_rows!(products.len(), 1 2 3, bf16_rows, 4(pairs, words, products, 0)),
        Panel::Q8(blocks) if products.len() == 1 => q8_rows::<1, 4>(blocks, words, products, 0),
        _ => {
            for first in [0, OUTPUTS / 2] {
                match panel {
                    Panel::F32(lines) => for_rows!(products.len(), 4 5 6, f32_rows, 2(lines, words, products, first)),
                    Panel::Bf16(pairs) => for_rows!(products.len(), 4 5 6, bf16_rows, 2(pairs, words, products, first)),
                    Panel::Q8(blocks) => for_rows!(products.len(), 2 3 4 5 6, q8_rows, 2(blocks, words, products, first)),
                }
            }
        }
    }
}

/// Asks for the 128 bytes that lie `PREFETCHED_BYTES` behind these.
#[target_feature(enable = "avx2")]
fn prefetch<T>(value: &T) {
    let ahead = std::ptr::from_ref(value).cast::<i8>().wrapping_add(PREFETCHED_BYTES);
    // Of an address that isn't ours it does nothing.
    _mm_prefetch::<_MM_HINT_T0>(ahead);
    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
}

/// Eight floats from a multiple of eight on.
#[target_feature(enable = "avx2")]
fn load_floats(line: &Line, first: usize) -> __m256 {
    debug_assert!(first.is_multiple_of(8));
    // SAFETY: the slice checks that they are there; a line is aligned to 128 bytes.
    unsafe { _mm256_load_ps(line.0[first..][..8].as_ptr()) }
}

/// Eight words from a multiple of eight on.
#[target_feature(enable = "avx2")]
fn load_words<T>(words: &[T; OUTPUTS], first: usize) -> __m256i {
    const { assert!(size_of::<T>() == 4) };
    debug_assert!(first.is_multiple_of(8));
    let start = words[first..][..8].as_ptr().cast::<__m256i>();
    debug_assert!(start.is_aligned());
    // SAFETY: the slice checks that they are there; `Pairs` and `Block` are aligned to 64 bytes and these arrays lie in them at
    // multiples of 128.
    unsafe { _mm256_load_si256(start) }
}

#[target_feature(enable = "avx2")]
fn store<const ROWS: usize, const REGISTERS: usize>(sums: [[__m256; REGISTERS]; ROWS], products: &mut [Line], first: usize) {
    for (sums, products) in sums.into_iter().zip(products) {
        for (register, sum) in sums.into_iter().enumerate() {
            // SAFETY: the slice checks that they are there; a line is aligned to 128 bytes and `first` a multiple of eight.
            unsafe { _mm256_store_ps(products.0[first + 8 * register..][..8].as_mut_ptr(), sum) };
        }
    }
}

/// `8 · REGISTERS` outputs of the panel from `first` on.
#[target_feature(enable = "avx2,fma")]
fn f32_rows<const ROWS: usize, const REGISTERS: usize>(lines: &[Line], words: &[u32], products: &mut [Line], first: usize) {
    let mut sums = [[_mm256_setzero_ps(); REGISTERS]; ROWS];
    for (line, words) in lines.iter().zip(words.as_chunks::<ROWS>().0) {
        prefetch(line);
        let mut weights = [_mm256_setzero_ps(); REGISTERS];
        for (register, weights) in weights.iter_mut().enumerate() {
            *weights = load_floats(line, first + 8 * register);
        }
        add(&mut sums, &weights, words);
    }
    store(sums, products, first);
}

#[target_feature(enable = "avx2,fma")]
fn add<const ROWS: usize, const REGISTERS: usize>(
    sums: &mut [[__m256; REGISTERS]; ROWS],
    weights: &[__m256; REGISTERS],
    words: &[u32; ROWS],
) {
    for (sums, &word) in sums.iter_mut().zip(words) {
        let input = _mm256_set1_ps(f32::from_bits(word));
        for (sum, &weights) in sums.iter_mut().zip(weights) {
            *sum = _mm256_fmadd_ps(weights, input, *sum);
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn bf16_rows<const ROWS: usize, const REGISTERS: usize>(pairs: &[Pairs], words: &[u32], products: &mut [Line], first: usize) {
    let upper = _mm256_set1_epi32(0xFFFF_0000_u32 as i32);
    let mut sums = [[_mm256_setzero_ps(); REGISTERS]; ROWS];
    for (pairs, words) in pairs.iter().zip(words.as_chunks::<ROWS>().0.as_chunks::<2>().0) {
        prefetch(pairs);
        let (mut lower_halves, mut upper_halves) = ([_mm256_setzero_ps(); REGISTERS], [_mm256_setzero_ps(); REGISTERS]);
        for (register, (lower_half, upper_half)) in lower_halves.iter_mut().zip(&mut upper_halves).enumerate() {
            let both = load_words(&pairs.0, first + 8 * register);
            *lower_half = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(both));
            *upper_half = _mm256_castsi256_ps(_mm256_and_si256(both, upper));
        }
        add(&mut sums, &lower_halves, &words[0]);
        add(&mut sums, &upper_halves, &words[1]);
    }
    store(sums, products, first);
}

/// Without VNNI: the weights' magnitudes times inputs that have taken over their signs, so that two products fit 16 bits (2 · 127²).
#[target_feature(enable = "avx2,fma")]
fn q8_rows<const ROWS: usize, const REGISTERS: usize>(blocks: &[Block], words: &[u32], products: &mut [Line], first: usize) {
    let (offset, ones) = (_mm256_set1_epi8(i8::MIN), _mm256_set1_epi16(1));
    let mut sums = [[_mm256_setzero_ps(); REGISTERS]; ROWS];
    for (block, words) in blocks.iter().zip(words.as_chunks::<ROWS>().0.as_chunks::<GROUP_WORDS>().0) {
        let [words @ .., _, scales] = words;
        let mut counts = [[_mm256_setzero_si256(); REGISTERS]; ROWS];
        for (weights, words) in block.weights.iter().zip(words) {
            prefetch(weights);
            for register in 0..REGISTERS {
                let weights = _mm256_xor_si256(load_words(weights, first + 8 * register), offset);
                let magnitudes = _mm256_abs_epi8(weights);
                for (counts, &word) in counts.iter_mut().zip(words) {
                    let inputs = _mm256_sign_epi8(_mm256_set1_epi32(word as i32), weights);
                    let products = _mm256_madd_epi16(_mm256_maddubs_epi16(magnitudes, inputs), ones);
                    counts[register] = _mm256_add_epi32(counts[register], products);
                }
            }
        }
        for register in 0..REGISTERS {
            let weight_scales = scales_of(block, first + 8 * register);
            for ((sums, counts), &scale) in sums.iter_mut().zip(&counts).zip(scales) {
                let scale = _mm256_mul_ps(weight_scales, _mm256_set1_ps(f32::from_bits(scale)));
                sums[register] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(counts[register]), scale, sums[register]);
            }
        }
    }
    store(sums, products, first);
}

#[target_feature(enable = "avx2")]
fn scales_of(block: &Block, first: usize) -> __m256 {
    debug_assert!(first.is_multiple_of(8));
    // SAFETY: the slice checks that they are there; scales are aligned to 64 bytes and eight of them take 16.
    let scales = unsafe { _mm_load_si128(block.scales[first..][..8].as_ptr().cast()) };
    _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(scales)))
}
