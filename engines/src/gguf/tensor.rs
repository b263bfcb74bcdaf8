//! The list of tensors: what each is called, its shape, and where its data lie.

use std::io::Read;

use super::reader::{Fault, Reader};

/// Bytes a tensor's name may have; ggml keeps one more for the terminating zero.
const MAX_NAME: u64 = 63;
/// ggml's tensors have four dimensions.
const MAX_DIMENSIONS: u32 = 4;

/// A tensor as the header describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// What llama.cpp finds it by.
    pub name: String,
    /// Elements along each dimension, the contiguous one first.
    pub dimensions: Vec<u64>,
    /// How its elements are stored.
    pub layout: &'static Layout,
    /// Bytes from the beginning of the tensors' data.
    pub offset: u64,
    /// Bytes it takes.
    pub size: u64,
}

impl Tensor {
    pub(super) fn read<R: Read>(reader: &mut Reader<R>, index: u64) -> Result<Self, Fault> {
        let name = reader.text(&format!("the name of tensor {index}"), MAX_NAME)?;
        let name = match String::from_utf8(name) {
            Ok(name) if !name.is_empty() && !name.contains('\0') => name,
            _ => return Err(reader.fault(format!("the name of tensor {index} is empty or no plain text"))),
        };
        let what = format!("tensor `{name}`");
        let rank = reader.u32(&what)?;
        if !(1..=MAX_DIMENSIONS).contains(&rank) {
            return Err(reader.fault(format!("{what} has {rank} dimensions; 1 to {MAX_DIMENSIONS} are allowed")));
        }
        let mut dimensions = Vec::new();
        for _ in 0..rank {
            dimensions.push(reader.u64(&what)?);
        }
        if dimensions.contains(&0) {
            return Err(reader.fault(format!("{what} has the shape {dimensions:?}, so it holds nothing")));
        }
        let code = reader.u32(&what)?;
        let layout = Layout::by_code(code)
            .ok_or_else(|| reader.fault(format!("{what} has the type {code}, which this version of llama.cpp doesn't know")))?;
        let size = layout.size(&dimensions).map_err(|reason| reader.fault(format!("{what} {reason}")))?;
        let offset = reader.u64(&what)?;
        Ok(Self { name, dimensions, layout, offset, size })
    }
}

/// How a tensor's elements are stored.
#[derive(Debug, PartialEq, Eq)]
pub struct Layout {
    code: u32,
    /// ggml's name for it.
    pub name: &'static str,
    /// Elements in one block; rows consist of whole blocks.
    pub block: u64,
    /// Bytes of one block.
    pub bytes: u64,
}

impl Layout {
    fn by_code(code: u32) -> Option<&'static Self> {
        LAYOUTS.iter().find(|layout| layout.code == code)
    }

    /// Whether a library can compute with weights stored like this. The others are for positions, for sums within a product, or for nothing.
    pub fn holds_weights(&self) -> bool {
        !matches!(self.name, "I8" | "I16" | "I32" | "I64" | "F64" | "Q8_1" | "Q8_K")
    }

    /// Bytes of a tensor of this shape.
    fn size(&self, dimensions: &[u64]) -> Result<u64, String> {
        let row = dimensions[0];
        if !row.is_multiple_of(self.block) {
            return Err(format!("has rows of {row} elements; {} stores them in blocks of {}", self.name, self.block));
        }
        // ggml counts elements and bytes in signed 64 bits.
        let elements = dimensions.iter().try_fold(1, |product: u64, &dimension| product.checked_mul(dimension));
        let bytes = elements.and_then(|elements| (elements / self.block).checked_mul(self.bytes));
        match (elements, bytes) {
            (Some(elements), Some(bytes)) if i64::try_from(elements).is_ok() && i64::try_from(bytes).is_ok() => Ok(bytes),
            _ => Err(format!("has the shape {dimensions:?}, more elements than 63 bits can count")),
        }
    }
}

const fn layout(code: u32, name: &'static str, block: u64, bytes: u64) -> Layout {
    Layout { code, name, block, bytes }
}

/// ggml's types with their block sizes, as `ggml.h` and `ggml-common.h` of the pinned version have them.
static LAYOUTS: &[Layout] = &[
    layout(0, "F32", 1, 4),
    layout(1, "F16", 1, 2),
    layout(2, "Q4_0", 32, 18),
    layout(3, "Q4_1", 32, 20),
    layout(6, "Q5_0", 32, 22),
    layout(7, "Q5_1", 32, 24),
    layout(8, "Q8_0", 32, 34),
    layout(9, "Q8_1", 32, 36),
    layout(10, "Q2_K", 256, 84),
    layout(11, "Q3_K", 256, 110),
    layout(12, "Q4_K", 256, 144),
    layout(13, "Q5_K", 256, 176),
    layout(14, "Q6_K", 256, 210),
    layout(15, "Q8_K", 256, 292),
    layout(16, "IQ2_XXS", 256, 66),
    layout(17, "IQ2_XS", 256, 74),
    layout(18, "IQ3_XXS", 256, 98),
    layout(19, "IQ1_S", 256, 50),
    layout(20, "IQ4_NL", 32, 18),
    layout(21, "IQ3_S", 256, 110),
    layout(22, "IQ2_S", 256, 82),
    layout(23, "IQ4_XS", 256, 136),
    layout(24, "I8", 1, 1),
    layout(25, "I16", 1, 2),
    layout(26, "I32", 1, 4),
    layout(27, "I64", 1, 8),
    layout(28, "F64", 1, 8),
    layout(29, "IQ1_M", 256, 56),
    layout(30, "BF16", 1, 2),
    layout(34, "TQ1_0", 256, 54),
    layout(35, "TQ2_0", 256, 66),
    layout(39, "MXFP4", 32, 17),
    layout(40, "NVFP4", 64, 36),
    layout(41, "Q1_0", 128, 18),
    layout(42, "Q2_0", 64, 18),
];
