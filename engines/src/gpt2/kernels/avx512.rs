//! AVX-512 with VNNI: 32 outputs are two registers.

use std::arch::x86_64::{
    __m512, __m512bh, __m512i, _MM_HINT_T0, _mm_prefetch, _mm256_load_si256, _mm512_and_si512, _mm512_castsi512_ps, _mm512_cvtepi32_ps,
    _mm512_cvtepu16_epi32, _mm512_dpbf16_ps, _mm512_dpbusd_epi32, _mm512_fmadd_ps, _mm512_load_ps, _mm512_load_si512, _mm512_mul_ps,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_store_ps,
};

use super::isa::{Work, for_rows};
use super::lanes::Avx512;
use super::layout::{Block, GROUP_WORDS, Line, PREFETCHED_BYTES, Pairs};
use super::matrix::Panel;

/// 24 registers of sums, two of weights and one of inputs, out of 32.
pub(super) const MOST_ROWS: usize = 12;

#[target_feature(enable = "avx512f,avx512bw,avx2,fma")]
pub(super) fn run(work: impl Work) {
    work.run::<Avx512>();
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx2,fma")]
pub(super) fn product(panel: Panel<'_>, words: &[u32], products: &mut [Line]) {
    match panel {
        Panel::F32(lines) => for_rows!(products.len(), 1 2 3 4 5 6 7 8 9 10 11 12, f32_rows(lines, words, products)),
        Panel::Bf16(pairs) => for_rows!(products.len(), 1 2 3 4 5 6 7 8 9 10 11 12, bf16_rows(pairs, words, products)),
        Panel::Q8(blocks) => for_rows!(products.len(), 1 2 3 4 5 6 7 8 9 10 11 12, q8_rows(blocks, words, products)),
    }
}

/// As [`product`], with inputs that are pairs of bf16 for a panel of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512bf16,avx2,fma")]
pub(super) fn product_bf16(panel: Panel<'_>, words: &[u32], products: &mut [Line]) {
    match panel {
        Panel::Bf16(pairs) => for_rows!(products.len(), 1 2 3 4 5 6 7 8 9 10 11 12, bf16_pair_rows(pairs, words, products)),
        other => product(other, words, products),
    }
}

/// Asks for the 128 bytes that lie `PREFETCHED_BYTES` behind these.
#[target_feature(enable = "avx512f")]
fn prefetch<T>(value: &T) {
    let ahead = std::ptr::from_ref(value).cast::<i8>().wrapping_add(PREFETCHED_BYTES);
    // Of an address that isn't ours it does nothing.
    _mm_prefetch::<_MM_HINT_T0>(ahead);
    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
}

#[target_feature(enable = "avx512f")]
fn load_floats(line: &Line) -> [__m512; 2] {
    // SAFETY: a line is 32 values, aligned to 128 bytes: two aligned registers of 16.
    unsafe { [_mm512_load_ps(line.0.as_ptr()), _mm512_load_ps(line.0[16..].as_ptr())] }
}

/// 128 bytes as two registers.
#[target_feature(enable = "avx512f")]
fn load_words<T>(bytes: &[T; 32]) -> [__m512i; 2] {
    const { assert!(size_of::<T>() == 4) };
    let start = bytes.as_ptr().cast::<__m512i>();
    debug_assert!(start.is_aligned());
    // SAFETY: 32 values of four bytes; `Pairs` and `Block` are aligned to 64 bytes and these arrays lie in them at multiples of 128.
    unsafe { [_mm512_load_si512(start), _mm512_load_si512(start.wrapping_add(1))] }
}

#[target_feature(enable = "avx512f")]
fn store<const ROWS: usize>(sums: [[__m512; 2]; ROWS], products: &mut [Line]) {
    for (sums, products) in sums.into_iter().zip(products) {
        // SAFETY: a line is two aligned registers.
        unsafe {
            _mm512_store_ps(products.0.as_mut_ptr(), sums[0]);
            _mm512_store_ps(products.0[16..].as_mut_ptr(), sums[1]);
        }
    }
}

#[target_feature(enable = "avx512f")]
fn f32_rows<const ROWS: usize>(lines: &[Line], words: &[u32], products: &mut [Line]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (line, words) in lines.iter().zip(words.as_chunks::<ROWS>().0) {
        prefetch(line);
        let weights = load_floats(line);
        for (sums, &word) in sums.iter_mut().zip(words) {
            let input = _mm512_set1_ps(f32::from_bits(word));
            sums[0] = _mm512_fmadd_ps(weights[0], input, sums[0]);
            sums[1] = _mm512_fmadd_ps(weights[1], input, sums[1]);
        }
    }
    store(sums, products);
}

#[target_feature(enable = "avx512f")]
fn bf16_rows<const ROWS: usize>(pairs: &[Pairs], words: &[u32], products: &mut [Line]) {
    let upper = _mm512_set1_epi32(0xFFFF_0000_u32 as i32);
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (pairs, words) in pairs.iter().zip(words.as_chunks::<ROWS>().0.as_chunks::<2>().0) {
        prefetch(pairs);
        let weights = load_words(&pairs.0);
        let first = weights.map(|weights| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(weights)));
        let second = weights.map(|weights| _mm512_castsi512_ps(_mm512_and_si512(weights, upper)));
        for (weights, words) in [first, second].iter().zip(words) {
            for (sums, &word) in sums.iter_mut().zip(words) {
                let input = _mm512_set1_ps(f32::from_bits(word));
                sums[0] = _mm512_fmadd_ps(weights[0], input, sums[0]);
                sums[1] = _mm512_fmadd_ps(weights[1], input, sums[1]);
            }
        }
    }
    store(sums, products);
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn bf16_pair_rows<const ROWS: usize>(pairs: &[Pairs], words: &[u32], products: &mut [Line]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (pairs, words) in pairs.iter().zip(words.as_chunks::<ROWS>().0) {
        prefetch(pairs);
        let weights = load_words(&pairs.0).map(|pairs| as_pairs(pairs));
        for (sums, &word) in sums.iter_mut().zip(words) {
            let input = as_pairs(_mm512_set1_epi32(word as i32));
            sums[0] = _mm512_dpbf16_ps(sums[0], weights[0], input);
            sums[1] = _mm512_dpbf16_ps(sums[1], weights[1], input);
        }
    }
    store(sums, products);
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn as_pairs(words: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits of which every pattern is a value.
    unsafe { std::mem::transmute(words) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q8_rows<const ROWS: usize>(blocks: &[Block], words: &[u32], products: &mut [Line]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (block, words) in blocks.iter().zip(words.as_chunks::<ROWS>().0.as_chunks::<GROUP_WORDS>().0) {
        let [words @ .., offsets, scales] = words;
        let mut counts = [[_mm512_setzero_si512(); 2]; ROWS];
        for (counts, &offset) in counts.iter_mut().zip(offsets) {
            *counts = [_mm512_set1_epi32(offset as i32); 2];
        }
        for (weights, words) in block.weights.iter().zip(words) {
            prefetch(weights);
            let weights = load_words(weights);
            for (counts, &word) in counts.iter_mut().zip(words) {
                let inputs = _mm512_set1_epi32(word as i32);
                counts[0] = _mm512_dpbusd_epi32(counts[0], weights[0], inputs);
                counts[1] = _mm512_dpbusd_epi32(counts[1], weights[1], inputs);
            }
        }
        prefetch(&block.scales);
        let weight_scales = scales_of(block);
        for ((sums, counts), &scale) in sums.iter_mut().zip(counts).zip(scales) {
            let scale = _mm512_set1_ps(f32::from_bits(scale));
            sums[0] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(counts[0]), _mm512_mul_ps(weight_scales[0], scale), sums[0]);
            sums[1] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(counts[1]), _mm512_mul_ps(weight_scales[1], scale), sums[1]);
        }
    }
    store(sums, products);
}

#[target_feature(enable = "avx512f,avx512bw")]
fn scales_of(block: &Block) -> [__m512; 2] {
    let start = block.scales.as_ptr().cast();
    // SAFETY: 32 values of two bytes, aligned to 64: two aligned registers of 32 bytes.
    let scales = unsafe { [_mm256_load_si256(start), _mm256_load_si256(start.wrapping_add(1))] };
    scales.map(|scales| _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(scales))))
}
