//! Bytes in, whole characters out.

/// Joins the bytes of tokens to characters. An invalid sequence becomes U+FFFD, one for each maximal subpart, as
/// [`String::from_utf8_lossy`] does it; the beginning of a character waits for its rest.
#[derive(Debug, Default)]
pub struct WholeCharacters {
    waiting: Vec<u8>,
}

impl WholeCharacters {
    /// Adds bytes and returns the characters that are complete.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.waiting.extend_from_slice(bytes);
        let mut text = String::new();
        let mut complete = 0;
        for chunk in self.waiting.utf8_chunks() {
            text.push_str(chunk.valid());
            complete += chunk.valid().len();
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            let at_end = complete + invalid.len() == self.waiting.len();
            if at_end && may_become_character(invalid) {
                break;
            }
            text.push(char::REPLACEMENT_CHARACTER);
            complete += invalid.len();
        }
        self.waiting.drain(..complete);
        text
    }
}

/// Whether more bytes can make a character of these, which `std` reported as one invalid sequence.
fn may_become_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::oracles::check_characters;

    fn check(bytes: &[u8], splits: &[usize]) {
        let ends: Vec<usize> = [&[0], splits, &[bytes.len()]].concat();
        let pieces: Vec<&[u8]> = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        check_characters(&pieces);
    }

    #[test]
    fn a_split_character_comes_out_whole() {
        let bytes = "né🙂".as_bytes();
        for split in 0..bytes.len() {
            check(bytes, &[split]);
        }
    }

    #[test]
    fn a_character_that_never_ends_is_left_out() {
        let mut characters = WholeCharacters::default();
        assert_eq!(characters.push(b"a\xF0\x9F"), "a");
        assert_eq!(characters.push(b"b"), "\u{FFFD}b");
    }

    proptest! {
        #[test]
        fn any_split_gives_the_lossy_text(
            bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xF0), Just(0x9F), Just(0x99), Just(0x82), Just(0xED)], 0..24),
            cuts in prop::collection::vec(0usize..24, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut <= bytes.len()).collect();
            cuts.sort_unstable();
            check(&bytes, &cuts);
        }
    }
}
