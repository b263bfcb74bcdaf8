//! Attention over the cache, each row's sums in one fixed order.
//!
//! A row attends to the keys up to its own place and to nothing else. Its score with a key is one chain over the head's values, keys
//! lying side by side in registers; what it gathers is one chain over the values of the keys. So its bits depend on these keys alone,
//! and neither on the chunk it came in nor on other sequences nor on the number of threads.

use std::ops::Range;

use super::disjoint::Disjoint;
use super::isa::{Isa, Work};
use super::lanes::{LANES, Lanes};
use super::rows::exponentials;
use super::team::Team;
use crate::gpt2::cache::{KvShape, PAGE, Page, Sequence};

/// Consecutive rows of one sequence.
#[derive(Clone, Copy)]
pub(in crate::gpt2) struct Span {
    /// The sequence's place among the sequences.
    pub(in crate::gpt2) sequence: usize,
    /// Where the rows begin among all rows of the step.
    pub(in crate::gpt2) first_row: usize,
    /// How many rows.
    pub(in crate::gpt2) rows: usize,
    /// Tokens of the sequence before them.
    pub(in crate::gpt2) start: usize,
}

/// The part of a row of projections, `[queries | keys | values]`, that belongs to one head.
#[derive(Clone, Copy)]
enum Part {
    Query = 0,
    Key = 1,
    Value = 2,
}

/// Everything that the rows of a step attend to.
#[derive(Clone, Copy)]
pub(in crate::gpt2) struct Step<'a> {
    pub(in crate::gpt2) shape: KvShape,
    pub(in crate::gpt2) layer: usize,
    /// `[rows, queries | keys | values]`.
    pub(in crate::gpt2) projections: &'a [f32],
    pub(in crate::gpt2) spans: &'a [Span],
    /// With the keys and values of these rows: [`store`] comes first.
    pub(in crate::gpt2) sequences: &'a [Sequence],
}

/// Tokens of one page, with the row of the first.
struct Written<'a> {
    page: &'a mut Page,
    tokens: Range<usize>,
    first_row: usize,
}

/// Puts the keys and values of all rows into the cache of one layer. The sequences have room for them, and each has one span at most.
pub(in crate::gpt2) fn store(shape: KvShape, layer: usize, projections: &[f32], spans: &[Span], sequences: &mut [Sequence], team: &Team) {
    let mut sequences: Vec<Option<&mut Sequence>> = sequences.iter_mut().map(Some).collect();
    let mut written = Vec::new();
    for &Span { sequence, first_row, rows, start } in spans {
        let sequence = sequences[sequence].take().expect("a sequence has one span");
        let pages = sequence.pages_mut(start..start + rows);
        written.extend(pages.map(|(page, tokens)| Written { first_row: first_row + tokens.start - start, page, tokens }));
    }
    let count = written.len();
    let written = Disjoint::new(&mut written);
    team.share_out(count, |part| {
        // SAFETY: the parts are disjoint, and each is asked for once.
        for Written { page, tokens, first_row } in unsafe { written.part(part.start, part.len()) } {
            for head in 0..shape.heads {
                for (row, token) in (*first_row..).zip(tokens.clone()) {
                    let row = &projections[row * 3 * shape.width()..];
                    page.put(
                        shape,
                        layer,
                        head,
                        token % PAGE,
                        self::part(shape, row, Part::Key, head),
                        self::part(shape, row, Part::Value, head),
                    );
                }
            }
        }
    });
}

fn part(shape: KvShape, row: &[f32], part: Part, head: usize) -> &[f32] {
    &row[part as usize * shape.width() + head * shape.head_size..][..shape.head_size]
}

/// A few rows of one sequence in one head.
#[derive(Clone, Copy)]
struct Tile {
    span: usize,
    /// Counted from the span's first.
    first: usize,
    rows: usize,
    head: usize,
}

/// What each row gathers from the values up to its own, `[rows, heads · head_size]`; each row belongs to one span.
pub(in crate::gpt2) fn attend(step: Step<'_>, gathered: &mut [f32], isa: Isa, team: &Team) {
    let mut tiles = Vec::new();
    for (span, Span { rows, .. }) in step.spans.iter().enumerate() {
        // Head by head, so that its keys and values are read while they are at hand.
        for head in 0..step.shape.heads {
            let tile = |first| Tile { span, first, rows: isa.rows_together().min(rows - first), head };
            tiles.extend((0..*rows).step_by(isa.rows_together()).map(tile));
        }
    }
    let gathered = Disjoint::new(gathered);
    team.share_out(tiles.len(), |part| isa.run(Tiles { step, tiles: &tiles[part], gathered: &gathered }));
}

/// Some of a step's tiles.
struct Tiles<'a> {
    step: Step<'a>,
    tiles: &'a [Tile],
    gathered: &'a Disjoint<'a, f32>,
}

impl Work for Tiles<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { step, tiles, gathered } = self;
        let mut scores = Vec::new();
        for &tile in tiles {
            match tile.rows {
                1 => rows::<L, 1, 4, 4>(step, tile, &mut scores, gathered),
                2 => rows::<L, 2, 4, 4>(step, tile, &mut scores, gathered),
                3 => rows::<L, 3, 2, 4>(step, tile, &mut scores, gathered),
                4 => rows::<L, 4, 2, 4>(step, tile, &mut scores, gathered),
                5 => rows::<L, 5, 2, 2>(step, tile, &mut scores, gathered),
                6 => rows::<L, 6, 2, 2>(step, tile, &mut scores, gathered),
                7 => rows::<L, 7, 2, 2>(step, tile, &mut scores, gathered),
                _ => rows::<L, 8, 2, 2>(step, tile, &mut scores, gathered),
            }
        }
    }
}

/// `KEYS` times [`LANES`] keys are looked at together, where there are as many, and `VALUES` times as many values of a key.
#[inline(always)]
fn rows<L: Lanes, const ROWS: usize, const KEYS: usize, const VALUES: usize>(
    step: Step<'_>,
    tile: Tile,
    scores: &mut Vec<f32>,
    gathered: &Disjoint<'_, f32>,
) {
    let Step { shape, layer, projections, spans, sequences } = step;
    let (span, size) = (&spans[tile.span], shape.head_size);
    let (first_row, start) = (span.first_row + tile.first, span.start + tile.first);
    let queries: [&[f32]; ROWS] =
        std::array::from_fn(|row| part(shape, &projections[(first_row + row) * 3 * shape.width()..], Part::Query, tile.head));
    let pages = &sequences[span.sequence].pages()[..(start + ROWS).div_ceil(PAGE)];
    let stride = pages.len() * PAGE;
    scores.resize(ROWS * stride, 0.0);

    let scale = 1.0 / (size as f32).sqrt();
    for (index, page) in pages.iter().enumerate() {
        let keys = page.keys(shape, layer, tile.head);
        let blocks = PAGE.min(start + ROWS - index * PAGE).div_ceil(LANES);
        let scores = &mut scores[index * PAGE..];
        let mut block = 0;
        while block + KEYS <= blocks {
            score::<L, ROWS, KEYS>(&queries, keys, block, scale, scores, stride);
            block += KEYS;
        }
        while block < blocks {
            score::<L, ROWS, 1>(&queries, keys, block, scale, scores, stride);
            block += 1;
        }
    }
    let mut totals = [0.0; ROWS];
    for (row, total) in totals.iter_mut().enumerate() {
        *total = exponentials::<L>(&mut scores[row * stride..][..start + row + 1]);
    }

    // SAFETY: a row's part of one head, and each row and head is in one tile.
    let mut to: [&mut [f32]; ROWS] =
        std::array::from_fn(|row| unsafe { gathered.part((first_row + row) * shape.width() + tile.head * size, size) });
    for first in (0..size).step_by(VALUES * LANES) {
        let mut sums = [[L::splat(0.0); VALUES]; ROWS];
        // What all rows see, and then what only the later ones do.
        let mut seen = 0;
        for (index, page) in pages.iter().enumerate() {
            let values = &page.values(shape, layer, tile.head)[first..];
            let end = (start + 1).min((index + 1) * PAGE);
            weigh::<L, ROWS, VALUES>(&mut sums, scores, stride, seen..end, index * PAGE, values, shape.value_width());
            seen = end;
        }
        for row in 1..ROWS {
            for token in start + 1..=start + row {
                let (values, sums) = (&pages[token / PAGE].values(shape, layer, tile.head)[first..], sums[row..].first_chunk_mut());
                let sums: &mut [_; 1] = sums.expect("row is one of them");
                weigh::<L, 1, VALUES>(
                    sums,
                    &scores[row * stride..],
                    stride,
                    token..token + 1,
                    token / PAGE * PAGE,
                    values,
                    shape.value_width(),
                );
            }
        }
        for ((to, sums), total) in to.iter_mut().zip(&sums).zip(totals) {
            for (to, sums) in to[first..].chunks_mut(LANES).zip(sums) {
                to.copy_from_slice(&sums.div(L::splat(total)).to_array()[..to.len()]);
            }
        }
    }
}

/// Scores of queries with the keys of a page in `KEYS` blocks from `block` on, [`LANES`] keys in each.
#[inline(always)]
fn score<L: Lanes, const ROWS: usize, const KEYS: usize>(
    queries: &[&[f32]; ROWS],
    keys: &[f32],
    block: usize,
    scale: f32,
    scores: &mut [f32],
    stride: usize,
) {
    let size = queries[0].len();
    let blocks: [&[[f32; LANES]]; KEYS] =
        std::array::from_fn(|key| &keys[(block + key) * size * LANES..][..size * LANES].as_chunks().0[..size]);
    let queries: [&[f32]; ROWS] = std::array::from_fn(|row| &queries[row][..size]);
    let mut sums = [[L::splat(0.0); KEYS]; ROWS];
    for place in 0..size {
        for (sums, query) in sums.iter_mut().zip(&queries) {
            let query = L::splat(query[place]);
            for (sum, keys) in sums.iter_mut().zip(&blocks) {
                *sum = L::load(&keys[place]).multiply_add(query, *sum);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let scores = scores[row * stride + block * LANES..].as_chunks_mut::<LANES>().0;
        for (scores, sums) in scores.iter_mut().zip(sums) {
            sums.mul(L::splat(scale)).store(scores);
        }
    }
}

/// Adds up the values of `tokens` by their weights in each row, one after the other; the page begins with token `begin`.
#[inline(always)]
fn weigh<L: Lanes, const ROWS: usize, const VALUES: usize>(
    sums: &mut [[L; VALUES]; ROWS],
    weights: &[f32],
    stride: usize,
    tokens: Range<usize>,
    begin: usize,
    values: &[f32],
    value_width: usize,
) {
    let mut local = *sums;
    for token in tokens {
        let values = values[(token - begin) * value_width..].as_chunks::<LANES>().0;
        let values: &[[f32; LANES]; VALUES] = values.first_chunk().expect("values are padded to as many");
        for (row, sums) in local.iter_mut().enumerate() {
            let weight = L::splat(weights[row * stride + token]);
            for (sum, values) in sums.iter_mut().zip(values) {
                *sum = L::load(values).multiply_add(weight, *sum);
            }
        }
    }
    *sums = local;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpt2::cache::Pages;

    #[test]
    fn a_row_gathers_what_the_definition_says() {
        // A size that is no multiple of the lanes, and one that is.
        for head_size in [5, 16, 37, 64, 80] {
            let shape = KvShape { layers: 1, heads: 2, head_size };
            let (rows, width) = (71, 2 * head_size);
            let projections: Vec<f32> = (0..rows * 3 * width).map(|i| (i as f32 * 0.7).sin()).collect();
            let spans = [Span { sequence: 0, first_row: 0, rows, start: 0 }];
            let mut sequences = [Sequence::default()];
            sequences[0].reserve(rows, &mut Pages::new(shape));
            store(shape, 0, &projections, &spans, &mut sequences, &Team::new(2));
            let step = Step { shape, layer: 0, projections: &projections, spans: &spans, sequences: &sequences };
            for isa in Isa::available() {
                let mut gathered = vec![f32::NAN; rows * width];
                attend(step, &mut gathered, isa, &Team::new(2));
                for (head, row) in (0..2).flat_map(|head| (0..rows).map(move |row| (head, row))) {
                    let part =
                        |row: usize, part: usize, i: usize| f64::from(projections[row * 3 * width + part * width + head * head_size + i]);
                    let score =
                        |key: usize| (0..head_size).map(|i| part(row, 0, i) * part(key, 1, i)).sum::<f64>() / (head_size as f64).sqrt();
                    let total: f64 = (0..=row).map(|key| score(key).exp()).sum();
                    for i in 0..head_size {
                        let wanted: f64 = (0..=row).map(|key| score(key).exp() / total * part(key, 2, i)).sum();
                        let seen = f64::from(gathered[row * width + head * head_size + i]);
                        assert!((seen - wanted).abs() < 1e-5, "{isa:?}, head {head}, row {row}: {seen}, wanted {wanted}");
                    }
                }
            }
        }
    }
}
