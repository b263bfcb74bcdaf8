//! Weights in formats that candle multiplies without vector instructions become bytes with a scale for every 32, which it is fast at.

use std::collections::HashMap;
use std::io::{Cursor, Read, Seek};

use candle_core::quantized::gguf_file::{Content, TensorInfo};
use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Result};

/// Formats of 4 and 5 bits with an offset, or with the fifth bits apart. Rounding them to bytes costs a 250th of a block's largest value at
/// most, and twice the memory. SmolLM2 in Q4_1 spent three quarters of its time in that one product; as bytes it decodes 62 tokens/s on two
/// cores and reads prompts at 140, where llama.cpp decodes 120 and reads 290.
const SLOW: [GgmlDType; 3] = [GgmlDType::Q4_1, GgmlDType::Q5_0, GgmlDType::Q5_1];

/// Whether any of a file's tensors would be slow.
pub(super) fn is_needed(content: &Content) -> bool {
    content.tensor_infos.values().any(|tensor| SLOW.contains(&tensor.ggml_dtype))
}

/// The same file in memory, with the slow tensors as bytes.
pub(super) fn requantised(content: Content, file: &mut (impl Read + Seek)) -> Result<(Content, Cursor<Vec<u8>>)> {
    let mut bytes = Vec::new();
    let mut tensor_infos = HashMap::new();
    for (name, TensorInfo { ggml_dtype, shape, .. }) in &content.tensor_infos {
        let mut tensor = content.tensor(file, name, &Device::Cpu)?;
        if SLOW.contains(ggml_dtype) {
            tensor = QTensor::quantize(&tensor.dequantize(&Device::Cpu)?, GgmlDType::Q8_0)?;
        }
        let info = TensorInfo { ggml_dtype: tensor.dtype(), shape: shape.clone(), offset: bytes.len() as u64 };
        bytes.extend_from_slice(&tensor.data()?);
        tensor_infos.insert(name.clone(), info);
    }
    Ok((Content { tensor_infos, tensor_data_offset: 0, ..content }, Cursor::new(bytes)))
}
