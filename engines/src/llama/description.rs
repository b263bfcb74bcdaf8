//! What a GGUF file says of its model, held against what llama.cpp takes for granted.
//!
//! Each check stands for an assertion or an undefined step in llama.cpp's loader that would end the process. Whatever llama.cpp
//! itself refuses with an error (a missing tensor, an unknown architecture) is left to it.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use crate::gguf::{Gguf, Tensor, Value};

/// Layers of the deepest model (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u32 = 512;
/// Experts of the widest model (`LLAMA_MAX_EXPERTS`).
const MAX_EXPERTS: u32 = 1024;
/// Architectures that llama.cpp reads and that write no text.
const NOT_TEXT: [&str; 2] = ["clip", "wavtokenizer-dec"];
/// Architectures without attention, so without heads.
const RECURRENT: [&str; 3] = ["mamba", "rwkv", "arwkv"];
/// Keys of models some of whose layers keep less than all keys and values.
const KEEP_LESS: [&str; 5] =
    ["attention.sliding_window", "attention.kv_lora_rank", "attention.shared_kv_layers", "full_attention_interval", "ssm.state_size"];
/// Kinds of vocabulary of models that write text and whose tokenizers return an error rather than end the process.
const TOKENIZERS: [&str; 3] = ["llama", "gpt2", "gemma4"];
/// Ways to scale positions; any other one is an assertion in llama.cpp.
const ROPE_SCALINGS: [&str; 4] = ["none", "linear", "yarn", "longrope"];

/// What normalisation adds to variances, where an architecture has it; a negative one is an assertion in ggml.
const EPSILONS: [&str; 3] = ["layer_norm_rms_epsilon", "layer_norm_epsilon", "group_norm_epsilon"];

/// What has to be known of a model before and after llama.cpp loads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The kind of network.
    pub architecture: String,
    /// The name the model gives itself.
    pub name: Option<String>,
    /// Tokens it was trained to see at once.
    pub context_length: usize,
    /// Keys and values of one token, in all layers: numbers. `None` where layers differ in what they keep.
    pub cache_width: Option<u64>,
    /// Its vocabulary is SentencePiece's, which spells a blank as `▁` and unknown characters byte by byte.
    pub sentencepiece: bool,
    /// Its chat template, in Jinja.
    pub chat_template: Option<String>,
}

impl Description {
    /// Reads and checks what the header says.
    ///
    /// # Errors
    /// A sentence naming the key, its value and the limit.
    pub fn of(gguf: &Gguf) -> Result<Self, String> {
        let keys = Keys { gguf };
        let architecture = keys.text("general.architecture")?.ok_or("key `general.architecture` is missing")?;
        if NOT_TEXT.contains(&architecture.as_str()) {
            return Err(format!("key `general.architecture` is `{architecture}`, which isn't a model that writes text"));
        }
        let parts = keys.u16("split.count")?.unwrap_or(0);
        if parts > 1 {
            return Err(format!("the model is split into {parts} files (key `split.count`); it must be merged into one"));
        }
        let context_length = check_layers(&keys, &architecture)?;
        check_experts(&keys, &architecture)?;
        check_epsilons(&keys, &architecture)?;
        let sentencepiece = check_vocabulary(&keys)?;
        gguf.tensors().iter().try_for_each(check_tensor)?;
        Ok(Self {
            name: keys.text("general.name")?,
            context_length,
            cache_width: cache_width(&keys, &architecture)?,
            sentencepiece,
            chat_template: keys.text("tokenizer.chat_template")?,
            architecture,
        })
    }
}

/// Checks the network's proportions and returns the context it was trained for.
fn check_layers(keys: &Keys<'_>, architecture: &str) -> Result<usize, String> {
    let key = |name: &str| format!("{architecture}.{name}");
    let blocks = keys.required_u32(&key("block_count"), 1..=MAX_LAYERS)?;
    let context = keys.required_u32(&key("context_length"), 1..=i32::MAX as u32)?;
    let width = keys.required_u32(&key("embedding_length"), 1..=i32::MAX as u32)?;
    keys.optional_u32(&key("nextn_predict_layers"), 0..=blocks)?;
    if keys.flag(&key("attention.causal"))? == Some(false) {
        return Err(format!("key `{}` is false, so the model isn't one that writes text", key("attention.causal")));
    }
    if let Some(scaling) = keys.text(&key("rope.scaling.type"))?
        && !ROPE_SCALINGS.contains(&scaling.as_str())
    {
        return Err(format!("key `{}` is `{scaling}`; known are {}", key("rope.scaling.type"), ROPE_SCALINGS.join(", ")));
    }
    if !RECURRENT.iter().any(|recurrent| architecture.starts_with(recurrent)) {
        check_heads(keys, &key, width)?;
    }
    Ok(context as usize)
}

/// Keys and values of one token, where each layer keeps all of them for all tokens.
fn cache_width(keys: &Keys<'_>, architecture: &str) -> Result<Option<u64>, String> {
    let key = |name: &str| format!("{architecture}.{name}");
    let differs = |name: &&str| keys.gguf.get(&key(name)).is_some();
    if RECURRENT.iter().any(|recurrent| architecture.starts_with(recurrent)) || KEEP_LESS.iter().any(differs) {
        return Ok(None);
    }
    let any = 1..=i32::MAX as u32;
    let (blocks, width) = (keys.required_u32(&key("block_count"), any.clone())?, keys.required_u32(&key("embedding_length"), any.clone())?);
    let heads = keys.integers(&key("attention.head_count"))?;
    let shared = keys.integers(&key("attention.head_count_kv"))?;
    let Some(&first) = heads.first().filter(|_| !heads.contains(&0)) else { return Ok(None) };
    let length = |name: &str| Ok::<_, String>(u64::from(keys.optional_u32(&key(name), any.clone())?.unwrap_or(width / first)));
    let each = length("attention.key_length")?.saturating_add(length("attention.value_length")?);
    let layers = (0..blocks as usize).map(|layer| *shared.get(layer).or(shared.first()).unwrap_or(&first));
    Ok(Some(layers.map(u64::from).sum::<u64>().saturating_mul(each)))
}

fn check_heads(keys: &Keys<'_>, key: &impl Fn(&str) -> String, width: u32) -> Result<(), String> {
    let heads = keys.integers(&key("attention.head_count"))?;
    let shared = keys.integers(&key("attention.head_count_kv"))?;
    let key_length = keys.optional_u32(&key("attention.key_length"), 1..=i32::MAX as u32)?;
    keys.optional_u32(&key("attention.value_length"), 1..=i32::MAX as u32)?;
    for (layer, &heads) in heads.iter().enumerate() {
        // With one number for all layers, each layer has it.
        let shared = *shared.get(layer).or(shared.first()).unwrap_or(&heads);
        if heads > 0 && shared > 0 && !heads.is_multiple_of(shared) {
            return Err(format!(
                "key `{}` is {heads}; it must be a multiple of the {shared} heads of keys and values",
                key("attention.head_count")
            ));
        }
    }
    // Hybrid models name each layer's heads, some of them none.
    if let [heads] = heads[..] {
        if heads == 0 || (key_length.is_none() && !width.is_multiple_of(heads)) {
            return Err(format!("key `{}` is {heads}; it must divide the width {width}", key("attention.head_count")));
        }
        let longest = key_length.unwrap_or(width / heads);
        let rotated = keys.optional_u32(&key("rope.dimension_count"), 0..=longest)?.unwrap_or(0);
        if !rotated.is_multiple_of(2) {
            return Err(format!("key `{}` is {rotated}; it must be even", key("rope.dimension_count")));
        }
    }
    Ok(())
}

fn check_experts(keys: &Keys<'_>, architecture: &str) -> Result<(), String> {
    let key = |name: &str| format!("{architecture}.{name}");
    let experts = keys.optional_u32(&key("expert_count"), 0..=MAX_EXPERTS)?.unwrap_or(0);
    let used = keys.integers(&key("expert_used_count"))?.into_iter().max().unwrap_or(0);
    let groups = keys.optional_u32(&key("expert_group_count"), 0..=MAX_EXPERTS)?.unwrap_or(0);
    let used_groups = keys.optional_u32(&key("expert_group_used_count"), 0..=MAX_EXPERTS)?.unwrap_or(0);
    // Dense models of this family count their one network as an expert.
    let (experts, used) = if architecture.starts_with("hunyuan") && experts <= 1 { (0, 0) } else { (experts, used) };
    let usable = match experts {
        0 => used == 0 && groups == 0,
        _ => (1..=experts).contains(&used) && groups < experts,
    };
    if !usable {
        return Err(format!(
            "the model has {experts} experts in {groups} groups and uses {used} of them at once (keys `{}`, `{}`, `{}`), which can't be",
            key("expert_count"),
            key("expert_group_count"),
            key("expert_used_count")
        ));
    }
    if groups > 1 && (!experts.is_multiple_of(groups) || !(1..groups).contains(&used_groups)) {
        return Err(format!("the model has {experts} experts in {groups} groups and uses {used_groups} of the groups, which can't be"));
    }
    Ok(())
}

/// Checks what is added to variances before a root is taken of them.
fn check_epsilons(keys: &Keys<'_>, architecture: &str) -> Result<(), String> {
    for name in EPSILONS {
        let key = format!("{architecture}.attention.{name}");
        match keys.float(&key)? {
            Some(epsilon) if !(epsilon.is_finite() && epsilon >= 0.0) => {
                return Err(format!("key `{key}` is {epsilon}; it must be 0 or more"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Checks that a tensor of weights is stored in a way that they can be. Vectors are added to numbers in F32 and multiplied with them, which ggml
/// does in F32 alone; every tool that writes GGUF leaves them so.
fn check_tensor(tensor: &Tensor) -> Result<(), String> {
    let Tensor { name, dimensions, layout, .. } = tensor;
    // Tables of token ids are whole numbers.
    if !(name.ends_with(".weight") || name.ends_with(".bias")) || name.contains("tid2eid") {
        return Ok(());
    }
    let is_vector = dimensions[1..].iter().all(|&dimension| dimension == 1);
    match layout.holds_weights() && (!is_vector || layout.name == "F32") {
        true => Ok(()),
        false => {
            Err(format!("tensor `{name}` of the shape {dimensions:?} is of type {}, which llama.cpp doesn't compute with", layout.name))
        }
    }
}

/// Checks the vocabulary and returns whether it is SentencePiece's.
fn check_vocabulary(keys: &Keys<'_>) -> Result<bool, String> {
    let tokenizer = keys.text("tokenizer.ggml.model")?.ok_or("key `tokenizer.ggml.model` is missing")?;
    if !TOKENIZERS.contains(&tokenizer.as_str()) {
        return Err(format!("key `tokenizer.ggml.model` is `{tokenizer}`; supported are {}", TOKENIZERS.join(", ")));
    }
    let tokens = keys.gguf.tokens().filter(|tokens| !tokens.is_empty() && i32::try_from(tokens.len()).is_ok());
    let tokens = tokens.ok_or("key `tokenizer.ggml.tokens` must be an array of strings, at least one")?;
    let mut spellings = HashSet::with_capacity(tokens.len());
    for (id, token) in tokens.iter().enumerate() {
        // What llama.cpp makes of a token: it stops at a zero byte and gives empty ones a name.
        let spelling = until_zero(token);
        let spelling = if spelling.is_empty() { format!("[EMPTY_{id}]").into_bytes() } else { spelling.to_vec() };
        if let Some(twice) = spellings.replace(spelling) {
            return Err(format!("the vocabulary holds `{}` twice, the second time as token {id}", twice.escape_ascii()));
        }
    }
    Ok(tokenizer == "llama")
}

/// Typed reading of the header's values.
struct Keys<'a> {
    gguf: &'a Gguf,
}

impl Keys<'_> {
    fn wrong_kind(key: &str, value: &Value, expected: &str) -> String {
        format!("key `{key}` is of type {}; it must be {expected}", value.kind_name())
    }

    fn text(&self, key: &str) -> Result<Option<String>, String> {
        match self.gguf.get(key) {
            None => Ok(None),
            Some(Value::Text(bytes)) => String::from_utf8(until_zero(bytes).to_vec())
                .map(Some)
                .map_err(|error| format!("key `{key}` isn't UTF-8 after its byte {}", error.utf8_error().valid_up_to())),
            Some(other) => Err(Self::wrong_kind(key, other, "string")),
        }
    }

    fn u16(&self, key: &str) -> Result<Option<u16>, String> {
        match self.gguf.get(key) {
            None => Ok(None),
            Some(Value::U16(value)) => Ok(Some(*value)),
            Some(other) => Err(Self::wrong_kind(key, other, "u16")),
        }
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, String> {
        match self.gguf.get(key) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(Self::wrong_kind(key, other, "bool")),
        }
    }

    fn float(&self, key: &str) -> Result<Option<f32>, String> {
        match self.gguf.get(key) {
            None => Ok(None),
            Some(Value::F32(bits)) => Ok(Some(f32::from_bits(*bits))),
            Some(other) => Err(Self::wrong_kind(key, other, "f32")),
        }
    }

    fn optional_u32(&self, key: &str, range: RangeInclusive<u32>) -> Result<Option<u32>, String> {
        match self.gguf.get(key) {
            None => Ok(None),
            Some(Value::U32(value)) if range.contains(value) => Ok(Some(*value)),
            Some(Value::U32(value)) => Err(format!("key `{key}` is {value}; it must be from {} to {}", range.start(), range.end())),
            Some(other) => Err(Self::wrong_kind(key, other, "u32")),
        }
    }

    fn required_u32(&self, key: &str, range: RangeInclusive<u32>) -> Result<u32, String> {
        self.optional_u32(key, range)?.ok_or_else(|| format!("key `{key}` is missing"))
    }

    /// One number for all layers, or one for each.
    fn integers(&self, key: &str) -> Result<Vec<u32>, String> {
        match self.gguf.get(key) {
            None => Ok(Vec::new()),
            Some(Value::U32(value)) => Ok(vec![*value]),
            Some(Value::Integers(values)) => Ok(values.clone()),
            Some(other) => Err(Self::wrong_kind(key, other, "u32 or an array of at most 512")),
        }
    }
}

/// A string as C sees it.
fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
    &bytes[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gguf::sample::{Sample, bool_value, f32_value, integers_value, text_value, texts_value, u32_value};

    fn describe(sample: &Sample) -> Result<Description, String> {
        let bytes = sample.bytes();
        Description::of(&Gguf::read(&bytes[..], bytes.len() as u64).unwrap())
    }

    #[track_caller]
    fn check_refused(key: &str, value: Vec<u8>, expected: &str) {
        let reason = describe(&Sample::model().with(key, value)).expect_err("a model that must be refused");
        assert!(reason.contains(expected), "`{expected}` isn't in: {reason}");
    }

    #[test]
    fn a_sound_model_is_described() {
        let sample = Sample::model().with("tokenizer.chat_template", text_value("{{ messages }}"));
        let expected = Description {
            architecture: "llama".into(),
            name: Some("Tiny".into()),
            context_length: 64,
            // Two layers, in each of which two heads have keys and values of 8 numbers.
            cache_width: Some(2 * 2 * (8 + 8)),
            sentencepiece: false,
            chat_template: Some("{{ messages }}".into()),
        };
        assert_eq!(describe(&sample), Ok(expected));
    }

    #[test]
    fn what_a_token_keeps_is_not_told_where_layers_differ() {
        let width = |key: &str, value| describe(&Sample::model().with(key, value)).unwrap().cache_width;
        assert_eq!(width("llama.attention.key_length", u32_value(16)), Some(2 * 2 * (16 + 8)));
        assert_eq!(width("llama.attention.head_count_kv", integers_value(&[1, 4])), Some((1 + 4) * (8 + 8)));
        assert_eq!(width("llama.attention.sliding_window", u32_value(16)), None);
    }

    #[test]
    fn what_would_end_the_process_is_refused_by_name() {
        let blocks = "llama.block_count";
        check_refused(blocks, u32_value(0), "key `llama.block_count` is 0; it must be from 1 to 512");
        check_refused(blocks, u32_value(513), "key `llama.block_count` is 513; it must be from 1 to 512");
        check_refused(blocks, text_value("2"), "key `llama.block_count` is of type string; it must be u32");
        check_refused("general.architecture", u32_value(1), "key `general.architecture` is of type u32; it must be string");
        check_refused("general.architecture", text_value("clip"), "isn't a model that writes text");
        check_refused("llama.context_length", u32_value(0), "key `llama.context_length` is 0");
        check_refused("llama.nextn_predict_layers", u32_value(3), "is 3; it must be from 0 to 2");
        check_refused("llama.attention.causal", bool_value(false), "key `llama.attention.causal` is false");
        check_refused("llama.attention.head_count", u32_value(0), "is 0; it must divide the width 32");
        check_refused("llama.attention.head_count", u32_value(5), "is 5; it must be a multiple of the 2 heads");
        check_refused("llama.attention.head_count", integers_value(&[4, 3]), "is 3; it must be a multiple of the 2 heads");
        check_refused("llama.rope.scaling.type", text_value("bent"), "is `bent`; known are none, linear, yarn, longrope");
        check_refused("llama.expert_count", u32_value(2000), "is 2000; it must be from 0 to 1024");
        check_refused("llama.expert_count", u32_value(4), "uses 0 of them at once");
        check_refused("llama.expert_used_count", u32_value(2), "0 experts");
        check_refused("tokenizer.ggml.model", text_value("none"), "is `none`; supported are llama, gpt2, gemma4");
        check_refused("tokenizer.ggml.tokens", texts_value(&["a", "a"]), "holds `a` twice, the second time as token 1");
        check_refused("tokenizer.ggml.tokens", texts_value(&["a\0b", "a"]), "holds `a` twice");
        check_refused("tokenizer.ggml.tokens", texts_value(&["", "[EMPTY_0]"]), "holds `[EMPTY_0]` twice");
        check_refused("tokenizer.ggml.tokens", texts_value(&[]), "must be an array of strings, at least one");
    }

    #[test]
    fn an_epsilon_is_a_number_that_is_not_negative() {
        // Found by `make fuzz`: ggml asserts in the first step.
        let key = "llama.attention.layer_norm_rms_epsilon";
        check_refused(key, f32_value(-1e-5), "layer_norm_rms_epsilon` is -0.00001; it must be 0 or more");
        check_refused(key, f32_value(f32::NAN), "is NaN");
        check_refused(key, u32_value(1), "is of type u32; it must be f32");
    }

    #[test]
    fn weights_that_nothing_computes_with_are_refused_by_name() {
        let check = |tensor: usize, kind, bytes, expected: &str| {
            let mut sample = Sample::network();
            (sample.tensors[tensor].kind, sample.tensors[tensor].bytes) = (kind, bytes);
            let reason = describe(&sample).expect_err("a model that must be refused");
            assert!(reason.contains(expected), "`{expected}` isn't in: {reason}");
        };
        // Found by `make fuzz`: ggml asserts while the context is made.
        let tokens = Sample::network().tensors[0].dimensions[1] as usize;
        check(0, 26, 4 * 32 * tokens, "tensor `token_embd.weight` of the shape [32, 258] is of type I32");
        check(0, 28, 8 * 32 * tokens, "of type F64");
        check(1, 1, 2 * 32, "tensor `output_norm.weight` of the shape [32] is of type F16");
        assert!(describe(&Sample::network()).is_ok());
    }

    #[test]
    fn missing_keys_are_named() {
        for key in ["general.architecture", "llama.block_count", "llama.context_length", "tokenizer.ggml.model"] {
            assert_eq!(describe(&Sample::model().without(key)), Err(format!("key `{key}` is missing")));
        }
    }
}
