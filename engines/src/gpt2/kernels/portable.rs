//! Plain Rust, in loops that compilers turn into the vector instructions of any machine.

use super::panels::Line;

/// With eight outputs at a time, eight registers of four: what every machine has.
pub(super) const MOST_ROWS: usize = 4;
const OUTPUTS: usize = 8;

pub(super) fn product(panel: &[Line], inputs: &[f32], products: &mut [Line]) {
    match products.len() {
        1 => rows::<1>(panel, inputs, products),
        2 => rows::<2>(panel, inputs, products),
        3 => rows::<3>(panel, inputs, products),
        4 => rows::<4>(panel, inputs, products),
        rows => unreachable!("{rows} rows; a kernel takes 1 to {MOST_ROWS}"),
    }
}

fn rows<const ROWS: usize>(panel: &[Line], inputs: &[f32], products: &mut [Line]) {
    for part in 0..32 / OUTPUTS {
        let mut sums = [[0.0_f32; OUTPUTS]; ROWS];
        for (line, inputs) in panel.iter().zip(inputs.as_chunks::<ROWS>().0) {
            let weights = &line.0.as_chunks::<OUTPUTS>().0[part];
            for (sums, &input) in sums.iter_mut().zip(inputs) {
                for (sum, &weight) in sums.iter_mut().zip(weights) {
                    *sum += weight * input;
                }
            }
        }
        for (sums, products) in sums.iter().zip(products.iter_mut()) {
            products.0.as_chunks_mut::<OUTPUTS>().0[part] = *sums;
        }
    }
}
