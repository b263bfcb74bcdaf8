//! Matrix products whose rows keep their bits whatever the other rows are.

use candle_core::{Result, Tensor};

/// Rows that a product needs at least.
///
/// candle's f32 product reduces a row in one order at any number of rows from two on; a single row takes another path.
pub(super) const MIN_ROWS: usize = 2;

/// Columns that a product gets at least, by columns of zeros.
///
/// Below, the order of a sum depends on the number of rows: up to 256 results are computed by dot products of their own, and up
/// to 64 columns are cut into other lengths than wider ones. No other shape does that.
const MIN_COLUMNS: usize = 129;

/// `x · weight + bias` for `x` of `[rows, inputs]`.
pub(super) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    outputs: usize,
}

impl Linear {
    /// `weight` is `[inputs, outputs]`, the published layout of GPT-2's blocks: candle reads it as it is, where it would repack
    /// `[outputs, inputs]` at every step (3072 to 768, two rows: 0.24 ms and 1.8 ms). As wide as a head, the transposed view is
    /// as fast or faster (13 ms both at two rows).
    pub(super) fn new(weight: Tensor, bias: Option<Tensor>) -> Result<Self> {
        let outputs = weight.dim(1)?;
        let missing = MIN_COLUMNS.saturating_sub(outputs);
        if missing == 0 {
            return Ok(Self { weight, bias, outputs });
        }
        let weight = weight.pad_with_zeros(1, 0, missing)?.contiguous()?;
        let bias = bias.map(|bias| bias.pad_with_zeros(0, 0, missing)).transpose()?;
        Ok(Self { weight, bias, outputs })
    }

    /// `x` has at least [`MIN_ROWS`] rows.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        debug_assert!(x.dim(0)? >= MIN_ROWS);
        let y = x.matmul(&self.weight)?;
        let y = match &self.bias {
            Some(bias) => y.broadcast_add(bias)?,
            None => y,
        };
        if y.dim(1)? == self.outputs { Ok(y) } else { y.narrow(1, 0, self.outputs)?.contiguous() }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    fn bits(x: &Tensor) -> Vec<Vec<u32>> {
        let rows: Vec<Vec<f32>> = x.to_vec2().unwrap();
        rows.into_iter().map(|row| row.into_iter().map(f32::to_bits).collect()).collect()
    }

    /// Deterministic, with every magnitude and sign: sums of these round differently in each order.
    fn noise(rows: usize, columns: usize) -> Tensor {
        let values: Vec<f32> = (0..rows * columns).map(|i| ((i as f32 * 12.9898).sin() * 43758.547).fract()).collect();
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).unwrap()
    }

    #[test]
    fn a_row_has_the_same_bits_at_any_number_of_rows_from_two() {
        // Wide and narrow, long and short: each of candle's paths, and the two layouts (the tied head is a transposed view).
        for (inputs, outputs) in [(768, 2304), (3072, 768), (600, 40), (1024, 64), (600, 100), (32, 96), (8, 3), (2, 7), (1, 1)] {
            let x = noise(140, inputs);
            for weight in [noise(inputs, outputs), noise(outputs, inputs).t().unwrap()] {
                let linear = Linear::new(weight, Some(noise(1, outputs).squeeze(0).unwrap())).unwrap();
                let whole = bits(&linear.forward(&x).unwrap());
                for rows in [2, 3, 4, 5, 8, 15, 16, 17, 31, 33, 64, 65, 100, 128] {
                    for first in [0, 3, 12] {
                        let part = bits(&linear.forward(&x.narrow(0, first, rows).unwrap()).unwrap());
                        assert!(part == whole[first..first + rows], "{inputs} to {outputs}, {rows} rows from {first}");
                    }
                }
            }
        }
    }
}
