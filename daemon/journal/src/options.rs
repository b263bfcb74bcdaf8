//! How a log is kept.

use std::time::Duration;

use regex::Regex;
use serde::{Deserialize, Serialize};

/// How a log is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Interactions that may be under way or waiting to be written.
    pub places: usize,
    /// What an answer waits for besides its line's `write(2)`.
    pub sync: SyncMode,
    /// What happens to interactions that can't be logged.
    pub on_failure: OnFailure,
    /// When the active file is sealed and another one begun.
    pub rotate: Rotate,
    /// Whether sealed segments are compressed.
    pub compress: bool,
    /// How much of the log is kept.
    pub keep: Keep,
    /// What is written of an interaction.
    pub recording: Recording,
    /// What is blackened in every text that is written.
    pub redact: Vec<Regex>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            places: 1024,
            sync: SyncMode::Interval,
            on_failure: OnFailure::Closed,
            rotate: Rotate::default(),
            compress: true,
            keep: Keep::default(),
            recording: Recording::Full,
            redact: Vec::new(),
        }
    }
}

/// What a line survives once its answer has left. Whatever it is, a killed daemon loses none: the kernel has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// The kernel decides when lines reach the disk.
    None,
    /// They reach it within about half a second.
    Interval,
    /// They are on it before the answer leaves.
    Always,
}

/// What happens to interactions that can't be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// They are refused.
    Closed,
    /// They are answered, and counted.
    Open,
}

/// When the active file is sealed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rotate {
    /// Once it has so many bytes.
    pub bytes: Option<u64>,
    /// Once its first line is so old.
    pub age: Option<Duration>,
}

/// How much of the log is kept; the oldest segments beyond it are removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Keep {
    /// Sealed segments.
    pub segments: Option<usize>,
    /// Bytes of all files together, as they are on the disk.
    pub bytes: Option<u64>,
}

/// What is written of an interaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recording {
    /// Everything.
    #[default]
    Full,
    /// Keyed hashes in place of texts and tokens: who has the key can tell whether two are the same.
    Hash,
    /// Neither texts nor tokens.
    Meta,
    /// Nothing; there is no line.
    Off,
}

impl Recording {
    /// As the configuration and the log spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Hash => "hash",
            Self::Meta => "meta",
            Self::Off => "off",
        }
    }

    /// Whether it is the one that a record needn't mention.
    pub(crate) fn is_full(&self) -> bool {
        *self == Self::Full
    }
}
