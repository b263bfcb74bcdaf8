//! An answer with all that led to it, as llama.cpp's server tells it: at the end of a completion, and of a chat in `__verbose`.

use minivault_engines::generation::Finish;
use minivault_engines::{FinishReason, MaxTokens, Sampling};
use minivault_wire::llama_server::{CompletionAnswer, Timings};
use serde_json::{Value, json};

use crate::interaction::Interaction;

/// The settings of a request, under their names there. The seed is known once the engine has settled it.
pub(in crate::routes) fn settings(sampling: &Sampling, max_tokens: MaxTokens) -> Value {
    let n_predict = match max_tokens {
        MaxTokens::Exactly(tokens) | MaxTokens::AtMost(tokens) => i64::try_from(tokens).unwrap_or(i64::MAX),
        MaxTokens::Remaining => -1,
    };
    json!({
        "n_predict": n_predict, "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p,
        "min_p": sampling.min_p, "repeat_penalty": sampling.repetition_penalty, "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty, "seed": sampling.seed.map_or(json!(-1), Into::into),
    })
}

/// An answer that has ended, without its text.
pub(in crate::routes) fn answer(
    index: usize,
    interaction: &Interaction,
    finish: Finish,
    settings: &Value,
    has_new_line: bool,
    timings: Timings,
) -> CompletionAnswer {
    let Finish { reason, usage, .. } = finish;
    let (stop_type, stopping_word) = match reason {
        FinishReason::EndOfText | FinishReason::ToolCalls => ("eos", String::new()),
        FinishReason::StopString(stop) => ("word", stop),
        FinishReason::Length | FinishReason::Timeout => ("limit", String::new()),
    };
    let mut settings = settings.clone();
    settings["seed"] = interaction.seed.into();
    CompletionAnswer {
        index,
        content: String::new(),
        tokens: Vec::new(),
        stop: true,
        model: interaction.engine.name.clone(),
        tokens_predicted: usage.completion_tokens,
        tokens_evaluated: usage.prompt_tokens,
        tokens_cached: usage.cached_tokens,
        generation_settings: settings,
        prompt: interaction.prompt.to_string(),
        has_new_line,
        truncated: false,
        stop_type: stop_type.into(),
        stopping_word,
        timings,
        completion_probabilities: None,
    }
}
