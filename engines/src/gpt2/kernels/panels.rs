//! Weights as the kernels read them.

/// Outputs of a panel.
pub(super) const OUTPUTS: usize = 32;

/// How far ahead weights are asked for: 3 KiB, further than the processor itself looks over the ends of pages.
#[cfg(target_arch = "x86_64")]
pub(super) const PREFETCHED_LINES: usize = 24;

/// One value for each output of a panel: its weights for one input, or its sums.
#[derive(Clone, Copy)]
#[repr(C, align(128))]
pub(super) struct Line(pub(super) [f32; OUTPUTS]);

impl Line {
    pub(super) const ZERO: Self = Self([0.0; OUTPUTS]);
}

/// A matrix in one piece, `[outputs / 32, inputs, 32]`, the last panel filled up with zeros.
///
/// A kernel goes through it from front to back whatever the number of rows, so that it comes from memory as fast as memory allows.
pub(super) struct Panels {
    lines: Vec<Line>,
    inputs: usize,
}

impl Panels {
    /// From `[inputs, outputs]`, as GPT-2's blocks are published.
    pub(super) fn from_columns(values: &[f32], inputs: usize, outputs: usize) -> Self {
        let mut panels = Self::zeros(inputs, outputs);
        for (panel, first) in panels.lines.chunks_exact_mut(inputs).zip((0..outputs).step_by(OUTPUTS)) {
            let count = OUTPUTS.min(outputs - first);
            for (line, row) in panel.iter_mut().zip(values.chunks_exact(outputs)) {
                line.0[..count].copy_from_slice(&row[first..][..count]);
            }
        }
        panels
    }

    /// From `[outputs, inputs]`, as embeddings are.
    pub(super) fn from_rows(values: &[f32], inputs: usize, outputs: usize) -> Self {
        let mut panels = Self::zeros(inputs, outputs);
        for (panel, rows) in panels.lines.chunks_exact_mut(inputs).zip(values.chunks(OUTPUTS * inputs)) {
            for (place, row) in rows.chunks_exact(inputs).enumerate() {
                panel.iter_mut().zip(row).for_each(|(line, &value)| line.0[place] = value);
            }
        }
        panels
    }

    fn zeros(inputs: usize, outputs: usize) -> Self {
        Self { lines: vec![Line::ZERO; outputs.div_ceil(OUTPUTS) * inputs], inputs }
    }

    pub(super) fn count(&self) -> usize {
        self.lines.len() / self.inputs
    }

    pub(super) fn panel(&self, index: usize) -> &[Line] {
        &self.lines[index * self.inputs..][..self.inputs]
    }

    /// Adds the weights of one output.
    pub(super) fn add_row(&self, output: usize, to: &mut [f32]) {
        let place = output % OUTPUTS;
        to.iter_mut().zip(self.panel(output / OUTPUTS)).for_each(|(to, line)| *to += line.0[place]);
    }
}
