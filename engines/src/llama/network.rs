//! A llama.cpp context as a [`Model`]: many sequences in one context and one batch.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::log;
use crate::error::{EngineError, Result};
use crate::model::{Feed, Limits, Logits, Model, Slot};

/// llama.cpp rounds the tokens of a sequence up to a multiple of this.
const CONTEXT_STEP: usize = 256;

/// How large a context is to be.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Sequences side by side.
    pub slots: usize,
    /// Tokens in one step.
    pub step_tokens: usize,
    /// Tokens of one sequence; no more than the model was trained for, because some models have no positions beyond.
    pub context: usize,
    /// Threads that compute.
    pub threads: usize,
}

/// A llama.cpp context and what is in it.
pub struct LlamaNetwork<'model> {
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    limits: Limits,
    /// Tokens in each slot.
    lengths: Vec<usize>,
}

impl<'model> LlamaNetwork<'model> {
    /// A context of the given size with nothing in it.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] where llama.cpp makes none, most often for want of memory.
    pub fn new(backend: &LlamaBackend, model: &'model LlamaModel, size: Size) -> Result<Self> {
        let too_large =
            || EngineError::Unavailable(format!("{} slots of {} tokens are more than llama.cpp can count", size.slots, size.context));
        let total = size.context.checked_next_multiple_of(CONTEXT_STEP).and_then(|context| context.checked_mul(size.slots));
        let total = total.and_then(|total| i32::try_from(total).ok()).ok_or_else(too_large)?;
        let number = |value: usize| u32::try_from(value).map_err(|_| too_large());
        let threads = i32::try_from(size.threads).map_err(|_| too_large())?;
        let parameters = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(total.unsigned_abs()))
            .with_n_seq_max(number(size.slots)?)
            .with_n_batch(number(size.step_tokens)?)
            // The whole step at once: models without causal attention demand it, and smaller pieces gain nothing.
            .with_n_ubatch(number(size.step_tokens)?)
            .with_n_threads(threads)
            .with_n_threads_batch(threads);
        let (context, reason) = log::listening(|| model.new_context(backend, parameters));
        let context = context.map_err(|error| {
            let reason = reason.unwrap_or_else(|| error.to_string());
            EngineError::Unavailable(format!("llama.cpp can't make {} slots of {} tokens: {reason}", size.slots, size.context))
        })?;
        let limits = Limits {
            slots: size.slots,
            // llama.cpp lowers it where the context is smaller, and ends the process where a batch is larger.
            step_tokens: size.step_tokens.min(context.n_batch() as usize),
            context: size.context.min(context.n_ctx() as usize / size.slots),
            logits_width: usize::try_from(model.n_vocab()).unwrap_or(0),
        };
        let batch = LlamaBatch::new(limits.step_tokens, 1);
        Ok(Self { context, batch, limits, lengths: vec![0; size.slots] })
    }

    /// Puts the feeds into the batch; nothing that could end the process gets past it.
    fn fill_batch(&mut self, feeds: &[Feed<'_>]) -> Result<(), String> {
        let Limits { slots, step_tokens, context, logits_width } = self.limits;
        let tokens: usize = feeds.iter().map(|feed| feed.tokens.len()).sum();
        if tokens == 0 || tokens > step_tokens {
            return Err(format!("a step has {tokens} tokens; it must have from 1 to {step_tokens}"));
        }
        self.batch.clear();
        for Feed { slot, tokens, rows } in feeds {
            let length = *self.lengths.get(slot.0).ok_or_else(|| format!("a step feeds slot {}; there are {slots}", slot.0))?;
            if length + tokens.len() > context {
                return Err(format!("slot {} would hold {} tokens; its context is {context}", slot.0, length + tokens.len()));
            }
            let rows = rows.range(tokens.len());
            for (place, &token) in tokens.iter().enumerate() {
                if token as usize >= logits_width {
                    return Err(format!("a step feeds token {token}; the vocabulary has {logits_width}"));
                }
                // All three are below i32::MAX: the context and the vocabulary were checked against it.
                let (token, position, sequence) = (LlamaToken(token as i32), (length + place) as i32, slot.0 as i32);
                self.batch.add(token, position, &[sequence], rows.contains(&place)).map_err(|error| error.to_string())?;
            }
        }
        Ok(())
    }

    fn sequence(&self, slot: Slot) -> Option<u32> {
        (slot.0 < self.limits.slots).then_some(slot.0 as u32)
    }
}

impl Model for LlamaNetwork<'_> {
    fn limits(&self) -> Limits {
        self.limits
    }

    fn step(&mut self, feeds: &[Feed<'_>], logits: &mut Logits) -> Result<()> {
        let done = match self.fill_batch(feeds) {
            Ok(()) => self.context.decode(&mut self.batch).map_err(|error| format!("llama.cpp can't decode: {error}")),
            Err(refused) => Err(refused),
        };
        if let Err(reason) = done {
            feeds.iter().for_each(|feed| self.release(feed.slot));
            return Err(EngineError::failed(reason));
        }
        let mut first = 0;
        for feed in feeds {
            // Only rows that were asked for exist; any other one would be a panic.
            for row in feed.rows.range(feed.tokens.len()) {
                logits.push(self.context.get_logits_ith((first + row) as i32));
            }
            first += feed.tokens.len();
            self.lengths[feed.slot.0] += feed.tokens.len();
        }
        Ok(())
    }

    fn truncate(&mut self, slot: Slot, length: usize) -> usize {
        let Some(sequence) = self.sequence(slot) else { return 0 };
        if length >= self.lengths[slot.0] {
            return self.lengths[slot.0];
        }
        // Recurrent models can't go back to an earlier state; they start again.
        let shortened = length > 0 && self.context.kv_cache_seq_rm(sequence as i32, Some(length as u32), None).is_ok();
        if shortened {
            self.lengths[slot.0] = length;
        } else {
            self.release(slot);
        }
        self.lengths[slot.0]
    }

    // `copy_prefix` stays at nothing: between slots with buffers of their own llama.cpp copies only whole ones and ends the
    // process otherwise, and a prompt evaluated from a copy has other bits than one evaluated in one piece.

    fn release(&mut self, slot: Slot) {
        let Some(sequence) = self.sequence(slot) else { return };
        self.lengths[slot.0] = 0;
        if let Err(error) = self.context.kv_cache_seq_rm(sequence as i32, None, None) {
            // llama.cpp promises that a whole sequence can always be removed.
            tracing::error!(slot = slot.0, %error, "llama.cpp keeps a sequence that was to be removed");
        }
    }
}
