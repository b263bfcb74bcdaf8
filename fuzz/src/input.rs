//! Choices made of bytes: the same bytes, the same choices, and few changed bytes, a similar case.

/// Bytes that decide. At their end every choice is the first one.
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// A number below this one; 0 for 0.
    pub fn below(&mut self, limit: usize) -> usize {
        let high = if limit > 256 { self.byte() } else { 0 };
        (usize::from(high) << 8 | usize::from(self.byte())) % limit.max(1)
    }

    /// At most so many bytes, in order.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A short text of these words and of anything else.
    pub fn text(&mut self, words: &[&str]) -> String {
        let count = self.below(9);
        let mut text = String::new();
        for _ in 0..count {
            match self.below(words.len() + 2) {
                0 => text.extend(char::from_u32(self.below(0x1_0000) as u32)),
                1 => text.push(char::from(self.byte())),
                word => text.push_str(words[word - 2]),
            }
        }
        text
    }

    /// These bytes in pieces, some of them empty.
    pub fn pieces<'b>(&mut self, mut bytes: &'b [u8]) -> Vec<&'b [u8]> {
        let mut pieces = Vec::new();
        let usual = self.below(24);
        while !bytes.is_empty() && pieces.len() < 4096 {
            let length = if self.is_empty() { usual.max(1) } else { self.below(24) };
            let (piece, rest) = bytes.split_at(length.min(bytes.len()));
            pieces.push(piece);
            bytes = rest;
        }
        pieces.push(bytes);
        pieces
    }

    /// The same bytes with some of them changed, taken out or put in.
    pub fn changed(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(6) {
            let place = self.below(bytes.len());
            match self.below(6) {
                0 if place < bytes.len() => bytes[place] = self.byte(),
                1 if place < bytes.len() => bytes[place] = self.pick(&[0, 1, 0x7F, 0x80, 0xFF, b'"', b'\n']),
                2 if place < bytes.len() => bytes[place] = bytes[place].wrapping_add(1),
                3 => drop(bytes.drain(place..(place + self.below(9)).min(bytes.len()))),
                4 => {
                    let count = self.below(9);
                    bytes.splice(place..place, self.take(count).iter().copied()).for_each(drop);
                }
                _ => bytes.truncate(place),
            }
        }
        bytes
    }
}
