//! Stop strings: text that ends an answer and is never shown.

/// Looks for stop strings in a text that arrives in pieces.
///
/// The answer ends before the stop string that is complete first; of several complete at the same place, before the longest. What
/// may still become one is held back. Each byte takes a step in one automaton per stop string (Knuth, Morris and Pratt 1977), so
/// no text and no stop string makes this slow.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Vec<Automaton>,
    held: String,
}

/// What a piece of text led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Stopping {
    /// This much can be shown.
    Continue(String),
    /// This much can be shown, and then came this stop string.
    Stopped {
        /// The text before the stop string.
        text: String,
        /// The stop string.
        stop: String,
    },
}

impl StopMatcher {
    /// A matcher for these strings; empty ones are ignored.
    pub fn new(stops: &[String]) -> Self {
        Self { stops: stops.iter().filter(|stop| !stop.is_empty()).map(|stop| Automaton::new(stop)).collect(), held: String::new() }
    }

    /// Adds text in whole characters.
    pub fn push(&mut self, text: &str) -> Stopping {
        let before = self.held.len();
        self.held.push_str(text);
        for (offset, &byte) in text.as_bytes().iter().enumerate() {
            // Every automaton takes its step before the longest of the complete ones is chosen.
            let mut complete: Option<&Automaton> = None;
            for stop in &mut self.stops {
                if stop.step(byte) && complete.is_none_or(|other| stop.text.len() > other.text.len()) {
                    complete = Some(stop);
                }
            }
            if let Some(stop) = complete {
                let stop = stop.text.clone();
                self.held.truncate(before + offset + 1 - stop.len());
                return Stopping::Stopped { text: std::mem::take(&mut self.held), stop };
            }
        }
        let kept = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let tail = self.held.split_off(self.held.len() - kept);
        Stopping::Continue(std::mem::replace(&mut self.held, tail))
    }

    /// What was held back, when nothing more can come.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[derive(Debug)]
struct Automaton {
    text: String,
    /// For each length of a matched prefix, the length of the longest shorter prefix that is also its suffix.
    fallback: Vec<usize>,
    matched: usize,
}

impl Automaton {
    fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        let mut fallback = vec![0; bytes.len() + 1];
        let mut length = 0;
        for end in 1..bytes.len() {
            while length > 0 && bytes[end] != bytes[length] {
                length = fallback[length];
            }
            length += usize::from(bytes[end] == bytes[length]);
            fallback[end + 1] = length;
        }
        Self { text: text.to_owned(), fallback, matched: 0 }
    }

    /// Whether this byte completes the string.
    fn step(&mut self, byte: u8) -> bool {
        let bytes = self.text.as_bytes();
        while self.matched > 0 && bytes[self.matched] != byte {
            self.matched = self.fallback[self.matched];
        }
        self.matched += usize::from(bytes[self.matched] == byte);
        self.matched == bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testkit::oracles;

    fn shown(stops: &[&str], pieces: &[&str]) -> (String, Option<String>) {
        oracles::shown(&stops.iter().map(|&stop| stop.to_owned()).collect::<Vec<_>>(), pieces)
    }

    #[test]
    fn a_stop_string_over_several_pieces_is_never_shown() {
        assert_eq!(shown(&["END"], &["The E", "N", "D of"]), ("The ".into(), Some("END".into())));
    }

    #[test]
    fn what_only_began_like_a_stop_string_is_shown() {
        assert_eq!(shown(&["END"], &["The E", "N", "d"]), ("The ENd".into(), None));
        assert_eq!(shown(&["END"], &["EN"]), ("EN".into(), None));
    }

    #[test]
    fn text_waits_no_longer_than_it_must() {
        let mut matcher = StopMatcher::new(&["aab".to_owned()]);
        assert_eq!(matcher.push("xaaa"), Stopping::Continue("xa".into()));
        assert_eq!(matcher.push("c"), Stopping::Continue("aac".into()));
    }

    proptest! {
        #[test]
        fn every_split_gives_what_naive_search_gives(
            text in "[abé]{0,24}",
            stops in prop::collection::vec("[abé]{1,4}", 1..4),
            cuts in prop::collection::vec(0usize..48, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|&cut| cut <= text.len() && text.is_char_boundary(cut)).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&str> = cuts.windows(2).map(|ends| &text[ends[0]..ends[1]]).collect();
            oracles::check_stops(&stops, &pieces);
        }
    }
}
