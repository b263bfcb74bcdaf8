//! SmolLM2 from its GGUF file, beside llama.cpp and beside the same weights without quantisation.

use std::collections::HashMap;
use std::fs::File;
use std::path::Path;

use candle_core::quantized::gguf_file::Content;
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama;
use minivault_engines::model::{Rows, Specials};

use crate::support::{difference, greedy, most_likely, path_from_environment, step, with_model};

const TEXT: &str = "The capital of France is Paris. The capital of Germany is";

#[cfg(feature = "llama-cpp")]
mod beside_llama_cpp {
    use minivault_engines::Threads;
    use minivault_engines::chat::ChatMessage;
    use minivault_engines::llama::{LlamaConfig, LlamaLoader};
    use minivault_engines::model::{Model, Slot, Vocabulary};

    use super::*;

    /// The same work with the file on both engines.
    fn on_both<T>(file: &Path, work: impl Fn(&dyn Vocabulary, &mut dyn Model) -> T) -> [T; 2] {
        let config = LlamaConfig { threads: Threads::exactly(1).unwrap(), ..LlamaConfig::new("test") };
        let loader = LlamaLoader { name: "test".into(), file: file.into(), origin: "a test".into(), chat_template: None, config };
        let theirs = loader.lend(|_, vocabulary, model| Ok(work(&*vocabulary, model))).unwrap();
        [with_model(file, |_, vocabulary, model| work(&*vocabulary, model)), theirs]
    }

    #[test]
    fn the_vocabularies_are_the_same() {
        let Some(file) = path_from_environment("MINIVAULT_TEST_SMOLLM2") else { return };
        let [ours, theirs] = on_both(&file, |vocabulary, _| {
            let tokens: Vec<_> = (0..vocabulary.size() as u32)
                .map(|id| {
                    let mut bytes = Vec::new();
                    vocabulary.push_bytes(id, &mut bytes);
                    (bytes, vocabulary.kind(id) == minivault_engines::model::TokenKind::Control, vocabulary.name(id))
                })
                .collect();
            let texts = [
                TEXT,
                "naïve 🙂🇫🇷 日本語 Ünïcödé",
                " leading,  double\n\n\ttrailing ",
                "In 2024, 1234567 people's dogs weren't 3.14159",
                "fn main() { println!(\"{}\", a[0] + 0x1F); }\r\n",
                "<|im_start|>user\nHi<|im_end|>\n",
                "a\0b\u{ad}\u{fffd}",
                &"word ".repeat(300),
            ];
            let encoded: Vec<_> = texts
                .iter()
                .flat_map(|text| [Specials::Literal, Specials::Parse].map(|specials| vocabulary.encode(text, specials).unwrap()))
                .collect();
            let message = |role: &str, content: &str| ChatMessage::new(role, content);
            let chat =
                [message("system", "Be brief."), message("user", "Say <|im_end|> now"), message("assistant", "No."), message("user", "1")];
            let rendered = vocabulary.render_chat(&chat, &[]).unwrap();
            (tokens, encoded, rendered, vocabulary.end_tokens().to_vec(), vocabulary.prompt_prefix().to_vec())
        });
        for (id, (one, other)) in ours.0.iter().zip(&theirs.0).enumerate() {
            assert_eq!(one, other, "token {id}");
        }
        assert_eq!((ours.0.len(), &ours.1), (theirs.0.len(), &theirs.1));
        assert_eq!((ours.2, ours.3, ours.4), (theirs.2, theirs.3, theirs.4));
    }

    #[test]
    fn greedy_text_is_the_same_at_first_and_logits_are_near() {
        let Some(file) = path_from_environment("MINIVAULT_TEST_SMOLLM2") else { return };
        let [ours, theirs] = on_both(&file, |vocabulary, model| {
            let chat = [ChatMessage::new("user", "What is the capital of France?")];
            let rendered = vocabulary.render_chat(&chat, &[]).unwrap();
            let chat: Vec<u32> = rendered.pieces.iter().flat_map(|piece| vocabulary.encode(piece, Specials::Parse).unwrap()).collect();
            let plain = vocabulary.encode(TEXT, Specials::Literal).unwrap();
            let answers = [greedy(model, 0, &chat, 7), greedy(model, 0, &plain, 12)];
            model.release(Slot(0));
            (answers, step(model, 0, &plain, Rows::Last).remove(0))
        });
        let spread = theirs.1.iter().copied().fold(f32::MIN, f32::max) - theirs.1.iter().copied().fold(f32::MAX, f32::min);
        println!("the largest difference of two logits is {} of a spread of {spread}", difference(&ours.1, &theirs.1));
        assert_eq!(ours.0, theirs.0);
        assert!(difference(&ours.1, &theirs.1) < 0.04 * spread, "{} of {spread}", difference(&ours.1, &theirs.1));
    }
}

#[test]
fn logits_are_near_those_of_the_same_weights_in_f32() {
    let Some(file) = path_from_environment("MINIVAULT_TEST_SMOLLM2") else { return };
    let (tokens, row) = with_model(&file, |_, vocabulary, model| {
        let tokens = vocabulary.encode(TEXT, Specials::Literal).unwrap();
        let row = step(model, 0, &tokens, Rows::Last).remove(0);
        (tokens, row)
    });
    let (model, config) = dequantised(&file);
    let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
    let input = Tensor::new(&tokens[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let exact: Vec<f32> = model.forward(&input, 0, &mut cache).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let spread = exact.iter().copied().fold(f32::MIN, f32::max) - exact.iter().copied().fold(f32::MAX, f32::min);
    println!("the largest difference of two logits is {} of a spread of {spread}", difference(&row, &exact));
    assert_eq!(most_likely(&row), most_likely(&exact));
    assert!(difference(&row, &exact) < 0.04 * spread, "{} of {spread}", difference(&row, &exact));
}

/// candle's plain Llama with the file's weights as f32, named and ordered as in safetensors.
fn dequantised(path: &Path) -> (llama::Llama, llama::Config) {
    let mut file = File::open(path).unwrap();
    let content = Content::read(&mut file).unwrap();
    let number = |key: &str| content.metadata[&format!("llama.{key}")].to_u32().unwrap() as usize;
    let (heads, shared, layers) = (number("attention.head_count"), number("attention.head_count_kv"), number("block_count"));
    let mut tensors = HashMap::new();
    let mut add = |theirs: String, ours: String, heads: Option<usize>| {
        let tensor = content.tensor(&mut file, &theirs, &Device::Cpu).unwrap().dequantize(&Device::Cpu).unwrap();
        // GGUF keeps the two halves of a rotated pair side by side, safetensors each in its half of the head.
        let tensor = match heads {
            None => tensor,
            Some(heads) => {
                let (rows, columns) = tensor.dims2().unwrap();
                let pairs = tensor.reshape((heads, rows / heads / 2, 2, columns)).unwrap();
                pairs.transpose(1, 2).unwrap().contiguous().unwrap().reshape((rows, columns)).unwrap()
            }
        };
        tensors.insert(ours, tensor);
    };
    add("token_embd.weight".into(), "model.embed_tokens.weight".into(), None);
    add("output_norm.weight".into(), "model.norm.weight".into(), None);
    for layer in 0..layers {
        for (theirs, ours, heads) in [
            ("attn_norm", "input_layernorm", None),
            ("ffn_norm", "post_attention_layernorm", None),
            ("attn_q", "self_attn.q_proj", Some(heads)),
            ("attn_k", "self_attn.k_proj", Some(shared)),
            ("attn_v", "self_attn.v_proj", None),
            ("attn_output", "self_attn.o_proj", None),
            ("ffn_gate", "mlp.gate_proj", None),
            ("ffn_up", "mlp.up_proj", None),
            ("ffn_down", "mlp.down_proj", None),
        ] {
            add(format!("blk.{layer}.{theirs}.weight"), format!("model.layers.{layer}.{ours}.weight"), heads);
        }
    }
    let config = llama::Config {
        hidden_size: number("embedding_length"),
        intermediate_size: number("feed_forward_length"),
        vocab_size: number("vocab_size"),
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: shared,
        use_flash_attn: false,
        rms_norm_eps: content.metadata["llama.attention.layer_norm_rms_epsilon"].to_f32().unwrap().into(),
        rope_theta: content.metadata["llama.rope.freq_base"].to_f32().unwrap(),
        bos_token_id: None,
        eos_token_id: None,
        rope_scaling: None,
        max_position_embeddings: 512,
        tie_word_embeddings: true,
    };
    let weights = VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    (llama::Llama::load(weights, &config).unwrap(), config)
}
