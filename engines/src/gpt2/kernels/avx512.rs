//! AVX-512: a panel's line is two registers.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _mm512_fmadd_ps, _mm512_load_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_store_ps};

use super::isa::Work;
use super::panels::{Line, PREFETCHED_LINES};

/// 24 registers of sums, two of weights and one of inputs, out of 32.
pub(super) const MOST_ROWS: usize = 12;

#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) fn run(work: impl Work) {
    work.run();
}

#[target_feature(enable = "avx512f,avx2,fma")]
pub(super) fn product(panel: &[Line], inputs: &[f32], products: &mut [Line]) {
    match products.len() {
        1 => rows::<1>(panel, inputs, products),
        2 => rows::<2>(panel, inputs, products),
        3 => rows::<3>(panel, inputs, products),
        4 => rows::<4>(panel, inputs, products),
        5 => rows::<5>(panel, inputs, products),
        6 => rows::<6>(panel, inputs, products),
        7 => rows::<7>(panel, inputs, products),
        8 => rows::<8>(panel, inputs, products),
        9 => rows::<9>(panel, inputs, products),
        10 => rows::<10>(panel, inputs, products),
        11 => rows::<11>(panel, inputs, products),
        12 => rows::<12>(panel, inputs, products),
        rows => unreachable!("{rows} rows; a kernel takes 1 to {MOST_ROWS}"),
    }
}

#[target_feature(enable = "avx512f,avx2,fma")]
fn rows<const ROWS: usize>(panel: &[Line], inputs: &[f32], products: &mut [Line]) {
    let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
    for (line, inputs) in panel.iter().zip(inputs.as_chunks::<ROWS>().0) {
        let ahead = std::ptr::from_ref(line).wrapping_add(PREFETCHED_LINES).cast::<i8>();
        // SAFETY: a prefetch of an address that isn't ours does nothing. A line is 32 values, aligned to 128 bytes: two aligned
        // registers of 16.
        let weights = unsafe {
            _mm_prefetch::<_MM_HINT_T0>(ahead);
            _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
            [_mm512_load_ps(line.0.as_ptr()), _mm512_load_ps(line.0[16..].as_ptr())]
        };
        for (sums, &input) in sums.iter_mut().zip(inputs) {
            let input = _mm512_set1_ps(input);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm512_fmadd_ps(weights, input, *sum);
            }
        }
    }
    for (sums, products) in sums.into_iter().zip(products) {
        // SAFETY: as above, a line is two aligned registers.
        unsafe {
            _mm512_store_ps(products.0.as_mut_ptr(), sums[0]);
            _mm512_store_ps(products.0[16..].as_mut_ptr(), sums[1]);
        }
    }
}
