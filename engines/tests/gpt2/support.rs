//! Models for these tests, and the shortest ways to run them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use minivault_engines::error::Result;
use minivault_engines::gpt2::{Arithmetic, Gpt2Config, Gpt2Loader, Gpt2Model, LoadedGpt2};
use minivault_engines::model::{Feed, Logits, Model, Rows, Slot};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The committed model.
pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gpt2-tiny")
}

/// A path that the environment gives to tests; without it the test says that it is skipped.
pub fn path_from_environment(variable: &str) -> Option<PathBuf> {
    let path = std::env::var_os(variable).map(PathBuf::from);
    if path.is_none() {
        println!("skipped: {variable} is not set");
    }
    path
}

pub fn load(folder: &Path) -> Result<LoadedGpt2> {
    load_with(folder, |_| {})
}

pub fn load_with(folder: &Path, change: impl FnOnce(&mut Gpt2Config)) -> Result<LoadedGpt2> {
    let mut config = Gpt2Config::new("tested");
    change(&mut config);
    loader(folder, config).load()
}

/// The same network in candle's operations.
pub fn load_plain(folder: &Path) -> Gpt2Model {
    loader(folder, Gpt2Config::new("tested")).load_for(Arithmetic::Plain).unwrap().model
}

fn loader(folder: &Path, config: Gpt2Config) -> Gpt2Loader {
    Gpt2Loader { name: "test".into(), folder: folder.into(), origin: folder.display().to_string(), config }
}

/// Feeds tokens to one slot in one step; the logits of the rows that are asked for.
pub fn step(model: &mut Gpt2Model, slot: usize, tokens: &[u32], rows: Rows) -> Vec<Vec<f32>> {
    steps(model, &[Feed { slot: Slot(slot), tokens, rows }])
}

/// One step of several feeds.
pub fn steps(model: &mut Gpt2Model, feeds: &[Feed<'_>]) -> Vec<Vec<f32>> {
    let mut logits = Logits::new(model.limits().logits_width);
    model.step(feeds, &mut logits).unwrap();
    (0..logits.rows()).map(|row| logits.row(row).to_vec()).collect()
}

/// The likeliest tokens one by one, in a slot of their own.
pub fn greedy(model: &mut Gpt2Model, prompt: &[u32], count: usize) -> Vec<u32> {
    model.release(Slot(0));
    let mut next = prompt.to_vec();
    (0..count)
        .map(|_| {
            let logits = step(model, 0, &next, Rows::Last);
            let best = (0..logits[0].len()).max_by(|&a, &b| logits[0][a].total_cmp(&logits[0][b])).unwrap() as u32;
            next = vec![best];
            best
        })
        .collect()
}

/// The shape of a model made up on the spot.
#[derive(Clone, Copy)]
pub struct Shape {
    pub vocabulary: usize,
    pub context: usize,
    pub width: usize,
    pub inner: usize,
    pub layers: usize,
    pub heads: usize,
}

/// A folder with a model of this shape whose weights are noise, always the same.
pub fn noise_model(shape: Shape) -> TempDir {
    let Shape { vocabulary, context, width, inner, layers, heads } = shape;
    let folder = tempfile::tempdir().unwrap();
    let config = json!({"model_type": "gpt2", "vocab_size": vocabulary, "n_positions": context, "n_embd": width, "n_inner": inner,
        "n_layer": layers, "n_head": heads});
    write_json(folder.path(), "config.json", &config);
    let tokenizer = json!({"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}});
    write_json(folder.path(), "tokenizer.json", &tokenizer);

    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize], centre: f32| {
        let seed = name.bytes().fold(7_u32, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let count = shape.iter().product::<usize>() as u32;
        let noise = |i: u32| (i.wrapping_add(seed).wrapping_mul(0x9E37_79B9) >> 8) as f32 / (1 << 24) as f32 - 0.5;
        let values: Vec<f32> = (0..count).map(|i| centre + 0.3 * noise(i)).collect();
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    add("wte.weight".into(), &[vocabulary, width], 0.0);
    add("wpe.weight".into(), &[context, width], 0.0);
    let blocks = (0..layers).map(|layer| format!("h.{layer}."));
    for norm in blocks.clone().flat_map(|block| [format!("{block}ln_1"), format!("{block}ln_2")]).chain(["ln_f".to_owned()]) {
        add(format!("{norm}.weight"), &[width], 1.0);
        add(format!("{norm}.bias"), &[width], 0.0);
    }
    for block in blocks {
        let linears =
            [("attn.c_attn", width, 3 * width), ("attn.c_proj", width, width), ("mlp.c_fc", width, inner), ("mlp.c_proj", inner, width)];
        for (linear, inputs, outputs) in linears {
            add(format!("{block}{linear}.weight"), &[inputs, outputs], 0.0);
            add(format!("{block}{linear}.bias"), &[outputs], 0.0);
        }
    }
    candle_core::safetensors::save(&tensors, folder.path().join("model.safetensors")).unwrap();
    folder
}

pub fn read_json(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap()
}

pub fn write_json(folder: &Path, name: &str, value: &Value) {
    std::fs::write(folder.join(name), value.to_string()).unwrap();
}
