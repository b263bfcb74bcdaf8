//! Linear layers in f32.

use super::interleave::Interleaved;
use super::isa::Isa;
use super::panels::{Line, OUTPUTS, Panels};
use super::threads::share_out;

/// `x · weight + bias`.
pub(in crate::gpt2) struct Linear {
    panels: Panels,
    bias: Vec<f32>,
    inputs: usize,
    isa: Isa,
}

impl Linear {
    /// `weight` is `[inputs, outputs]`, the published layout of GPT-2's blocks; `bias` has one value for each output.
    pub(in crate::gpt2) fn from_columns(weight: &[f32], bias: Vec<f32>, isa: Isa) -> Self {
        let inputs = weight.len() / bias.len();
        Self { panels: Panels::from_columns(weight, inputs, bias.len()), bias, inputs, isa }
    }

    /// `weight` is `[outputs, inputs]`, the published layout of embeddings and heads, which have no bias.
    pub(in crate::gpt2) fn from_rows(weight: &[f32], inputs: usize, isa: Isa) -> Self {
        let outputs = weight.len() / inputs;
        Self { panels: Panels::from_rows(weight, inputs, outputs), bias: vec![0.0; outputs], inputs, isa }
    }

    pub(in crate::gpt2) fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Adds one output's weights to as many values: a tied head is the embedding, too.
    pub(in crate::gpt2) fn add_row(&self, output: usize, to: &mut [f32]) {
        self.panels.add_row(output, to);
    }

    /// `x` is `[rows, inputs]`, `y` `[rows, outputs]`; `interleaved` is there to be used again by the next layer.
    pub(in crate::gpt2) fn forward(&self, x: &[f32], y: &mut [f32], interleaved: &mut Interleaved) {
        let (rows, outputs) = (x.len() / self.inputs, self.outputs());
        assert!(x.len() == rows * self.inputs && y.len() == rows * outputs, "{} inputs, {} outputs", x.len(), y.len());
        interleaved.fill(x, self.inputs, self.isa);
        let (interleaved, y) = (&*interleaved, Shared::new(y));
        share_out(self.panels.count(), rows, |panels| {
            let mut products = vec![Line::ZERO; self.isa.most_rows()];
            for index in panels {
                let (panel, first) = (self.panels.panel(index), index * OUTPUTS);
                let bias = &self.bias[first..outputs.min(first + OUTPUTS)];
                for group in interleaved.groups() {
                    let products = &mut products[..group.rows];
                    self.isa.product(panel, group.values, products);
                    for (row, product) in products.iter().enumerate() {
                        // SAFETY: these are places of this panel's outputs in one row, and each panel belongs to one call of this
                        // closure; so nobody else has them.
                        let y = unsafe { y.part((group.first_row + row) * outputs + first, bias.len()) };
                        for ((y, product), bias) in y.iter_mut().zip(product.0).zip(bias) {
                            *y = product + bias;
                        }
                    }
                }
            }
        });
    }
}

/// Values of which threads write different parts at the same time.
struct Shared<'a> {
    start: *mut f32,
    length: usize,
    values: std::marker::PhantomData<&'a mut [f32]>,
}

// SAFETY: it gives out parts of a `&mut [f32]`, which may go to other threads; `part` asks its callers that no two of them overlap.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    fn new(values: &'a mut [f32]) -> Self {
        Self { start: values.as_mut_ptr(), length: values.len(), values: std::marker::PhantomData }
    }

    /// # Safety
    /// No two parts that are in use at the same time overlap.
    #[allow(clippy::mut_from_ref)] // What `Safety` asks for makes it right.
    unsafe fn part(&self, first: usize, count: usize) -> &mut [f32] {
        assert!(first.checked_add(count).is_some_and(|end| end <= self.length));
        // SAFETY: within the slice, as was just checked, and with no other reference to it, as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), count) }
    }
}
