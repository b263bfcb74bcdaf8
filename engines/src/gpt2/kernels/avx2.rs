//! AVX2 with FMA: a panel's line is four registers.

use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch, _mm256_fmadd_ps, _mm256_load_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_store_ps};

use super::isa::Work;
use super::panels::{Line, PREFETCHED_LINES};

/// 12 registers of sums (of half a line each), two of weights and one of inputs, out of 16.
pub(super) const MOST_ROWS: usize = 6;

#[target_feature(enable = "avx2,fma")]
pub(super) fn run(work: impl Work) {
    work.run();
}

#[target_feature(enable = "avx2,fma")]
pub(super) fn product(panel: &[Line], inputs: &[f32], products: &mut [Line]) {
    match products.len() {
        1 => rows::<1, 4>(panel, inputs, products, 0),
        2 => rows::<2, 4>(panel, inputs, products, 0),
        3 => rows::<3, 4>(panel, inputs, products, 0),
        4 => halves::<4>(panel, inputs, products),
        5 => halves::<5>(panel, inputs, products),
        6 => halves::<6>(panel, inputs, products),
        rows => unreachable!("{rows} rows; a kernel takes 1 to {MOST_ROWS}"),
    }
}

/// Too many rows for whole lines: the panel is read twice, the second time from a cache.
#[target_feature(enable = "avx2,fma")]
fn halves<const ROWS: usize>(panel: &[Line], inputs: &[f32], products: &mut [Line]) {
    rows::<ROWS, 2>(panel, inputs, products, 0);
    rows::<ROWS, 2>(panel, inputs, products, 16);
}

/// `8 · REGISTERS` outputs of the panel from `first` on.
#[target_feature(enable = "avx2,fma")]
fn rows<const ROWS: usize, const REGISTERS: usize>(panel: &[Line], inputs: &[f32], products: &mut [Line], first: usize) {
    assert!(first + 8 * REGISTERS <= 32 && first.is_multiple_of(8));
    let mut sums = [[_mm256_setzero_ps(); REGISTERS]; ROWS];
    for (line, inputs) in panel.iter().zip(inputs.as_chunks::<ROWS>().0) {
        let ahead = std::ptr::from_ref(line).wrapping_add(PREFETCHED_LINES).cast::<i8>();
        let mut weights = [_mm256_setzero_ps(); REGISTERS];
        // SAFETY: a prefetch of an address that isn't ours does nothing. A line is 32 values, aligned to 128 bytes, so eight of them
        // from a multiple of eight are an aligned register; the slice checks that they are there.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(ahead);
            _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(64));
            for (register, weights) in weights.iter_mut().enumerate() {
                *weights = _mm256_load_ps(line.0[first + 8 * register..][..8].as_ptr());
            }
        }
        for (sums, &input) in sums.iter_mut().zip(inputs) {
            let input = _mm256_set1_ps(input);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm256_fmadd_ps(weights, input, *sum);
            }
        }
    }
    for (sums, products) in sums.into_iter().zip(products) {
        for (register, sum) in sums.into_iter().enumerate() {
            // SAFETY: as above, an aligned register that the slice has checked.
            unsafe { _mm256_store_ps(products.0[first + 8 * register..][..8].as_mut_ptr(), sum) };
        }
    }
}
