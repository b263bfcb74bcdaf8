//! What `config.json` says of the network, checked.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use candle_nn::{Activation, VarBuilder};
use candle_transformers::models::{llama, qwen2, qwen3};
use serde_json::{Map, Value};

use super::network::Network;
use crate::checkpoint::end_tokens;
use crate::checkpoint::settings::{boolean, fraction, is_set, quoted, size};
use crate::request::TokenId;

// Beyond the largest models that anybody would run on one machine; they keep a broken file from asking for all memory.
const MAX_VOCABULARY: usize = 1 << 20;
const MAX_CONTEXT: usize = 1 << 24;
const MAX_WIDTH: usize = 1 << 15;
const MAX_INNER_WIDTH: usize = 1 << 17;
const MAX_LAYERS: usize = 256;
const MAX_HEADS: usize = 512;
const MAX_HEAD_SIZE: usize = 1024;

const HEAD: &str = "lm_head.weight";
const TOKEN_EMBEDDING: &str = "model.embed_tokens.weight";

/// The networks that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Llama,
    Qwen2,
    Qwen3,
}

/// The network's shape.
#[derive(Debug, Clone)]
pub(super) struct Architecture {
    kind: Kind,
    pub(super) vocabulary: usize,
    /// Tokens it was trained to see at once.
    pub(super) context: usize,
    width: usize,
    inner_width: usize,
    layers: usize,
    heads: usize,
    shared_heads: usize,
    head_size: usize,
    attention_bias: bool,
    norm_epsilon: f64,
    rope_theta: f64,
    rope_scaling: Option<llama::Llama3RopeConfig>,
    tied_head: bool,
    /// Tokens with which the model says that the text is complete.
    pub(super) end_tokens: Vec<TokenId>,
}

impl Architecture {
    /// Reads a parsed `config.json`.
    ///
    /// # Errors
    /// A sentence naming the setting, its value and the limit.
    pub(super) fn new(config: &Value) -> Result<Self, String> {
        let config = config.as_object().ok_or("it is no JSON object")?;
        let kind = match config.get("model_type").and_then(Value::as_str) {
            Some("llama") => Kind::Llama,
            Some("qwen2") => Kind::Qwen2,
            Some("qwen3") => Kind::Qwen3,
            other => return Err(format!("model_type is {}; this backend runs llama, qwen2 and qwen3", quoted(other))),
        };
        refuse_unsupported(config, kind)?;
        let (width, heads) = (size(config, "hidden_size", MAX_WIDTH)?, size(config, "num_attention_heads", MAX_HEADS)?);
        let shared_heads = if is_set(config, "num_key_value_heads") { size(config, "num_key_value_heads", MAX_HEADS)? } else { heads };
        if !heads.is_multiple_of(shared_heads) {
            return Err(format!("num_key_value_heads is {shared_heads}; it must divide num_attention_heads, {heads}"));
        }
        let rope = Rope::of(config, kind)?;
        Ok(Self {
            kind,
            vocabulary: size(config, "vocab_size", MAX_VOCABULARY)?,
            context: size(config, "max_position_embeddings", MAX_CONTEXT)?,
            inner_width: size(config, "intermediate_size", MAX_INNER_WIDTH)?,
            layers: size(config, "num_hidden_layers", MAX_LAYERS)?,
            head_size: head_size(config, kind, width, heads)?,
            attention_bias: boolean(config, "attention_bias", kind == Kind::Qwen2)?,
            norm_epsilon: fraction(config, "rms_norm_eps", 1e-6)?,
            rope_theta: rope.theta,
            rope_scaling: rope.scaling,
            tied_head: boolean(config, "tie_word_embeddings", false)?,
            end_tokens: end_tokens(config.get("eos_token_id"))?,
            width,
            heads,
            shared_heads,
        })
    }

    /// Every tensor that the network reads, with its shape, named as published.
    pub(super) fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let (width, inner) = (self.width, self.inner_width);
        let (queries, shared) = (self.heads * self.head_size, self.shared_heads * self.head_size);
        let mut tensors =
            BTreeMap::from([(TOKEN_EMBEDDING.to_owned(), vec![self.vocabulary, width]), ("model.norm.weight".to_owned(), vec![width])]);
        if !self.tied_head {
            tensors.insert(HEAD.to_owned(), vec![self.vocabulary, width]);
        }
        for layer in 0..self.layers {
            let mut insert = |part: &str, shape: Vec<usize>| tensors.insert(format!("model.layers.{layer}.{part}"), shape);
            insert("input_layernorm.weight", vec![width]);
            insert("post_attention_layernorm.weight", vec![width]);
            for (linear, outputs, inputs) in
                [("q_proj", queries, width), ("k_proj", shared, width), ("v_proj", shared, width), ("o_proj", width, queries)]
            {
                insert(&format!("self_attn.{linear}.weight"), vec![outputs, inputs]);
                // Qwen2's last projection has none.
                if self.attention_bias && !(self.kind == Kind::Qwen2 && linear == "o_proj") {
                    insert(&format!("self_attn.{linear}.bias"), vec![outputs]);
                }
            }
            if self.kind == Kind::Qwen3 {
                insert("self_attn.q_norm.weight", vec![self.head_size]);
                insert("self_attn.k_norm.weight", vec![self.head_size]);
            }
            insert("mlp.gate_proj.weight", vec![inner, width]);
            insert("mlp.up_proj.weight", vec![inner, width]);
            insert("mlp.down_proj.weight", vec![width, inner]);
        }
        tensors
    }

    /// Whether a checkpoint may carry this tensor though the network doesn't read it: what follows from the configuration, and a head that is tied.
    pub(super) fn ignores(&self, tensor: &str) -> bool {
        tensor.ends_with(".rotary_emb.inv_freq") || (self.tied_head && tensor == HEAD)
    }

    /// The network of these tensors, for sequences of up to `context` tokens.
    pub(super) fn network(&self, tensors: HashMap<String, Tensor>, context: usize) -> candle_core::Result<Network> {
        let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
        Ok(match self.kind {
            Kind::Llama => {
                let config = self.llama(context);
                let cache = llama::Cache::new(true, DType::F32, &config, &Device::Cpu)?;
                Network::Llama(Box::new((llama::Llama::load(weights, &config)?, cache)))
            }
            Kind::Qwen2 => Network::Qwen2(Box::new(qwen2::ModelForCausalLM::new(&self.qwen2(context), weights)?)),
            Kind::Qwen3 => Network::Qwen3(Box::new(qwen3::ModelForCausalLM::new(&self.qwen3(context), weights)?)),
        })
    }

    fn llama(&self, context: usize) -> llama::Config {
        llama::Config {
            hidden_size: self.width,
            intermediate_size: self.inner_width,
            vocab_size: self.vocabulary,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.shared_heads,
            use_flash_attn: false,
            rms_norm_eps: self.norm_epsilon,
            rope_theta: self.rope_theta as f32,
            bos_token_id: None,
            eos_token_id: None,
            rope_scaling: self.rope_scaling.clone(),
            // candle compares it with the number of heads where it means that of tokens, and would cut the cache.
            max_position_embeddings: context.max(self.heads + 1),
            tie_word_embeddings: self.tied_head,
        }
    }

    fn qwen2(&self, context: usize) -> qwen2::Config {
        qwen2::Config {
            vocab_size: self.vocabulary,
            hidden_size: self.width,
            intermediate_size: self.inner_width,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.shared_heads,
            max_position_embeddings: context,
            sliding_window: context,
            max_window_layers: self.layers,
            tie_word_embeddings: self.tied_head,
            rope_theta: self.rope_theta,
            rms_norm_eps: self.norm_epsilon,
            use_sliding_window: false,
            hidden_act: Activation::Silu,
        }
    }

    fn qwen3(&self, context: usize) -> qwen3::Config {
        qwen3::Config {
            vocab_size: self.vocabulary,
            hidden_size: self.width,
            intermediate_size: self.inner_width,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            head_dim: self.head_size,
            attention_bias: self.attention_bias,
            num_key_value_heads: self.shared_heads,
            max_position_embeddings: context,
            sliding_window: None,
            max_window_layers: self.layers,
            tie_word_embeddings: self.tied_head,
            rope_theta: self.rope_theta,
            rms_norm_eps: self.norm_epsilon,
            use_sliding_window: false,
            hidden_act: Activation::Silu,
        }
    }
}

/// Settings that change what is computed and that candle's network doesn't know.
fn refuse_unsupported(config: &Map<String, Value>, kind: Kind) -> Result<(), String> {
    let biases: &[(&str, bool)] = match kind {
        Kind::Llama => &[("attention_bias", false), ("mlp_bias", false)],
        Kind::Qwen2 => &[("attention_bias", true)],
        Kind::Qwen3 => &[],
    };
    for &(setting, supported) in biases.iter().chain(&[("use_sliding_window", false)]) {
        let value = boolean(config, setting, supported)?;
        if value != supported {
            return Err(format!("{setting} is {value}; this backend supports {supported} only"));
        }
    }
    if is_set(config, "hidden_act") {
        let activation = config.get("hidden_act").and_then(Value::as_str);
        if !matches!(activation, Some("silu" | "swish")) {
            return Err(format!("hidden_act is {}; this backend supports silu", quoted(activation)));
        }
    }
    if is_set(config, "quantization_config") {
        return Err("quantization_config is set; this backend reads f32, f16 and bf16 weights".to_owned());
    }
    Ok(())
}

fn head_size(config: &Map<String, Value>, kind: Kind, width: usize, heads: usize) -> Result<usize, String> {
    let named = if is_set(config, "head_dim") { Some(size(config, "head_dim", MAX_HEAD_SIZE)?) } else { None };
    let head_size = match (kind, named) {
        // Transformers' default.
        (Kind::Qwen3, None) => 128,
        (Kind::Qwen3, Some(named)) => named,
        _ if !width.is_multiple_of(heads) => {
            return Err(format!("num_attention_heads is {heads}; it must divide hidden_size, {width}"));
        }
        (_, Some(named)) if named != width / heads => {
            return Err(format!("head_dim is {named}; this backend supports hidden_size / num_attention_heads, {}, only", width / heads));
        }
        _ => width / heads,
    };
    if head_size.is_multiple_of(2) { Ok(head_size) } else { Err(format!("a head has {head_size} numbers; it must be even")) }
}

/// How positions are turned into angles.
struct Rope {
    theta: f64,
    scaling: Option<llama::Llama3RopeConfig>,
}

impl Rope {
    fn of(config: &Map<String, Value>, kind: Kind) -> Result<Self, String> {
        // Transformers 5 keeps both in one place.
        let together = config.get("rope_parameters").and_then(Value::as_object);
        let theta = together.and_then(|rope| rope.get("rope_theta")).or_else(|| config.get("rope_theta")).filter(|value| !value.is_null());
        let theta = match theta.map_or(Some(10_000.0), Value::as_f64) {
            Some(theta) if (1.0..=1e12).contains(&theta) => theta,
            _ => return Err(format!("rope_theta is {}; it must be between 1 and 1e12", theta.unwrap_or(&Value::Null))),
        };
        let Some(scaling) = together.or_else(|| config.get("rope_scaling").and_then(Value::as_object)) else {
            return Ok(Self { theta, scaling: None });
        };
        match scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str) {
            Some("default") => Ok(Self { theta, scaling: None }),
            Some("llama3") if kind == Kind::Llama => {
                let number = |setting: &str| {
                    let number = scaling.get(setting).and_then(Value::as_f64).filter(|number| *number > 0.0);
                    number.map(|number| number as f32).ok_or_else(|| format!("rope_scaling.{setting} must be a number over 0"))
                };
                let scaling = llama::Llama3RopeConfig {
                    factor: number("factor")?,
                    low_freq_factor: number("low_freq_factor")?,
                    high_freq_factor: number("high_freq_factor")?,
                    original_max_position_embeddings: size(scaling, "original_max_position_embeddings", MAX_CONTEXT)?,
                    rope_type: llama::Llama3RopeType::Llama3,
                };
                Ok(Self { theta, scaling: Some(scaling) })
            }
            other => Err(format!("rope_scaling is of type {}; this backend supports default, and llama3 for llama", quoted(other))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config(kind: &str) -> Value {
        json!({
            "model_type": kind, "vocab_size": 100, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "hidden_act": "silu", "eos_token_id": [1, 2],
        })
    }

    #[track_caller]
    fn check_refused(kind: &str, setting: &str, value: Value, expected: &str) {
        let mut config = config(kind);
        config[setting] = value;
        let reason = Architecture::new(&config).unwrap_err();
        assert!(reason.contains(expected), "`{expected}` isn't in: {reason}");
    }

    #[test]
    fn each_kind_has_its_tensors() {
        let check = |kind: &str, of_a_layer: usize, head_size: usize| {
            let architecture = Architecture::new(&config(kind)).unwrap();
            assert_eq!((architecture.tensors().len(), architecture.head_size), (3 + 2 * of_a_layer, head_size), "{kind}");
            assert_eq!(architecture.end_tokens, [1, 2]);
        };
        check("llama", 9, 8);
        check("qwen2", 12, 8);
        check("qwen3", 11, 128);
    }

    #[test]
    fn what_candle_would_compute_otherwise_is_refused_by_name() {
        check_refused("llama", "model_type", json!("mistral"), "model_type is `mistral`; this backend runs llama, qwen2 and qwen3");
        check_refused("llama", "attention_bias", json!(true), "attention_bias is true; this backend supports false only");
        check_refused("llama", "mlp_bias", json!(true), "mlp_bias is true");
        check_refused("qwen2", "use_sliding_window", json!(true), "use_sliding_window is true");
        check_refused("llama", "hidden_act", json!("gelu"), "hidden_act is `gelu`; this backend supports silu");
        check_refused("llama", "head_dim", json!(16), "head_dim is 16; this backend supports hidden_size / num_attention_heads, 8, only");
        check_refused("llama", "num_key_value_heads", json!(3), "num_key_value_heads is 3; it must divide num_attention_heads, 4");
        check_refused("llama", "num_attention_heads", json!(0), "num_attention_heads is 0; it must be between 1 and 512");
        check_refused("qwen2", "rope_scaling", json!({"type": "yarn", "factor": 4}), "rope_scaling is of type `yarn`");
        check_refused("qwen2", "rope_scaling", json!({"rope_type": "llama3"}), "rope_scaling is of type `llama3`");
        check_refused("llama", "rope_scaling", json!({"rope_type": "llama3"}), "rope_scaling.factor must be a number over 0");
        check_refused("llama", "rope_theta", json!("big"), "rope_theta is \"big\"");
        check_refused("llama", "quantization_config", json!({}), "quantization_config is set");
    }

    #[test]
    fn rope_is_read_from_either_place() {
        let mut config = config("llama");
        config["rope_theta"] = json!(500_000.0);
        assert_eq!(Architecture::new(&config).unwrap().rope_theta, 500_000.0);
        config["rope_parameters"] = json!({"rope_theta": 250_000.0, "rope_type": "default"});
        assert_eq!(Architecture::new(&config).unwrap().rope_theta, 250_000.0);
    }
}
