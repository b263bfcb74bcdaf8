//! What `config.json` says of the network, checked.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::cache::KvShape;
use crate::checkpoint::end_tokens;
use crate::checkpoint::settings::{boolean, fraction, is_set, quoted, size};

/// The network's shape.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Architecture {
    pub(super) vocabulary: usize,
    pub(super) context: usize,
    pub(super) width: usize,
    pub(super) inner_width: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) norm_epsilon: f64,
    pub(super) tied_head: bool,
    /// Tokens with which the model says that the text is complete.
    pub(super) end_tokens: Vec<u32>,
}

// Several times what the largest GPT-2 has; they keep a broken file from asking for all memory.
const MAX_VOCABULARY: usize = 1 << 20;
const MAX_CONTEXT: usize = 1 << 16;
const MAX_WIDTH: usize = 1 << 14;
const MAX_INNER_WIDTH: usize = 1 << 16;
const MAX_LAYERS: usize = 256;
const MAX_HEADS: usize = 256;

/// Settings that change what is computed, with the one value that this network has. Absent means that value, as in Transformers.
const FIXED_SETTINGS: [(&str, bool); 4] = [
    ("scale_attn_weights", true),
    ("scale_attn_by_inverse_layer_idx", false),
    ("reorder_and_upcast_attn", false),
    ("add_cross_attention", false),
];
/// Activations that are `gelu_new` under one name or another.
const ACTIVATIONS: [&str; 2] = ["gelu_new", "gelu_pytorch_tanh"];

impl Architecture {
    /// Reads a parsed `config.json`.
    ///
    /// # Errors
    /// A sentence naming the setting, its value and the limit.
    pub(super) fn new(config: &Value) -> Result<Self, String> {
        let config = config.as_object().ok_or("it is no JSON object")?;
        match config.get("model_type").and_then(Value::as_str) {
            Some("gpt2") => {}
            other => return Err(format!("model_type is {}; this backend runs gpt2", quoted(other))),
        }
        refuse_unsupported(config)?;
        let width = size(config, "n_embd", MAX_WIDTH)?;
        let heads = size(config, "n_head", MAX_HEADS)?;
        if width % heads != 0 {
            return Err(format!("n_embd is {width} and n_head is {heads}; n_head must divide n_embd"));
        }
        Ok(Self {
            vocabulary: size(config, "vocab_size", MAX_VOCABULARY)?,
            context: size(config, "n_positions", MAX_CONTEXT)?,
            inner_width: if is_set(config, "n_inner") { size(config, "n_inner", MAX_INNER_WIDTH)? } else { 4 * width },
            layers: size(config, "n_layer", MAX_LAYERS)?,
            norm_epsilon: fraction(config, "layer_norm_epsilon", 1e-5)?,
            tied_head: boolean(config, "tie_word_embeddings", true)?,
            end_tokens: end_tokens(config.get("eos_token_id"))?,
            width,
            heads,
        })
    }

    pub(super) fn kv_shape(&self) -> KvShape {
        KvShape { layers: self.layers, heads: self.heads, head_size: self.width / self.heads }
    }

    /// The tensor that turns hidden states into logits, `[vocabulary, width]`.
    pub(super) fn head(&self) -> String {
        if self.tied_head { "wte.weight" } else { "lm_head.weight" }.to_owned()
    }

    /// The linear layers of the blocks in the order in which they are computed: name, inputs, outputs.
    pub(super) fn linears(&self) -> impl Iterator<Item = (String, usize, usize)> {
        let (width, inner) = (self.width, self.inner_width);
        let of_a_block =
            [("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width), ("mlp.c_fc", width, inner), ("mlp.c_proj", inner, width)];
        let named = move |layer: usize| of_a_block.map(|(linear, inputs, outputs)| (format!("h.{layer}.{linear}"), inputs, outputs));
        (0..self.layers).flat_map(named)
    }

    /// Every tensor of the network with its shape, named as in checkpoints without the prefix `transformer.`.
    pub(super) fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let width = self.width;
        let mut tensors = BTreeMap::from([
            ("wte.weight".to_owned(), vec![self.vocabulary, width]),
            ("wpe.weight".to_owned(), vec![self.context, width]),
            ("ln_f.weight".to_owned(), vec![width]),
            ("ln_f.bias".to_owned(), vec![width]),
        ]);
        if !self.tied_head {
            tensors.insert("lm_head.weight".to_owned(), vec![self.vocabulary, width]);
        }
        for layer in 0..self.layers {
            for norm in ["ln_1", "ln_2"] {
                tensors.insert(format!("h.{layer}.{norm}.weight"), vec![width]);
                tensors.insert(format!("h.{layer}.{norm}.bias"), vec![width]);
            }
        }
        for (linear, inputs, outputs) in self.linears() {
            // Conv1D: `[inputs, outputs]`.
            tensors.insert(format!("{linear}.weight"), vec![inputs, outputs]);
            tensors.insert(format!("{linear}.bias"), vec![outputs]);
        }
        tensors
    }
}

fn refuse_unsupported(config: &Map<String, Value>) -> Result<(), String> {
    for (setting, supported) in FIXED_SETTINGS {
        let value = boolean(config, setting, supported)?;
        if value != supported {
            return Err(format!("{setting} is {value}; this backend supports {supported} only"));
        }
    }
    if is_set(config, "activation_function") {
        let activation = config.get("activation_function").and_then(Value::as_str);
        if !activation.is_some_and(|activation| ACTIVATIONS.contains(&activation)) {
            return Err(format!("activation_function is {}; this backend supports {}", quoted(activation), ACTIVATIONS.join(" and ")));
        }
    }
    if is_set(config, "quantization_config") {
        return Err("quantization_config is set; this backend reads f32, f16 and bf16 weights".to_owned());
    }
    match config.get("pruned_heads") {
        Some(Value::Object(pruned)) if !pruned.is_empty() => Err("pruned_heads is set; this backend supports whole layers only".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> Value {
        json!({"model_type": "gpt2", "vocab_size": 50257, "n_positions": 1024, "n_embd": 768, "n_layer": 6, "n_head": 12, "eos_token_id": 50256})
    }

    #[test]
    fn absent_settings_have_transformers_defaults() {
        let architecture = Architecture::new(&config()).unwrap();
        assert_eq!((architecture.inner_width, architecture.norm_epsilon, architecture.tied_head), (3072, 1e-5, true));
        assert_eq!(architecture.end_tokens, [50256]);
        assert_eq!(architecture.tensors().len(), 4 + 6 * 12);
        assert!(!architecture.tensors().contains_key("lm_head.weight"));
    }

    #[test]
    fn settings_that_are_set_are_followed() {
        let mut config = config();
        for (setting, value) in [
            ("n_inner", json!(1000)),
            ("activation_function", json!("gelu_pytorch_tanh")),
            ("tie_word_embeddings", json!(false)),
            ("eos_token_id", json!([1, 2])),
            ("layer_norm_epsilon", json!(1e-6)),
            ("scale_attn_weights", json!(true)),
            ("reorder_and_upcast_attn", json!(false)),
        ] {
            config[setting] = value;
        }
        let architecture = Architecture::new(&config).unwrap();
        assert_eq!(architecture.tensors()["h.5.mlp.c_proj.weight"], [1000, 768]);
        assert_eq!(architecture.tensors()["lm_head.weight"], [50257, 768]);
        assert_eq!((architecture.end_tokens, architecture.norm_epsilon), (vec![1, 2], 1e-6));
    }

    #[test]
    fn what_this_network_is_not_is_refused_by_name_and_value() {
        for (setting, value) in [
            ("model_type", json!("gpt_neo")),
            ("activation_function", json!("relu")),
            ("scale_attn_weights", json!(false)),
            ("scale_attn_by_inverse_layer_idx", json!(true)),
            ("reorder_and_upcast_attn", json!(true)),
            ("add_cross_attention", json!(true)),
            ("tie_word_embeddings", json!("yes")),
            ("n_head", json!(11)),
            ("n_head", json!(0)),
            ("n_head", json!(null)),
            ("n_embd", json!(1_u64 << 40)),
            ("n_layer", json!(-1)),
            ("n_layer", json!(2.5)),
            ("n_positions", json!(u64::MAX)),
            ("n_inner", json!(0)),
            ("vocab_size", json!("50257")),
            ("layer_norm_epsilon", json!(0)),
            ("eos_token_id", json!([-1])),
        ] {
            let mut config = config();
            config[setting] = value.clone();
            let error = Architecture::new(&config).unwrap_err();
            let shown = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            assert!(error.contains(setting) && error.contains(shown.trim_matches(['[', ']'])), "{setting} = {value}: {error}");
        }
        for setting in ["vocab_size", "n_positions", "n_embd", "n_layer", "n_head"] {
            let mut config = config();
            config.as_object_mut().unwrap().remove(setting);
            assert!(Architecture::new(&config).unwrap_err().contains(&format!("{setting} is missing")));
        }
    }
}
