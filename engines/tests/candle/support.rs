//! Models for these tests, and the shortest ways to run them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{Device, Tensor};
use minivault_engines::EngineInfo;
use minivault_engines::candle_models::{CandleConfig, CandleLoader};
use minivault_engines::error::Result;
use minivault_engines::model::{Feed, Logits, Model, Rows, Slot, Vocabulary};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The kinds of network that a folder may hold.
pub const KINDS: [&str; 3] = ["llama", "qwen2", "qwen3"];
/// Tokens of the made-up networks: those of the tokenizer, and some that have no text.
pub const VOCABULARY: usize = 272;
const WIDTH: usize = 32;
const INNER: usize = 48;
const LAYERS: usize = 2;
const HEADS: usize = 4;
const SHARED: usize = 2;

/// A path that the environment gives to tests; without it the test says that it is skipped.
pub fn path_from_environment(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set");
    }
    path
}

pub fn loader(path: &Path, change: impl FnOnce(&mut CandleConfig)) -> CandleLoader {
    let mut config = CandleConfig::new(path.display().to_string());
    change(&mut config);
    CandleLoader { name: "test".into(), path: path.into(), origin: "a test".into(), config }
}

/// Loads a folder or a file and works with it.
pub fn with_model<T>(path: &Path, work: impl FnOnce(EngineInfo, Arc<dyn Vocabulary>, &mut dyn Model) -> T) -> T {
    loader(path, |_| {}).lend(|info, vocabulary, model| Ok(work(info, vocabulary, model))).unwrap()
}

/// The message with which a folder or a file is refused.
#[track_caller]
pub fn refusal(path: &Path) -> String {
    let outcome: Result<()> = loader(path, |_| {}).lend(|_, _, _| Ok(()));
    outcome.expect_err("a model that must be refused").to_string()
}

/// Feeds tokens to one slot in one step; the logits of the rows that are asked for.
pub fn step(model: &mut dyn Model, slot: usize, tokens: &[u32], rows: Rows) -> Vec<Vec<f32>> {
    steps(model, &[Feed { slot: Slot(slot), tokens, rows }])
}

/// One step of several feeds.
pub fn steps(model: &mut dyn Model, feeds: &[Feed<'_>]) -> Vec<Vec<f32>> {
    let mut logits = Logits::new(model.limits().logits_width);
    model.step(feeds, &mut logits).unwrap();
    (0..logits.rows()).map(|row| logits.row(row).to_vec()).collect()
}

pub fn most_likely(row: &[f32]) -> u32 {
    row.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0 as u32
}

/// The most likely continuation in an empty slot.
pub fn greedy(model: &mut dyn Model, slot: usize, prompt: &[u32], count: usize) -> Vec<u32> {
    model.release(Slot(slot));
    let mut next = prompt.to_vec();
    let mut answer = Vec::new();
    while answer.len() < count {
        next = vec![most_likely(&step(model, slot, &next, Rows::Last)[0])];
        answer.push(next[0]);
    }
    answer
}

/// The largest difference of two rows.
pub fn difference(one: &[f32], other: &[f32]) -> f32 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

/// A folder with a network of this kind whose weights are noise, always the same.
pub fn noise_model(kind: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = json!({
        "model_type": kind, "vocab_size": VOCABULARY, "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": SHARED, "head_dim": WIDTH / HEADS, "max_position_embeddings": 96,
        "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": kind == "qwen3", "eos_token_id": 0, "rope_theta": 10000.0,
    });
    write_json(folder.path(), "config.json", &config);
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gpt2-tiny/tokenizer.json");
    std::fs::copy(tokenizer, folder.path().join("tokenizer.json")).unwrap();
    candle_core::safetensors::save(&noise(kind), folder.path().join("model.safetensors")).unwrap();
    folder
}

fn noise(kind: &str) -> HashMap<String, Tensor> {
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize], centre: f32| {
        let seed = name.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let count = shape.iter().product::<usize>() as u32;
        let noise = |i: u32| (i.wrapping_add(seed).wrapping_mul(0x9E37_79B9) >> 8) as f32 / (1 << 24) as f32 - 0.5;
        let values: Vec<f32> = (0..count).map(|i| centre + 0.6 * noise(i)).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    let (size, shared) = (WIDTH / HEADS, SHARED * WIDTH / HEADS);
    add("model.embed_tokens.weight".into(), &[VOCABULARY, WIDTH], 0.0);
    add("model.norm.weight".into(), &[WIDTH], 1.0);
    if kind != "qwen3" {
        add("lm_head.weight".into(), &[VOCABULARY, WIDTH], 0.0);
    }
    for layer in 0..LAYERS {
        let mut add = |part: &str, shape: &[usize], centre| add(format!("model.layers.{layer}.{part}"), shape, centre);
        add("input_layernorm.weight", &[WIDTH], 1.0);
        add("post_attention_layernorm.weight", &[WIDTH], 1.0);
        for (linear, outputs) in [("q_proj", WIDTH), ("k_proj", shared), ("v_proj", shared), ("o_proj", WIDTH)] {
            add(&format!("self_attn.{linear}.weight"), &[outputs, WIDTH], 0.0);
            if kind == "qwen2" && linear != "o_proj" {
                add(&format!("self_attn.{linear}.bias"), &[outputs], 0.0);
            }
        }
        if kind == "qwen3" {
            add("self_attn.q_norm.weight", &[size], 1.0);
            add("self_attn.k_norm.weight", &[size], 1.0);
        }
        add("mlp.gate_proj.weight", &[INNER, WIDTH], 0.0);
        add("mlp.up_proj.weight", &[INNER, WIDTH], 0.0);
        add("mlp.down_proj.weight", &[WIDTH, INNER], 0.0);
    }
    tensors
}

pub fn write_json(folder: &Path, name: &str, value: &Value) {
    std::fs::write(folder.join(name), value.to_string()).unwrap();
}

/// Changes one setting of `config.json`.
pub fn configure(folder: &Path, setting: &str, value: Value) {
    let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    config[setting] = value;
    write_json(folder, "config.json", &config);
}

/// Changes the tensors of `model.safetensors`.
pub fn change_tensors(folder: &Path, change: impl FnOnce(&mut HashMap<String, Tensor>)) {
    let path = folder.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    change(&mut tensors);
    candle_core::safetensors::save(&tensors, path).unwrap();
}
