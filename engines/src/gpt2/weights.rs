//! Weights from safetensors files, in every form that published checkpoints have.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::safetensors::Load;
use candle_core::{DType, Device, Storage, Tensor};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use super::architecture::Architecture;

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
const HEAD: &str = "lm_head.weight";
const TOKEN_EMBEDDING: &str = "wte.weight";

/// Tensors by name without the prefix `transformer.`, all f32.
pub(super) struct Weights(BTreeMap<String, Tensor>);

impl Weights {
    /// Reads all files of a folder; `see` is shown each file's name and bytes.
    ///
    /// # Errors
    /// A sentence naming the file and the tensor.
    pub(super) fn read(folder: &Path, architecture: &Architecture, mut see: impl FnMut(&str, &[u8])) -> Result<Self, String> {
        let mut reading = Reading { wanted: architecture.tensors(), found: BTreeMap::new(), layers: architecture.layers };
        if architecture.tied_head {
            // Some checkpoints carry the tied head as well.
            reading.wanted.insert(HEAD.to_owned(), reading.wanted[TOKEN_EMBEDDING].clone());
        }
        for name in file_names(folder)? {
            let path = folder.join(&name);
            let bytes = read_file(&path)?;
            see(&name, &bytes);
            reading.add(&bytes).map_err(|cause| format!("{}: {cause}", path.display()))?;
        }
        let Reading { wanted, mut found, .. } = reading;
        let optional = |name: &String| architecture.tied_head && name.as_str() == HEAD;
        let missing: Vec<&str> = wanted.keys().filter(|name| !found.contains_key(*name) && !optional(name)).map(String::as_str).collect();
        if let Some(first) = missing.first() {
            let others = if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
            return Err(format!("{}: tensor {first}{others} is missing", folder.display()));
        }
        if architecture.tied_head
            && let Some(head) = found.remove(HEAD)
            && !same(&head, &found[TOKEN_EMBEDDING])?
        {
            return Err(format!(
                "{}: tensor {HEAD} differs from {TOKEN_EMBEDDING}, yet config.json ties them; tie_word_embeddings must be false for such a model",
                folder.display()
            ));
        }
        Ok(Self(found))
    }

    /// Gives one tensor away.
    ///
    /// # Errors
    /// If there is none of this name, which [`Weights::read`] rules out for those of the architecture.
    pub(super) fn take(&mut self, name: &str) -> candle_core::Result<Tensor> {
        self.0.remove(name).ok_or_else(|| candle_core::Error::Msg(format!("tensor {name} is missing")))
    }

    /// Gives the values of one tensor away.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub(super) fn take_values(&mut self, name: &str) -> candle_core::Result<Vec<f32>> {
        with_values(&self.take(name)?, <[f32]>::to_vec)
    }
}

/// Lends a contiguous f32 tensor's values without copying them.
pub(super) fn with_values<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(work(&storage.as_slice::<f32>()?[start..end])),
        _ => candle_core::bail!("a tensor that is contiguous in main memory was expected"),
    }
}

struct Reading {
    wanted: BTreeMap<String, Vec<usize>>,
    found: BTreeMap<String, Tensor>,
    layers: usize,
}

impl Reading {
    fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        let file = SafeTensors::deserialize(bytes).map_err(|error| format!("it is no whole safetensors file: {error}"))?;
        for (published, view) in file.iter() {
            let name = published.strip_prefix("transformer.").unwrap_or(published);
            if self.is_mask(name, view.shape()) {
                continue;
            }
            let wanted = self.wanted.get(name).ok_or_else(|| format!("tensor {published} is unknown; GPT-2 has none of this name"))?;
            if view.shape() != wanted {
                return Err(format!("tensor {published} has shape {:?}; config.json asks for {wanted:?}", view.shape()));
            }
            let tensor = as_f32(&view).map_err(|cause| format!("tensor {published} {cause}"))?;
            if self.found.insert(name.to_owned(), tensor).is_some() {
                return Err(format!("tensor {published} is there twice"));
            }
        }
        Ok(())
    }

    /// The causal mask and the value it fills in, which old versions of Transformers saved with the weights, in any type.
    fn is_mask(&self, name: &str, shape: &[usize]) -> bool {
        let Some((layer, part)) = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else { return false };
        let known = match part {
            "attn.bias" => matches!(shape, [1, 1, rows, columns] if rows == columns),
            "attn.masked_bias" => matches!(shape, [] | [1]),
            _ => false,
        };
        known && layer.parse().is_ok_and(|layer: usize| layer < self.layers)
    }
}

fn as_f32(view: &TensorView<'_>) -> Result<Tensor, String> {
    if !matches!(view.dtype(), Dtype::F32 | Dtype::F16 | Dtype::BF16) {
        return Err(format!("is of type {:?}; this backend reads F32, F16 and BF16", view.dtype()));
    }
    view.load(&Device::Cpu).and_then(|tensor| tensor.to_dtype(DType::F32)).map_err(|error| format!("can't be read: {error}"))
}

fn same(left: &Tensor, right: &Tensor) -> Result<bool, String> {
    with_values(left, |left| with_values(right, |right| left == right)).and_then(|inner| inner).map_err(|error| error.to_string())
}

/// `model.safetensors`, or the shards that its index names.
fn file_names(folder: &Path) -> Result<Vec<String>, String> {
    if folder.join(WHOLE).is_file() {
        return Ok(vec![WHOLE.to_owned()]);
    }
    let path = folder.join(INDEX);
    if !path.is_file() {
        return Err(format!("{}: neither {WHOLE} nor {INDEX} is there", folder.display()));
    }
    let named = |cause: String| format!("{}: {cause}", path.display());
    let index = parse_json(&path, &read_file(&path)?)?;
    let map = index.get("weight_map").and_then(Value::as_object).ok_or_else(|| named("weight_map is missing".to_owned()))?;
    let mut names = BTreeSet::new();
    for (tensor, name) in map {
        let plain = |name: &&str| !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', ':']);
        let name = name.as_str().filter(plain);
        // The index comes from a stranger; it names files of this folder and no others.
        names.insert(
            name.ok_or_else(|| named(format!("tensor {tensor} is said to be in something that is no plain file name")))?.to_owned(),
        );
    }
    if names.is_empty() { Err(named("weight_map is empty".to_owned())) } else { Ok(names.into_iter().collect()) }
}

/// A whole file.
///
/// # Errors
/// A sentence naming it.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{} can't be read: {error}", path.display()))
}

/// The JSON that a file holds.
///
/// # Errors
/// A sentence naming it.
pub(super) fn parse_json(path: &Path, bytes: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(bytes).map_err(|error| format!("{} is not JSON: {error}", path.display()))
}
