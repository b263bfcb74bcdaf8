//! A llama.cpp context as a [`Model`]: many sequences in one context and one batch.

use std::num::NonZeroU32;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_2::llama_batch::LlamaBatch;
use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;
use llama_cpp_sys_2::{LLAMA_FLASH_ATTN_TYPE_AUTO, LLAMA_FLASH_ATTN_TYPE_DISABLED, LLAMA_FLASH_ATTN_TYPE_ENABLED};

use super::config::{CacheType, FlashAttention, LlamaConfig};
use super::embedder::Embedder;
use super::log;
use crate::error::{EngineError, Result};
use crate::model::{Feed, Limits, Logits, Model, Slot};
use crate::request::TokenId;

/// llama.cpp rounds the tokens of a sequence up to a multiple of this.
pub(super) const CONTEXT_STEP: usize = 256;

/// A llama.cpp context and what is in it.
pub struct LlamaNetwork<'model> {
    context: LlamaContext<'model>,
    batch: LlamaBatch<'static>,
    limits: Limits,
    /// Tokens in each slot.
    lengths: Vec<usize>,
    /// What makes vectors of texts, where the configuration asks for it.
    embedder: Option<Embedder<'model>>,
}

/// What a context has to hold.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub slots: usize,
    /// Tokens in each slot.
    pub length: usize,
}

/// A context with room for this, and otherwise as the configuration says; `change` has the last word.
///
/// # Errors
/// [`EngineError::Unavailable`] where llama.cpp makes none, most often for want of memory.
pub(super) fn new_context<'model>(
    backend: &LlamaBackend,
    model: &'model LlamaModel,
    config: &LlamaConfig,
    Room { slots, length }: Room,
    change: impl FnOnce(LlamaContextParams) -> LlamaContextParams,
) -> Result<LlamaContext<'model>> {
    let too_large = || EngineError::Unavailable(format!("{slots} slots of {length} tokens are more than llama.cpp can count"));
    let total = length.checked_next_multiple_of(CONTEXT_STEP).and_then(|length| length.checked_mul(slots));
    let total = total.and_then(|total| i32::try_from(total).ok()).ok_or_else(too_large)?;
    let number = |value: usize| u32::try_from(value).map_err(|_| too_large());
    let threads = |count: usize| i32::try_from(count).map_err(|_| too_large());
    let cache_type = match config.cache_type {
        CacheType::F16 => KvCacheType::F16,
        CacheType::Q8_0 => KvCacheType::Q8_0,
    };
    let flash_attention = match config.flash_attention {
        FlashAttention::Auto => LLAMA_FLASH_ATTN_TYPE_AUTO,
        FlashAttention::On => LLAMA_FLASH_ATTN_TYPE_ENABLED,
        FlashAttention::Off => LLAMA_FLASH_ATTN_TYPE_DISABLED,
    };
    let parameters = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(total.unsigned_abs()))
        .with_n_seq_max(number(slots)?)
        .with_n_batch(number(config.step_tokens)?)
        .with_n_ubatch(number(config.ubatch.unwrap_or(config.step_tokens))?)
        .with_n_threads(threads(config.threads())?)
        .with_n_threads_batch(threads(config.threads_batch())?)
        .with_type_k(cache_type)
        .with_type_v(cache_type)
        .with_flash_attention_policy(flash_attention);
    let (context, reason) = log::listening(|| model.new_context(backend, change(parameters)));
    context.map_err(|error| {
        let reason = reason.unwrap_or_else(|| error.to_string());
        EngineError::Unavailable(format!("llama.cpp can't make {slots} slots of {length} tokens: {reason}"))
    })
}

impl<'model> LlamaNetwork<'model> {
    /// A context with nothing in it, its slots of `length` tokens each; no more than the model was trained for, because some models have no
    /// positions beyond.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] where llama.cpp makes none, most often for want of memory.
    pub fn new(backend: &LlamaBackend, model: &'model LlamaModel, config: &LlamaConfig, length: usize) -> Result<Self> {
        let &LlamaConfig { slots, step_tokens, .. } = config;
        let context = new_context(backend, model, config, Room { slots, length }, |parameters| parameters)?;
        let limits = Limits {
            slots,
            // llama.cpp lowers it where the context is smaller, and ends the process where a batch is larger.
            step_tokens: step_tokens.min(context.n_batch() as usize),
            context: length.min(context.n_ctx() as usize / slots),
            logits_width: usize::try_from(model.n_vocab()).unwrap_or(0),
        };
        let batch = LlamaBatch::new(limits.step_tokens, 1);
        let embedder = match config.pooling {
            Some(pooling) => Some(Embedder::new(backend, model, config, limits.context, pooling)?),
            None => None,
        };
        Ok(Self { context, batch, limits, lengths: vec![0; slots], embedder })
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

    /// A prompt that goes on from a copy has other bits than one evaluated in one piece, so only an engine that promises nothing may use it.
    fn copy_prefix(&mut self, from: Slot, to: Slot, length: usize) -> usize {
        let (Some(source), Some(target)) = (self.sequence(from), self.sequence(to)) else { return 0 };
        let length = length.min(self.lengths[from.0]);
        if source == target || length == 0 || self.lengths[to.0] > 0 {
            return 0;
        }
        // Each slot has a buffer of its own. Between buffers llama.cpp copies only the whole one, when it decodes next, and ends the process
        // where it is asked for a part. What is too much is taken off again; recurrent models can't do that, and the slot stays empty.
        if self.context.kv_cache_seq_cp(source as i32, target as i32, None, None).is_err() {
            return 0;
        }
        self.lengths[to.0] = self.lengths[from.0];
        self.truncate(to, length)
    }

    fn longest_embedding(&self) -> usize {
        self.limits.context
    }

    fn embed(&mut self, tokens: &[TokenId]) -> Result<Vec<f32>> {
        match &mut self.embedder {
            Some(embedder) => embedder.embed(tokens).map_err(EngineError::failed),
            None => Err(EngineError::Unsupported { engine: String::new(), what: "embeddings: its configuration has no `pooling`".into() }),
        }
    }

    fn release(&mut self, slot: Slot) {
        let Some(sequence) = self.sequence(slot) else { return };
        self.lengths[slot.0] = 0;
        if let Err(error) = self.context.kv_cache_seq_rm(sequence as i32, None, None) {
            // llama.cpp promises that a whole sequence can always be removed.
            tracing::error!(slot = slot.0, %error, "llama.cpp keeps a sequence that was to be removed");
        }
    }
}
