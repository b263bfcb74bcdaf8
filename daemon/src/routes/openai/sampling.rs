//! The sampling settings of both endpoints, with OpenAI's defaults: temperature 1, nothing filtered, no penalty.

use std::collections::BTreeMap;

use minivault_engines::{Sampling, TokenId};

use crate::error::ApiError;

/// The sampling settings of a body; both endpoints' have these fields. A struct of their own, flattened into the bodies, would cost the
/// errors' paths: serde reads what is flattened only after the rest.
macro_rules! sampling_of {
    ($body:ident) => {
        crate::routes::openai::sampling::Settings {
            temperature: $body.temperature,
            top_k: $body.top_k,
            top_p: $body.top_p,
            min_p: $body.min_p,
            repetition_penalty: $body.repetition_penalty,
            presence_penalty: $body.presence_penalty,
            frequency_penalty: $body.frequency_penalty,
            logit_bias: $body.logit_bias,
            seed: $body.seed,
        }
        .sampling()
    };
}
pub(super) use sampling_of;

/// The fields of a body.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub temperature: Option<f32>,
    pub top_k: Option<usize>,
    pub top_p: Option<f32>,
    pub min_p: Option<f32>,
    pub repetition_penalty: Option<f32>,
    pub presence_penalty: Option<f32>,
    pub frequency_penalty: Option<f32>,
    pub logit_bias: Option<BTreeMap<String, f32>>,
    pub seed: Option<u64>,
}

impl Settings {
    /// The settings in force.
    ///
    /// # Errors
    /// A bias for what is no token.
    pub fn sampling(self) -> Result<Sampling, ApiError> {
        let plain = Sampling::default();
        Ok(Sampling {
            temperature: self.temperature.unwrap_or(plain.temperature),
            top_k: self.top_k.unwrap_or(plain.top_k),
            top_p: self.top_p.unwrap_or(plain.top_p),
            min_p: self.min_p.unwrap_or(plain.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(plain.repetition_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(plain.presence_penalty),
            frequency_penalty: self.frequency_penalty.unwrap_or(plain.frequency_penalty),
            logit_bias: self.logit_bias.map_or(Ok(Vec::new()), biases)?,
            seed: self.seed,
        })
    }
}

/// A bias of 0 changes nothing, whatever it is for.
fn biases(biases: BTreeMap<String, f32>) -> Result<Vec<(TokenId, f32)>, ApiError> {
    let biases = biases.into_iter().filter(|&(_, bias)| bias != 0.0);
    biases
        .map(|(token, bias)| match token.parse() {
            Ok(id) => Ok((id, bias)),
            Err(_) => {
                let token: String = token.chars().take(80).collect();
                Err(ApiError::invalid(Some("logit_bias"), format!("logit_bias holds `{token}`; each of its keys must be a token's number")))
            }
        })
        .collect()
}
