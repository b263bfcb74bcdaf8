//! Keys and values of sequences, in pages that sequences with a common beginning share.

use std::ops::Range;
use std::sync::Arc;

use super::kernels::LANES;

/// Tokens of a page.
pub(super) const PAGE: usize = 64;
/// A head's values are padded to as many: four registers.
const VALUES_AT_ONCE: usize = 4 * LANES;
/// Bytes of pages that are kept for the next sequence when nobody uses them: the system takes long to give them anew.
const KEPT_BYTES: usize = 80 << 20;

/// The shape of what one token leaves in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KvShape {
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) head_size: usize,
}

impl KvShape {
    /// Values of a row over all heads.
    pub(super) fn width(self) -> usize {
        self.heads * self.head_size
    }

    /// Values of a token in one head with their padding.
    pub(super) fn value_width(self) -> usize {
        self.head_size.next_multiple_of(VALUES_AT_ONCE)
    }

    fn head_floats(self) -> usize {
        PAGE * (self.head_size + self.value_width())
    }

    fn page_floats(self) -> usize {
        self.layers * self.heads * self.head_floats()
    }
}

/// Keys and values of [`PAGE`] tokens in all layers and heads: `[layers, heads, keys | values]` with keys `[PAGE / LANES, head_size, LANES]`,
/// so that those of as many tokens as a register has lanes lie side by side, and values `[PAGE, value_width]`.
#[derive(Debug, Clone)]
pub(super) struct Page(Vec<f32>);

impl Page {
    pub(super) fn keys(&self, shape: KvShape, layer: usize, head: usize) -> &[f32] {
        &self.head(shape, layer, head)[..PAGE * shape.head_size]
    }

    pub(super) fn values(&self, shape: KvShape, layer: usize, head: usize) -> &[f32] {
        &self.head(shape, layer, head)[PAGE * shape.head_size..]
    }

    fn head(&self, shape: KvShape, layer: usize, head: usize) -> &[f32] {
        &self.0[(layer * shape.heads + head) * shape.head_floats()..][..shape.head_floats()]
    }

    /// Writes the key and value of one token, the page's `place`th, in one head of one layer.
    pub(super) fn put(&mut self, shape: KvShape, layer: usize, head: usize, place: usize, key: &[f32], value: &[f32]) {
        let floats = shape.head_floats();
        let (keys, values) = self.0[(layer * shape.heads + head) * floats..][..floats].split_at_mut(PAGE * shape.head_size);
        let keys = &mut keys[place / LANES * LANES * shape.head_size..][..LANES * shape.head_size];
        keys[place % LANES..].iter_mut().step_by(LANES).zip(key).for_each(|(to, key)| *to = *key);
        values[place * shape.value_width()..][..shape.head_size].copy_from_slice(value);
    }
}

/// Where pages come from and go to.
#[derive(Debug)]
pub(super) struct Pages {
    shape: KvShape,
    free: Vec<Arc<Page>>,
}

impl Pages {
    pub(super) fn new(shape: KvShape) -> Self {
        Self { shape, free: Vec::new() }
    }

    /// A page of one's own; what is in it means nothing.
    fn take(&mut self) -> Arc<Page> {
        self.free.pop().unwrap_or_else(|| Arc::new(Page(vec![0.0; self.shape.page_floats()])))
    }

    fn give_back(&mut self, pages: impl Iterator<Item = Arc<Page>>) {
        let unshared = pages.filter(|page| Arc::strong_count(page) == 1);
        self.free.extend(unshared);
        self.free.truncate(KEPT_BYTES / (self.shape.page_floats() * size_of::<f32>()));
    }
}

/// One sequence's keys and values.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    length: usize,
    pages: Vec<Arc<Page>>,
}

impl Sequence {
    /// Tokens in the sequence.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The pages of its tokens and of those there is room for.
    pub(super) fn pages(&self) -> &[Arc<Page>] {
        &self.pages
    }

    /// Makes room for so many more tokens: pages that no other sequence has.
    pub(super) fn reserve(&mut self, tokens: usize, pages: &mut Pages) {
        let first = self.length / PAGE;
        if let Some(page) = self.pages.get_mut(first)
            && Arc::get_mut(page).is_none()
        {
            let mut own = pages.take();
            Arc::make_mut(&mut own).0.copy_from_slice(&page.0);
            *page = own;
        }
        let count = (self.length + tokens).div_ceil(PAGE);
        while self.pages.len() < count {
            self.pages.push(pages.take());
        }
    }

    /// Counts tokens whose keys and values have been put in every layer.
    pub(super) fn extend(&mut self, tokens: usize) {
        self.length += tokens;
    }

    /// Keeps the first `length` tokens at most, and tells how many.
    pub(super) fn truncate(&mut self, length: usize, pages: &mut Pages) -> usize {
        self.length = self.length.min(length);
        pages.give_back(self.pages.drain(self.length.div_ceil(PAGE).min(self.pages.len())..));
        self.length
    }

    /// Takes over the first `length` tokens of another sequence, and tells how many there were.
    pub(super) fn copy_prefix(&mut self, from: &Self, length: usize, pages: &mut Pages) -> usize {
        self.truncate(0, pages);
        self.length = length.min(from.length);
        self.pages.extend_from_slice(&from.pages[..self.length.div_ceil(PAGE)]);
        self.length
    }

    /// The pages of tokens for which [`Sequence::reserve`] made room, each with the tokens that are in it.
    pub(super) fn pages_mut(&mut self, tokens: Range<usize>) -> impl Iterator<Item = (&mut Page, Range<usize>)> {
        let pages = self.pages.iter_mut().enumerate().skip(tokens.start / PAGE);
        pages.take(tokens.end.div_ceil(PAGE).saturating_sub(tokens.start / PAGE)).map(move |(index, page)| {
            let page = Arc::get_mut(page).expect("`reserve` leaves no page shared");
            (page, tokens.start.max(index * PAGE)..tokens.end.min((index + 1) * PAGE))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: KvShape = KvShape { layers: 2, heads: 3, head_size: 5 };

    fn put(sequence: &mut Sequence, position: usize, number: f32) {
        for (layer, head) in (0..2).flat_map(|layer| (0..3).map(move |head| (layer, head))) {
            for (page, tokens) in sequence.pages_mut(position..position + 1) {
                page.put(SHAPE, layer, head, tokens.start % PAGE, &[number; 5], &[-number; 5]);
            }
        }
    }

    fn append(sequence: &mut Sequence, pages: &mut Pages, numbers: Range<usize>) {
        sequence.reserve(numbers.len(), pages);
        let first = sequence.length();
        numbers.clone().enumerate().for_each(|(offset, number)| put(sequence, first + offset, number as f32));
        sequence.extend(numbers.len());
    }

    fn numbers(sequence: &Sequence) -> Vec<usize> {
        let key = |position: usize| {
            let place = position % PAGE;
            sequence.pages()[position / PAGE].keys(SHAPE, 1, 2)[(place / LANES * 5 + 4) * LANES + place % LANES]
        };
        let value = |position: usize| sequence.pages()[position / PAGE].values(SHAPE, 1, 2)[position % PAGE * SHAPE.value_width() + 4];
        (0..sequence.length())
            .map(|position| {
                assert_eq!(key(position), -value(position));
                key(position) as usize
            })
            .collect()
    }

    #[test]
    fn sequences_that_share_a_beginning_go_on_apart() {
        let mut pages = Pages::new(SHAPE);
        let (mut one, mut two) = (Sequence::default(), Sequence::default());
        append(&mut one, &mut pages, 0..PAGE + 10);
        assert_eq!(two.copy_prefix(&one, PAGE + 5, &mut pages), PAGE + 5);
        append(&mut two, &mut pages, 500..600);
        append(&mut one, &mut pages, 900..903);
        assert_eq!(numbers(&one), (0..PAGE + 10).chain(900..903).collect::<Vec<_>>());
        assert_eq!(numbers(&two), (0..PAGE + 5).chain(500..600).collect::<Vec<_>>());
        assert!(Arc::ptr_eq(&one.pages()[0], &two.pages()[0]), "whole pages stay shared");
        assert_eq!(two.truncate(PAGE, &mut pages), PAGE);
        append(&mut two, &mut pages, 700..702);
        assert_eq!(numbers(&two), (0..PAGE).chain(700..702).collect::<Vec<_>>());
        assert_eq!((one.truncate(0, &mut pages), one.pages().len()), (0, 0));
        assert_eq!(numbers(&two), (0..PAGE).chain(700..702).collect::<Vec<_>>());
    }
}
