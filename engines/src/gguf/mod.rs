//! The header of a GGUF file, read before any library sees it.
//!
//! llama.cpp trusts much of what a file says and ends the process where that trust is misplaced; candle allocates what a file claims. So
//! the whole header is read here first: every count and length is held against the file's size before anything is allocated, every
//! tensor's data must lie inside the file, and what is kept of it has a limit.

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

mod reader;
#[cfg(any(test, feature = "testkit"))]
pub mod sample;
mod tensor;
#[cfg(test)]
mod tests;
mod value;

pub use reader::Fault;
use reader::Reader;
pub use tensor::{Layout, Tensor};
pub use value::{Kind, Texts, Value};

use crate::error::{EngineError, Result};
use crate::foreign;

const MAGIC: [u8; 4] = *b"GGUF";
/// Version 1 had 32-bit counts and is long gone; llama.cpp refuses it, too.
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
/// Bytes a key may have, by the format's specification.
const MAX_KEY: u64 = 65_535;
/// Bytes of the shortest key with its value: length, one character, type, one byte.
const MIN_KEY_BYTES: u64 = 8 + 1 + 4 + 1;
/// Bytes of the shortest description of a tensor: length, one character, rank, one dimension, type, offset.
const MIN_TENSOR_BYTES: u64 = 8 + 1 + 4 + 8 + 4 + 8;
/// What a key or a tensor takes in memory besides its name and its value, rounded up.
const ENTRY_BYTES: u64 = 128;
/// What data are aligned to where the file doesn't say.
const DEFAULT_ALIGNMENT: u32 = 32;
/// The vocabulary, the one array of strings that is needed before loading.
const TOKENS: &str = "tokenizer.ggml.tokens";

/// A GGUF file's header, whole and consistent in itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gguf {
    metadata: BTreeMap<String, Value>,
    tensors: Vec<Tensor>,
    alignment: u32,
}

impl Gguf {
    /// Reads a file's header.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] naming the file, what is wrong with it, and where.
    pub fn open(path: &Path) -> Result<Self> {
        let unavailable = |reason: String| EngineError::Unavailable(format!("{}: {reason}", path.display()));
        let unreadable = |error: std::io::Error| unavailable(format!("the model file can't be read: {error}"));
        // Before it is opened, because opening a pipe would wait for its writer.
        let described = std::fs::metadata(path).map_err(unreadable)?;
        if !described.is_file() {
            return Err(unavailable("the model must be a regular file".into()));
        }
        let file = File::open(path).map_err(unreadable)?;
        Self::read(BufReader::with_capacity(1 << 18, file), described.len())
            .map_err(|fault| unavailable(format!("not a GGUF file that can be loaded: {fault}")))
    }

    /// Reads a header from a source of `size` bytes; only the header's bytes are taken from it.
    ///
    /// # Errors
    /// The first fault found.
    pub fn read(source: impl Read, size: u64) -> Result<Self, Fault> {
        let mut reader = Reader::new(source, size);
        let (tensors, keys) = read_counts(&mut reader)?;
        let metadata = read_metadata(&mut reader, keys)?;
        let alignment = alignment(&metadata).map_err(|message| reader.fault(message))?;
        let tensors = read_tensors(&mut reader, tensors)?;
        check_data(&reader, &tensors, u64::from(alignment))?;
        Ok(Self { metadata, tensors, alignment })
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.metadata.get(key)
    }

    /// The vocabulary, where the file carries one.
    pub fn tokens(&self) -> Option<&Texts> {
        match self.get(TOKENS) {
            Some(Value::Texts(tokens)) => Some(tokens),
            _ => None,
        }
    }

    /// The tensors, in the order of their data.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }

    /// ggml's name for how most of the tensors' bytes are stored.
    pub fn main_layout(&self) -> &'static str {
        let mut bytes = BTreeMap::<&'static str, u64>::new();
        for tensor in &self.tensors {
            *bytes.entry(tensor.layout.name).or_default() += tensor.size;
        }
        bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map_or("", |(name, _)| name)
    }

    /// Bytes to whose multiples the data are aligned; a power of two.
    pub fn alignment(&self) -> u32 {
        self.alignment
    }
}

/// Checks magic and version and returns the numbers of tensors and keys.
fn read_counts<R: Read>(reader: &mut Reader<R>) -> Result<(u64, u64), Fault> {
    let size = reader.size();
    if size == 0 {
        return Err(reader.fault("the file is empty"));
    }
    let magic = reader.array("the magic number")?;
    if let Some(format) = foreign::format_of(&magic) {
        return Err(reader.fault(format!("the file is {format}; {}", foreign::ONLY)));
    }
    if magic != MAGIC {
        return Err(reader.fault(format!("the file begins with `{}`, a GGUF file with `GGUF`", magic.escape_ascii())));
    }
    let version = reader.u32("the version")?;
    if !VERSIONS.contains(&version) {
        let hint = if VERSIONS.contains(&version.swap_bytes()) { ": the file is big-endian" } else { "" };
        return Err(reader.fault(format!(
            "the file is GGUF version {version}; versions {} and {} are read{hint}",
            VERSIONS.start(),
            VERSIONS.end()
        )));
    }
    let tensors = reader.u64("the number of tensors")?;
    let keys = reader.u64("the number of keys")?;
    let room = reader.remaining();
    for (what, count, bytes) in [("tensors", tensors, MIN_TENSOR_BYTES), ("keys", keys, MIN_KEY_BYTES)] {
        if count > room / bytes {
            return Err(reader.fault(format!("the header counts {count} {what}; a file of {size} bytes holds at most {}", room / bytes)));
        }
    }
    Ok((tensors, keys))
}

fn read_metadata<R: Read>(reader: &mut Reader<R>, keys: u64) -> Result<BTreeMap<String, Value>, Fault> {
    let mut metadata = BTreeMap::new();
    for index in 0..keys {
        let key = reader.text(&format!("the name of key {index}"), MAX_KEY)?;
        let key = match String::from_utf8(key) {
            Ok(key) if !key.is_empty() && !key.contains('\0') => key,
            _ => return Err(reader.fault(format!("the name of key {index} is empty or no plain text"))),
        };
        reader.keep(ENTRY_BYTES, &key)?;
        let value = Value::read(reader, &key, key == TOKENS)?;
        if metadata.contains_key(&key) {
            return Err(reader.fault(format!("key `{key}` appears twice")));
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

fn alignment(metadata: &BTreeMap<String, Value>) -> Result<u32, String> {
    match metadata.get("general.alignment") {
        None => Ok(DEFAULT_ALIGNMENT),
        Some(Value::U32(alignment)) if alignment.is_power_of_two() => Ok(*alignment),
        Some(Value::U32(alignment)) => Err(format!("key `general.alignment` is {alignment}; it must be a power of two")),
        Some(other) => Err(format!("key `general.alignment` is of type {}; it must be u32", other.kind_name())),
    }
}

fn read_tensors<R: Read>(reader: &mut Reader<R>, count: u64) -> Result<Vec<Tensor>, Fault> {
    let mut tensors: Vec<Tensor> = Vec::new();
    let mut names = HashSet::new();
    for index in 0..count {
        let tensor = Tensor::read(reader, index)?;
        reader.keep(ENTRY_BYTES, &tensor.name)?;
        if !names.insert(tensor.name.clone()) {
            return Err(reader.fault(format!("tensor `{}` appears twice", tensor.name)));
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// Checks that the tensors' data follow one another, each aligned, all within the file.
fn check_data<R: Read>(reader: &Reader<R>, tensors: &[Tensor], alignment: u64) -> Result<(), Fault> {
    let overflow = || reader.fault("the tensors take more bytes than 64 bits can count");
    let start = reader.position().checked_next_multiple_of(alignment).ok_or_else(overflow)?;
    let mut expected: u64 = 0;
    for Tensor { name, offset, size, .. } in tensors {
        if *offset != expected {
            return Err(reader.fault(format!("the data of tensor `{name}` begin at offset {offset}; {expected} was expected")));
        }
        let end = start.checked_add(*offset).and_then(|begin| begin.checked_add(*size)).ok_or_else(overflow)?;
        if end > reader.size() {
            let size = reader.size();
            return Err(reader.fault(format!("the file is cut short: the data of tensor `{name}` end at byte {end}, the file at {size}")));
        }
        expected = offset.checked_add(*size).and_then(|end| end.checked_next_multiple_of(alignment)).ok_or_else(overflow)?;
    }
    Ok(())
}
