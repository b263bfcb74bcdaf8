//! Linear layers.

use candle_core::Result;

use super::disjoint::Disjoint;
use super::inputs::Inputs;
use super::isa::{Isa, Work};
use super::lanes::{LANES, Lanes};
use super::layout::{Line, OUTPUTS};
use super::matrix::{Matrix, Published};
use super::memory::Memory;
use super::rows::gelu;
use super::team::Team;
use crate::gpt2::Dtype;

/// `x · weight + bias`.
pub(in crate::gpt2) struct Linear {
    matrix: Matrix,
    /// Filled up with zeros to the last panel's end.
    bias: Vec<f32>,
    outputs: usize,
    inputs: usize,
    dtype: Dtype,
    isa: Isa,
}

/// What becomes of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::gpt2) enum Outcome {
    /// It is put in place of what was there.
    Place,
    /// Its gelu is.
    Gelu,
    /// It is added to what was there.
    Sum,
}

impl Linear {
    /// With weights that are zeros until they are filled in; `bias` has one value for each output.
    pub(in crate::gpt2) fn zeros(inputs: usize, mut bias: Vec<f32>, dtype: Dtype, isa: Isa, memory: &mut Memory) -> Result<Self> {
        let outputs = bias.len();
        bias.resize(outputs.next_multiple_of(OUTPUTS), 0.0);
        Ok(Self { matrix: Matrix::zeros(inputs, outputs, dtype, memory)?, bias, outputs, inputs, dtype, isa })
    }

    /// Puts in the weights of the outputs from `first` on, a multiple of 32: to the last output, or another multiple of 32.
    pub(in crate::gpt2) fn fill(&mut self, first: usize, published: Published<'_>) {
        self.matrix.fill(first / OUTPUTS, published, self.inputs);
    }

    /// Bytes that such a layer takes of its memory.
    pub(in crate::gpt2) fn bytes(inputs: usize, outputs: usize, dtype: Dtype) -> usize {
        Matrix::bytes(inputs, outputs, dtype)
    }

    pub(in crate::gpt2) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Adds one output's weights to as many values: a tied head is the embedding, too.
    pub(in crate::gpt2) fn add_row(&self, output: usize, to: &mut [f32]) {
        self.matrix.add_row(output, to);
    }

    /// `x` is `[rows, inputs]`, `y` `[rows, outputs]`; `encoded` is there to be used again by the next layer.
    pub(in crate::gpt2) fn forward(&self, x: &[f32], y: &mut [f32], outcome: Outcome, encoded: &mut Inputs, team: &Team) {
        let (rows, outputs) = (x.len() / self.inputs, self.outputs);
        assert!(x.len() == rows * self.inputs && y.len() == rows * outputs, "{} inputs, {} outputs", x.len(), y.len());
        encoded.fill(x, self.inputs, self.dtype, self.isa, team);
        let (encoded, y) = (&*encoded, Disjoint::new(y));
        team.share_out(self.matrix.panels(), |panels| {
            let mut products = [Line::ZERO; MOST_ROWS];
            for index in panels {
                let first = index * OUTPUTS;
                let (bias, count) = (&self.bias.as_chunks().0[index], OUTPUTS.min(outputs - first));
                for group in encoded.groups() {
                    let products = &mut products[..group.rows];
                    self.isa.product(self.matrix.panel(index), group.words, products);
                    let row = |row: usize| {
                        // SAFETY: these are places of this panel's outputs in one row, and each panel belongs to one call of this
                        // closure; so nobody else has them.
                        unsafe { y.part((group.first_row + row) * outputs + first, count) }
                    };
                    self.isa.run(Finish { products, bias, outcome, row });
                }
            }
        });
    }
}

/// Of all sets of instructions.
const MOST_ROWS: usize = 12;

/// Brings products where they belong.
struct Finish<'a, F> {
    products: &'a [Line],
    bias: &'a [f32; OUTPUTS],
    outcome: Outcome,
    row: F,
}

impl<'a, F: Fn(usize) -> &'a mut [f32]> Work for Finish<'_, F> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { products, bias, outcome, row } = self;
        for (index, product) in products.iter().enumerate() {
            let y = row(index);
            match <&mut [f32; OUTPUTS]>::try_from(&mut *y) {
                Ok(y) => finish::<L>(product, bias, outcome, y),
                // The last panel, of fewer outputs.
                Err(_) => {
                    let mut whole = [0.0; OUTPUTS];
                    whole[..y.len()].copy_from_slice(y);
                    finish::<L>(product, bias, outcome, &mut whole);
                    y.copy_from_slice(&whole[..y.len()]);
                }
            }
        }
    }
}

#[inline(always)]
fn finish<L: Lanes>(product: &Line, bias: &[f32; OUTPUTS], outcome: Outcome, y: &mut [f32; OUTPUTS]) {
    let parts = product.0.as_chunks::<LANES>().0.iter().zip(bias.as_chunks::<LANES>().0).zip(y.as_chunks_mut::<LANES>().0);
    for ((product, bias), y) in parts {
        let result = L::load(product).add(L::load(bias));
        let result = match outcome {
            Outcome::Place => result,
            Outcome::Gelu => gelu(result),
            Outcome::Sum => result.add(L::load(y)),
        };
        result.store(y);
    }
}
