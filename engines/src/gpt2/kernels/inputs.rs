//! The rows of a step as the kernels read them.

use super::disjoint::Disjoint;
use super::isa::{Isa, Work, for_rows};
use super::lanes::{LANES, Lanes};
use super::layout::{GROUP, GROUP_WORDS, OFFSET, to_bf16};
use super::team::Team;
use crate::gpt2::Dtype;

/// How a row's values become words of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    /// As they are.
    F32,
    /// As they are, and one more where their number is odd.
    EvenF32,
    /// Two in a word, as bf16.
    Bf16,
    /// In groups of [`GROUP_WORDS`]: bytes of a common scale.
    Q8,
}

/// Rows in groups of nearly one size, the rows of a group interleaved: of each word that of each row.
///
/// A kernel then needs one address for all rows of a group, and rows a power of two apart don't push each other out of the cache.
#[derive(Default)]
pub(in crate::gpt2) struct Inputs {
    words: Vec<u32>,
    row_words: usize,
    rows: usize,
    groups: usize,
}

/// Rows that one call of a kernel takes.
pub(super) struct Group<'a> {
    pub(super) first_row: usize,
    pub(super) rows: usize,
    pub(super) words: &'a [u32],
}

/// The longest row that a thread's stack holds while it is encoded.
const STACK_WORDS: usize = 4096;

impl Coding {
    fn new(dtype: Dtype, isa: Isa) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::Bf16 if isa.multiplies_bf16() => Self::Bf16,
            Dtype::Bf16 => Self::EvenF32,
            Dtype::Q8 => Self::Q8,
        }
    }

    fn words(self, inputs: usize) -> usize {
        match self {
            Self::F32 => inputs,
            Self::EvenF32 => inputs.next_multiple_of(2),
            Self::Bf16 => inputs.div_ceil(2),
            Self::Q8 => inputs.div_ceil(GROUP) * GROUP_WORDS,
        }
    }

    #[inline(always)]
    fn encode<L: Lanes>(self, x: &[f32], words: &mut [u32]) {
        match self {
            Self::F32 | Self::EvenF32 => {
                words[x.len()..].fill(0);
                words.iter_mut().zip(x).for_each(|(word, value)| *word = value.to_bits());
            }
            Self::Bf16 => {
                for (word, pair) in words.iter_mut().zip(x.chunks(2)) {
                    let second = pair.get(1).map_or(0, |&value| u32::from(to_bf16(value)));
                    *word = u32::from(to_bf16(pair[0])) | second << 16;
                }
            }
            Self::Q8 => {
                let (groups, rest) = x.as_chunks::<GROUP>();
                let (words, _) = words.as_chunks_mut::<GROUP_WORDS>();
                for (group, words) in groups.iter().zip(words.iter_mut()) {
                    quantise::<L>(group, words);
                }
                if !rest.is_empty() {
                    let mut group = [0.0; GROUP];
                    group[..rest.len()].copy_from_slice(rest);
                    quantise::<L>(&group, &mut words[groups.len()]);
                }
            }
        }
    }
}

/// Bytes from -127 to 127 of a scale that the largest value sets. A value that is no number makes the scale none.
#[inline(always)]
fn quantise<L: Lanes>(group: &[f32; GROUP], words: &mut [u32; GROUP_WORDS]) {
    let zero = L::splat(0.0);
    let (mut largest, mut poison) = (zero, zero);
    for part in group.as_chunks::<LANES>().0 {
        let values = L::load(part);
        largest = largest.max(values.max(zero.sub(values)));
        // Nothing of a number, and none of what is none.
        poison = poison.add(values.sub(values));
    }
    let (largest, poison) = (largest.largest(), poison.sum());
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    let mut sums = zero;
    for (part, words) in group.as_chunks::<LANES>().0.iter().zip(words.as_chunks_mut::<4>().0) {
        let rounded = L::load(part).mul(L::splat(inverse)).round();
        sums = sums.add(rounded);
        for (word, bytes) in words.iter_mut().zip(rounded.to_bytes().as_chunks::<4>().0) {
            *word = u32::from_le_bytes(bytes.map(|byte| byte as u8));
        }
    }
    // Exact: whole numbers of 13 bits at most.
    words[GROUP_WORDS - 2] = (-OFFSET * sums.sum() as i32) as u32;
    words[GROUP_WORDS - 1] = (largest / 127.0 + poison).to_bits();
}

impl Inputs {
    /// Takes rows in, `[rows, inputs]`, in place of those that were there.
    pub(super) fn fill(&mut self, x: &[f32], inputs: usize, dtype: Dtype, isa: Isa, team: &Team) {
        let coding = Coding::new(dtype, isa);
        (self.row_words, self.rows) = (coding.words(inputs), x.len() / inputs);
        self.groups = self.rows.div_ceil(isa.most_rows());
        self.words.resize(self.rows * self.row_words, 0);
        let (rows, groups, row_words) = (self.rows, self.groups, self.row_words);
        let words = Disjoint::new(&mut self.words);
        team.run(groups, |group| {
            let (first, end) = (rows * group / groups, rows * (group + 1) / groups);
            // SAFETY: each group is asked for once, and they don't overlap.
            let words = unsafe { words.part(first * row_words, (end - first) * row_words) };
            isa.run(Encode { coding, x: &x[first * inputs..end * inputs], inputs, words });
        });
    }

    pub(super) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        (0..self.groups).map(|group| {
            let (first_row, end) = (self.rows * group / self.groups, self.rows * (group + 1) / self.groups);
            Group { first_row, rows: end - first_row, words: &self.words[first_row * self.row_words..end * self.row_words] }
        })
    }
}

/// The rows of one group.
struct Encode<'a> {
    coding: Coding,
    x: &'a [f32],
    inputs: usize,
    words: &'a mut [u32],
}

impl Work for Encode<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self) {
        let Self { coding, x, inputs, words } = self;
        let rows = x.len() / inputs;
        if rows == 1 {
            return coding.encode::<L>(x, words);
        }
        let row_words = words.len() / rows;
        let (mut short, mut long) = ([0; STACK_WORDS], Vec::new());
        let encoded: &mut [u32] = if row_words <= STACK_WORDS {
            &mut short[..row_words]
        } else {
            long.resize(row_words, 0);
            &mut long
        };
        for (row, x) in x.chunks_exact(inputs).enumerate() {
            coding.encode::<L>(x, encoded);
            for_rows!(rows, 2 3 4 5 6 7 8 9 10 11 12, spread(encoded, words, row));
        }
    }
}

/// Puts a row's words in their places among those of `ROWS` rows.
///
/// A function of its own, compiled for the lowest machine: with AVX-512 compilers take its scattering stores, which are slower.
#[inline(never)]
fn spread<const ROWS: usize>(encoded: &[u32], words: &mut [u32], row: usize) {
    for (words, &word) in words.as_chunks_mut::<ROWS>().0.iter_mut().zip(encoded) {
        words[row] = word;
    }
}
