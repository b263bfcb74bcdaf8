//! What decoding must come to, computed in the simplest way, for tests that give it anything at all.

use crate::decoding::{StopMatcher, Stopping, WholeCharacters};

/// Bytes in these pieces must become the characters that they are as a whole, read lossily, without one that the end cuts off.
///
/// # Panics
/// They don't.
pub fn check_characters(pieces: &[&[u8]]) {
    let mut characters = WholeCharacters::default();
    let text: String = pieces.iter().map(|piece| characters.push(piece)).collect();
    let bytes = pieces.concat();
    let is_cut_off = |tail: &[u8]| std::str::from_utf8(tail).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none());
    let cut_off = (1..=bytes.len().min(3)).find(|&tail| is_cut_off(&bytes[bytes.len() - tail..])).unwrap_or(0);
    assert_eq!(text, String::from_utf8_lossy(&bytes[..bytes.len() - cut_off]), "{pieces:?}");
}

/// A text in these pieces must stop where the first of the stop strings is complete, and nothing of that may be shown.
///
/// # Panics
/// It doesn't.
pub fn check_stops(stops: &[String], pieces: &[&str]) {
    assert_eq!(shown(stops, pieces), naive(stops, &pieces.concat()), "{stops:?} in {pieces:?}");
}

/// All pieces through the matcher: what is shown, and the stop string if there was one.
pub fn shown(stops: &[String], pieces: &[&str]) -> (String, Option<String>) {
    let mut matcher = StopMatcher::new(stops);
    let mut text = String::new();
    for piece in pieces {
        match matcher.push(piece) {
            Stopping::Continue(more) => text.push_str(&more),
            Stopping::Stopped { text: last, stop } => return (text + &last, Some(stop)),
        }
    }
    (text + &matcher.finish(), None)
}

/// The same by trying every end in turn.
fn naive(stops: &[String], text: &str) -> (String, Option<String>) {
    for end in (0..=text.len()).filter(|&end| text.is_char_boundary(end)) {
        let complete = stops.iter().filter(|stop| !stop.is_empty() && text[..end].ends_with(stop.as_str()));
        if let Some(stop) = complete.max_by_key(|stop| stop.len()) {
            return (text[..end - stop.len()].to_owned(), Some(stop.clone()));
        }
    }
    (text.to_owned(), None)
}
