//! Calls of tools in the order in which they begin, whatever numbers a server gives them.

use super::failure::Failure;
use crate::generation::ToolCallPiece;

/// Calls that one answer may have.
const MOST: usize = 128;

/// The calls of one answer so far.
#[derive(Debug, Default)]
pub(super) struct Calls(Vec<Begun>);

#[derive(Debug)]
struct Begun {
    /// Its number as the server tells it: several have the same one on servers that send each whole call as number 0.
    told: usize,
    id: Option<String>,
    is_named: bool,
}

impl Calls {
    /// The piece with the place of its call among those that have begun.
    ///
    /// # Errors
    /// More calls than an answer may have.
    pub fn in_order(&mut self, piece: ToolCallPiece) -> Result<ToolCallPiece, Failure> {
        let id = piece.id.as_deref().filter(|id| !id.is_empty());
        let is_named = piece.name.as_deref().is_some_and(|name| !name.is_empty());
        // Some repeat the id with each piece; a second name or another id begins another call.
        let goes_on = |begun: &Begun| match (id, begun.id.as_deref()) {
            (Some(id), Some(known)) => id == known,
            _ => !(is_named && begun.is_named),
        };
        let latest = self.0.iter().rposition(|begun| begun.told == piece.index).filter(|&place| goes_on(&self.0[place]));
        let place = latest.unwrap_or(self.0.len());
        if place == MOST {
            return Err(Failure::nonsense(format!("more than {MOST} calls of tools in one answer")));
        }
        if latest.is_none() {
            self.0.push(Begun { told: piece.index, id: None, is_named: false });
        }
        let begun = &mut self.0[place];
        begun.is_named |= is_named;
        // What is told again is known.
        let id = piece.id.filter(|_| begun.id.is_none());
        begun.id = id.clone().filter(|id| !id.is_empty()).or(begun.id.take());
        Ok(ToolCallPiece { index: place, id, ..piece })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn places(pieces: &[(usize, &str, &str)]) -> Vec<usize> {
        let mut calls = Calls::default();
        let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let piece = |&(index, id, name): &(usize, &str, &str)| {
            let piece = ToolCallPiece { index, id: filled(id), name: filled(name), arguments: "{}".into() };
            calls.in_order(piece).unwrap().index
        };
        pieces.iter().map(piece).collect()
    }

    #[test]
    fn calls_are_told_apart_in_every_dialect() {
        // OpenAI's: the number tells.
        assert_eq!(places(&[(0, "a", "f"), (0, "", ""), (1, "b", "g"), (1, "", ""), (0, "", "")]), [0, 0, 1, 1, 0]);
        // Whole calls that are all number 0, with ids and without.
        assert_eq!(places(&[(0, "a", "f"), (0, "b", "f")]), [0, 1]);
        assert_eq!(places(&[(0, "", "f"), (0, "", "g")]), [0, 1]);
        // The id and the name again with each piece.
        assert_eq!(places(&[(0, "a", "f"), (0, "a", ""), (0, "a", "")]), [0, 0, 0]);
        // Numbers that mean nothing.
        assert_eq!(places(&[(usize::MAX, "a", "f"), (usize::MAX, "", ""), (7_000_000_000, "b", "f")]), [0, 0, 1]);
    }

    #[test]
    fn no_more_than_an_answer_may_have() {
        let mut calls = Calls::default();
        let piece = |index| ToolCallPiece { index, id: None, name: Some("f".into()), arguments: String::new() };
        (0..MOST).for_each(|index| assert!(calls.in_order(piece(index)).is_ok()));
        assert!(calls.in_order(piece(MOST)).is_err());
    }
}
