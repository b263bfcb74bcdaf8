//! Kernels against plain loops, and against themselves.

use proptest::prelude::*;

use super::inputs::Inputs;
use super::isa::Isa;
use super::linear::{Linear, Outcome};
use super::matrix::Published;
use super::memory::Memory;
use super::team::Team;
use crate::gpt2::Dtype;

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::Bf16, Dtype::Q8];

/// Deterministic, with every magnitude and sign: sums of these round differently in each order.
fn noise(seed: u32, count: usize) -> Vec<f32> {
    (0..count).map(|i| (((i as u32).wrapping_add(seed) as f32 * 12.9898).sin() * 43_758.547).fract()).collect()
}

fn layer(published: Published<'_>, bias: Vec<f32>, dtype: Dtype, isa: Isa) -> Linear {
    let (inputs, outputs) = (published.values() / bias.len(), bias.len());
    let mut memory = Memory::new(Linear::bytes(inputs, outputs, dtype)).unwrap();
    let mut linear = Linear::zeros(inputs, bias, dtype, isa, &mut memory).unwrap();
    linear.fill(0, published);
    linear
}

fn forward(linear: &Linear, x: &[f32], inputs: usize, team: &Team) -> Vec<f32> {
    let mut y = vec![f32::NAN; x.len() / inputs * linear.outputs()];
    linear.forward(x, &mut y, Outcome::Place, &mut Inputs::default(), team);
    y
}

/// How far a product may be off, as a share of the largest one possible for these weights and inputs.
fn error(dtype: Dtype) -> f64 {
    match dtype {
        Dtype::F32 => 1e-6,
        // Two roundings of 2^-9 in the worst case, where the processor takes inputs of bf16, too.
        Dtype::Bf16 => 4.1e-3,
        Dtype::Q8 => 1.0 / 127.0,
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

fn check(isa: Isa, dtype: Dtype, inputs: usize, outputs: usize, rows: usize, seed: u32) {
    let (x, weight, bias) = (noise(seed, rows * inputs), noise(seed + 1, inputs * outputs), noise(seed + 2, outputs));
    let (one, two) = (Team::new(1), Team::new(2));
    let linear = layer(Published::Columns(&weight), bias.clone(), dtype, isa);
    let y = forward(&linear, &x, inputs, &two);
    let transposed: Vec<f32> = (0..outputs).flat_map(|output| weight[output..].iter().step_by(outputs).copied()).collect();
    assert_eq!(bits(&forward(&layer(Published::Rows(&transposed), bias.clone(), dtype, isa), &x, inputs, &two)), bits(&y));
    for (row, x) in x.chunks(inputs).enumerate() {
        for output in 0..outputs {
            let products = (0..inputs).map(|input| f64::from(x[input]) * f64::from(weight[input * outputs + output]));
            let wanted = products.sum::<f64>() + f64::from(bias[output]);
            let seen = f64::from(y[row * outputs + output]);
            // Both are below 1.
            assert!(
                (seen - wanted).abs() < error(dtype) * (inputs + 1) as f64,
                "{isa:?}, {dtype:?}, row {row}, output {output}: {seen}, wanted {wanted}"
            );
        }
        let alone = forward(&linear, x, inputs, &one);
        assert!(bits(&alone) == bits(&y[row * outputs..][..outputs]), "{isa:?}, {dtype:?}: row {row} of {rows} has other bits alone");
    }
    let mut row = vec![1.0; inputs];
    linear.add_row(outputs - 1, &mut row);
    for (seen, weight) in row.iter().zip(weight[outputs - 1..].iter().step_by(outputs)) {
        assert!(f64::from(seen - (1.0 + weight)).abs() <= error(dtype), "{dtype:?}: {seen}, wanted {}", 1.0 + weight);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_layer_of_any_shape_is_what_plain_loops_say_and_each_row_is_as_alone(
        inputs in 1_usize..100, outputs in 1_usize..100, rows in 1_usize..40, seed in 0_u32..1000,
    ) {
        for isa in Isa::available() {
            for dtype in DTYPES {
                check(isa, dtype, inputs, outputs, rows, seed);
            }
        }
    }
}

#[test]
fn every_number_of_rows_in_one_call_of_a_kernel_is_computed_as_one_row_is() {
    for isa in Isa::available() {
        for rows in 1..=2 * isa.most_rows() + 1 {
            DTYPES.iter().for_each(|&dtype| check(isa, dtype, 50, 70, rows, 3));
        }
    }
}

#[test]
fn layers_as_wide_as_real_ones_are_what_plain_loops_say() {
    for isa in Isa::available() {
        for dtype in DTYPES {
            check(isa, dtype, 3072, 40, 14, 5);
            check(isa, dtype, 40, 3072, 14, 6);
        }
    }
}

#[test]
fn kernels_that_fuse_products_and_sums_agree_with_each_other() {
    let (x, weight, bias) = (noise(1, 9 * 200), noise(2, 200 * 90), noise(3, 90));
    for dtype in DTYPES {
        let fused = Isa::available().into_iter().filter(|isa| isa.name() != "portable");
        let comparable = fused.filter(|isa| dtype != Dtype::Bf16 || !isa.multiplies_bf16());
        let team = Team::new(1);
        let seen: Vec<Vec<u32>> =
            comparable.map(|isa| bits(&forward(&layer(Published::Columns(&weight), bias.clone(), dtype, isa), &x, 200, &team))).collect();
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{dtype:?}");
    }
}

/// With whole numbers below 128 and scales that are powers of two `q8` is exact.
#[test]
fn whole_numbers_are_multiplied_exactly_in_q8() {
    let (inputs, outputs, rows) = (70, 40, 7);
    let whole = |seed: usize, i: usize| if i.is_multiple_of(3) { 127.0 } else { ((i * 31 + seed * 17) % 255) as f32 - 127.0 };
    let weight: Vec<f32> = (0..inputs * outputs).map(|i| whole(1, i)).collect();
    let x: Vec<f32> = (0..inputs * rows).map(|i| whole(2, i)).collect();
    for isa in Isa::available() {
        let y = forward(&layer(Published::Rows(&weight), vec![0.0; outputs], Dtype::Q8, isa), &x, inputs, &Team::new(1));
        for (row, output) in (0..rows).flat_map(|row| (0..outputs).map(move |output| (row, output))) {
            let wanted: f32 = (0..inputs).map(|input| x[row * inputs + input] * weight[output * inputs + input]).sum();
            assert_eq!(y[row * outputs + output], wanted, "{isa:?}, row {row}, output {output}");
        }
    }
}

#[test]
fn what_is_no_number_is_none_afterwards() {
    for isa in Isa::available() {
        for dtype in DTYPES {
            let linear = layer(Published::Columns(&noise(1, 64 * 33)), vec![0.0; 33], dtype, isa);
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut x = noise(2, 2 * 64);
                x[40] = bad;
                let y = forward(&linear, &x, 64, &Team::new(1));
                assert!(y[..33].iter().all(|value| !value.is_finite()), "{isa:?}, {dtype:?}, {bad}");
                assert!(y[33..].iter().all(|value| value.is_finite()), "{isa:?}, {dtype:?}, {bad}: the other row is whole");
            }
        }
    }
}

#[test]
fn results_go_where_they_are_to_go() {
    let (x, weight, bias) = (noise(1, 3 * 40), noise(2, 40 * 33), noise(3, 33));
    for isa in Isa::available() {
        let linear = layer(Published::Columns(&weight), bias.clone(), Dtype::F32, isa);
        let placed = forward(&linear, &x, 40, &Team::new(1));
        let mut sums = vec![2.0; placed.len()];
        linear.forward(&x, &mut sums, Outcome::Sum, &mut Inputs::default(), &Team::new(1));
        assert!(sums.iter().zip(&placed).all(|(sum, value)| *sum == 2.0 + value));
        let mut gelus = vec![f32::NAN; placed.len()];
        linear.forward(&x, &mut gelus, Outcome::Gelu, &mut Inputs::default(), &Team::new(1));
        for (gelu, value) in gelus.iter().zip(&placed) {
            let wanted = value * 0.5 * (1.0 + (0.797_884_6 * (value + 0.044_715 * value.powi(3))).tanh());
            assert!((gelu - wanted).abs() < 1e-5 * value.abs().max(1.0), "{gelu}, wanted {wanted}");
        }
    }
}
