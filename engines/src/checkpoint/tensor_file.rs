//! One safetensors file, of which tensors are read as they are wanted.
//!
//! Memory that is new to a process costs more than reading the file does, so nothing is kept of it and one buffer serves all reads.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use safetensors::Dtype;

use super::header::{Entry, Header};

/// Values that are read at once.
const VALUES_AT_ONCE: usize = 1 << 18;

/// A file with its header read and checked.
pub(crate) struct TensorFile {
    path: PathBuf,
    file: File,
    header: Header,
    buffer: Vec<u8>,
}

impl TensorFile {
    /// Opens a file and checks its header against its size.
    ///
    /// # Errors
    /// A sentence naming the file.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
        // Before it is opened, because opening a pipe would wait for its writer.
        let described = std::fs::metadata(path).map_err(unreadable)?;
        if !described.is_file() {
            return Err(format!("{} is no regular file", path.display()));
        }
        let mut file = File::open(path).map_err(unreadable)?;
        let header = Header::read(&mut file, described.len())
            .map_err(|reason| format!("{}: not a safetensors file that can be loaded: {reason}", path.display()))?;
        Ok(Self { path: path.to_owned(), file, header, buffer: Vec::new() })
    }

    /// Its tensors by name.
    pub(crate) fn tensors(&self) -> &BTreeMap<String, Entry> {
        &self.header.tensors
    }

    /// Reads some of a tensor's values, counted in the order in which they lie, behind those that are there.
    ///
    /// # Errors
    /// A sentence naming the file.
    pub(crate) fn read(&mut self, entry: &Entry, range: Range<usize>, values: &mut Vec<f32>) -> Result<(), String> {
        values.reserve(range.len());
        let bytes_each = entry.dtype.bitsize() / 8;
        for first in range.clone().step_by(VALUES_AT_ONCE) {
            let count = VALUES_AT_ONCE.min(range.end - first);
            self.buffer.resize(count * bytes_each, 0);
            let from = SeekFrom::Start(self.header.start + entry.offset + (first * bytes_each) as u64);
            let read = self.file.seek(from).and_then(|_| self.file.read_exact(&mut self.buffer));
            read.map_err(|error| format!("{} can't be read: {error}", self.path.display()))?;
            entry.decode(&self.buffer, values)?;
        }
        Ok(())
    }
}

impl Entry {
    /// Whether its values can be read.
    pub(crate) fn check_type(&self) -> Result<(), String> {
        match self.dtype {
            Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(()),
            other => Err(format!("is of type {other:?}; this backend reads F32, F16 and BF16")),
        }
    }

    fn decode(&self, bytes: &[u8], values: &mut Vec<f32>) -> Result<(), String> {
        let dtype = match self.dtype {
            Dtype::F32 => {
                values.extend(bytes.as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)));
                return Ok(());
            }
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => return Err(format!("values of type {other:?} can't be read")),
        };
        let decoded = Tensor::from_raw_buffer(bytes, dtype, &[bytes.len() / 2], &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(DType::F32)?.to_vec1::<f32>());
        values.extend(decoded.map_err(|error| error.to_string())?);
        Ok(())
    }
}
