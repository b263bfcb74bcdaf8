//! Drafts: guesses at a sequence's next tokens, looked up in what it has said so far.
//!
//! Where a text repeats, what followed last time follows again. A draft is verified as additional rows of a step and costs only time
//! where it is wrong, so how often one is made depends on how often they were right.

use std::collections::HashMap;

use crate::request::TokenId;

/// Tokens of the end that are compared with earlier places.
const LONGEST_MATCH: usize = 8;
/// Earlier places that are looked at.
const PLACES: usize = 8;
/// Tokens of a draft.
const LONGEST_DRAFT: usize = 10;
/// From how many tokens in common a guess is of which kind, and how likely it is thought to be right before any was verified. In plain prose
/// two tokens come again without what followed them; six hardly do.
const KINDS: [(usize, f32); 3] = [(2, 0.1), (3, 0.35), (6, 0.6)];
/// How much one verified token changes that.
const LEARNING: f32 = 0.2;
/// Chances passed over until a kind is tried again that is likely wrong, at first and at most.
const WAIT: std::ops::RangeInclusive<usize> = 2..=64;

/// One sequence's drafts.
pub(super) struct Drafts {
    /// For each pair of tokens the place behind its last occurrence.
    last: HashMap<(TokenId, TokenId), usize>,
    /// For each place the place behind the occurrence before of the pair that ends there; 0 where there is none.
    before: Vec<usize>,
    /// What came of the guesses of each kind.
    kinds: [Kind; KINDS.len()],
    /// The kind of the draft under way.
    drafted: usize,
}

/// Guesses after about as many tokens in common.
#[derive(Clone, Copy)]
struct Kind {
    /// How likely a token is right.
    likelihood: f32,
    /// Chances to pass over until the next try.
    rest: usize,
    /// Chances passed over after a try that fails.
    wait: usize,
}

impl Default for Drafts {
    fn default() -> Self {
        let kinds = KINDS.map(|(_, likelihood)| Kind { likelihood, rest: 0, wait: *WAIT.start() });
        Self { last: HashMap::new(), before: Vec::new(), kinds, drafted: 0 }
    }
}

impl Drafts {
    /// Appends a draft of at most `limit` tokens to the sequence's tokens and returns its length; none while it isn't worth its
    /// price, which is what a row costs as a share of what a right token saves.
    pub fn append(&mut self, tokens: &mut Vec<TokenId>, limit: usize, price: f32) -> usize {
        self.index(tokens);
        let Some((place, common)) = self.find(tokens) else { return 0 };
        self.drafted = KINDS.iter().rposition(|&(least, _)| common >= least).unwrap_or(0);
        let length = self.kinds[self.drafted].length(price).min(limit);
        for offset in 0..length {
            // Past the end it goes on with the draft itself: a text that turns in a circle goes on turning.
            tokens.push(tokens[place + offset]);
        }
        length
    }

    /// So many of the last draft's tokens were right.
    pub fn verified(&mut self, drafted: usize, right: usize) {
        self.kinds[self.drafted].learn(drafted, right);
    }

    /// Notes the pairs that have come since.
    fn index(&mut self, tokens: &[TokenId]) {
        for place in self.before.len()..tokens.len() {
            let before = place.checked_sub(1).and_then(|first| self.last.insert((tokens[first], tokens[place]), place + 1));
            self.before.push(before.unwrap_or(0));
        }
    }

    /// The place behind the earlier occurrence of the end that has most in common with it, and how many tokens; of equals the last one.
    fn find(&self, tokens: &[TokenId]) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        let mut place = *self.before.last()?;
        for _ in 0..PLACES {
            if place == 0 {
                break;
            }
            let common = tokens[..place].iter().rev().zip(tokens.iter().rev()).take(LONGEST_MATCH).take_while(|(a, b)| a == b).count();
            if best.is_none_or(|(_, longest)| common > longest) {
                best = Some((place, common));
            }
            place = self.before[place - 1];
        }
        best
    }
}

impl Kind {
    /// As many tokens as are each likelier right than they cost; one now and then where none is.
    fn length(&mut self, price: f32) -> usize {
        if self.likelihood < price {
            let tried = self.rest == 0;
            self.rest = self.rest.saturating_sub(1);
            return usize::from(tried);
        }
        let mut likelihood = self.likelihood;
        let mut length = 0;
        while likelihood >= price && length < LONGEST_DRAFT {
            length += 1;
            likelihood *= self.likelihood;
        }
        length
    }

    fn learn(&mut self, drafted: usize, right: usize) {
        for token in 0..drafted.min(right + 1) {
            let outcome = if token < right { 1.0 } else { 0.0 };
            self.likelihood += (outcome - self.likelihood) * LEARNING;
        }
        if right == drafted {
            self.wait = (self.wait / 2).max(*WAIT.start());
        } else if right == 0 {
            self.rest = self.wait;
            self.wait = (self.wait * 2).min(*WAIT.end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The draft after these tokens.
    fn draft(tokens: &[TokenId], limit: usize) -> Vec<TokenId> {
        let mut drafts = Drafts { kinds: [Kind { likelihood: 1.0, rest: 0, wait: 2 }; KINDS.len()], ..Drafts::default() };
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
        let mut kind = Drafts::default().kinds[1];
        let mut rows = |steps: usize, right: bool| {
            let mut rows = 0;
            for _ in 0..steps {
                let length = kind.length(0.2);
                if length > 0 {
                    rows += length;
                    kind.learn(length, if right { length } else { 0 });
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
