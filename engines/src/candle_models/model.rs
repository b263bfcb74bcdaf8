//! [`Model`] of slots that each have a network of their own and take turns within a step.

use super::network::Network;
use crate::error::{EngineError, Result};
use crate::model::{Feed, Limits, Logits, Model, Slot};

/// Networks with the same weights.
pub(super) struct Slots {
    /// One without a sequence, to be cloned.
    empty: Network,
    sequences: Vec<Option<Sequence>>,
    limits: Limits,
}

struct Sequence {
    network: Network,
    length: usize,
}

impl Slots {
    pub(super) fn new(empty: Network, limits: Limits) -> Self {
        Self { empty, sequences: (0..limits.slots).map(|_| None).collect(), limits }
    }

    /// A broken promise of [`Model::step`]'s caller, in words; candle would panic of some of them.
    fn check(&self, feeds: &[Feed<'_>]) -> Result<(), String> {
        let Limits { slots, context, logits_width, .. } = self.limits;
        for feed in feeds {
            let (slot, count) = (feed.slot.0, feed.tokens.len());
            let sequence = self.sequences.get(slot).ok_or_else(|| format!("slot {slot} of {slots}"))?;
            let length = sequence.as_ref().map_or(0, |sequence| sequence.length);
            if count == 0 || length + count > context {
                return Err(format!("{count} tokens for slot {slot}, which holds {length} of {context}"));
            }
            if let Some(token) = feed.tokens.iter().find(|&&token| token as usize >= logits_width) {
                return Err(format!("token {token} of a vocabulary of {logits_width}"));
            }
        }
        Ok(())
    }

    /// candle computes the logits after the last token of what it is fed, so the tokens after which more are wanted come one by one.
    fn feed(&mut self, feed: &Feed<'_>, logits: &mut Logits) -> candle_core::Result<()> {
        let Self { empty, sequences, .. } = self;
        let sequence = sequences[feed.slot.0].get_or_insert_with(|| Sequence { network: empty.clone(), length: 0 });
        let wanted = feed.rows.range(feed.tokens.len());
        let (together, singly) = feed.tokens.split_at(feed.tokens.len().min(wanted.start + 1));
        for (tokens, is_wanted) in std::iter::once((together, !wanted.is_empty())).chain(singly.chunks(1).map(|token| (token, true))) {
            let row = sequence.network.forward(tokens, sequence.length)?;
            sequence.length += tokens.len();
            if is_wanted {
                logits.push(&row);
            }
        }
        Ok(())
    }
}

impl Model for Slots {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn step(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> Result<()> {
        self.check(feeds).map_err(EngineError::failed)?;
        let done = feeds.iter().try_for_each(|feed| self.feed(feed, logits));
        if done.is_err() {
            feeds.iter().for_each(|feed| self.release(feed.slot));
        }
        done.map_err(EngineError::failed)
    }

    /// candle's caches have no way back.
    fn truncate(&mut self, slot: Slot, length: usize) -> usize {
        match self.sequences.get(slot.0) {
            Some(Some(sequence)) if length >= sequence.length => sequence.length,
            _ => {
                self.release(slot);
                0
            }
        }
    }

    fn release(&mut self, slot: Slot) {
        if let Some(sequence) = self.sequences.get_mut(slot.0) {
            *sequence = None;
        }
    }
}
