//! [`Model`] of the network: slots and their sequences.

use std::collections::BTreeSet;

use super::architecture::Architecture;
use super::cache::{Pages, Sequence};
use super::kernels::Span;
use super::network::{Forward, Place};
use crate::error::{EngineError, Result};
use crate::model::{Feed, Limits, Logits, Model, Slot};
use crate::request::TokenId;

/// GPT-2 with its slots.
pub struct Gpt2Model {
    network: Box<dyn Forward>,
    sequences: Vec<Sequence>,
    pages: Pages,
    width: usize,
    vocabulary: usize,
    limits: Limits,
    /// Whether [`Model::embed`] is offered.
    embeddings: bool,
}

impl Gpt2Model {
    pub(super) fn new(network: Box<dyn Forward>, architecture: &Architecture, slots: usize, step_tokens: usize, embeddings: bool) -> Self {
        let limits = Limits { slots, step_tokens, context: architecture.context, logits_width: architecture.vocabulary };
        let sequences = (0..slots).map(|_| Sequence::default()).collect();
        let pages = Pages::new(architecture.kv_shape());
        Self { network, sequences, pages, width: architecture.width, vocabulary: architecture.vocabulary, limits, embeddings }
    }

    /// A broken promise of [`Model::step`]'s caller, in words; it would end in a panic further down.
    fn check(&self, feeds: &[Feed<'_>]) -> Result<(), String> {
        let mut slots = BTreeSet::new();
        for feed in feeds {
            let (slot, count) = (feed.slot.0, feed.tokens.len());
            let length = self.sequences.get(slot).map(Sequence::length).ok_or_else(|| format!("slot {slot} of {}", self.limits.slots))?;
            if !slots.insert(slot) {
                return Err(format!("slot {slot} is fed twice in one step"));
            }
            if count == 0 || length + count > self.limits.context {
                return Err(format!("{count} tokens for slot {slot}, which holds {length} of {}", self.limits.context));
            }
            self.check_tokens(feed.tokens)?;
        }
        let tokens: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();
        if tokens > self.limits.step_tokens {
            return Err(format!("{tokens} tokens in one step; the limit is {}", self.limits.step_tokens));
        }
        Ok(())
    }

    fn check_tokens(&self, tokens: &[TokenId]) -> Result<(), String> {
        match tokens.iter().find(|&&token| token as usize >= self.vocabulary) {
            Some(token) => Err(format!("token {token} of a vocabulary of {}", self.vocabulary)),
            None => Ok(()),
        }
    }

    fn compute(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> candle_core::Result<()> {
        let (mut places, mut spans, mut wanted) = (Vec::new(), Vec::new(), Vec::new());
        for feed in feeds {
            let (first_row, start) = (places.len(), self.sequences[feed.slot.0].length());
            places.extend(feed.tokens.iter().enumerate().map(|(offset, &token)| Place { token, position: start + offset }));
            spans.push(Span { sequence: feed.slot.0, first_row, rows: feed.tokens.len(), start });
            wanted.extend(feed.rows.range(feed.tokens.len()).map(|offset| first_row + offset));
        }
        for feed in feeds {
            self.sequences[feed.slot.0].reserve(feed.tokens.len(), &mut self.pages);
        }
        let hidden = self.network.hidden(&places, &spans, &mut self.sequences)?;
        if !wanted.is_empty() {
            self.network.logits(&hidden, &wanted, logits.extend(wanted.len()))?;
        }
        for feed in feeds {
            self.sequences[feed.slot.0].extend(feed.tokens.len());
        }
        Ok(())
    }
}

impl Gpt2Model {
    /// The sum of the hidden states after the last norm, a step's tokens at a time.
    fn sum_of_hidden(&mut self, tokens: &[TokenId], sequence: &mut [Sequence; 1]) -> candle_core::Result<Vec<f32>> {
        let mut sum = vec![0.0; self.width];
        for chunk in tokens.chunks(self.limits.step_tokens) {
            let start = sequence[0].length();
            let places: Vec<Place> = chunk.iter().enumerate().map(|(offset, &token)| Place { token, position: start + offset }).collect();
            let spans = [Span { sequence: 0, first_row: 0, rows: chunk.len(), start }];
            sequence[0].reserve(chunk.len(), &mut self.pages);
            let hidden = self.network.hidden(&places, &spans, sequence)?;
            for row in self.network.normalise(&hidden)?.chunks_exact(self.width) {
                sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            sequence[0].extend(chunk.len());
        }
        Ok(sum)
    }
}

impl Model for Gpt2Model {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn step(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> Result<()> {
        self.check(feeds).map_err(EngineError::failed)?;
        if feeds.is_empty() {
            return Ok(());
        }
        self.compute(feeds, logits).map_err(EngineError::failed)
    }

    fn truncate(&mut self, slot: Slot, length: usize) -> usize {
        self.sequences.get_mut(slot.0).map_or(0, |sequence| sequence.truncate(length, &mut self.pages))
    }

    fn copy_prefix(&mut self, from: Slot, to: Slot, length: usize) -> usize {
        match self.sequences.get_disjoint_mut([from.0, to.0]) {
            Ok([from, to]) => to.copy_prefix(from, length, &mut self.pages),
            // The same slot twice, or one that isn't there.
            Err(_) => 0,
        }
    }

    fn longest_embedding(&self) -> usize {
        self.limits.context
    }

    /// The mean of the hidden states after the last norm.
    fn embed(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>> {
        if !self.embeddings {
            return Err(EngineError::Unsupported {
                engine: String::new(),
                what: "embeddings: `embeddings` is false in its configuration".into(),
            });
        }
        let (count, limit) = (tokens.len(), self.limits.context);
        if count == 0 || count > limit {
            return Err(EngineError::failed(format!("{count} tokens to embed; it must be between 1 and {limit}")));
        }
        self.check_tokens(tokens).map_err(EngineError::failed)?;
        let mut sequence = [Sequence::default()];
        let sum = self.sum_of_hidden(tokens, &mut sequence);
        let [mut sequence] = sequence;
        sequence.truncate(0, &mut self.pages);
        let mut mean = sum.map_err(EngineError::failed)?;
        mean.iter_mut().for_each(|value| *value /= count as f32);
        Ok(mean)
    }

    fn release(&mut self, slot: Slot) {
        self.truncate(slot, 0);
    }
}
