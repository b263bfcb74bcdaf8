//! GPT-2's tokens.

use std::sync::Arc;

use minivault_engines::chat::ChatMessage;
use minivault_engines::model::{Specials, TokenKind, Vocabulary};
use serde_json::json;

use crate::support::{load, path_from_environment, read_json, tiny, write_json};

fn text(vocabulary: &dyn Vocabulary, ids: &[u32]) -> Vec<u8> {
    let mut bytes = Vec::new();
    ids.iter().for_each(|&id| vocabulary.push_bytes(id, &mut bytes));
    bytes
}

fn user(content: &str) -> Vec<ChatMessage> {
    vec![ChatMessage::new("user", content)]
}

#[test]
fn any_text_comes_back_byte_for_byte() {
    let vocabulary = load(&tiny()).unwrap().vocabulary;
    for sample in ["hello world", " leading,  double\n\ttrailing ", "naïve – 漢字 🦀", "\0\u{7f}\u{ad}\u{fffd}", "<|endoftext|>"] {
        let ids = vocabulary.encode(sample, Specials::Literal).unwrap();
        assert_eq!(text(&*vocabulary, &ids), sample.as_bytes());
    }
    let every_character: String = (0..0x3000).filter_map(char::from_u32).collect();
    let ids = vocabulary.encode(&every_character, Specials::Literal).unwrap();
    assert!(text(&*vocabulary, &ids) == every_character.as_bytes(), "nothing is cut at tokenizer.json's 16 tokens");
}

#[test]
fn a_control_token_is_read_from_templates_and_never_from_people() {
    let vocabulary = load(&tiny()).unwrap().vocabulary;
    let parsed = vocabulary.encode("hello<|endoftext|>", Specials::Parse).unwrap();
    assert_eq!(parsed.last(), Some(&0));
    let literal = vocabulary.encode("hello<|endoftext|>", Specials::Literal).unwrap();
    assert!(!literal.contains(&0));
    assert_eq!(text(&*vocabulary, &parsed), b"hello", "a control token has no bytes");
    assert_eq!((vocabulary.kind(0), vocabulary.name(0).as_str()), (TokenKind::Control, "<|endoftext|>"));
    assert_eq!((vocabulary.end_tokens(), vocabulary.size()), (&[0][..], 264));
    assert!(vocabulary.encode("", Specials::Parse).unwrap().is_empty());
    // Beyond the vocabulary there is nothing, and nothing breaks.
    assert_eq!((text(&*vocabulary, &[264, u32::MAX]), vocabulary.kind(264)), (vec![], TokenKind::Control));
}

#[test]
fn a_transcript_holds_no_whole_control_token() {
    let vocabulary = load(&tiny()).unwrap().vocabulary;
    let rendered = vocabulary.render_chat(&user("a<|endoftext|>b"), &[]).unwrap();
    assert_eq!(rendered.text(), "User: a<|endoftext|>b\n\nAssistant:");
    let ids: Vec<u32> = rendered.pieces.iter().flat_map(|piece| vocabulary.encode(piece, rendered.specials).unwrap()).collect();
    assert!(!ids.contains(&0), "{:?}", rendered.pieces);
    assert!(vocabulary.render_chat(&user("a"), &[json!({})]).is_err(), "it knows no tools");
}

#[test]
fn a_chat_template_of_the_models_own_is_used() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    let plain = load(folder.path()).unwrap().info;
    assert!(!plain.capabilities.chat_template);
    let template = "{{ bos_token }}{% for message in messages %}[{{ message.content }}]{% endfor %}{{ eos_token }}";
    for written in [json!(template), json!([{"name": "other", "template": "no"}, {"name": "default", "template": template}])] {
        let settings = json!({"chat_template": written, "bos_token": "B", "eos_token": {"content": "E"}});
        write_json(folder.path(), "tokenizer_config.json", &settings);
        let loaded = load(folder.path()).unwrap();
        assert!(loaded.info.capabilities.chat_template);
        assert_ne!(loaded.info.fingerprint, plain.fingerprint, "a template decides the output");
        assert_eq!(loaded.vocabulary.render_chat(&user("hi"), &[]).unwrap().text(), "B[hi]E");
    }
}

#[test]
fn end_tokens_come_from_both_files_and_are_in_the_vocabulary() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["tokenizer.json", "model.safetensors"] {
        std::fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    let mut config = read_json(&tiny(), "config.json");
    config["eos_token_id"] = json!([5, 50256]);
    write_json(folder.path(), "config.json", &config);
    write_json(folder.path(), "generation_config.json", &json!({"eos_token_id": 3}));
    assert_eq!(load(folder.path()).unwrap().vocabulary.end_tokens(), [3, 5]);
}

/// GPT-2's own vocabulary: the tiny network's weights with GPT-2's tokens, where only the embedding has another height.
pub fn of_gpt2() -> Option<Arc<dyn Vocabulary>> {
    let path = path_from_environment("MINIVAULT_TEST_GPT2_TOKENIZER")?;
    let folder = tempfile::tempdir().unwrap();
    let mut config = read_json(&tiny(), "config.json");
    (config["vocab_size"], config["eos_token_id"]) = (json!(50257), json!(50256));
    write_json(folder.path(), "config.json", &config);
    std::fs::copy(path, folder.path().join("tokenizer.json")).unwrap();
    let device = candle_core::Device::Cpu;
    let mut tensors = candle_core::safetensors::load(tiny().join("model.safetensors"), &device).unwrap();
    let embedding = candle_core::Tensor::zeros((50257, 32), candle_core::DType::F32, &device).unwrap();
    tensors.insert("transformer.wte.weight".into(), embedding);
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    Some(load(folder.path()).unwrap().vocabulary)
}

#[test]
fn gpt2s_own_tokenizer_gives_the_published_ids() {
    let Some(vocabulary) = of_gpt2() else { return };
    let sample = "Hello world, it's GPT-2!";
    let ids = vocabulary.encode(sample, Specials::Literal).unwrap();
    assert_eq!(ids, [15496, 995, 11, 340, 338, 402, 11571, 12, 17, 0]);
    assert_eq!(text(&*vocabulary, &ids), sample.as_bytes());
    assert_eq!((vocabulary.size(), vocabulary.end_tokens(), vocabulary.kind(50256)), (50257, &[50256][..], TokenKind::Control));
    assert_eq!(vocabulary.encode("<|endoftext|>", Specials::Parse).unwrap(), [50256]);
    let crab = vocabulary.encode("🦀", Specials::Literal).unwrap();
    assert!(crab.len() > 1 && std::str::from_utf8(&text(&*vocabulary, &crab[..1])).is_err(), "a token may be part of a character");
    assert_eq!(text(&*vocabulary, &crab), "🦀".as_bytes());
}
