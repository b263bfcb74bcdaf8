//! The rows of a step as the kernels read them.

use rayon::prelude::*;

use super::isa::Isa;
use super::threads::is_wide;

/// Rows in groups of nearly one size, the rows of a group interleaved: for each input one value of each row.
///
/// A kernel then needs one address for all rows of a group, and rows a power of two apart don't push each other out of the cache.
#[derive(Default)]
pub(in crate::gpt2) struct Interleaved {
    values: Vec<f32>,
    inputs: usize,
    rows: usize,
    groups: usize,
}

/// Rows that one call of a kernel takes.
pub(super) struct Group<'a> {
    pub(super) first_row: usize,
    pub(super) rows: usize,
    pub(super) values: &'a [f32],
}

/// Inputs that are read of one row before the next; a whole number of cache lines.
const INPUTS_AT_ONCE: usize = 16;

impl Interleaved {
    /// Takes rows in, `[rows, inputs]`, in place of those that were there.
    pub(super) fn fill(&mut self, x: &[f32], inputs: usize, isa: Isa) {
        (self.inputs, self.rows) = (inputs, x.len() / inputs);
        self.groups = self.rows.div_ceil(isa.most_rows());
        self.values.resize(x.len(), 0.0);
        let mut rest = self.values.as_mut_slice();
        let mut parts = Vec::with_capacity(self.groups);
        for group in 0..self.groups {
            let (first, end) = (self.rows * group / self.groups, self.rows * (group + 1) / self.groups);
            let (part, others) = rest.split_at_mut((end - first) * inputs);
            parts.push((part, &x[first * inputs..end * inputs]));
            rest = others;
        }
        if is_wide(self.rows) {
            parts.into_par_iter().for_each(|(part, x)| interleave(part, x, inputs));
        } else {
            parts.into_iter().for_each(|(part, x)| interleave(part, x, inputs));
        }
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        (0..self.groups).map(|group| {
            let (first_row, end) = (self.rows * group / self.groups, self.rows * (group + 1) / self.groups);
            Group { first_row, rows: end - first_row, values: &self.values[first_row * self.inputs..end * self.inputs] }
        })
    }
}

fn interleave(to: &mut [f32], x: &[f32], inputs: usize) {
    let rows = x.len() / inputs;
    if rows == 1 {
        return to.copy_from_slice(x);
    }
    for (part, to) in to.chunks_mut(INPUTS_AT_ONCE * rows).enumerate() {
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            let x = &x[part * INPUTS_AT_ONCE..];
            to[row..].iter_mut().step_by(rows).zip(x).for_each(|(to, &value)| *to = value);
        }
    }
}
