//! What the processor must be able to do.

use crate::error::{EngineError, Result};

/// Checks for the instructions that ggml is compiled with; it uses them without asking and would die of an illegal one.
///
/// # Errors
/// [`EngineError::Unavailable`] naming all that are missing.
pub fn check_instructions() -> Result<()> {
    let missing = missing_instructions();
    if missing.is_empty() {
        return Ok(());
    }
    Err(EngineError::Unavailable(format!(
        "this processor lacks {}, which the backend `llama-cpp` needs; the backend `gpt2` runs without",
        missing.join(", ")
    )))
}

#[cfg(target_arch = "x86_64")]
fn missing_instructions() -> Vec<&'static str> {
    [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("FMA", is_x86_feature_detected!("fma")),
        ("F16C", is_x86_feature_detected!("f16c")),
        ("BMI2", is_x86_feature_detected!("bmi2")),
    ]
    .into_iter()
    .filter_map(|(name, present)| (!present).then_some(name))
    .collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn missing_instructions() -> Vec<&'static str> {
    Vec::new()
}
