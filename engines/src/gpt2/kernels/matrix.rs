//! Weights of one linear layer, in one of the layouts.

use candle_core::Result;
use rayon::prelude::*;

use super::layout::{Block, Layout, Line, OUTPUTS, Pairs};
use super::memory::{Memory, Region, bytes_of};
use crate::gpt2::Dtype;

/// A matrix in panels of 32 outputs, the last one filled up with zeros.
pub(super) enum Matrix {
    F32(Panels<Line>),
    Bf16(Panels<Pairs>),
    Q8(Panels<Block>),
}

/// One panel, for a kernel.
#[derive(Clone, Copy)]
pub(super) enum Panel<'a> {
    F32(&'a [Line]),
    Bf16(&'a [Pairs]),
    Q8(&'a [Block]),
}

/// Published weights, on their way into a layout.
#[derive(Clone, Copy)]
pub(in crate::gpt2) enum Published<'a> {
    /// `[inputs, outputs]`, as GPT-2's blocks are.
    Columns(&'a [f32]),
    /// `[outputs, inputs]`, as embeddings and heads are.
    Rows(&'a [f32]),
}

impl Matrix {
    pub(super) fn zeros(inputs: usize, outputs: usize, dtype: Dtype, memory: &mut Memory) -> Result<Self> {
        Ok(match dtype {
            Dtype::F32 => Self::F32(Panels::zeros(inputs, outputs, memory)?),
            Dtype::Bf16 => Self::Bf16(Panels::zeros(inputs, outputs, memory)?),
            Dtype::Q8 => Self::Q8(Panels::zeros(inputs, outputs, memory)?),
        })
    }

    /// Fills in panels from `first` on with weights of so many inputs.
    pub(super) fn fill(&mut self, first: usize, published: Published<'_>, inputs: usize) {
        match self {
            Self::F32(panels) => panels.fill(first, published, inputs),
            Self::Bf16(panels) => panels.fill(first, published, inputs),
            Self::Q8(panels) => panels.fill(first, published, inputs),
        }
    }

    /// Bytes that such a matrix takes of its memory.
    pub(super) fn bytes(inputs: usize, outputs: usize, dtype: Dtype) -> usize {
        match dtype {
            Dtype::F32 => Panels::<Line>::bytes(inputs, outputs),
            Dtype::Bf16 => Panels::<Pairs>::bytes(inputs, outputs),
            Dtype::Q8 => Panels::<Block>::bytes(inputs, outputs),
        }
    }

    pub(super) fn panels(&self) -> usize {
        match self {
            Self::F32(panels) => panels.count(),
            Self::Bf16(panels) => panels.count(),
            Self::Q8(panels) => panels.count(),
        }
    }

    pub(super) fn panel(&self, index: usize) -> Panel<'_> {
        match self {
            Self::F32(panels) => Panel::F32(panels.panel(index)),
            Self::Bf16(panels) => Panel::Bf16(panels.panel(index)),
            Self::Q8(panels) => Panel::Q8(panels.panel(index)),
        }
    }

    /// Adds the weights of one output.
    pub(super) fn add_row(&self, output: usize, to: &mut [f32]) {
        match self {
            Self::F32(panels) => panels.add_row(output, to),
            Self::Bf16(panels) => panels.add_row(output, to),
            Self::Q8(panels) => panels.add_row(output, to),
        }
    }
}

/// `[outputs / 32, inputs / T::INPUTS]`.
pub(super) struct Panels<T: Layout> {
    values: Region<T>,
    length: usize,
}

impl<T: Layout> Panels<T> {
    fn zeros(inputs: usize, outputs: usize, memory: &mut Memory) -> Result<Self> {
        let length = inputs.div_ceil(T::INPUTS);
        Ok(Self { values: memory.take(outputs.div_ceil(OUTPUTS) * length)?, length })
    }

    fn fill(&mut self, first: usize, published: Published<'_>, inputs: usize) {
        let outputs = published.values() / inputs;
        let panels = self.values[first * self.length..].par_chunks_exact_mut(self.length).take(outputs.div_ceil(OUTPUTS));
        panels.enumerate().for_each_init(Vec::new, |lines, (index, panel)| {
            published.copy_panel(index * OUTPUTS, inputs, outputs, lines);
            panel.iter_mut().zip(lines.chunks(T::INPUTS)).for_each(|(to, lines)| *to = T::encode(lines));
        });
    }

    fn bytes(inputs: usize, outputs: usize) -> usize {
        bytes_of::<T>(outputs.div_ceil(OUTPUTS) * inputs.div_ceil(T::INPUTS))
    }

    fn count(&self) -> usize {
        self.values.len() / self.length
    }

    fn panel(&self, index: usize) -> &[T] {
        &self.values[index * self.length..][..self.length]
    }

    fn add_row(&self, output: usize, to: &mut [f32]) {
        let panel = self.panel(output / OUTPUTS);
        to.chunks_mut(T::INPUTS).zip(panel).for_each(|(to, values)| values.add(output % OUTPUTS, to));
    }
}

impl Published<'_> {
    pub(super) fn values(&self) -> usize {
        match self {
            Self::Columns(values) | Self::Rows(values) => values.len(),
        }
    }

    /// The weights of the outputs from `first` on, a line for each input; outputs that aren't there are zeros.
    fn copy_panel(&self, first: usize, inputs: usize, outputs: usize, lines: &mut Vec<Line>) {
        lines.clear();
        lines.resize(inputs, Line::ZERO);
        let count = OUTPUTS.min(outputs - first);
        match self {
            Self::Columns(values) => {
                for (line, row) in lines.iter_mut().zip(values.chunks_exact(outputs)) {
                    line.0[..count].copy_from_slice(&row[first..][..count]);
                }
            }
            Self::Rows(values) => {
                let rows = values[first * inputs..].chunks_exact(inputs).take(count);
                for (place, row) in rows.enumerate() {
                    lines.iter_mut().zip(row).for_each(|(line, &value)| line.0[place] = value);
                }
            }
        }
    }
}
