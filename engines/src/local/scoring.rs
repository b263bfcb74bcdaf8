//! What the model thinks of the tokens of a prompt: its rows of logits, read where they can block nobody.

use std::sync::Arc;

use futures_util::StreamExt;

use super::reading::Reading;
use super::sequence::told;
use crate::decoding::Scorer;
use crate::error::{EngineError, Result};
use crate::generation::Token;
use crate::model::{Logits, Vocabulary};
use crate::request::TokenId;

/// The tokens of a text with the log probabilities of all but the first one.
pub(super) async fn score(
    reading: Reading,
    tokens: Vec<TokenId>,
    alternatives: usize,
    vocabulary: Arc<dyn Vocabulary>,
) -> Result<Vec<Token>> {
    let mut rows = reading.rows();
    let mut scorer = Scorer::default();
    let mut scored = Vec::with_capacity(tokens.len());
    scored.extend(tokens.first().map(|&id| token(id, None, &*vocabulary)));
    while let Some(logits) = rows.next().await {
        let logits = logits?;
        // The row after a token speaks of the next one, and the last row of none.
        let spoken_of: Vec<TokenId> = tokens[scored.len()..].iter().copied().take(logits.rows()).collect();
        let vocabulary = vocabulary.clone();
        // A full softmax of each row: some 50 us for GPT-2's vocabulary.
        let work = move || {
            let tokens = score_rows(&mut scorer, &logits, &spoken_of, alternatives, &*vocabulary)?;
            Ok::<_, EngineError>((scorer, tokens))
        };
        let (kept, more) = tokio::task::spawn_blocking(work).await.map_err(EngineError::failed)??;
        scorer = kept;
        scored.extend(more);
    }
    Ok(scored)
}

fn score_rows(
    scorer: &mut Scorer,
    logits: &Logits,
    tokens: &[TokenId],
    alternatives: usize,
    vocabulary: &dyn Vocabulary,
) -> Result<Vec<Token>> {
    let scored = tokens.iter().enumerate().map(|(row, &id)| {
        let thought = scorer.score(logits.row(row), id, alternatives)?;
        Ok(token(id, Some(thought), vocabulary))
    });
    scored.collect()
}

fn token(id: TokenId, thought: Option<crate::decoding::Logprobs>, vocabulary: &dyn Vocabulary) -> Token {
    let mut bytes = Vec::new();
    vocabulary.push_bytes(id, &mut bytes);
    told(id, bytes, thought, vocabulary)
}
