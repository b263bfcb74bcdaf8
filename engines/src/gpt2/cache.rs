//! Keys and values of one sequence.

/// The shape of what one token leaves in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KvShape {
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) head_size: usize,
}

/// One sequence's keys and values, with room for `capacity` tokens from the start, so that nothing is ever moved.
///
/// `[layers, heads, capacity, head_size]`: what one head reads lies in one piece.
pub(super) struct Sequence {
    shape: KvShape,
    capacity: usize,
    length: usize,
    /// Empty until first used: a slot that never serves costs nothing.
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Sequence {
    pub(super) fn new(shape: KvShape, capacity: usize) -> Self {
        Self { shape, capacity, length: 0, keys: Vec::new(), values: Vec::new() }
    }

    /// Tokens in the sequence.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Counts tokens whose keys and values have been put in every layer.
    pub(super) fn extend(&mut self, tokens: usize) {
        self.length += tokens;
    }

    /// Keeps the first `length` tokens at most, and tells how many.
    pub(super) fn truncate(&mut self, length: usize) -> usize {
        self.length = self.length.min(length);
        self.length
    }

    /// Takes over the first `length` tokens of another sequence of the same capacity, and tells how many there were.
    pub(super) fn copy_prefix(&mut self, from: &Self, length: usize) -> usize {
        let length = length.min(from.length);
        if length == 0 {
            return self.truncate(0);
        }
        self.allocate();
        let (stride, part) = (self.capacity * self.shape.head_size, length * self.shape.head_size);
        for (to, from) in [(&mut self.keys, &from.keys), (&mut self.values, &from.values)] {
            for (to, from) in to.chunks_exact_mut(stride).zip(from.chunks_exact(stride)) {
                to[..part].copy_from_slice(&from[..part]);
            }
        }
        self.length = length;
        length
    }

    /// Writes one token's key and value in one head of one layer.
    pub(super) fn put(&mut self, layer: usize, head: usize, position: usize, key: &[f32], value: &[f32]) {
        self.allocate();
        let size = self.shape.head_size;
        let place = ((layer * self.shape.heads + head) * self.capacity + position) * size;
        self.keys[place..place + size].copy_from_slice(key);
        self.values[place..place + size].copy_from_slice(value);
    }

    /// All keys and values of one head in one layer, each `[capacity, head_size]`.
    pub(super) fn head(&self, layer: usize, head: usize) -> (&[f32], &[f32]) {
        let stride = self.capacity * self.shape.head_size;
        let place = (layer * self.shape.heads + head) * stride;
        (&self.keys[place..place + stride], &self.values[place..place + stride])
    }

    fn allocate(&mut self) {
        if self.keys.is_empty() {
            let floats = self.shape.layers * self.shape.heads * self.capacity * self.shape.head_size;
            // Zeroed pages come from the system untouched: memory is taken as the sequence grows.
            self.keys = vec![0.0; floats];
            self.values = vec![0.0; floats];
        }
    }
}
