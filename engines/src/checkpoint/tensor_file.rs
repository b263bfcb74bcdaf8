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
use safetensors::tensor::Metadata;

/// What the format allows.
const MAX_HEADER_BYTES: u64 = 100_000_000;
/// Values that are read at once.
const VALUES_AT_ONCE: usize = 1 << 18;

/// A file with its header read and checked.
pub(crate) struct TensorFile {
    path: PathBuf,
    file: File,
    /// Where the tensors' bytes begin.
    start: u64,
    tensors: BTreeMap<String, Entry>,
    buffer: Vec<u8>,
}

/// One tensor of a file.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) shape: Vec<usize>,
    dtype: Dtype,
    /// From the first tensor's first byte.
    offset: u64,
}

impl TensorFile {
    /// Opens a file and checks its header against its size.
    ///
    /// # Errors
    /// A sentence naming the file.
    pub(crate) fn open(path: &Path) -> Result<Self, String> {
        let unreadable = |error: std::io::Error| format!("{} can't be read: {error}", path.display());
        let mut file = File::open(path).map_err(unreadable)?;
        let length = file.metadata().map_err(unreadable)?.len();
        let broken = |reason: String| format!("{}: it is no whole safetensors file: {reason}", path.display());
        let mut size = [0; 8];
        file.read_exact(&mut size).map_err(|error| broken(error.to_string()))?;
        let size = u64::from_le_bytes(size);
        if size > MAX_HEADER_BYTES {
            return Err(broken(format!("its header has {size} bytes; the limit is {MAX_HEADER_BYTES}")));
        }
        let mut header = vec![0; size as usize];
        file.read_exact(&mut header).map_err(|error| broken(error.to_string()))?;
        let metadata: Metadata = serde_json::from_slice(&header).map_err(|error| broken(error.to_string()))?;
        let start = 8 + size;
        let wanted = start + metadata.data_len() as u64;
        if wanted != length {
            return Err(broken(format!("it has {length} bytes and its header speaks of {wanted}")));
        }
        let mut tensors = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let values = info.shape.iter().try_fold(1_usize, |values, &size| values.checked_mul(size));
            let bits = values.and_then(|values| values.checked_mul(info.dtype.bitsize()));
            let (first, end) = info.data_offsets;
            if bits.is_none() || bits != end.checked_sub(first).and_then(|bytes| bytes.checked_mul(8)) || end as u64 > length - start {
                return Err(broken(format!("tensor {name} has bytes {first} to {end}, and shape {:?} of {:?}", info.shape, info.dtype)));
            }
            tensors.insert(name, Entry { shape: info.shape.clone(), dtype: info.dtype, offset: first as u64 });
        }
        Ok(Self { path: path.to_owned(), file, start, tensors, buffer: Vec::new() })
    }

    /// Its tensors by name.
    pub(crate) fn tensors(&self) -> &BTreeMap<String, Entry> {
        &self.tensors
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
            let from = SeekFrom::Start(self.start + entry.offset + (first * bytes_each) as u64);
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
