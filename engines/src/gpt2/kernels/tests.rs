//! Kernels against plain loops, and against themselves.

use proptest::prelude::*;

use super::interleave::Interleaved;
use super::isa::Isa;
use super::linear::Linear;

/// Deterministic, with every magnitude and sign: sums of these round differently in each order.
fn noise(seed: u32, count: usize) -> Vec<f32> {
    (0..count).map(|i| (((i as u32).wrapping_add(seed) as f32 * 12.9898).sin() * 43_758.547).fract()).collect()
}

fn forward(linear: &Linear, x: &[f32], inputs: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / inputs * linear.outputs()];
    linear.forward(x, &mut y, &mut Interleaved::default());
    y
}

fn check(isa: Isa, inputs: usize, outputs: usize, rows: usize, seed: u32) {
    let (x, weight, bias) = (noise(seed, rows * inputs), noise(seed + 1, inputs * outputs), noise(seed + 2, outputs));
    let linear = Linear::from_columns(&weight, bias.clone(), isa);
    let y = forward(&linear, &x, inputs);
    let transposed: Vec<f32> = (0..outputs).flat_map(|output| weight[output..].iter().step_by(outputs).copied()).collect();
    let without_bias = forward(&Linear::from_rows(&transposed, inputs, isa), &x, inputs);
    for (row, x) in x.chunks(inputs).enumerate() {
        for output in 0..outputs {
            let products = (0..inputs).map(|input| f64::from(x[input]) * f64::from(weight[input * outputs + output]));
            let (sum, size) = products.fold((0.0, 1.0), |(sum, size), product| (sum + product, size + product.abs()));
            for (seen, wanted) in [(y[row * outputs + output], sum + f64::from(bias[output])), (without_bias[row * outputs + output], sum)]
            {
                assert!((f64::from(seen) - wanted).abs() < 1e-5 * size, "{isa:?}, row {row}, output {output}: {seen}, wanted {wanted}");
            }
        }
        let alone: Vec<u32> = forward(&linear, x, inputs).into_iter().map(f32::to_bits).collect();
        let among: Vec<u32> = y[row * outputs..][..outputs].iter().map(|value| value.to_bits()).collect();
        assert!(alone == among, "{isa:?}: row {row} of {rows} has other bits alone");
    }
    let mut row = vec![1.0; inputs];
    linear.add_row(outputs - 1, &mut row);
    let wanted: Vec<f32> = weight[outputs - 1..].iter().step_by(outputs).map(|weight| 1.0 + weight).collect();
    assert_eq!(row, wanted);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_layer_of_any_shape_is_what_plain_loops_say_and_each_row_is_as_alone(
        inputs in 1_usize..100, outputs in 1_usize..100, rows in 1_usize..40, seed in 0_u32..1000,
    ) {
        for isa in Isa::available() {
            check(isa, inputs, outputs, rows, seed);
        }
    }
}

#[test]
fn every_number_of_rows_in_one_call_of_a_kernel_is_computed_as_one_row_is() {
    for isa in Isa::available() {
        for rows in 1..=2 * isa.most_rows() + 1 {
            check(isa, 50, 70, rows, 3);
        }
    }
}

#[test]
fn layers_as_wide_as_real_ones_are_what_plain_loops_say() {
    for isa in Isa::available() {
        check(isa, 3072, 40, 14, 5);
        check(isa, 40, 3072, 14, 6);
    }
}

#[test]
fn kernels_that_fuse_products_and_sums_agree_with_each_other() {
    let (x, weight, bias) = (noise(1, 9 * 200), noise(2, 200 * 90), noise(3, 90));
    let fused: Vec<Vec<f32>> = Isa::available()
        .into_iter()
        .filter(|isa| !format!("{isa:?}").contains("Portable"))
        .map(|isa| forward(&Linear::from_columns(&weight, bias.clone(), isa), &x, 200))
        .collect();
    assert!(fused.windows(2).all(|pair| pair[0] == pair[1]));
}
