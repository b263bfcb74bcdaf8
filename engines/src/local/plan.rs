//! What a step feeds of each sequence.

use super::sequence::Sequence;

/// Rows of a step with drafts, all sequences together: up to there an additional row is much cheaper than a step.
const WIDEST_WITH_DRAFTS: usize = 16;
/// A step of so many rows computes as long as it reads weights, so a row of `n` costs about `n / (n + 5)` of what a token costs
/// without it. (GPT-2 of 82 M parameters, steps of 8 rows against those of 1: 22 in f32, 14 in bf16, 6 in int8.)
const BALANCED_ROWS: f32 = 5.0;

/// How many tokens each sequence feeds, in their order: one for each answer with its drafts, and for the prompts equal shares of what
/// is left.
pub(super) fn shares<'a>(sequences: impl Iterator<Item = &'a mut Sequence>, step_tokens: usize, shares: &mut Vec<usize>) {
    let mut sequences: Vec<&mut Sequence> = sequences.collect();
    share_among_prompts(&sequences, step_tokens, shares);
    add_drafts(&mut sequences, step_tokens, shares);
}

fn share_among_prompts(sequences: &[&mut Sequence], step_tokens: usize, shares: &mut Vec<usize>) {
    let answers = sequences.iter().filter(|sequence| sequence.is_answering()).count();
    let mut prompts = sequences.len() - answers;
    let mut left = step_tokens - answers;
    shares.clear();
    shares.extend(sequences.iter().map(|sequence| {
        let unfed = sequence.unfed().len();
        if sequence.is_answering() {
            return unfed;
        }
        // What an earlier prompt doesn't need goes to the later ones.
        let share = unfed.min(left.div_ceil(prompts));
        prompts -= 1;
        left -= share;
        share
    }));
}

fn add_drafts(sequences: &mut [&mut Sequence], step_tokens: usize, shares: &mut [usize]) {
    let rows: usize = shares.iter().sum();
    let mut left = WIDEST_WITH_DRAFTS.min(step_tokens).saturating_sub(rows);
    let price = rows as f32 / (rows as f32 + BALANCED_ROWS);
    let mut answers = sequences.iter().filter(|sequence| sequence.is_answering()).count();
    for (sequence, share) in sequences.iter_mut().zip(shares).filter(|(sequence, _)| sequence.is_answering()) {
        if left == 0 {
            return;
        }
        let drafts = sequence.draft(left.div_ceil(answers), price);
        *share += drafts;
        left -= drafts;
        answers -= 1;
    }
}
