//! Drafts: guesses at a sequence's next tokens, looked up in what it has said so far.
//!
//! Where a text repeats, what followed last time follows again. A draft is verified as additional rows of a step and costs only time
//! where it is wrong, so its length depends on how often guesses were right. A guess is looked up in each step, also where none of its
//! tokens is worth a row: what the step chooses tells whether it would have been right.

use std::collections::HashMap;

use crate::request::TokenId;

/// Tokens of the end that are compared with earlier places.
const LONGEST_MATCH: usize = 8;
/// Fewer tokens in common say too little, but where the text has followed the place until now.
const SHORTEST_MATCH: usize = 2;
/// Earlier places that are looked at.
const PLACES: usize = 8;
/// How likely a guess is thought to be right before any was verified, by the tokens in common before it.
const FIRST_LIKELIHOODS: [f32; LONGEST_MATCH + 1] = [0.25, 0.4, 0.25, 0.45, 0.6, 0.7, 0.8, 0.85, 0.9];
/// How much one verified token changes that.
const LEARNING: f32 = 0.15;
/// Wrong guesses in a row after which a place isn't followed any more. One or two are a name or a number that differs, and then the text goes
/// on as it did there.
const MISSES: usize = 3;

/// One sequence's drafts.
pub(super) struct Drafts {
    /// For each pair of tokens the place behind its last occurrence.
    last: HashMap<(TokenId, TokenId), usize>,
    /// For each place the place behind the occurrence before of the pair that ends there; 0 where there is none.
    before: Vec<usize>,
    /// How likely a guess is right, by the tokens in common before it.
    likelihoods: [f32; LONGEST_MATCH + 1],
    /// The guess of the step under way.
    guess: Option<Guess>,
    /// The place after what the last guess was about, whether it was right or not.
    followed: Option<usize>,
    /// Wrong guesses in a row.
    misses: usize,
}

/// The tokens from here on.
#[derive(Clone, Copy)]
struct Guess {
    place: usize,
    /// How many tokens before it are as those at the end; at most [`LONGEST_MATCH`].
    common: usize,
}

impl Default for Drafts {
    fn default() -> Self {
        let likelihoods = FIRST_LIKELIHOODS;
        Self { last: HashMap::new(), before: Vec::new(), likelihoods, guess: None, followed: None, misses: 0 }
    }
}

impl Drafts {
    /// Appends a draft of at most `limit` tokens to the sequence's tokens and returns its length: as many as are each likelier right than
    /// their price, which is what a row costs as a share of what a right token saves.
    pub fn append(&mut self, tokens: &mut Vec<TokenId>, limit: usize, price: f32) -> usize {
        self.index(tokens);
        self.guess = self.find(tokens);
        let Some(Guess { place, common }) = self.guess else { return 0 };
        let mut likelihood = 1.0;
        for offset in 0..limit {
            likelihood *= self.likelihoods[(common + offset).min(LONGEST_MATCH)];
            if likelihood < price {
                return offset;
            }
            // Past the end it goes on with the draft itself: a text that turns in a circle goes on turning.
            tokens.push(tokens[place + offset]);
        }
        limit
    }

    /// What became of the guess: the last `chosen` of the sequence's tokens are new.
    pub fn learn(&mut self, tokens: &[TokenId], chosen: usize) {
        let Some(Guess { place, common }) = self.guess.take() else {
            self.followed = None;
            return;
        };
        let (guessed, new) = (&tokens[place..], &tokens[tokens.len() - chosen..]);
        let right = new.iter().zip(guessed).take_while(|(new, guessed)| new == guessed).count();
        for token in 0..chosen.min(right + 1) {
            let likelihood = &mut self.likelihoods[(common + token).min(LONGEST_MATCH)];
            *likelihood += (if token < right { 1.0 } else { 0.0 } - *likelihood) * LEARNING;
        }
        self.misses = match right {
            _ if right == chosen => 0,
            0 => self.misses + 1,
            _ => 1,
        };
        self.followed = (self.misses < MISSES).then_some(place + chosen);
    }

    /// Notes the pairs that have come since.
    fn index(&mut self, tokens: &[TokenId]) {
        for place in self.before.len()..tokens.len() {
            let before = place.checked_sub(1).and_then(|first| self.last.insert((tokens[first], tokens[place]), place + 1));
            self.before.push(before.unwrap_or(0));
        }
    }

    /// The earlier place that has most in common with the end, of equals the last one; or the one followed until now, if guesses after
    /// as much in common were right more often.
    fn find(&self, tokens: &[TokenId]) -> Option<Guess> {
        let common = |place: usize| {
            let pairs = tokens[..place].iter().rev().zip(tokens.iter().rev());
            pairs.take(LONGEST_MATCH).take_while(|(a, b)| a == b).count()
        };
        let mut best: Option<Guess> = None;
        let mut place = *self.before.last()?;
        for _ in 0..PLACES {
            if place == 0 {
                break;
            }
            let guess = Guess { place, common: common(place) };
            if guess.common > best.map_or(SHORTEST_MATCH - 1, |best| best.common) {
                best = Some(guess);
            }
            place = self.before[place - 1];
        }
        let followed = self.followed.map(|place| Guess { place, common: common(place) });
        let likelihood = |guess: Option<Guess>| guess.map_or(0.0, |guess| self.likelihoods[guess.common]);
        if likelihood(followed) > likelihood(best) { followed } else { best }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The draft after these tokens, of one that trusts its guesses.
    fn draft(tokens: &[TokenId], limit: usize) -> Vec<TokenId> {
        let mut drafts = Drafts { likelihoods: [1.0; LONGEST_MATCH + 1], ..Drafts::default() };
        let mut all = tokens.to_vec();
        let length = drafts.append(&mut all, limit, 0.2);
        assert_eq!(all.len(), tokens.len() + length);
        all.split_off(tokens.len())
    }

    /// How many rows are drafted, and how many of them are right, over a text that the sequence says token by token.
    fn rows(text: &[TokenId]) -> (usize, usize) {
        let mut drafts = Drafts::default();
        let (mut said, mut rows, mut right) = (vec![text[0]], 0, 0);
        while said.len() < text.len() {
            let before = said.len();
            let drafted = drafts.append(&mut said, (text.len() - before - 1).min(15), 0.2);
            let accepted = said[before..].iter().zip(&text[before..]).take_while(|(draft, token)| draft == token).count();
            said.truncate(before + accepted);
            said.push(text[before + accepted]);
            drafts.learn(&said, accepted + 1);
            rows += drafted;
            right += accepted;
        }
        (rows, right)
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
        // The same pair always goes on otherwise.
        let never: Vec<TokenId> = (0..200).flat_map(|round| [1, 2, 100 + round]).collect();
        let (drafted, right) = rows(&never);
        assert!(drafted - right <= 20, "{drafted} rows, {right} of them right, of 600 tokens");
        let always: Vec<TokenId> = (0..600).map(|place| place % 10).collect();
        let (all, right) = rows(&always);
        assert!(right > 500 && all - right < 30, "{right} of {all} rows, 600 tokens");
    }

    #[test]
    fn a_text_with_other_values_in_it_is_followed_on() {
        let records: Vec<TokenId> = (0..30).flat_map(|value| [1, 2, 3, 4, 1000 + value, 5, 6, 2000 + value, 7, 8, 9]).collect();
        let (rows, right) = rows(&records);
        // Of each record's 11 tokens two can't be known.
        assert!(right > 30 * 11 * 6 / 10, "{right} of {rows} rows, {} tokens", records.len());
    }
}
