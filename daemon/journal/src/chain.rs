//! The chain that makes changes evident: each line carries a hash of its content and of the line before.
//!
//! A line ends with `,"chain":"<64 hex digits>"}`: BLAKE3 over the 32 bytes of the preceding line's chain, zeros before a log's first
//! line, followed by the line as it would be without that field. A line without one, of the Python original or an older daemon, counts
//! into the chain with its whole bytes. Line breaks never count. The chain goes on from segment to segment.
//!
//! It makes evident that a line was changed, left out, put in or moved. It proves nothing against somebody who computes it anew from
//! that line to the log's end, and doesn't show that lines are missing at the end: for that, keep a chain value elsewhere.

use std::borrow::Cow;

/// A line's link in the chain.
pub type Chain = [u8; 32];

/// What a log begins with.
pub const START: Chain = [0; 32];

/// What stands between a line's content and its chain.
const FIELD: &[u8] = b",\"chain\":\"";
/// What stands behind the chain.
const END: &[u8] = b"\"}";
/// A chain in hex.
const DIGITS: usize = 64;
/// Bytes that a line's chain takes, the closing brace included.
pub(crate) const FIELD_LENGTH: usize = FIELD.len() + DIGITS + END.len();

/// The chain after a line without its `chain` field and line break.
pub fn link(previous: &Chain, content: &[u8]) -> Chain {
    *blake3::Hasher::new().update(previous).update(content).finalize().as_bytes()
}

/// Takes a line, without its line break, apart into what its chain was computed of and the chain, if it has one.
pub fn split(line: &[u8]) -> (Cow<'_, [u8]>, Option<Chain>) {
    match parts(line) {
        Some((content, chain)) => (Cow::Owned([content, b"}"].concat()), Some(chain)),
        None => (Cow::Borrowed(line), None),
    }
}

/// What a line makes of the chain: what it should be after it, and what the line says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// Computed.
    pub computed: Chain,
    /// As the line says; `None` in a line of an older format.
    pub told: Option<Chain>,
}

/// Follows the chain over a line, without its line break. As [`split`] and [`link`], but without a copy of the line.
pub fn follow(previous: &Chain, line: &[u8]) -> Followed {
    match parts(line) {
        Some((content, told)) => {
            let computed = *blake3::Hasher::new().update(previous).update(content).update(b"}").finalize().as_bytes();
            Followed { computed, told: Some(told) }
        }
        None => Followed { computed: link(previous, line), told: None },
    }
}

/// Ends a JSON object that has at least one field with its chain, and returns the chain.
pub(crate) fn seal(previous: &Chain, line: &mut Vec<u8>) -> Chain {
    let chain = link(previous, line);
    line.pop();
    line.extend_from_slice(FIELD);
    line.extend_from_slice(blake3::Hash::from_bytes(chain).to_hex().as_bytes());
    line.extend_from_slice(END);
    chain
}

/// The content up to its closing brace, and the chain.
///
/// Inside a string every quotation mark has a backslash before it, so no text that somebody wrote can look like this field.
fn parts(line: &[u8]) -> Option<(&[u8], Chain)> {
    let (rest, digits) = line.strip_suffix(END)?.split_last_chunk::<DIGITS>()?;
    let content = rest.strip_suffix(FIELD)?;
    Some((content, *blake3::Hash::from_hex(digits).ok()?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_is_split_into_what_it_was() {
        let content = br#"{"prompt":"a","seq":1}"#;
        let mut line = content.to_vec();
        let chain = seal(&START, &mut line);
        assert!(serde_json::from_slice::<serde_json::Value>(&line).is_ok());
        let (split_content, told) = split(&line);
        assert_eq!((&*split_content, told), (&content[..], Some(chain)));
        assert_eq!(chain, link(&START, content));
        assert_eq!(follow(&START, &line), Followed { computed: chain, told: Some(chain) });
    }

    #[test]
    fn a_line_of_an_older_format_counts_whole() {
        let line = br#"{"timestamp":"2024","prompt":"a","response":"b"}"#;
        assert_eq!(split(line), (Cow::Borrowed(&line[..]), None));
        assert_eq!(follow(&[7; 32], line), Followed { computed: link(&[7; 32], line), told: None });
    }

    #[test]
    fn every_changed_byte_shows() {
        let mut line = br#"{"prompt":"a","seq":1}"#.to_vec();
        let chain = seal(&[3; 32], &mut line);
        for place in 0..line.len() {
            let mut changed = line.clone();
            changed[place] ^= 1;
            let Followed { computed, told } = follow(&[3; 32], &changed);
            assert!(told != Some(computed), "byte {place}");
            assert!(told.is_some() || computed != chain, "byte {place}");
        }
    }

    #[test]
    fn text_that_looks_like_the_field_is_text() {
        let text = format!("x\",\"chain\":\"{}\"}}", "0".repeat(64));
        let line = serde_json::json!({ "response": text }).to_string();
        assert_eq!(split(line.as_bytes()).1, None);
    }
}
