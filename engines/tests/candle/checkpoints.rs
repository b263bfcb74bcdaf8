//! Folders in Hugging Face layout: what is read, and what is refused by name.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::llama;
use minivault_engines::Determinism;
use minivault_engines::model::{Rows, Specials};
use serde_json::json;

use crate::support::{KINDS, change_tensors, configure, difference, greedy, noise_model, refusal, step, with_model, write_json};

#[test]
fn each_kind_is_loaded_and_described() {
    let mut fingerprints = Vec::new();
    for kind in KINDS {
        let folder = noise_model(kind);
        with_model(folder.path(), |info, vocabulary, model| {
            assert_eq!((info.backend.as_str(), info.determinism, info.context_length), ("candle", Determinism::Serial, 96));
            assert_eq!(
                (vocabulary.size(), model.limits().logits_width),
                (264, 272),
                "the network's rows beyond the tokens are never sampled"
            );
            assert_eq!(vocabulary.end_tokens(), [0]);
            let tokens = vocabulary.encode("Hello", Specials::Literal).unwrap();
            assert_eq!(greedy(model, 0, &tokens, 8).len(), 8);
            fingerprints.push(info.fingerprint);
        });
    }
    fingerprints.dedup();
    assert_eq!(fingerprints.len(), 3);
}

#[test]
fn logits_are_those_of_the_whole_forward_pass() {
    let folder = noise_model("llama");
    let tensors = candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
    let config: llama::LlamaConfig = serde_json::from_slice(&std::fs::read(folder.path().join("config.json")).unwrap()).unwrap();
    let config = config.into_config(false);
    let reference = llama::Llama::load(VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu), &config).unwrap();
    let tokens: Vec<u32> = (0..40).map(|place| place * 11 % 250).collect();
    let mut cache = llama::Cache::new(false, DType::F32, &config, &Device::Cpu).unwrap();
    let input = Tensor::new(&tokens[..], &Device::Cpu).unwrap().unsqueeze(0).unwrap();
    let expected: Vec<f32> = reference.forward(&input, 0, &mut cache).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    with_model(folder.path(), |_, _, model| {
        let row = step(model, 0, &tokens, Rows::All).pop().unwrap();
        assert!(difference(&row, &expected) < 1e-4, "{}", difference(&row, &expected));
    });
}

#[test]
fn slots_share_the_weights() {
    let Some(before) = resident() else { return };
    let folder = noise_model("llama");
    // 128 MiB of embedding and head.
    let rows = 1 << 19;
    configure(folder.path(), "vocab_size", json!(rows));
    change_tensors(folder.path(), |tensors| {
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            tensors.insert(name.into(), Tensor::ones((rows, 32), DType::F32, &Device::Cpu).unwrap());
        }
    });
    with_model(folder.path(), |_, _, model| {
        step(model, 0, &[1, 2, 3], Rows::None);
        let one = resident().unwrap();
        (1..4).for_each(|slot| drop(step(model, slot, &[1, 2, 3], Rows::None)));
        let grown = resident().unwrap().saturating_sub(one);
        assert!(grown < 64 << 20, "three more slots took {grown} bytes; the weights of one take {}", one.saturating_sub(before));
    });
}

/// Bytes of this process in memory.
fn resident() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?.split(' ').nth(1)?.parse::<u64>().ok()?;
    Some(pages * 4096)
}

#[test]
fn weights_may_be_halved_sharded_and_carry_what_follows_from_the_configuration() {
    let folder = noise_model("qwen3");
    let halved = |tensor: &Tensor| tensor.to_dtype(DType::BF16).unwrap();
    let expected = with_model(folder.path(), |_, _, model| step(model, 0, &[1, 2, 3, 4], Rows::Last).remove(0));
    let tensors = candle_core::safetensors::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
    let (mut first, mut second) = (HashMap::new(), HashMap::new());
    let mut map = serde_json::Map::new();
    for (name, tensor) in &tensors {
        let (shard, file) = if name.contains("layers.0") { (&mut first, "a.safetensors") } else { (&mut second, "b.safetensors") };
        shard.insert(name.clone(), halved(tensor));
        map.insert(name.clone(), json!(file));
    }
    second.insert("model.layers.0.self_attn.rotary_emb.inv_freq".into(), Tensor::zeros(4, DType::F32, &Device::Cpu).unwrap());
    // The head is tied, so whatever it says is the embedding's to say.
    second.insert("lm_head.weight".into(), Tensor::zeros((272, 32), DType::F32, &Device::Cpu).unwrap());
    for (name, shard) in [("a.safetensors", &first), ("b.safetensors", &second)] {
        candle_core::safetensors::save(shard, folder.path().join(name)).unwrap();
    }
    write_json(folder.path(), "model.safetensors.index.json", &json!({ "weight_map": map }));
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let row = with_model(folder.path(), |_, _, model| step(model, 0, &[1, 2, 3, 4], Rows::Last).remove(0));
    assert!(difference(&row, &expected) < 0.2, "{}", difference(&row, &expected));
    assert!(difference(&row, &expected) > 0.0);
}

#[track_caller]
fn check_refused(change: impl FnOnce(&Path), expected: &[&str]) {
    let folder = noise_model("qwen2");
    change(folder.path());
    let message = refusal(folder.path());
    for part in expected.iter().chain(&["engine `test` can't load its model", &*folder.path().to_string_lossy()]) {
        assert!(message.contains(part), "`{part}` isn't in: {message}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    check_refused(|folder| std::fs::remove_file(folder.join("config.json")).unwrap(), &["config.json is not there"]);
    check_refused(|folder| std::fs::write(folder.join("config.json"), "{").unwrap(), &["config.json is not JSON"]);
    check_refused(|folder| configure(folder, "model_type", json!("gpt2")), &["config.json: model_type is `gpt2`"]);
    check_refused(|folder| configure(folder, "intermediate_size", json!(64)), &["has shape [32, 48]; config.json asks for [32, 64]"]);
    check_refused(|folder| configure(folder, "vocab_size", json!(100)), &["tokenizer.json: its highest token is 263; vocab_size"]);
    let bias = "model.layers.1.self_attn.k_proj.bias";
    check_refused(|folder| change_tensors(folder, |tensors| drop(tensors.remove(bias))), &["tensor", bias, "is missing"]);
    let more = |tensors: &mut HashMap<String, Tensor>| drop(tensors.insert("model.more".into(), tensors["model.norm.weight"].clone()));
    check_refused(|folder| change_tensors(folder, more), &["tensor model.more is unknown"]);
    let whole = |tensors: &mut HashMap<String, Tensor>| {
        let numbers = Tensor::zeros(32, DType::U32, &Device::Cpu).unwrap();
        tensors.insert("model.norm.weight".into(), numbers);
    };
    check_refused(|folder| change_tensors(folder, whole), &["tensor model.norm.weight is of type U32"]);
    check_refused(|folder| std::fs::write(folder.join("tokenizer.json"), "{}").unwrap(), &["tokenizer.json: it can't be read"]);
}

#[test]
fn a_context_beyond_the_models_own_is_refused() {
    let folder = noise_model("llama");
    let loader = crate::support::loader(folder.path(), |config| config.context = Some(97));
    let error = loader.lend(|_, _, _| Ok(())).unwrap_err().to_string();
    assert_eq!(error, "`context` is 97; it must be from 2 to 96");
}
