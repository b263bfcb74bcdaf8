//! GGUF files made up on the spot: what is read, and what is refused by name.

use std::path::PathBuf;

use candle_core::quantized::gguf_file::{Value, write};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{DType, Device, Tensor};
use minivault_engines::model::{Rows, Specials};
use tempfile::TempDir;

use crate::support::{greedy, refusal, step, with_model};

/// A file in the making: a network of two layers with noise for weights.
pub struct Sample {
    keys: Vec<(String, Value)>,
    tensors: Vec<(String, Tensor)>,
}

impl Sample {
    pub fn new() -> Self {
        let text = |text: &str| Value::String(text.into());
        // All bytes as GPT-2 spells them, two merges, two control tokens and an added one.
        let letters = ('!'..='~').chain('¡'..='¬').chain('®'..='ÿ').chain('Ā'..='Ń');
        let mut tokens: Vec<String> = letters.map(String::from).collect();
        assert_eq!(tokens.len(), 256);
        tokens.extend(["he", "Ġhe", "<s>", "</s>", "<added>"].map(str::to_owned));
        let count = tokens.len();
        let types = (0..count)
            .map(|id| {
                Value::I32(match count - id {
                    2 | 3 => 3,
                    1 => 4,
                    _ => 1,
                })
            })
            .collect();
        let key = |key: &str, value| (key.to_owned(), value);
        let keys = vec![
            key("general.architecture", text("llama")),
            key("general.name", text("Tiny")),
            key("llama.block_count", Value::U32(2)),
            key("llama.context_length", Value::U32(64)),
            key("llama.embedding_length", Value::U32(32)),
            key("llama.feed_forward_length", Value::U32(64)),
            key("llama.attention.head_count", Value::U32(4)),
            key("llama.attention.head_count_kv", Value::U32(2)),
            key("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
            key("llama.rope.dimension_count", Value::U32(8)),
            key("tokenizer.ggml.model", text("gpt2")),
            key("tokenizer.ggml.pre", text("smollm")),
            key("tokenizer.ggml.tokens", Value::Array(tokens.iter().map(|token| text(token)).collect())),
            key("tokenizer.ggml.token_type", Value::Array(types)),
            key("tokenizer.ggml.merges", Value::Array(vec![text("h e"), text("Ġ he")])),
            key("tokenizer.ggml.bos_token_id", Value::U32(count as u32 - 3)),
            key("tokenizer.ggml.eos_token_id", Value::U32(count as u32 - 2)),
            key("tokenizer.ggml.add_bos_token", Value::Bool(true)),
        ];
        let noise = |name: &str, shape: &[usize]| {
            let seed = name.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
            let noise = |i: u32| (i.wrapping_add(seed).wrapping_mul(0x9E37_79B9) >> 8) as f32 / (1 << 24) as f32 - 0.5;
            let values: Vec<f32> = (0..shape.iter().product::<usize>() as u32).map(|i| 0.6 * noise(i)).collect();
            (name.to_owned(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
        };
        let ones = Tensor::ones(32, DType::F32, &Device::Cpu).unwrap();
        let mut tensors = vec![noise("token_embd.weight", &[count, 32]), ("output_norm.weight".to_owned(), ones.clone())];
        for layer in 0..2 {
            let shapes: [(&str, &[usize]); 7] = [
                ("attn_q", &[32, 32]),
                ("attn_k", &[16, 32]),
                ("attn_v", &[16, 32]),
                ("attn_output", &[32, 32]),
                ("ffn_gate", &[64, 32]),
                ("ffn_up", &[64, 32]),
                ("ffn_down", &[32, 64]),
            ];
            tensors.extend(shapes.map(|(part, shape)| noise(&format!("blk.{layer}.{part}.weight"), shape)));
            tensors.extend(["attn_norm", "ffn_norm"].map(|part| (format!("blk.{layer}.{part}.weight"), ones.clone())));
        }
        Self { keys, tensors }
    }

    fn with(mut self, key: &str, value: Value) -> Self {
        self.keys.retain(|(existing, _)| existing != key);
        self.keys.push((key.into(), value));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.keys.retain(|(existing, _)| existing != name);
        self.tensors.retain(|(existing, _)| existing != name);
        self
    }

    fn and_tensor(mut self, name: &str, tensor: Tensor) -> Self {
        self.tensors.push((name.into(), tensor));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let keys: Vec<_> = self.keys.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let quantised =
            |tensor: &Tensor| QTensor::quantize(tensor, if tensor.rank() == 1 { GgmlDType::F32 } else { GgmlDType::Q8_0 }).unwrap();
        let tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name.as_str(), quantised(tensor))).collect();
        let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
        let mut file = std::io::Cursor::new(Vec::new());
        write(&mut file, &keys, &tensors).unwrap();
        file.into_inner()
    }

    pub fn file(&self) -> (TempDir, PathBuf) {
        written(&self.bytes())
    }
}

fn written(bytes: &[u8]) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}

#[test]
fn a_file_is_read_with_its_tokens() {
    let (_folder, path) = Sample::new().file();
    with_model(&path, |info, vocabulary, model| {
        assert_eq!((info.model.as_str(), info.context_length, vocabulary.size()), ("Tiny", 64, 261));
        assert_eq!((vocabulary.prompt_prefix(), vocabulary.end_tokens()), (&[258][..], &[259][..]));
        let spelled = |tokens: &[u32]| tokens.iter().map(|&token| vocabulary.name(token)).collect::<Vec<_>>();
        let encode = |text: &str, specials| spelled(&vocabulary.encode(text, specials).unwrap());
        assert_eq!(encode("he he12<s>", Specials::Parse), ["he", "Ġhe", "1", "2", "<s>"]);
        assert_eq!(encode("<s>", Specials::Literal), ["<", "s", ">"]);
        // Added text is one token wherever it stands.
        assert_eq!(encode("a<added>", Specials::Literal), ["a", "<added>"]);
        let mut bytes = Vec::new();
        [256, 258, 260].iter().for_each(|&id| vocabulary.push_bytes(id, &mut bytes));
        assert_eq!(bytes, b"he<added>");
        assert_eq!(greedy(model, 0, &[258, 5, 6], 8).len(), 8);
        assert_eq!(step(model, 1, &[258, 5, 6], Rows::All).len(), 3);
    });
}

#[track_caller]
fn check_refused(sample: &Sample, expected: &str) {
    let (_folder, path) = sample.file();
    let message = refusal(&path);
    assert!(message.contains(expected) && message.contains("tiny.gguf"), "`{expected}` isn't in: {message}");
}

#[test]
fn what_candle_would_compute_otherwise_is_refused_by_name() {
    let with = |key: &str, value| Sample::new().with(key, value);
    let text = |text: &str| Value::String(text.into());
    check_refused(&with("general.architecture", text("qwen2")), "is `qwen2`; this backend reads llama from GGUF files");
    check_refused(&Sample::new().without("llama.block_count"), "key `llama.block_count` is missing");
    check_refused(&with("llama.block_count", Value::U32(0)), "key `llama.block_count` is U32(0); it must be a u32 over 0");
    check_refused(&with("llama.block_count", Value::U32(100_000)), "a network of 100000 layers");
    check_refused(&with("llama.attention.head_count", Value::U32(5)), "32 wide, with 5 heads");
    check_refused(&with("llama.rope.dimension_count", Value::U32(4)), "is U32(4); this backend supports 8 for this model");
    check_refused(&with("llama.expert_count", Value::U32(8)), "key `llama.expert_count` is U32(8); this backend supports 0");
    check_refused(&with("llama.rope.scaling.type", text("yarn")), "key `llama.rope.scaling.type` is `yarn`");
    check_refused(&Sample::new().without("blk.1.ffn_up.weight"), "tensor `blk.1.ffn_up.weight` is missing");
    check_refused(&with("llama.feed_forward_length", Value::U32(96)), "has the shape [32, 64]; the keys ask for [32, 96]");
    let ones = || Tensor::ones(32, DType::F32, &Device::Cpu).unwrap();
    check_refused(&Sample::new().and_tensor("rope_freqs.weight", ones()), "the model scales its positions' angles");
    check_refused(
        &Sample::new().and_tensor("blk.0.attn_q.bias", ones()),
        "tensor `blk.0.attn_q.bias` is none that this backend computes with",
    );
    check_refused(&Sample::new().without("llama.attention.layer_norm_rms_epsilon"), "layer_norm_rms_epsilon");
    check_refused(&with("tokenizer.ggml.model", text("llama")), "key `tokenizer.ggml.model` is `llama`; this backend reads `gpt2`");
    check_refused(&with("tokenizer.ggml.pre", text("tekken")), "key `tokenizer.ggml.pre` is `tekken`; this backend knows gpt-2, smollm");
    check_refused(&with("tokenizer.ggml.eos_token_id", Value::U32(261)), "eos_token_id` is U32(261); it must be a token below 261");
    check_refused(&with("tokenizer.ggml.merges", Value::Array(vec![text("he")])), "merges` holds `he`");
    check_refused(
        &with("tokenizer.ggml.token_type", Value::Array(vec![Value::I32(1)])),
        "is an array of 1; it must be an array of 261 numbers",
    );
    check_refused(&with("tokenizer.chat_template", text("{% if %}")), "chat template");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let whole = Sample::new().bytes();
    for length in (0..whole.len()).step_by(whole.len() / 60) {
        let (_folder, path) = written(&whole[..length]);
        refusal(&path);
    }
}
