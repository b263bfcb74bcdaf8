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
    let portable = if missing.iter().all(|name| name.starts_with("AVX-512")) {
        ", and so does a binary that was built with MINIVAULT_PORTABLE=1 or on this machine"
    } else {
        ""
    };
    Err(EngineError::Unavailable(format!(
        "this processor lacks {}, which the backend `llama-cpp` was built for; the backend `gpt2` runs without{portable}",
        missing.join(", ")
    )))
}

/// The instructions that ggml was built for.
pub fn instructions() -> &'static str {
    match () {
        () if !cfg!(target_arch = "x86_64") => std::env::consts::ARCH,
        () if on(option_env!("GGML_AVX512")) => "avx512",
        () => "avx2",
    }
}

/// The options of ggml's build are environment variables of the whole build (tools/setup.sh writes them), this crate's compilation
/// included. An option that changes makes cargo compile both anew.
#[cfg(target_arch = "x86_64")]
fn missing_instructions() -> Vec<&'static str> {
    let avx512 = on(option_env!("GGML_AVX512"));
    [
        ("AVX2", true, is_x86_feature_detected!("avx2")),
        ("FMA", true, is_x86_feature_detected!("fma")),
        ("F16C", true, is_x86_feature_detected!("f16c")),
        ("BMI2", true, is_x86_feature_detected!("bmi2")),
        ("AVX-512F", avx512, is_x86_feature_detected!("avx512f")),
        ("AVX-512CD", avx512, is_x86_feature_detected!("avx512cd")),
        ("AVX-512VL", avx512, is_x86_feature_detected!("avx512vl")),
        ("AVX-512DQ", avx512, is_x86_feature_detected!("avx512dq")),
        ("AVX-512BW", avx512, is_x86_feature_detected!("avx512bw")),
        ("AVX-512VBMI", on(option_env!("GGML_AVX512_VBMI")), is_x86_feature_detected!("avx512vbmi")),
        ("AVX-512VNNI", on(option_env!("GGML_AVX512_VNNI")), is_x86_feature_detected!("avx512vnni")),
        ("AVX-512BF16", on(option_env!("GGML_AVX512_BF16")), is_x86_feature_detected!("avx512bf16")),
    ]
    .into_iter()
    .filter_map(|(name, compiled_in, present)| (compiled_in && !present).then_some(name))
    .collect()
}

/// Whether an option of ggml's build was on, as cmake reads it.
fn on(option: Option<&str>) -> bool {
    option.is_some_and(|value| !matches!(value.to_ascii_uppercase().as_str(), "" | "0" | "OFF" | "NO" | "FALSE" | "N"))
}

#[cfg(not(target_arch = "x86_64"))]
fn missing_instructions() -> Vec<&'static str> {
    Vec::new()
}
