//! Small GGUF files for tests, well-formed unless a test asks otherwise.

use super::TOKENS;

/// A file in the making.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Of the format.
    pub version: u32,
    /// Each with its type and its value.
    pub keys: Vec<(String, Vec<u8>)>,
    /// In the order of their data.
    pub tensors: Vec<SampleTensor>,
    /// Bytes to whose multiples the data are aligned.
    pub alignment: usize,
}

/// A tensor of the file; its offset follows from its place.
#[derive(Debug, Clone)]
pub struct SampleTensor {
    /// What it is found by.
    pub name: String,
    /// The contiguous one first.
    pub dimensions: Vec<u64>,
    /// The code of its layout.
    pub kind: u32,
    /// What its data take.
    pub bytes: usize,
}

/// A key's value.
pub fn u32_value(value: u32) -> Vec<u8> {
    [4_u32.to_le_bytes(), value.to_le_bytes()].concat()
}

/// A key's value.
pub fn bool_value(value: bool) -> Vec<u8> {
    [&7_u32.to_le_bytes()[..], &[u8::from(value)]].concat()
}

/// A key's value.
pub fn text_value(text: &str) -> Vec<u8> {
    [&8_u32.to_le_bytes()[..], &string(text.as_bytes())].concat()
}

/// A key's value.
pub fn f32_value(value: f32) -> Vec<u8> {
    [6_u32.to_le_bytes(), value.to_le_bytes()].concat()
}

/// A key's value: an array of strings.
pub fn texts_value(texts: &[&str]) -> Vec<u8> {
    let strings = texts.iter().flat_map(|text| string(text.as_bytes())).collect();
    [9_u32.to_le_bytes().to_vec(), 8_u32.to_le_bytes().to_vec(), (texts.len() as u64).to_le_bytes().to_vec(), strings].concat()
}

/// A key's value: an array of `u32`.
pub fn integers_value(values: &[u32]) -> Vec<u8> {
    let integers = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    [9_u32.to_le_bytes().to_vec(), 4_u32.to_le_bytes().to_vec(), (values.len() as u64).to_le_bytes().to_vec(), integers].concat()
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u64).to_le_bytes(), bytes].concat()
}

impl Sample {
    /// A model with two tokens and two tensors, one of them quantised.
    pub fn model() -> Self {
        let key = |key: &str, value| (key.to_owned(), value);
        let tensor =
            |name: &str, dimensions: &[u64], kind, bytes| SampleTensor { name: name.into(), dimensions: dimensions.to_vec(), kind, bytes };
        Self {
            version: 3,
            keys: vec![
                key("general.architecture", text_value("llama")),
                key("general.name", text_value("Tiny")),
                key("llama.block_count", u32_value(2)),
                key("llama.context_length", u32_value(64)),
                key("llama.embedding_length", u32_value(32)),
                key("llama.attention.head_count", integers_value(&[4, 4])),
                key("llama.attention.head_count_kv", u32_value(2)),
                key("tokenizer.ggml.model", text_value("gpt2")),
                key("tokenizer.ggml.tokens", texts_value(&["a", "b"])),
                key("tokenizer.ggml.merges", texts_value(&["a b"])),
                key("tokenizer.ggml.add_bos_token", bool_value(false)),
            ],
            tensors: vec![tensor("token_embd.weight", &[32, 2], 2, 36), tensor("output_norm.weight", &[3], 0, 12)],
            alignment: 32,
        }
    }

    /// A model that candle and llama.cpp both load: one layer, and one token for each byte.
    pub fn network() -> Self {
        const WIDTH: u64 = 32;
        // As GPT-2 spells bytes.
        let letters: Vec<String> = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain('Ā'..='Ń').map(String::from).collect();
        let tokens: Vec<&str> = letters.iter().map(String::as_str).chain(["he", "</s>"]).collect();
        let types: Vec<u32> = (0..tokens.len()).map(|id| if id + 1 == tokens.len() { 3 } else { 1 }).collect();
        let mut types = integers_value(&types);
        // Its elements are signed.
        types[4..8].copy_from_slice(&5_u32.to_le_bytes());
        let tensor = |(name, dimensions): (&str, &[u64])| SampleTensor {
            name: format!("{name}.weight"),
            dimensions: dimensions.to_vec(),
            kind: 0,
            bytes: dimensions.iter().product::<u64>() as usize * 4,
        };
        let shapes: [(&str, &[u64]); 11] = [
            ("token_embd", &[WIDTH, tokens.len() as u64]),
            ("output_norm", &[WIDTH]),
            ("blk.0.attn_norm", &[WIDTH]),
            ("blk.0.attn_q", &[WIDTH, WIDTH]),
            ("blk.0.attn_k", &[WIDTH, WIDTH / 2]),
            ("blk.0.attn_v", &[WIDTH, WIDTH / 2]),
            ("blk.0.attn_output", &[WIDTH, WIDTH]),
            ("blk.0.ffn_norm", &[WIDTH]),
            ("blk.0.ffn_gate", &[WIDTH, 2 * WIDTH]),
            ("blk.0.ffn_up", &[WIDTH, 2 * WIDTH]),
            ("blk.0.ffn_down", &[2 * WIDTH, WIDTH]),
        ];
        let eos = tokens.len() as u32 - 1;
        let sample = Self { tensors: shapes.into_iter().map(tensor).collect(), ..Self::model() }
            .with("llama.block_count", u32_value(1))
            .with("llama.feed_forward_length", u32_value(2 * WIDTH as u32))
            .with("llama.attention.head_count", u32_value(4))
            .with("llama.rope.dimension_count", u32_value(8))
            .with("llama.attention.layer_norm_rms_epsilon", f32_value(1e-5))
            .with("tokenizer.ggml.pre", text_value("smollm"))
            .with("tokenizer.ggml.merges", texts_value(&["h e"]))
            .with("tokenizer.ggml.token_type", types)
            .with("tokenizer.ggml.eos_token_id", u32_value(eos));
        sample.with(TOKENS, texts_value(&tokens))
    }

    /// The same with another value for a key, which may be new.
    pub fn with(mut self, key: &str, value: Vec<u8>) -> Self {
        self.keys.retain(|(existing, _)| existing != key);
        self.keys.push((key.into(), value));
        self
    }

    /// The same without a key.
    pub fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(existing, _)| existing != key);
        self
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            file.extend(string(key.as_bytes()));
            file.extend(value);
        }
        let mut offset = 0;
        for SampleTensor { name, dimensions, kind, bytes } in &self.tensors {
            file.extend(string(name.as_bytes()));
            file.extend((dimensions.len() as u32).to_le_bytes());
            dimensions.iter().for_each(|dimension| file.extend(dimension.to_le_bytes()));
            file.extend(kind.to_le_bytes());
            file.extend((offset as u64).to_le_bytes());
            offset += bytes.next_multiple_of(self.alignment);
        }
        for SampleTensor { bytes, .. } in &self.tensors {
            file.resize(file.len().next_multiple_of(self.alignment), 0);
            file.resize(file.len() + bytes, 1);
        }
        file
    }
}
