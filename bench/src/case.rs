//! What an engine is asked to compute, and how fast it was: the two lines that go between the harness and a worker.

use std::fmt;

use serde::{Deserialize, Serialize};

/// `steps` greedy steps of so many sequences, each after `before` tokens; with no steps, the `before` tokens themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// Sequences side by side.
    pub sequences: usize,
    /// Tokens that each of them holds already.
    pub before: usize,
    /// Tokens that each of them gets.
    pub steps: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.sequences, self.steps) {
            (_, 0) => write!(f, "prefill of {} tokens", self.before),
            (1, _) => write!(f, "decode, 1 sequence after {} tokens", self.before),
            (sequences, _) => write!(f, "decode, {sequences} sequences"),
        }
    }
}

/// A worker's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The model is loaded; said once, before any other answer.
    Ready(bool),
    /// Tokens per second over all sequences.
    TokensPerSecond(f64),
    /// It can't be done, and why.
    Error(String),
}

/// How weights are kept and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// 32-bit floating point.
    F32,
    /// 16-bit floating point; llama.cpp has F16 for it.
    Bf16,
    /// 8-bit integers with scales.
    Q8,
}

impl Dtype {
    /// From the largest to the smallest.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Q8];

    /// Its name in MiniVault's configuration and in rows.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8 => "q8",
        }
    }

    /// llama.cpp's name for what comes closest.
    pub fn of_llama(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::Bf16 => "F16",
            Self::Q8 => "Q8_0",
        }
    }

    /// CTranslate2's name.
    pub fn of_ctranslate2(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::Q8 => "int8",
        }
    }
}
