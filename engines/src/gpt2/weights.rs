//! Weights from safetensors files, in every form that published checkpoints have.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{Device, Error, Storage, Tensor};

use super::architecture::Architecture;
use crate::checkpoint::{Entry, TensorFile};

const HEAD: &str = "lm_head.weight";
const TOKEN_EMBEDDING: &str = "wte.weight";
/// Values that are compared at once.
const VALUES_AT_ONCE: usize = 1 << 20;

/// A network's tensors by name without the prefix `transformer.`, read as they are asked for, all as f32.
pub(super) struct Weights {
    files: Vec<TensorFile>,
    /// Each with the file it is in.
    tensors: BTreeMap<String, (usize, Entry)>,
}

impl Weights {
    /// Opens the files and checks that they have all tensors of the network, in the right shapes, and no others.
    ///
    /// # Errors
    /// A sentence naming the file and the tensor.
    pub(super) fn open(folder: &Path, architecture: &Architecture, paths: &[PathBuf]) -> Result<Self, String> {
        let mut wanted = architecture.tensors();
        if architecture.tied_head {
            // Some checkpoints carry the tied head as well.
            wanted.insert(HEAD.to_owned(), wanted[TOKEN_EMBEDDING].clone());
        }
        let mut weights = Self { files: Vec::new(), tensors: BTreeMap::new() };
        for path in paths {
            let file = TensorFile::open(path)?;
            weights.add(file, &wanted, architecture.layers).map_err(|cause| format!("{}: {cause}", path.display()))?;
        }
        let optional = |name: &String| architecture.tied_head && name.as_str() == HEAD;
        let missing: Vec<&str> =
            wanted.keys().filter(|name| !weights.tensors.contains_key(*name) && !optional(name)).map(String::as_str).collect();
        if let Some(first) = missing.first() {
            let others = if missing.len() > 1 { format!(" and {} more", missing.len() - 1) } else { String::new() };
            return Err(format!("{}: tensor {first}{others} is missing", folder.display()));
        }
        if architecture.tied_head && weights.tensors.contains_key(HEAD) && !weights.same(HEAD, TOKEN_EMBEDDING)? {
            return Err(format!(
                "{}: tensor {HEAD} differs from {TOKEN_EMBEDDING}, yet config.json ties them; tie_word_embeddings must be false for such a model",
                folder.display()
            ));
        }
        Ok(weights)
    }

    /// Values of all tensors together.
    pub(super) fn value_count(&self) -> u64 {
        self.tensors.values().map(|(_, entry)| entry.shape.iter().product::<usize>() as u64).sum()
    }

    fn add(&mut self, file: TensorFile, wanted: &BTreeMap<String, Vec<usize>>, layers: usize) -> Result<(), String> {
        for (published, entry) in file.tensors() {
            let name = published.strip_prefix("transformer.").unwrap_or(published);
            if is_mask(name, &entry.shape, layers) {
                continue;
            }
            let wanted = wanted.get(name).ok_or_else(|| format!("tensor {published} is unknown; GPT-2 has none of this name"))?;
            if entry.shape != *wanted {
                return Err(format!("tensor {published} has shape {:?}; config.json asks for {wanted:?}", entry.shape));
            }
            entry.check_type().map_err(|cause| format!("tensor {published} {cause}"))?;
            if self.tensors.insert(name.to_owned(), (self.files.len(), entry.clone())).is_some() {
                return Err(format!("tensor {published} is there twice"));
            }
        }
        self.files.push(file);
        Ok(())
    }

    fn same(&mut self, left: &str, right: &str) -> Result<bool, String> {
        let count = self.tensors.get(left).map_or(0, |(_, entry)| entry.shape.iter().product());
        let (mut one, mut other) = (Vec::new(), Vec::new());
        for first in (0..count).step_by(VALUES_AT_ONCE) {
            let range = first..count.min(first + VALUES_AT_ONCE);
            self.read(left, range.clone(), &mut one)
                .and_then(|()| self.read(right, range, &mut other))
                .map_err(|error| error.to_string())?;
            if one != other {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Some of a tensor's values, counted in the order in which they lie, in place of those that were there.
    ///
    /// # Errors
    /// If the file can't be read any more, or there is no tensor of this name, which [`Weights::open`] rules out for those of the
    /// architecture.
    pub(super) fn read(&mut self, name: &str, range: Range<usize>, values: &mut Vec<f32>) -> candle_core::Result<()> {
        let (file, entry) = self.tensors.get(name).ok_or_else(|| Error::Msg(format!("tensor {name} is missing")))?;
        values.clear();
        self.files[*file].read(entry, range, values).map_err(Error::Msg)
    }

    /// All values of one tensor.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub(super) fn values(&mut self, name: &str) -> candle_core::Result<Vec<f32>> {
        let mut values = Vec::new();
        self.read(name, 0..self.shape(name)?.iter().product(), &mut values)?;
        Ok(values)
    }

    /// One tensor.
    ///
    /// # Errors
    /// As [`Weights::read`].
    pub(super) fn tensor(&mut self, name: &str) -> candle_core::Result<Tensor> {
        let shape = self.shape(name)?;
        Tensor::from_vec(self.values(name)?, shape, &Device::Cpu)
    }

    fn shape(&self, name: &str) -> candle_core::Result<Vec<usize>> {
        let found = self.tensors.get(name).map(|(_, entry)| entry.shape.clone());
        found.ok_or_else(|| Error::Msg(format!("tensor {name} is missing")))
    }
}

/// The causal mask and the value it fills in, which old versions of Transformers saved with the weights, in any type.
fn is_mask(name: &str, shape: &[usize], layers: usize) -> bool {
    let Some((layer, part)) = name.strip_prefix("h.").and_then(|rest| rest.split_once('.')) else { return false };
    let known = match part {
        "attn.bias" => matches!(shape, [1, 1, rows, columns] if rows == columns),
        "attn.masked_bias" => matches!(shape, [] | [1]),
        _ => false,
    };
    known && layer.parse().is_ok_and(|layer: usize| layer < layers)
}

/// Lends a contiguous f32 tensor's values without copying them.
pub(super) fn with_values<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> T) -> candle_core::Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(storage), Some((start, end))) => Ok(work(&storage.as_slice::<f32>()?[start..end])),
        _ => candle_core::bail!("a tensor that is contiguous in main memory was expected"),
    }
}
