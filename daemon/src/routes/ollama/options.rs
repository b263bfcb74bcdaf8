//! How tokens are chosen, with Ollama's defaults.

use minivault_engines::{EngineInfo, MaxTokens, Sampling};
use minivault_wire::ollama::Options;

use super::refuse;
use crate::error::ApiError;

/// What the options of a body come to.
pub(super) struct Chosen {
    pub max_tokens: MaxTokens,
    pub sampling: Sampling,
    pub stop: Vec<String>,
    /// Those that would have changed the answer, and don't.
    pub left_aside: &'static [&'static str],
}

impl Chosen {
    /// What is asked of this engine.
    ///
    /// # Errors
    /// What it can't do.
    pub fn of(options: Option<Options>, engine: &EngineInfo) -> Result<Self, ApiError> {
        let options = options.unwrap_or_default();
        refuse("options.mirostat", options.mirostat.is_some_and(|mirostat| mirostat != 0.0))?;
        refuse("options.tfs_z", options.tfs_z.is_some_and(|tfs_z| tfs_z != 1.0))?;
        refuse("options.typical_p", options.typical_p.is_some_and(|typical_p| typical_p != 1.0))?;
        if let Some(wanted) = options.num_ctx.filter(|&wanted| engine.context_length > 0 && wanted > engine.context_length) {
            let message = format!("options.num_ctx is {wanted}; engine `{}` has {} tokens", engine.name, engine.context_length);
            return Err(ApiError::invalid(Some("options.num_ctx"), message));
        }
        let max_tokens = match options.num_predict.map(usize::try_from) {
            None | Some(Err(_)) => MaxTokens::Remaining,
            Some(Ok(tokens)) => MaxTokens::Exactly(tokens),
        };
        let sampling = Sampling {
            temperature: options.temperature.unwrap_or(0.8),
            top_k: usize::try_from(options.top_k.unwrap_or(40)).unwrap_or(0),
            top_p: options.top_p.unwrap_or(0.9),
            min_p: options.min_p.unwrap_or(0.0),
            repetition_penalty: options.repeat_penalty.unwrap_or(1.1),
            presence_penalty: options.presence_penalty.unwrap_or(0.0),
            frequency_penalty: options.frequency_penalty.unwrap_or(0.0),
            logit_bias: Vec::new(),
            seed: options.seed.and_then(|seed| u64::try_from(seed).ok()),
        };
        let left_aside: &[_] = if options.repeat_last_n.is_some() { &["options.repeat_last_n"] } else { &[] };
        Ok(Self { max_tokens, sampling, stop: options.stop.map(Into::into).unwrap_or_default(), left_aside })
    }
}
