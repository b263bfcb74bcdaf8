//! What a GGUF file says of its model, held against what candle's quantised Llama computes.

use std::collections::BTreeMap;

use candle_core::quantized::gguf_file::{Content, Value};

/// Positions that candle has angles for.
pub(super) const LONGEST: usize = candle_transformers::models::quantized_llama::MAX_SEQ_LEN;
/// Beyond the deepest models; it keeps a broken file from making us look for millions of tensors.
const MAX_LAYERS: usize = 512;

/// What has to be known of a model before it is loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// The name the model gives itself.
    pub(super) name: Option<String>,
    /// Tokens in its vocabulary, which is the width of its logits.
    pub(super) vocabulary: usize,
    /// Tokens of a sequence, as it was trained and as candle can count them.
    pub(super) context: usize,
}

impl Header {
    /// Reads and checks what the header says.
    ///
    /// # Errors
    /// A sentence naming the key or the tensor, its value and the limit.
    pub(super) fn of(content: &Content) -> Result<Self, String> {
        let keys = Keys { content };
        let architecture = keys.text("general.architecture")?.ok_or("key `general.architecture` is missing")?;
        if architecture != "llama" {
            return Err(format!(
                "key `general.architecture` is `{architecture}`; this backend reads llama from GGUF files, the backend llama-cpp also others"
            ));
        }
        let layers = keys.count("llama.block_count")?;
        let width = keys.count("llama.embedding_length")?;
        let heads = keys.count("llama.attention.head_count")?;
        let shared = keys.count("llama.attention.head_count_kv")?;
        if layers > MAX_LAYERS || !width.is_multiple_of(heads) || !heads.is_multiple_of(shared) {
            return Err(format!(
                "a network of {layers} layers, {width} wide, with {heads} heads over {shared} of keys and values can't be"
            ));
        }
        let head_size = width / heads;
        for (key, only) in [
            ("llama.rope.dimension_count", head_size),
            ("llama.attention.key_length", head_size),
            ("llama.attention.value_length", head_size),
            ("llama.expert_count", 0),
        ] {
            if let Some(value) = content.metadata.get(key)
                && value.to_u32().ok() != u32::try_from(only).ok()
            {
                return Err(format!("key `{key}` is {value:?}; this backend supports {only} for this model"));
            }
        }
        if let Some(scaling) = keys.text("llama.rope.scaling.type")?
            && scaling != "none"
        {
            return Err(format!("key `llama.rope.scaling.type` is `{scaling}`; this backend supports none"));
        }
        let vocabulary = match content.tensor_infos.get("token_embd.weight").map(|tensor| tensor.shape.dims()) {
            Some(&[vocabulary, _]) => vocabulary,
            _ => return Err("tensor `token_embd.weight` is missing or no matrix".into()),
        };
        let shape = Shape { layers, width, inner: keys.count("llama.feed_forward_length")?, shared: shared * head_size, vocabulary };
        shape.check(content)?;
        Ok(Self {
            name: keys.text("general.name")?.filter(|name| !name.is_empty()).map(ToOwned::to_owned),
            context: keys.count("llama.context_length")?.min(LONGEST),
            vocabulary,
        })
    }
}

struct Shape {
    layers: usize,
    width: usize,
    inner: usize,
    shared: usize,
    vocabulary: usize,
}

impl Shape {
    /// A tensor that candle doesn't read would be left out of the sums without a word.
    fn check(&self, content: &Content) -> Result<(), String> {
        let wanted = self.tensors();
        for (name, shape) in &wanted {
            let Some(tensor) = content.tensor_infos.get(name) else { return Err(format!("tensor `{name}` is missing")) };
            if tensor.shape.dims() != shape {
                return Err(format!("tensor `{name}` has the shape {:?}; the keys ask for {shape:?}", tensor.shape.dims()));
            }
        }
        let more = content.tensor_infos.iter().find(|(name, _)| !wanted.contains_key(*name) && *name != "output.weight");
        if let Some((name, _)) = more {
            let why = if name == "rope_freqs.weight" { " (the model scales its positions' angles)" } else { "" };
            return Err(format!("tensor `{name}` is none that this backend computes with{why}; the backend llama-cpp does"));
        }
        match content.tensor_infos.get("output.weight").map(|tensor| tensor.shape.dims()) {
            Some(shape) if shape != [self.vocabulary, self.width] => {
                Err(format!("tensor `output.weight` has the shape {shape:?}; {:?} was expected", [self.vocabulary, self.width]))
            }
            _ => Ok(()),
        }
    }

    fn tensors(&self) -> BTreeMap<String, Vec<usize>> {
        let &Self { layers, width, inner, shared, vocabulary } = self;
        let mut tensors =
            BTreeMap::from([("token_embd.weight".to_owned(), vec![vocabulary, width]), ("output_norm.weight".to_owned(), vec![width])]);
        for layer in 0..layers {
            for (part, shape) in [
                ("attn_norm", vec![width]),
                ("ffn_norm", vec![width]),
                ("attn_q", vec![width, width]),
                ("attn_k", vec![shared, width]),
                ("attn_v", vec![shared, width]),
                ("attn_output", vec![width, width]),
                ("ffn_gate", vec![inner, width]),
                ("ffn_up", vec![inner, width]),
                ("ffn_down", vec![width, inner]),
            ] {
                tensors.insert(format!("blk.{layer}.{part}.weight"), shape);
            }
        }
        tensors
    }
}

/// Typed reading of the header's values.
struct Keys<'a> {
    content: &'a Content,
}

impl<'a> Keys<'a> {
    fn text(&self, key: &str) -> Result<Option<&'a str>, String> {
        match self.content.metadata.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(format!("key `{key}` is {other:?}; it must be a string")),
        }
    }

    /// A whole number, one at least.
    fn count(&self, key: &str) -> Result<usize, String> {
        match self.content.metadata.get(key) {
            None => Err(format!("key `{key}` is missing")),
            Some(Value::U32(value)) if *value > 0 => Ok(*value as usize),
            Some(other) => Err(format!("key `{key}` is {other:?}; it must be a u32 over 0")),
        }
    }
}
