//! Attention over the cache, in plain loops with one fixed order of sums.
//!
//! A row attends to the keys up to its own place and to nothing else, one after the other; so its bits depend on these keys alone,
//! and neither on the chunk it came in nor on other sequences nor on the number of threads.

use rayon::prelude::*;

use super::cache::{KvShape, Sequence};

/// Partial sums of a dot product; the compiler keeps them in vector registers.
const LANES: usize = 16;

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

/// What each row gathers from the values up to its own, `[heads, rows, head_size]`; rows that belong to no span stay zero.
///
/// [`store`] must have been called with the same arguments.
pub(super) fn attend(shape: KvShape, layer: usize, projections: &[f32], spans: &[Span], sequences: &[Sequence]) -> Vec<f32> {
    let size = shape.head_size;
    let mut gathered = vec![0.0; projections.len() / 3];
    let rows = gathered.len() / (shape.heads * size);
    let scale = 1.0 / (size as f32).sqrt();
    gathered.par_chunks_mut(rows * size).enumerate().for_each(|(head, gathered)| {
        let mut weights = Vec::new();
        for span in spans {
            let (keys, values) = sequences[span.sequence].head(layer, head);
            for row in 0..span.rows {
                let query = vector(shape, projections, span.first_row + row, Part::Query, head);
                let seen = (span.start + row + 1) * size;
                weights.clear();
                weights.extend(keys[..seen].chunks_exact(size).map(|key| dot(query, key) * scale));
                let total = exponentiate(&mut weights);
                let gathered = &mut gathered[(span.first_row + row) * size..][..size];
                for (weight, value) in weights.iter().zip(values[..seen].chunks_exact(size)) {
                    let weight = weight / total;
                    gathered.iter_mut().zip(value).for_each(|(sum, value)| *sum += weight * value);
                }
            }
        }
    });
    gathered
}

fn vector(shape: KvShape, projections: &[f32], row: usize, part: Part, head: usize) -> &[f32] {
    let width = shape.heads * shape.head_size;
    &projections[row * 3 * width + part as usize * width + head * shape.head_size..][..shape.head_size]
}

fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0; LANES];
    let (left, right) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum();
    for (left, right) in left.zip(right) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
    }
    sums[0] + rest
}

/// Turns scores into the weights of a softmax, yet to be divided by the sum that is returned.
fn exponentiate(scores: &mut [f32]) -> f32 {
    let highest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for score in scores {
        *score = (*score - highest).exp();
        total += *score;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_gathers_what_the_definition_says() {
        // A size that is no multiple of the lanes, and one that is.
        for head_size in [5, 16, 37] {
            let shape = KvShape { layers: 1, heads: 2, head_size };
            let (rows, width) = (7, 2 * head_size);
            let projections: Vec<f32> = (0..rows * 3 * width).map(|i| (i as f32 * 0.7).sin()).collect();
            let spans = [Span { sequence: 0, first_row: 0, rows, start: 0 }];
            let mut sequences = [Sequence::new(shape, rows)];
            store(shape, 0, &projections, &spans, &mut sequences);
            let gathered = attend(shape, 0, &projections, &spans, &sequences);
            for (head, row) in (0..2).flat_map(|head| (0..rows).map(move |row| (head, row))) {
                let part =
                    |row: usize, part: usize, i: usize| f64::from(projections[row * 3 * width + part * width + head * head_size + i]);
                let score = |key: usize| (0..head_size).map(|i| part(row, 0, i) * part(key, 1, i)).sum::<f64>() / (head_size as f64).sqrt();
                let total: f64 = (0..=row).map(|key| score(key).exp()).sum();
                for i in 0..head_size {
                    let wanted: f64 = (0..=row).map(|key| score(key).exp() / total * part(key, 2, i)).sum();
                    let seen = f64::from(gathered[(head * rows + row) * head_size + i]);
                    assert!((seen - wanted).abs() < 1e-5, "head {head}, row {row}: {seen}, wanted {wanted}");
                }
            }
        }
    }
}
