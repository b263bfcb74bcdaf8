//! Attention over the cache, in plain loops with one fixed order of sums.
//!
//! A row attends to the keys up to its own place and to nothing else, one after the other; so its bits depend on these keys alone,
//! and neither on the chunk it came in nor on other sequences nor on the number of threads.

use rayon::prelude::*;

use super::cache::{KvShape, Sequence};
use super::kernels::{Isa, Work, dot, exponentials, is_wide};

/// Rows that one thread takes at a time.
const ROWS_AT_ONCE: usize = 8;
/// Values that are summed up in registers before the next ones are looked at; the usual size of a head.
const VALUES_AT_ONCE: usize = 64;

/// Consecutive rows of one sequence.
pub(super) struct Span {
    /// The sequence's place among the sequences.
    pub(super) sequence: usize,
    /// Where the rows begin among all rows of the step.
    pub(super) first_row: usize,
    /// How many rows.
    pub(super) rows: usize,
    /// Tokens of the sequence before them.
    pub(super) start: usize,
}

/// The part of a row of projections, `[queries | keys | values]`, that belongs to one head.
#[derive(Clone, Copy)]
enum Part {
    Query = 0,
    Key = 1,
    Value = 2,
}

/// Puts the keys and values of all rows into the cache of one layer.
pub(super) fn store(shape: KvShape, layer: usize, projections: &[f32], spans: &[Span], sequences: &mut [Sequence]) {
    for span in spans {
        let sequence = &mut sequences[span.sequence];
        for row in 0..span.rows {
            for head in 0..shape.heads {
                let of = |part| vector(shape, projections, span.first_row + row, part, head);
                sequence.put(layer, head, span.start + row, of(Part::Key), of(Part::Value));
            }
        }
    }
}

/// Everything that the rows of a step attend to.
#[derive(Clone, Copy)]
pub(super) struct Step<'a> {
    pub(super) shape: KvShape,
    pub(super) layer: usize,
    /// `[rows, queries | keys | values]`.
    pub(super) projections: &'a [f32],
    pub(super) spans: &'a [Span],
    /// With the keys and values of these rows: [`store`] comes first.
    pub(super) sequences: &'a [Sequence],
}

/// What each row gathers from the values up to its own, `[rows, heads · head_size]`; rows that belong to no span get zeros.
pub(super) fn attend(step: Step<'_>, gathered: &mut [f32], isa: Isa) {
    let width = step.shape.heads * step.shape.head_size;
    let rows = ROWS_AT_ONCE * width;
    if is_wide(gathered.len() / width) {
        gathered.par_chunks_mut(rows).enumerate().for_each(|(part, gathered)| isa.run(Rows { step, first: part * ROWS_AT_ONCE, gathered }));
    } else {
        isa.run(Rows { step, first: 0, gathered });
    }
}

/// Some of a step's rows.
struct Rows<'a> {
    step: Step<'a>,
    first: usize,
    gathered: &'a mut [f32],
}

impl Work for Rows<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { step: Step { shape, layer, projections, spans, sequences }, first, gathered } = self;
        let (size, width) = (shape.head_size, shape.heads * shape.head_size);
        let scale = 1.0 / (size as f32).sqrt();
        let end = first + gathered.len() / width;
        gathered.fill(0.0);
        let mut weights = Vec::new();
        for span in spans {
            for head in 0..shape.heads {
                for row in span.first_row.max(first)..(span.first_row + span.rows).min(end) {
                    let (keys, values) = sequences[span.sequence].head(layer, head);
                    let query = vector(shape, projections, row, Part::Query, head);
                    let seen = (span.start + row - span.first_row + 1) * size;
                    weights.clear();
                    weights.extend(keys[..seen].chunks_exact(size).map(|key| dot(query, key) * scale));
                    let total = exponentials(&mut weights);
                    let gathered = &mut gathered[(row - first) * width + head * size..][..size];
                    gather(&weights, &values[..seen], gathered);
                    gathered.iter_mut().for_each(|sum| *sum /= total);
                }
            }
        }
    }
}

/// Adds up the values by their weights, one after the other.
#[inline(always)]
fn gather(weights: &[f32], values: &[f32], gathered: &mut [f32]) {
    let size = gathered.len();
    let (parts, rest) = gathered.as_chunks_mut::<VALUES_AT_ONCE>();
    for (part, gathered) in parts.iter_mut().enumerate() {
        let mut sums = [0.0; VALUES_AT_ONCE];
        for (weight, value) in weights.iter().zip(values.chunks_exact(size)) {
            let value = &value.as_chunks::<VALUES_AT_ONCE>().0[part];
            for (sum, value) in sums.iter_mut().zip(value) {
                *sum += weight * value;
            }
        }
        *gathered = sums;
    }
    let done = size - rest.len();
    for (weight, value) in weights.iter().zip(values.chunks_exact(size)) {
        rest.iter_mut().zip(&value[done..]).for_each(|(sum, value)| *sum += weight * value);
    }
}

fn vector(shape: KvShape, projections: &[f32], row: usize, part: Part, head: usize) -> &[f32] {
    let width = shape.heads * shape.head_size;
    &projections[row * 3 * width + part as usize * width + head * shape.head_size..][..shape.head_size]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gathers_what_the_definition_says() {
        // A size that is no multiple of the lanes, and one that is.
        for head_size in [5, 16, 37, 64, 80] {
            let shape = KvShape { layers: 1, heads: 2, head_size };
            let (rows, width) = (7, 2 * head_size);
            let projections: Vec<f32> = (0..rows * 3 * width).map(|i| (i as f32 * 0.7).sin()).collect();
            let spans = [Span { sequence: 0, first_row: 0, rows, start: 0 }];
            let mut sequences = [Sequence::new(shape, rows)];
            store(shape, 0, &projections, &spans, &mut sequences);
            let mut gathered = vec![1.0; rows * width];
            let step = Step { shape, layer: 0, projections: &projections, spans: &spans, sequences: &sequences };
            attend(step, &mut gathered, Isa::best());
            for isa in Isa::available() {
                let mut other = vec![1.0; rows * width];
                attend(step, &mut other, isa);
                assert!(other == gathered, "{isa:?}");
            }
            for (head, row) in (0..2).flat_map(|head| (0..rows).map(move |row| (head, row))) {
                let part =
                    |row: usize, part: usize, i: usize| f64::from(projections[row * 3 * width + part * width + head * head_size + i]);
                let score = |key: usize| (0..head_size).map(|i| part(row, 0, i) * part(key, 1, i)).sum::<f64>() / (head_size as f64).sqrt();
                let total: f64 = (0..=row).map(|key| score(key).exp()).sum();
                for i in 0..head_size {
                    let wanted: f64 = (0..=row).map(|key| score(key).exp() / total * part(key, 2, i)).sum();
                    let seen = f64::from(gathered[row * width + head * head_size + i]);
                    assert!((seen - wanted).abs() < 1e-5, "head {head}, row {row}: {seen}, wanted {wanted}");
                }
            }
        }
    }
}
