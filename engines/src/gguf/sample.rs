//! Small GGUF files for tests, well-formed unless a test asks otherwise.

/// A file in the making.
#[derive(Debug, Clone)]
pub struct Sample {
    pub version: u32,
    pub keys: Vec<(String, Vec<u8>)>,
    pub tensors: Vec<SampleTensor>,
    pub alignment: usize,
}

/// A tensor of the file; its offset follows from its place.
#[derive(Debug, Clone)]
pub struct SampleTensor {
    pub name: String,
    pub dimensions: Vec<u64>,
    pub kind: u32,
    pub bytes: usize,
}

pub fn u32_value(value: u32) -> Vec<u8> {
    [4_u32.to_le_bytes(), value.to_le_bytes()].concat()
}

pub fn bool_value(value: bool) -> Vec<u8> {
    [&7_u32.to_le_bytes()[..], &[u8::from(value)]].concat()
}

pub fn text_value(text: &str) -> Vec<u8> {
    [&8_u32.to_le_bytes()[..], &string(text.as_bytes())].concat()
}

pub fn texts_value(texts: &[&str]) -> Vec<u8> {
    let strings = texts.iter().flat_map(|text| string(text.as_bytes())).collect();
    [9_u32.to_le_bytes().to_vec(), 8_u32.to_le_bytes().to_vec(), (texts.len() as u64).to_le_bytes().to_vec(), strings].concat()
}

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
