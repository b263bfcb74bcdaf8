//! One sequence in one of candle-transformers' models.

use candle_core::{Device, Result, Tensor};
use candle_transformers::models::llama::{Cache, Llama};
use candle_transformers::models::quantized_llama::ModelWeights as QuantizedLlama;
use candle_transformers::models::{qwen2, qwen3};

use crate::request::TokenId;

/// A network with the keys and values of one sequence. A clone shares the weights, which candle's tensors count references to, and from
/// there on has keys and values of its own.
#[derive(Clone)]
pub(super) enum Network {
    /// `llama` in safetensors.
    Llama(Box<(Llama, Cache)>),
    /// `qwen2` in safetensors.
    Qwen2(Box<qwen2::ModelForCausalLM>),
    /// `qwen3` in safetensors.
    Qwen3(Box<qwen3::ModelForCausalLM>),
    /// `llama` in a GGUF file.
    QuantizedLlama(Box<QuantizedLlama>),
}

impl Network {
    /// Appends tokens behind the `start` that are there and computes the logits after the last one.
    pub(super) fn forward(&mut self, tokens: &[TokenId], start: usize) -> Result<Vec<f32>> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        let logits = match self {
            Self::Llama(parts) => {
                let (model, cache) = &mut **parts;
                model.forward(&input, start, cache)
            }
            Self::Qwen2(model) => model.forward(&input, start),
            Self::Qwen3(model) => model.forward(&input, start),
            Self::QuantizedLlama(model) => model.forward(&input, start),
        };
        logits?.flatten_all()?.to_vec1()
    }
}
