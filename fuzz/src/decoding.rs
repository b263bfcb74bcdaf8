//! What becomes of a model's bytes.

use minivault_engines::testkit::oracles;

use super::input::Input;

/// Bytes of characters that are likely to be split.
const BYTES: [&[u8]; 6] = ["né🙂".as_bytes(), b"\xF0\x9F", b"\xED\xA0\x80", b"\xC0\xAF", b"\xF4\x90", b"a"];

/// Bytes cut anywhere become the characters that they are as a whole.
pub fn characters(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut whole = Vec::new();
    for _ in 0..input.below(16) {
        match input.below(BYTES.len() + 1) {
            0 => whole.push(input.byte()),
            known => whole.extend(BYTES[known - 1]),
        }
    }
    oracles::check_characters(&input.pieces(&whole));
}

/// A text cut anywhere stops where a naive search would stop it.
pub fn stop(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let words = ["a", "b", "ab", "aab", "é"];
    let stops: Vec<String> = (0..input.below(5)).map(|_| input.text(&words)).collect();
    let pieces: Vec<String> = (0..input.below(8)).map(|_| input.text(&words)).collect();
    oracles::check_stops(&stops, &pieces.iter().map(String::as_str).collect::<Vec<_>>());
}
