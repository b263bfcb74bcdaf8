//! How long an answer takes, as llama.cpp's server tells it.

use std::time::Instant;

use minivault_engines::{PromptProgress, Usage};
use minivault_wire::llama_server as wire;

use crate::interaction::Next;

/// Watches an answer come, or several to one prompt.
#[derive(Debug, Clone, Copy)]
pub(in crate::routes) struct Stopwatch {
    started: Instant,
    first_token: Option<Instant>,
    reading: PromptProgress,
    predicted: usize,
}

impl Stopwatch {
    /// Nothing has come yet.
    pub fn new(started: Instant) -> Self {
        Self { started, first_token: None, reading: PromptProgress::default(), predicted: 0 }
    }

    /// What has come next.
    pub fn watch(&mut self, next: &Next) {
        match next {
            Next::Reading(progress) => self.reading = *progress,
            Next::Text(piece) => {
                self.first_token.get_or_insert_with(Instant::now);
                self.predicted += piece.count;
            }
            Next::ToolCall(_) => drop(self.first_token.get_or_insert_with(Instant::now)),
            Next::Finished(finish) => self.settle(finish.usage),
        }
    }

    /// What an answer took in the end; of several the tokens are counted together by whoever watches all of them.
    pub fn settle(&mut self, usage: Usage) {
        let Usage { prompt_tokens, completion_tokens, cached_tokens } = usage;
        self.reading = PromptProgress { total: prompt_tokens, cached: cached_tokens, processed: prompt_tokens };
        self.predicted = self.predicted.max(completion_tokens);
    }

    /// The times so far.
    pub fn timings(&self) -> wire::Timings {
        let now = Instant::now();
        let first = self.first_token.unwrap_or(now);
        let milliseconds = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1000.0;
        let prompt_n = self.reading.total.saturating_sub(self.reading.cached);
        let (prompt_ms, predicted_ms) = (milliseconds(self.started, first), milliseconds(first, now));
        wire::Timings {
            cache_n: self.reading.cached,
            prompt_n,
            prompt_ms,
            prompt_per_token_ms: share(prompt_ms, prompt_n as f64),
            prompt_per_second: share(prompt_n as f64 * 1000.0, prompt_ms),
            predicted_n: self.predicted,
            predicted_ms,
            predicted_per_token_ms: share(predicted_ms, self.predicted as f64),
            predicted_per_second: share(self.predicted as f64 * 1000.0, predicted_ms),
        }
    }

    /// How far the prompt has been read.
    pub fn progress(&self) -> wire::PromptProgress {
        let PromptProgress { total, cached, processed } = self.reading;
        wire::PromptProgress { total, cache: cached, processed, time_ms: self.started.elapsed().as_secs_f64() * 1000.0 }
    }
}

/// JSON has no number for what is divided by nothing.
fn share(whole: f64, parts: f64) -> f64 {
    if parts > 0.0 { whole / parts } else { 0.0 }
}
