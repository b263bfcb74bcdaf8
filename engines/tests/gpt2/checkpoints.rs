//! The same weights in every form that published checkpoints have, and what is refused.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use minivault_engines::gpt2::Gpt2Config;
use minivault_engines::model::Rows;
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{load, load_with, read_json, step, tiny, write_json};

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

type Tensors = HashMap<String, Tensor>;

fn tensors() -> Tensors {
    candle_core::safetensors::load(tiny().join(WHOLE), &Device::Cpu).unwrap()
}

fn zeros(shape: &[usize], dtype: DType) -> Tensor {
    Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
}

fn renamed(tensors: Tensors, rename: impl Fn(&str) -> String) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (rename(&name), tensor)).collect()
}

fn in_type(tensors: Tensors, dtype: DType) -> Tensors {
    tensors.into_iter().map(|(name, tensor)| (name, tensor.to_dtype(dtype).unwrap())).collect()
}

/// The tiny model's folder with these tensors in place of its own.
fn folder(tensors: &Tensors) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.json", "tokenizer.json"] {
        std::fs::copy(tiny().join(name), folder.path().join(name)).unwrap();
    }
    candle_core::safetensors::save(tensors, folder.path().join(WHOLE)).unwrap();
    folder
}

fn configure(folder: &Path, setting: &str, value: Value) {
    let mut config = read_json(folder, "config.json");
    config[setting] = value;
    write_json(folder, "config.json", &config);
}

fn logits(folder: &Path) -> Vec<Vec<f32>> {
    step(&mut load(folder).unwrap().model, 0, &[40, 73, 77, 258], Rows::All)
}

fn check_same(form: &str, tensors: &Tensors) {
    assert!(logits(folder(tensors).path()) == logits(&tiny()), "{form}");
}

fn check_refused(folder: &Path, parts: &[&str]) {
    let error = load(folder).err().unwrap_or_else(|| panic!("loaded, yet {parts:?} is wrong")).to_string();
    assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} must be in: {error}");
}

#[test]
fn names_with_and_without_prefix_are_the_same_model() {
    check_same("as written by Transformers", &tensors());
    check_same("without prefix", &renamed(tensors(), |name| name.trim_start_matches("transformer.").to_owned()));
}

#[test]
fn mask_buffers_are_passed_over() {
    for dtype in [DType::F32, DType::F16, DType::U8] {
        let mut tensors = tensors();
        for (prefix, layer) in [("transformer.", 0), ("", 1)] {
            tensors.insert(format!("{prefix}h.{layer}.attn.bias"), zeros(&[1, 1, 48, 48], dtype));
            tensors.insert(format!("{prefix}h.{layer}.attn.masked_bias"), zeros(&[], dtype));
        }
        check_same("mask buffers", &tensors);
    }
}

#[test]
fn mask_buffers_of_booleans_are_passed_over() {
    let (bytes, ones) = (std::fs::read(tiny().join(WHOLE)).unwrap(), vec![1; 48 * 48]);
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut views: Vec<(String, TensorView<'_>)> = file.tensors();
    views.push(("transformer.h.0.attn.bias".into(), TensorView::new(Dtype::BOOL, vec![1, 1, 48, 48], &ones).unwrap()));
    let folder = folder(&tensors());
    std::fs::write(folder.path().join(WHOLE), safetensors::serialize(views, None).unwrap()).unwrap();
    assert!(logits(folder.path()) == logits(&tiny()));
}

#[test]
fn half_precision_weights_are_read_exactly() {
    for dtype in [DType::F16, DType::BF16] {
        let rounded = in_type(tensors(), dtype);
        let widened = in_type(rounded.clone(), DType::F32);
        let seen = logits(folder(&rounded).path());
        assert!(seen == logits(folder(&widened).path()), "{dtype:?}");
        let largest = seen.iter().flatten().zip(logits(&tiny()).iter().flatten()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest > 0.0 && largest < 0.5, "{dtype:?} is near f32 and not the same: {largest}");
    }
}

#[test]
fn a_head_of_its_own_is_used_or_must_equal_the_tied_one() {
    let mut with_copy = tensors();
    with_copy.insert("lm_head.weight".into(), with_copy["transformer.wte.weight"].clone());
    check_same("a copy of the tied head", &with_copy);

    let mut with_other = tensors();
    let doubled = (&with_other["transformer.wte.weight"] * 2.0).unwrap();
    with_other.insert("lm_head.weight".into(), doubled);
    let untied = folder(&with_other);
    check_refused(untied.path(), &["lm_head.weight", "wte.weight", "tie_word_embeddings"]);
    configure(untied.path(), "tie_word_embeddings", json!(false));
    let doubled: Vec<Vec<f32>> = logits(&tiny()).into_iter().map(|row| row.into_iter().map(|logit| 2.0 * logit).collect()).collect();
    assert!(logits(untied.path()) == doubled, "a doubled head doubles each logit exactly");

    let headless = folder(&tensors());
    configure(headless.path(), "tie_word_embeddings", json!(false));
    check_refused(headless.path(), &["lm_head.weight", "missing"]);
}

/// The tiny model in two shards; what stands in the index.
fn sharded() -> (TempDir, serde_json::Map<String, Value>) {
    let folder = folder(&tensors());
    std::fs::remove_file(folder.path().join(WHOLE)).unwrap();
    let (first, second): (Tensors, Tensors) = tensors().into_iter().partition(|(name, _)| name.contains("h.0."));
    let mut map = serde_json::Map::new();
    for (file, shard) in [("model-00001-of-00002.safetensors", first), ("model-00002-of-00002.safetensors", second)] {
        map.extend(shard.keys().map(|name| (name.clone(), json!(file))));
        candle_core::safetensors::save(&shard, folder.path().join(file)).unwrap();
    }
    write_json(folder.path(), INDEX, &json!({"metadata": {}, "weight_map": map}));
    (folder, map)
}

#[test]
fn shards_are_read_through_their_index() {
    let (folder, map) = sharded();
    assert!(logits(folder.path()) == logits(&tiny()));

    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    check_refused(folder.path(), &["model-00002-of-00002.safetensors", "can't be read"]);
    for outside in [json!("../model.safetensors"), json!("/etc/passwd"), json!(".."), json!(""), json!(7), json!("pytorch_model.bin")] {
        let mut map = map.clone();
        map.insert("transformer.ln_f.bias".into(), outside);
        write_json(folder.path(), INDEX, &json!({"weight_map": map}));
        check_refused(folder.path(), &[INDEX, "transformer.ln_f.bias", "no plain name of a file of this folder"]);
    }
    write_json(folder.path(), INDEX, &json!({"weight_map": {}}));
    check_refused(folder.path(), &[INDEX, "empty"]);
    std::fs::remove_file(folder.path().join(INDEX)).unwrap();
    check_refused(folder.path(), &[WHOLE, INDEX]);
}

#[test]
fn wrong_tensors_are_refused_by_name() {
    let check = |change: &dyn Fn(&mut Tensors), parts: &[&str]| {
        let mut tensors = tensors();
        change(&mut tensors);
        check_refused(folder(&tensors).path(), parts);
    };
    let put = |tensors: &mut Tensors, name: &str, tensor: Tensor| drop(tensors.insert(name.to_owned(), tensor));
    check(&|tensors| put(tensors, "transformer.h.0.attn.rotary", zeros(&[4], DType::F32)), &["transformer.h.0.attn.rotary", "unknown"]);
    check(&|tensors| put(tensors, "transformer.h.2.ln_1.bias", zeros(&[32], DType::F32)), &["transformer.h.2.ln_1.bias", "unknown"]);
    check(&|tensors| put(tensors, "h.2.attn.bias", zeros(&[1, 1, 48, 48], DType::F32)), &["h.2.attn.bias", "unknown"]);
    check(&|tensors| put(tensors, "h.0.attn.bias", zeros(&[96], DType::F32)), &["h.0.attn.bias", "unknown"]);
    check(&|tensors| drop(tensors.remove("transformer.h.1.mlp.c_fc.bias")), &["tensor h.1.mlp.c_fc.bias is missing"]);
    check(&Tensors::clear, &["h.0.attn.c_attn.bias and 27 more is missing"]);
    check(&|tensors| put(tensors, "ln_f.bias", zeros(&[32], DType::F32)), &["ln_f.bias", "twice"]);
    let wrong = zeros(&[32, 97], DType::F32);
    check(
        &|tensors| put(tensors, "transformer.h.0.attn.c_attn.weight", wrong.clone()),
        &["h.0.attn.c_attn.weight", "[32, 97]", "[32, 96]"],
    );
    check(&|tensors| put(tensors, "transformer.ln_f.bias", zeros(&[32], DType::U8)), &["transformer.ln_f.bias", "U8", "BF16"]);
}

#[test]
fn broken_files_are_refused_by_name_and_cause() {
    let folder = folder(&tensors());
    let path = folder.path().join(WHOLE);
    let whole = std::fs::read(&path).unwrap();
    for length in [0, 1, 7, 8, 9, 500, 5000, whole.len() / 2, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        check_refused(folder.path(), &[WHOLE, "not a safetensors file that can be loaded"]);
    }
    for garbage in [vec![0xFF; 4096], vec![0; 4096], b"\x10\0\0\0\0\0\0\0{\"a\":[1,2,3,4]} ".to_vec(), b"<html>not found</html>".to_vec()] {
        std::fs::write(&path, garbage).unwrap();
        check_refused(folder.path(), &[WHOLE]);
    }
    std::fs::write(&path, &whole).unwrap();
    for name in ["config.json", "tokenizer.json"] {
        let good = std::fs::read(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name), &good[..good.len() / 2]).unwrap();
        check_refused(folder.path(), &[name]);
        std::fs::remove_file(folder.path().join(name)).unwrap();
        check_refused(folder.path(), &[name]);
        std::fs::write(folder.path().join(name), &good).unwrap();
    }
    assert!(load(folder.path()).is_ok());
}

#[test]
fn a_tokenizer_that_is_not_the_networks_is_refused() {
    let folder = folder(&tensors());
    let tokenizer = read_json(folder.path(), "tokenizer.json");
    let mut larger = tokenizer.clone();
    larger["model"]["vocab"]["Ġx"] = json!(264);
    write_json(folder.path(), "tokenizer.json", &larger);
    check_refused(folder.path(), &["tokenizer.json", "264", "vocab_size"]);
    let mut foreign = tokenizer;
    foreign["model"]["vocab"].as_object_mut().unwrap().remove("Ġwor");
    foreign["model"]["merges"].as_array_mut().unwrap().pop();
    foreign["model"]["vocab"]["▁wor"] = json!(263);
    write_json(folder.path(), "tokenizer.json", &foreign);
    check_refused(folder.path(), &["tokenizer.json", "263", "▁wor"]);
}

#[test]
fn the_fingerprint_follows_everything_that_decides_the_output() {
    let fingerprint = |folder: &Path| load(folder).unwrap().info.fingerprint;
    let original = fingerprint(folder(&tensors()).path());
    assert_eq!(original.len(), 64);
    assert_eq!(fingerprint(&tiny()).len(), 64);
    let changed = |change: &dyn Fn(&Path)| {
        let folder = folder(&tensors());
        change(folder.path());
        fingerprint(folder.path())
    };
    assert_eq!(changed(&|_| {}), changed(&|_| {}));
    let weights = changed(&|folder| {
        let mut tensors = tensors();
        tensors.insert("transformer.ln_f.bias".into(), zeros(&[32], DType::F32));
        candle_core::safetensors::save(&tensors, folder.join(WHOLE)).unwrap();
    });
    let config = changed(&|folder| configure(folder, "layer_norm_epsilon", json!(1e-6)));
    let tokenizer = changed(&|folder| {
        let mut tokenizer = read_json(folder, "tokenizer.json");
        tokenizer["added_tokens"][0]["normalized"] = json!(true);
        write_json(folder, "tokenizer.json", &tokenizer);
    });
    assert!([&weights, &config, &tokenizer].iter().all(|other| **other != original));
}

#[test]
fn settings_out_of_range_are_refused_by_key_value_and_limit() {
    let check = |change: fn(&mut Gpt2Config), parts: &[&str]| {
        let error = load_with(&tiny(), change).err().unwrap().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} must be in: {error}");
    };
    check(|config| config.slots = 0, &["`slots` is 0", "256"]);
    check(|config| config.slots = 257, &["`slots` is 257", "256"]);
    check(|config| config.queue = 65537, &["`queue` is 65537", "65536"]);
    check(|config| config.step_tokens = 5000, &["`step_tokens` is 5000", "4096"]);
}
