//! Drafts: guesses at a sequence's next tokens, looked up in what it has said so far.
//!
//! Where a text repeats, what followed last time follows again. A draft is verified as additional rows of a step and costs only time
//! where it is wrong, so how often one is made depends on how often they were right.

use std::collections::HashMap;

use crate::request::TokenId;

/// Tokens of the end that are compared with earlier places.
const LONGEST_MATCH: usize = 8;
/// Fewer tokens in common say too little: in plain prose two tokens come again without what followed them.
const SHORTEST_MATCH: usize = 3;
/// Earlier places that are looked at.
const PLACES: usize = 8;
/// Tokens of a draft.
const LONGEST_DRAFT: usize = 15;
/// How likely a draft's token is thought to be right before any was verified.
const FIRST_LIKELIHOOD: f32 = 0.25;
/// How much one verified token changes that.
const LEARNING: f32 = 0.25;
/// Above it drafts go on at shorter matches: the text is one that repeats.
const REPETITIVE: f32 = 0.6;
/// Steps until drafts are tried again where they are likely wrong, at first and at most.
const WAIT: std::ops::RangeInclusive<usize> = 2..=64;

/// One sequence's drafts.
pub(super) struct Drafts {
    /// For each pair of tokens the place behind its last occurrence.
    last: HashMap<(TokenId, TokenId), usize>,
    /// For each place the place behind the occurrence before of the pair that ends there; 0 where there is none.
    before: Vec<usize>,
    /// How likely a draft's token is right.
    likelihood: f32,
    /// Tokens of the next draft at most; doubled while all are right.
    longest: usize,
    /// Steps until the next try.
    rest: usize,
    /// Steps from a try that fails to the next one.
    wait: usize,
}

impl Default for Drafts {
    fn default() -> Self {
        Self { last: HashMap::new(), before: Vec::new(), likelihood: FIRST_LIKELIHOOD, longest: 2, rest: 0, wait: *WAIT.start() }
    }
}

impl Drafts {
    /// Appends a draft of at most `limit` tokens to the sequence's tokens and returns its length; none while it isn't worth its
    /// price, which is what a row costs as a share of what a right token saves.
    pub fn append(&mut self, tokens: &mut Vec<TokenId>, limit: usize, price: f32) -> usize {
        let length = self.length(price).min(limit);
        if length == 0 {
            return 0;
        }
        self.index(tokens);
        let Some(place) = self.find(tokens) else { return 0 };
        for offset in 0..length {
            // Past the end it goes on with the draft itself: a text that turns in a circle goes on turning.
            tokens.push(tokens[place + offset]);
        }
        length
    }

    /// So many of a draft's tokens were right.
    pub fn verified(&mut self, drafted: usize, right: usize) {
        let tested = drafted.min(right + 1);
        for token in 0..tested {
            let outcome = if token < right { 1.0 } else { 0.0 };
            self.likelihood += (outcome - self.likelihood) * LEARNING;
        }
        if right == drafted {
            self.longest = (self.longest * 2).min(LONGEST_DRAFT);
            self.wait = (self.wait / 2).max(*WAIT.start());
        } else {
            self.longest = (right + 1).min(LONGEST_DRAFT);
            if right == 0 {
                self.rest = self.wait;
                self.wait = (self.wait * 2).min(*WAIT.end());
            }
        }
    }

    /// As many tokens as are each likelier right than they cost; one now and then where none is.
    fn length(&mut self, price: f32) -> usize {
        if self.likelihood < price {
            if self.rest > 0 {
                self.rest -= 1;
                return 0;
            }
            return 1;
        }
        let mut likelihood = self.likelihood;
        let mut length = 0;
        while likelihood >= price && length < self.longest {
            length += 1;
            likelihood *= self.likelihood;
        }
        length
    }

    /// Notes the pairs that have come since.
    fn index(&mut self, tokens: &[TokenId]) {
        for place in self.before.len()..tokens.len() {
            let before = place.checked_sub(1).and_then(|first| self.last.insert((tokens[first], tokens[place]), place + 1));
            self.before.push(before.unwrap_or(0));
        }
    }

    /// The place behind the earlier occurrence of the end that has most in common with it; of equals the last one.
    fn find(&self, tokens: &[TokenId]) -> Option<usize> {
        let shortest = if self.likelihood >= REPETITIVE { 2 } else { SHORTEST_MATCH };
        let (mut best, mut longest) = (None, shortest - 1);
        let mut place = *self.before.last()?;
        for _ in 0..PLACES {
            if place == 0 {
                break;
            }
            let common = tokens[..place].iter().rev().zip(tokens.iter().rev()).take(LONGEST_MATCH).take_while(|(a, b)| a == b).count();
            if common > longest {
                (best, longest) = (Some(place), common);
            }
            place = self.before[place - 1];
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The draft after these tokens.
    fn draft(tokens: &[TokenId], limit: usize) -> Vec<TokenId> {
        let mut drafts = Drafts { likelihood: 1.0, longest: LONGEST_DRAFT, ..Drafts::default() };
        let mut all = tokens.to_vec();
        let length = drafts.append(&mut all, limit, 0.2);
        assert_eq!(all.len(), tokens.len() + length);
        all.split_off(tokens.len())
    }

    #[test]
    fn what_followed_last_time_is_the_draft() {
        assert_eq!(draft(&[1, 2, 3, 4, 5, 9, 1, 2, 3], 3), [4, 5, 9]);
        for nothing in [&[1, 2, 3, 4, 5, 6][..], &[], &[1]] {
            assert!(draft(nothing, 3).is_empty());
        }
    }

    #[test]
    fn the_longest_match_wins_and_of_equals_the_last() {
        assert_eq!(draft(&[7, 1, 2, 3, 50, 8, 1, 2, 3, 60, 7, 1, 2, 3], 1), [50]);
        assert_eq!(draft(&[7, 1, 2, 3, 50, 7, 1, 2, 3, 60, 7, 1, 2, 3], 1), [60]);
    }

    #[test]
    fn a_circle_goes_on_turning() {
        assert_eq!(draft(&[1, 2, 1, 2, 1, 2], 5), [1, 2, 1, 2, 1]);
        assert_eq!(draft(&[4, 4, 4, 4], 3), [4, 4, 4]);
    }

    #[test]
    fn drafts_that_are_refused_become_rare_and_those_that_are_right_long() {
        let mut drafts = Drafts::default();
        let mut rows = |steps: usize, right: bool| {
            let mut rows = 0;
            for _ in 0..steps {
                let length = drafts.length(0.2);
                if length > 0 {
                    rows += length;
                    drafts.verified(length, if right { length } else { 0 });
                }
            }
            rows
        };
        let refused = rows(200, false);
        assert!(refused <= 10, "{refused} rows of 200 steps");
        let right = rows(100, true);
        assert!(right > 400, "{right} rows of 100 steps");
    }
}
